"""JSON files that outlive the program that wrote them: strict models, one reader, one writer.

Whatever is read back from a file was perhaps cut short, edited, or written by another version.
A :class:`Document` takes nothing on trust: every key is there, none is unknown, no value is of
another type, no number is NaN. What is wrong is told in two lines: file, key and rule; remedy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from pydantic_core import ErrorDetails

from kitsbench.errors import DataError, KitsbenchError
from kitsbench.files.foreign import brief, read_json
from kitsbench.files.plain import is_added
from kitsbench.files.whole import write_json, write_out_halves

VERSION_KEY = "schema_version"


class Part(BaseModel):
    """A part of a document: strict, immutable, without unknown keys, NaN or infinities."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _without_halves(cls, value: Any) -> Any:
        # As it will be read back, so that hashes and names stay what they are when it is written.
        return write_out_halves(value)

    @classmethod
    def of_plain(cls, content: Mapping[str, Any]) -> Self:
        """Make it from plain data, in which lists stand for tuples.

        Raises
        ------
        ValidationError
            A key is missing or unknown, or a value is of another type: an error of the program.
        """
        return cls.model_validate_json(json.dumps(content, allow_nan=False))


class Document(Part):
    """One JSON file.

    A subclass declares ``schema_version: Literal[n] = n``, raised whenever a file that was written
    before could not be read, and ``remedy``, what to do about a damaged file.
    """

    remedy: ClassVar[str] = "Delete it and run the same command again."

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """JSON Schema (draft 2020-12) of the file, for readers in other languages.

        What follows from several keys together, such as a hash of others, no schema can say:
        :meth:`read` checks that too.
        """
        schema = cls.model_json_schema()
        schema["required"] = list(dict.fromkeys([VERSION_KEY, *schema.get("required", [])]))
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises
        ------
        OSError
            The disk is full or the folder is not writable.
        """
        write_json(path, self.model_dump(mode="json"))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file and check it.

        Raises
        ------
        DataError
            It is missing, damaged, or of another version; two lines name file, key and remedy.
        """
        found, faults = cls.check(path)
        if found is None:
            raise DataError(f"{path}: {faults[0]}\n{cls.remedy}")
        return found

    @classmethod
    def check(cls, path: Path) -> tuple[Self | None, list[str]]:
        """Read the file, or tell everything that is wrong with its keys.

        Raises
        ------
        DataError
            It is missing, no JSON object, or of another version.
        """
        content = read_object(path, cls.remedy)
        cls._check_version(path, content)
        try:
            # Through JSON once more, because only there a tuple may be written as a list.
            made = cls.model_validate_json(json.dumps(content, allow_nan=False))
            found: Self = _as_written(made, content)
        except ValidationError as error:
            return None, [_sentence(fault, content) for fault in error.errors(include_url=False)]
        except (KitsbenchError, ValueError) as error:  # a word of a recipe that checks itself
            return None, [str(error)]
        fault = found.hash_fault()
        return (found, []) if fault is None else (None, [fault])

    def hash_fault(self) -> str | None:
        """What is wrong with hashed parts, in a sentence that names the key; None if nothing is."""
        return None

    @classmethod
    def _check_version(cls, path: Path, content: dict[str, Any]) -> None:
        known = cls.model_fields[VERSION_KEY].default
        found = content.get(VERSION_KEY)
        if type(found) is int and found > known:  # to Python, True and 1.0 are 1, but no versions
            raise DataError(
                f"{path}: the key {VERSION_KEY} is {_shown(found)}; this kitsbench reads up to "
                f"{known}.\nA newer kitsbench wrote it: update this one."
            )
        if type(found) is not int or found != known:
            what = f"is {_shown(found)}" if VERSION_KEY in content else "is missing"
            raise DataError(
                f"{path}: the key {VERSION_KEY} {what}; it must be {known}. An earlier kitsbench "
                f"wrote the file, or it is damaged.\n{cls.remedy}"
            )


def read_object(path: Path, remedy: str) -> dict[str, Any]:
    """Read a JSON file that holds one object, as plain data.

    Raises
    ------
    DataError
        It is missing, cannot be read, or holds something else.
    """
    try:
        content = read_json(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.\n{remedy}") from error
    except ValueError as error:
        raise DataError(f"{path} is no JSON: {error}.\n{remedy}") from error
    if not isinstance(content, dict):
        raise DataError(
            f"{path} holds a {type(content).__name__}; an object with keys was expected.\n{remedy}"
        )
    return content


def _sentence(fault: ErrorDetails, content: dict[str, Any]) -> str:
    """What pydantic found, in a sentence that names the key."""
    keys = _keys(fault["loc"], content)
    if fault["type"] == "missing":
        return f"the key {brief('.'.join([*keys, str(fault['loc'][-1])]), 120)} is missing."
    key = brief(".".join(keys), 120)
    if fault["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"the key {key} is not known."
    if fault["type"] == "json_invalid":
        # Whatever else is no JSON was refused when it was read the first time.
        deep = "recursion" in fault["msg"]
        return "it is nested too deep." if deep else "it holds half of a character (a surrogate)."
    if fault["type"] == "value_error":  # a rule of ours, in our words
        rule = fault["msg"].removeprefix("Value error, ")
        return f"the key {key} is wrong: {rule}." if key else f"{rule}."
    return f"the key {key} is wrong: {fault['msg']} (found {_shown(fault['input'])})."


def _keys(place: tuple[int | str, ...], content: Any) -> list[str]:
    """The part of a place that is in the file; the rest are names of types that a union tried."""
    found = []
    for part in place:
        inside = part in content if isinstance(content, dict) else False
        if isinstance(content, list) and isinstance(part, int):
            inside = part < len(content)
        if not inside:
            break
        content = content[part]
        found.append(str(part))
    return found


def _shown(value: Any) -> str:
    return brief(" ".join(repr(value).split()))


def _as_written(made: Any, plain: Any, key: str = "", exact: bool = False) -> Any:
    """What was read, with the numbers of a recipe as the file has them: 1 has not the hash of 1.0.

    Parameters
    ----------
    made, plain : object
        What pydantic made, and what the file holds.
    key : str
        Where.
    exact : bool
        Whether it is part of a dataclass, such as a recipe.

    Raises
    ------
    ValueError
        The file lacks a key of a recipe (but for a word that came later) or a version, and the
        default was taken; or an integer needs more than 64 bits. The sentence names the key.
    """

    def part(name: str, value: Any, within: bool = False) -> Any:
        place = f"{key}.{name}" if key else name
        if name not in plain:
            raise ValueError(f"the key {place} is missing.")
        return _as_written(value, plain[name], place, exact or within)

    if isinstance(made, BaseModel):
        # Other defaults of documents are meant: an entry of a board may be silent about a key.
        own = [n for n in type(made).model_fields if n in plain or n == VERSION_KEY]
        return made.model_copy(update={name: part(name, getattr(made, name)) for name in own})
    if is_dataclass(made) and not isinstance(made, type):
        own = [f.name for f in fields(made) if f.name in plain or not is_added(f)]
        return replace(made, **{name: part(name, getattr(made, name), True) for name in own})
    if isinstance(made, dict):
        return {name: part(name, value) for name, value in made.items()}
    if isinstance(made, tuple):
        pairs = zip(made, plain, strict=True)
        return tuple(_as_written(*pair, f"{key}.{n}", exact) for n, pair in enumerate(pairs))
    if isinstance(plain, int) and abs(plain) >= 2**63:
        raise ValueError(f"the key {key} is wrong: its number needs {plain.bit_length()} bits.")
    return plain if exact else made
