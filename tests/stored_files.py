"""How the tests change files of a run: as its own code would, or as an accident might."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from kitsbench.experiments.records import (
    ExperimentRecord,
    experiment_file,
    find_experiment,
    keep_experiment,
)
from kitsbench.files.documents import Document

D = TypeVar("D", bound=Document)


def change(file: Path, kind: type[D], **updates: Any) -> D:
    """Replace fields of a stored record by others that a run could have written there."""
    kind.read(file).model_copy(update=updates).write(file)
    return kind.read(file)  # refuses what no run can have written


def replan(workdir: Path, **updates: Any) -> ExperimentRecord:
    """Let the latest experiment of a working directory be another, with other keys."""
    old = find_experiment(workdir)
    same = set(ExperimentRecord.model_fields) - {"schema_version", "id", "plan"}
    new = ExperimentRecord.of(**{key: getattr(old, key) for key in same} | updates)
    keep_experiment(workdir, new)
    return find_experiment(workdir)


def experiment_of(workdir: Path) -> Path:
    """The file of the latest experiment."""
    return experiment_file(workdir, find_experiment(workdir).id)


def damage(file: Path, spoil: Callable[[Any], object]) -> None:
    """Let a function spoil the plain content of a JSON file, which nobody checks."""
    content = json.loads(file.read_text(encoding="utf-8"))
    spoil(content)
    file.write_text(json.dumps(content), encoding="utf-8")


def put(content: Any, place: str, *value: Any) -> None:
    """Set what stands at a place such as ``entrants.0.name``, or remove it."""
    *path, last = [int(part) if part.isdecimal() else part for part in place.split(".")]
    for part in path:
        content = content[part]
    if value:
        content[last] = value[0]
    else:
        del content[last]
