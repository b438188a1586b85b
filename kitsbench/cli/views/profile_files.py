"""Profiles in files: written in three formats, read back to be compared."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kitsbench.errors import UsageError

BENCHMARK = ".benchmark.json"
REMEDY = "Give a file that `kitsbench profile -o FILE.json` wrote."


def check_outputs(files: Sequence[Path]) -> None:
    """See that the format of each file is known and its folder writable, before it is measured.

    Raises
    ------
    UsageError
        A name says of no format, or a file could not be written.
    """
    for file in files:
        if file.suffix not in (".json", ".csv"):
            raise UsageError(
                f"{file} has no known format: name it .json, .csv, or {BENCHMARK} for "
                "pytest-benchmark."
            )
        folder = file.absolute().parent
        while not os.path.lexists(folder):  # it is made with the file
            folder = folder.parent
        try:
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise _cannot_be_written(file, error) from error


def _cannot_be_written(file: Path, error: OSError) -> UsageError:
    return UsageError(f"{file} cannot be written ({error.strerror or error}): choose another -o.")


def write_profiles(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write profiles in the format that the file's name says.

    Raises
    ------
    UsageError
        The file cannot be written.
    """
    from kitsbench.files import write_json, write_table
    from kitsbench.profiling.formats import as_benchmark, flat

    measured = [row for row in rows if "parameters" in row]
    try:
        if file.suffix == ".csv":
            write_table(file, *flat(rows))
        elif file.name.endswith(BENCHMARK):
            write_json(file, as_benchmark(measured))
        else:
            write_json(file, list(rows))
    except OSError as error:
        raise _cannot_be_written(file, error) from error


def read_profiles(file: Path) -> list[dict[str, Any]]:
    """Read profiles back.

    Raises
    ------
    UsageError
        It is none of ours, or damaged.
    """
    from pydantic import ValidationError

    from kitsbench.experiments.records import ProfileRecord
    from kitsbench.files.foreign import read_json

    try:
        content = read_json(file)
    except OSError as error:
        raise UsageError(f"{file} cannot be read ({error.strerror or error}). {REMEDY}") from error
    except ValueError as error:
        raise UsageError(f"{file} is no JSON: {error}. {REMEDY}") from error
    if isinstance(content, dict) and "machine_info" in content:
        raise UsageError(
            f"{file} is in the format of pytest-benchmark, which `pytest-benchmark compare` "
            f"reads. {REMEDY}"
        )
    if not (isinstance(content, list) and all(isinstance(row, dict) for row in content)):
        raise UsageError(f"{file} holds no list of profiles. {REMEDY}")
    rows = [row for row in content if "parameters" in row]
    if not rows:
        raise UsageError(f"{file} holds no profile of a network. {REMEDY}")
    found, met = [], set()
    for place, row in enumerate(rows, start=1):
        plain = {k: v for k, v in row.items() if k != "architecture"}
        whole = {"schema_version": 2, "name": row.get("architecture"), **plain}
        try:
            found.append(ProfileRecord.model_validate_json(json.dumps(whole)).row())
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = ".".join(map(str, first["loc"]))
            key = "architecture" if key == "name" else key  # as it is called in the file
            what = f"the key {key} of profile {place}" if key else f"profile {place}"
            said = first["msg"].removeprefix("Value error, ")
            raise UsageError(f"{file}: {what} is wrong: {said}. {REMEDY}") from error
        name = f"{found[-1]['architecture']} in {found[-1]['precision']}"
        if name in met:
            raise UsageError(f"{file} holds two profiles of {name}. {REMEDY}")
        met.add(name)
    return found
