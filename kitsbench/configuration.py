"""Configuration keys of an architecture, and how text becomes their values."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, Protocol, Self

from kitsbench.errors import ContractError, UsageError
from kitsbench.files import file_digest
from kitsbench.files.foreign import brief, check_file
from kitsbench.naming import check_key

Setting = str | int | float | tuple[int, ...]
SIZES = ("tiny", "small", "paper")
CONTENT = re.compile(r"sha256:[0-9a-f]{64}")
"""Value of a key of the kind ``file``: what is in the file, wherever it lies."""
HASH_SHOWN = len("sha256:") + 12


@dataclass(frozen=True)
class Key:
    """One configuration key of an architecture, e.g. an ambiguity of its paper.

    Parameters
    ----------
    default : str, int, float or tuple of int
        Its type is the key's type. Switches are the strings ``on`` and ``off``.
    provenance : str
        Where the default comes from: a paper's section, a file of the authors, or ``CHOICE``.
    options : tuple, optional
        The allowed values.
    low, high : float, optional
        Bounds of a number.
    help : str
        One line.
    kind : {"value", "file"}
        ``file``: who runs the architecture gives a path, or nothing. The value is the SHA-256 of
        the file (``sha256:...``), or empty: where it lies changes nothing. See :meth:`file`.
    """

    default: Setting
    provenance: str = "CHOICE"
    options: tuple[Setting, ...] | None = None
    low: float | None = None
    high: float | None = None
    help: str = ""
    kind: Literal["value", "file"] = "value"

    def __post_init__(self) -> None:
        if self.kind == "file" and self.default != "":
            raise ContractError(
                f"a key of the kind file has the default {brief(self.default)}: leave it empty, "
                "since whoever runs the architecture names the file"
            )

    @classmethod
    def file(cls, provenance: str = "CHOICE", help: str = "") -> Self:
        """Make a key that names a file, such as one of initial weights; none by default."""
        return cls("", provenance, help=help, kind="file")

    def parse(self, name: str, value: Setting) -> Setting:
        """Turn text from a command line into a value of the key's type, or say what is wrong."""
        if self.kind == "file":
            return _content(name, value)
        try:
            parsed = self._converted(value)
        except (TypeError, ValueError, OverflowError):
            kind = (
                f"edges like {'x'.join(map(str, self.default))}"
                if isinstance(self.default, tuple)
                else f"of type {type(self.default).__name__}"
            )
            raise UsageError(f"{name}={brief(value)} is wrong: the value must be {kind}.") from None
        if self.options is not None and parsed not in self.options:
            allowed = ", ".join(map(str, self.options))
            raise UsageError(f"{name}={brief(value)} is wrong: choose from {allowed}.")
        if isinstance(parsed, (int, float)) and not (
            (self.low is None or parsed >= self.low) and (self.high is None or parsed <= self.high)
        ):
            raise UsageError(
                f"{name}={brief(value)} is wrong: allowed are {self.low} to {self.high}."
            )
        if isinstance(parsed, float) and not math.isfinite(parsed):
            raise UsageError(f"{name}={brief(value)} is wrong: the value must be finite.")
        return parsed

    def _converted(self, value: Setting) -> Setting:
        if isinstance(self.default, tuple):
            parts = value.split("x") if isinstance(value, str) else value
            edges = tuple(int(part) for part in parts)  # type: ignore[union-attr]
            if len(edges) != len(self.default) or min(edges, default=1) < 1:
                raise ValueError
            return edges
        kind = type(self.default)
        parsed: Setting = kind(value)  # type: ignore[arg-type]
        if kind is int and float(value) != parsed:  # type: ignore[arg-type]
            raise ValueError
        return parsed


class Configurable(Protocol):
    """What has keys: an :class:`~kitsbench.architecture.Architecture`, or its class."""

    @property
    def keys(self) -> Mapping[str, Key]:
        """Configuration beside ``size``."""

    @property
    def sizes(self) -> Mapping[str, Mapping[str, Setting]]:
        """What each size sets."""


WIDTH = Key(1.0, "1 is the paper's", low=1 / 64, high=4, help="multiplies every channel count")


def all_keys(architecture: Configurable) -> dict[str, Key]:
    """Keys of an architecture, ``size`` first."""
    return {
        "size": Key(
            "paper", "presets of this project", options=SIZES, help="a preset of the other keys"
        ),
        **architecture.keys,
    }


def configure(
    architecture: Configurable, given: Mapping[str, Setting] | None = None
) -> dict[str, Setting]:
    """Every configuration value: the defaults, then the size's, then what was given.

    Raises
    ------
    UsageError
        An unknown key or a value that is not allowed; the message lists what is.
    ContractError
        A size sets a key that the architecture does not declare, or the name of a key is none.
    """
    given = dict(given or {})
    keys = all_keys(architecture)
    for name in keys:
        check_key(name)
    for name in given:
        if name not in keys:
            raise UsageError(
                f"'{name}' is no configuration key of this architecture; it has {', '.join(keys)}."
            )
    size = str(keys["size"].parse("size", given.get("size", "paper")))
    preset = architecture.sizes.get(size, {})
    if unknown := set(preset) - set(keys):
        raise ContractError(f"sizes['{size}'] sets {sorted(unknown)}: declare these in keys.")
    if named := [name for name in preset if keys[name].kind == "file"]:
        raise ContractError(f"sizes['{size}'] sets {named[0]}: only who runs it names a file.")
    values = {name: key.default for name, key in keys.items()} | {**preset, **given}
    return {name: keys[name].parse(name, value) for name, value in values.items()}


def files_of(
    architecture: Configurable, given: Mapping[str, Setting] | None = None
) -> dict[str, Path]:
    """Where the files lie that keys of the kind ``file`` name, absolute, by the key.

    Parameters
    ----------
    architecture : Architecture, or what declares its keys
    given : mapping, optional
        Settings that :func:`configure` takes. A file that is given by its hash is left out.
    """
    keys = all_keys(architecture)
    return {
        name: Path(value).expanduser().absolute()
        for name, value in (given or {}).items()
        if isinstance(value, str)
        and value
        and name in keys
        and keys[name].kind == "file"
        and not CONTENT.fullmatch(value)
    }


def by_content(
    architecture: Configurable, given: Mapping[str, Setting], contents: Mapping[str, str]
) -> dict[str, Setting]:
    """Settings in which a file that is gone is named by what it held, where that is known.

    Parameters
    ----------
    architecture : Architecture, or what declares its keys
    given : mapping
        Settings that :func:`configure` takes.
    contents : mapping of str to str
        What was in files, by their absolute paths.
    """
    found = dict(given)
    for key, file in files_of(architecture, given).items():
        if str(file) in contents and not file.exists():
            found[key] = contents[str(file)]
    return found


def _content(name: str, value: Setting) -> str:
    """What a file holds, as the value of its key; empty where none is named."""
    if isinstance(value, str) and (not value or CONTENT.fullmatch(value)):
        return value
    path = Path(str(value)).expanduser()
    try:
        known = check_file(path)
        return f"sha256:{_hash(path.absolute(), known.st_size, known.st_mtime_ns)}"
    except OSError as error:
        why = "there is no such file"
        if not isinstance(error, FileNotFoundError):
            why = f"it cannot be read ({error.strerror or error})"
        raise UsageError(
            f"{name}={brief(str(value), 200)} is wrong: {why}. Give the path of a file, the "
            f"sha256:... that finished trials are named by, or leave {name} out."
        ) from None


@lru_cache(maxsize=64)  # settings are read many times, and files of weights are large
def _hash(path: Path, size: int, changed: int) -> str:
    return file_digest(path)


_QUOTED = re.compile(r'\s*([^,="]*?)\s*=\s*"((?:[^"]|"")*)"\s*(?:,|$)')


def split_settings(listed: str, whole: str) -> dict[str, str]:
    """Read ``key=value,key=value``.

    What follows a comma without being ``key=...`` is still the value before it, as in the path of
    a file. Where that is not enough, as in ``a,b=c.pt``, a value stands in double quotes, and a
    quote in it twice.

    Parameters
    ----------
    listed : str
    whole : str
        What they were written in, for messages.

    Raises
    ------
    UsageError
        The text has another form, or gives a key twice.
    """
    found: dict[str, str] = {}
    plain: set[str] = set()  # what was written without quotes, and ends where its text does
    open_: str | None = None  # the key whose value a comma does not end
    at = 0
    while at < len(listed):
        quoted = _QUOTED.match(listed, at)
        if quoted is not None:
            key, value, at = quoted[1], quoted[2].replace('""', '"'), quoted.end()
        else:
            end = listed.find(",", at)
            piece, at = (listed[at:], len(listed)) if end < 0 else (listed[at:end], end + 1)
            if not piece.strip():
                continue
            if "=" not in piece and open_ is not None:
                found[open_] += f",{piece}"
                continue
            key, _, value = piece.partition("=")
            key, value = key.strip(), value.lstrip()
            if not (key and value):
                raise UsageError(f"'{piece.strip()}' in '{whole}' is no setting: write key=value.")
        if key in found:
            raise UsageError(f"'{whole}' gives '{key}' twice: give it once.")
        found[key] = value
        open_ = None if quoted is not None else key
        if open_ is not None:
            plain.add(open_)
    return {key: value.rstrip() if key in plain else value for key, value in found.items()}


def parse_request(text: str) -> tuple[str, dict[str, str]]:
    """Split ``name:key=value,key=value`` (or ``file.py:...``) into the name and its settings.

    See :func:`split_settings`.

    Raises
    ------
    UsageError
        The text has another form, or gives a key twice.
    """
    whole = text.strip()
    match = re.fullmatch(r"(?P<name>[^:/\\]+):(?P<settings>\s*[\w-]+\s*=.*)", whole, re.DOTALL)
    # A path may hold colons itself.
    match = match or re.fullmatch(
        r"(?P<name>.*?\.py|[^:]*)(?::(?P<settings>.*))?", whole, re.DOTALL
    )
    name, listed = (match["name"], match["settings"]) if match else ("", None)
    if not name:
        raise UsageError(f"'{text}' names no architecture: write ARCH or ARCH:key=value,key=value.")
    return name, split_settings(listed or "", text)


def join_settings(settings: Mapping[str, object]) -> str:
    """Write settings so that :func:`split_settings` reads the same."""
    return ",".join(f"{key}={_as_listed(str(value))}" for key, value in settings.items())


def _as_listed(value: str) -> str:
    if not value or "," in value or value.startswith('"') or value != value.strip():
        return '"' + value.replace('"', '""') + '"'
    return value


def setting_text(value: Setting) -> str:
    """A setting as names show it; of a file the beginning of its hash."""
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    if isinstance(value, str) and CONTENT.fullmatch(value):
        return value[:HASH_SHOWN]
    return f"{value:.10g}" if isinstance(value, float) else str(value)
