"""What plugins say of themselves, asked in processes of their own.

A plugin may end the process that imports it, hang in it, or change it under everybody's feet. So
whoever plans or lists imports none: what comes back from another process is plain data.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

from kitsbench.channels import naming_fault
from kitsbench.errors import ContractError, KitsbenchError, UsageError, shorten
from kitsbench.isolation import IsolatedFailure, TooLong, call_isolated, each_isolated
from kitsbench.naming import twice
from kitsbench.recipe import SHARED
from kitsbench.registry import answers
from kitsbench.registry.discovery import RegisteredArchitecture, discover, find
from kitsbench.registry.plugins import load, read_source_hash
from kitsbench.spec import Declared, Spec

AT_ONCE = 4  # plugins that are asked at the same time
LIMIT = "KITSBENCH_PLUGIN_SECONDS"
COARSEST, FINEST = 64.0, 0.25  # voxel sizes of grids relative to the first one's


def time_limit() -> float:
    """Seconds that a plugin may take for an answer (``KITSBENCH_PLUGIN_SECONDS``, or 120).

    Raises
    ------
    UsageError
        The variable holds something else.
    """
    text = os.environ.get(LIMIT, "120")
    with contextlib.suppress(ValueError):
        seconds = float(text)
        if 0 < seconds < math.inf:
            return seconds
    raise UsageError(f"{LIMIT}={text} is no number of seconds: write one such as 120, or unset it.")


def introduce(name: str) -> RegisteredArchitecture:
    """Import one architecture elsewhere; as :func:`kitsbench.registry.load`, but without it.

    Returns
    -------
    RegisteredArchitecture
        With ``declared`` instead of ``instance``; ``broken`` also where its code ended the
        process, or took too long.

    Raises
    ------
    UsageError
        Nothing of that name is installed, or there is no such file.
    """
    entry = find(name)
    if entry.status == "broken":
        return entry
    source = _readable_hash(name)
    key = answers.key_of(entry, source)
    known: RegisteredArchitecture | None = answers.recall(key)
    if known is not None:
        return known
    try:
        found: RegisteredArchitecture = _call(introduced, name)
    except IsolatedFailure as error:
        return replace(entry, status="broken", error=f"while it was imported {error}")
    # Only where the files that were read are all that it stands for.
    if found.status == "ok" and source and found.source_hash == source:
        answers.remember(key, found)
    return found


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function elsewhere, within the time that a plugin may take."""
    try:
        return call_isolated(function, *arguments, timeout=time_limit())
    except TooLong as error:
        raise IsolatedFailure(f"{error} If this machine is busy, set {LIMIT}=600.") from None


def _readable_hash(name: str) -> str:
    try:
        return read_source_hash(name)
    except (KitsbenchError, OSError):  # importing it will tell
        return ""


def introduce_each(names: Iterable[str]) -> list[RegisteredArchitecture]:
    """Import several architectures elsewhere, each in a process of its own."""
    chosen = list(names)
    for name in chosen:
        find(name)  # a typing error is told before anything is started
    return list(each_isolated(introduce, chosen, AT_ONCE))


def introduce_all() -> list[RegisteredArchitecture]:
    """Import every architecture that is installed elsewhere, sorted by name."""
    return introduce_each(entry.name for entry in discover())


def introduced(name: str) -> RegisteredArchitecture:
    """Import an architecture in this process, and keep of it what is plain data."""
    from kitsbench.architecture import has_own_step

    with stays_in_place():
        entry = load(name)
    if entry.instance is None:
        return replace(entry, error=shorten(str(entry.error)))
    plugin = entry.instance
    patch = plugin.paper_patch
    return replace(
        entry,
        title=_text("title", entry.title),
        paper=_text("paper", entry.paper),
        planted=_text("planted", entry.planted),
        instance=None,
        declared=Declared(
            dict(plugin.keys),
            {size: dict(preset) for size, preset in plugin.sizes.items()},
            tuple(plugin.paper_labels),
            None if patch is None else tuple(patch),  # type: ignore[arg-type]
            has_own_step(plugin),
        ),
    )


def _text(what: str, value: object) -> str:
    if not isinstance(value, str):
        raise ContractError(f"its {what} is a {type(value).__name__}: write text")
    return shorten(str.__str__(value))


class stays_in_place:
    """Refuse code that changes the working directory while it is imported or asked."""

    def __enter__(self) -> None:
        self.before = os.getcwd()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        now = os.getcwd()
        if kind is None and now != self.before:
            raise ContractError(
                f"its code changed the working directory to {now}. Leave it as it is, and build "
                "paths from __file__."
            )


def asked(location: str, source_hash: str, question: Callable[..., Any], *arguments: Any) -> Any:
    """Ask ``question(architecture, *arguments)`` of a plugin, in a process of its own.

    Parameters
    ----------
    location : str
        What the registry finds it by.
    source_hash : str
        Of the source that was introduced.
    question : callable
        Importable from its module; what it returns is plain data.

    Raises
    ------
    IsolatedFailure
        It raised, ended its process, took too long, or its source has changed.
    """
    # Hooks are functions of their arguments, so what was answered once is not asked again.
    key = answers.key_of(location, source_hash, question, arguments)
    answer = answers.recall(key)
    if answer is None:
        answer = _call(_ask, location, source_hash, question, arguments)
        answers.remember(key, answer)
    return answer


def _ask(
    location: str, source_hash: str, question: Callable[..., Any], arguments: tuple[Any, ...]
) -> Any:
    entry = load(location)
    if entry.source_hash != source_hash:
        raise ContractError("its source has changed while the run was planned; start again")
    with stays_in_place():
        return question(entry.architecture, *arguments)


def check_spec(spec: object) -> Spec:
    """See that what a hook ``spec`` returned is a whole spec, and nothing but data.

    Raises
    ------
    ContractError
        It is not; the message names the part.
    """
    if type(spec) is not Spec:
        raise ContractError(f"spec() returned a {type(spec).__name__}: return a Spec")
    wrong = _misfit(spec, Spec, "spec")
    if wrong is None and spec.paper is not None and spec.paper.name == SHARED:
        wrong = (
            f"its recipe is called '{SHARED}', which is the shared one, under which own steps, "
            'optimisers and adaptation are left out; give it a name: Recipe(name="...")'
        )
    if wrong is None and spec.trained_on and (spec.grids or spec.heads or spec.members):
        wrong = "it names what it was trained on, and grids, heads or members; a System has none"
    if wrong is None and not spec.members and not spec.trained_on:
        wrong = _incomplete(spec)
    if wrong is not None:
        raise ContractError(f"spec() returned what is no whole spec: {wrong}")
    spec.digest()
    return spec


def _incomplete(spec: Spec) -> str | None:
    names = [grid.name for grid in spec.grids]
    if not names or not spec.stages:
        return "it has no grids or no stages"
    if sum(head.role == "primary" for head in spec.heads) != 1:
        return "it must have exactly one head of role 'primary'"
    if unknown := [head.name for head in spec.heads if head.grid not in names]:
        return f"head '{unknown[0]}' lies on no grid that it has"
    shapes = [(g.name, g.shape) for g in spec.grids] + [(h.name, h.shape) for h in spec.heads]
    for name, shape in shapes:
        if min(shape) < 1:
            return f"'{name}' has the shape {shape}"
    for grid in spec.grids:
        if not all(FINEST <= edge <= COARSEST for edge in grid.ratio):
            return f"grid '{grid.name}' has the ratio {grid.ratio}; allowed are .25 to 64"
    named = [*(h.name for h in spec.heads), *(m.name for m in spec.maps)]
    if (again := twice(named)) is not None:
        return f"'{again}' has the name of another map or head, or nearly so"
    if unknown := [m.name for m in spec.maps if (m.grid or names[0]) not in names]:
        return f"map '{unknown[0]}' lies on no grid that it has"
    if len(spec.grids) > 1 and any(grid.whole for grid in spec.grids):
        return "it has several grids, and one of them shows the whole scan: that one stands alone"
    return naming_fault({grid.name: grid.channels for grid in spec.grids}, spec.inputs)


def _misfit(value: object, hint: Any, where: str) -> str | None:
    """What part of a value is not of its declared type; None where all is."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return None
    if origin in (typing.Union, types.UnionType):
        found = [_misfit(value, option, where) for option in inner]
        return None if None in found else found[0]
    if origin is Literal:
        return None if value in inner else f"{where} is {value!r:.60}, not one of {inner}"
    if origin is tuple:
        return _misfit_tuple(value, inner, where)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return None if isinstance(value, dict) else f"{where} is no dict"
    if dataclasses.is_dataclass(hint):
        if type(value) is not hint:
            return f"{where} is a {type(value).__name__}"
        if hint is not Spec and hint.__module__ != Spec.__module__:
            return None  # a recipe or a stage, which has rules of its own
        hints = typing.get_type_hints(hint)
        parts = ((getattr(value, name), own, f"{where}.{name}") for name, own in hints.items())
        return next((wrong for part in parts if (wrong := _misfit(*part)) is not None), None)
    kinds = (int, float) if hint is float else (hint,)
    if type(value) not in kinds:
        return f"{where} is a {type(value).__name__}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{where} is {value}"
    return None


def _misfit_tuple(value: object, inner: tuple[Any, ...], where: str) -> str | None:
    if type(value) is not tuple:
        return f"{where} is a {type(value).__name__}"
    if len(inner) == 2 and inner[1] is Ellipsis:
        inner = inner[:1] * len(value)
    if len(inner) != len(value):
        return f"{where} has {len(value)} parts"
    parts = enumerate(zip(value, inner, strict=True))
    found = (_misfit(part, hint, f"{where}[{index}]") for index, (part, hint) in parts)
    return next((wrong for wrong in found if wrong is not None), None)
