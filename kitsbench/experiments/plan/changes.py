"""What makes a planned trial another one than a trial that has finished.

Whoever runs a command again expects finished trials to be kept. Where they are not, because a file,
a version or a setting is another one, the plan says which.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kitsbench.configuration import CONTENT, Setting
from kitsbench.errors import DataError
from kitsbench.experiments.records import TrialRecord
from kitsbench.experiments.trial.folder import TrialFolder
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.files.documents import read_object
from kitsbench.recipe import Recipe
from kitsbench.registry import setting_text
from kitsbench.registry.packages import version_changes
from kitsbench.training.budget import Budget

MOST = 5  # differences from which on two trials have little to do with each other
SHOWN = 3


def changes(tasks: Sequence[TrialTask], workdir: Path) -> list[str]:
    """Sentences on why trials are new though others of their kind have finished.

    Each new trial is held against the finished one of the same architecture, fold and seed that is
    nearest to it and is not planned itself.

    Parameters
    ----------
    tasks : sequence of TrialTask
        All that are planned.
    workdir : Path
    """
    new = [t for t in tasks if not t.members and not t.folder.trial.exists()]
    known = list(_finished(workdir, tasks, {t.trial.identity.architecture for t in new}))
    found: dict[tuple[str, tuple[str, ...]], int] = {}
    for task in new:
        nearest = min(
            (differences(old, task) for old in known if _alike(old, task.trial)),
            key=len,
            default=None,
        )
        if nearest and len(nearest) <= MOST:
            key = (task.name, tuple(nearest))
            found[key] = found.get(key, 0) + 1
    return [
        f"{name}: {count} new trial{'s' * (count != 1)} beside finished ones, since "
        f"{', '.join(what[:SHOWN])}"
        + (f" and {len(what) - SHOWN} more" if len(what) > SHOWN else "")
        + "."
        for (name, what), count in found.items()
    ]


def _finished(
    workdir: Path, tasks: Sequence[TrialTask], architectures: set[str]
) -> Iterator[TrialRecord]:
    """Finished trials of some architectures that are not planned."""
    planned = {task.id for task in tasks}
    for file in sorted((workdir / "trials").glob("*/trial.json")) if architectures else ():
        if file.parent.name in planned:
            continue
        with contextlib.suppress(DataError):  # whoever plans that trial is told
            # Most are of others; only what matters is read strictly.
            identity = read_object(file, "").get("identity")
            if not isinstance(identity, dict) or identity.get("architecture") not in architectures:
                continue
            if TrialFolder(workdir, file.parent.name).read_status().status == "finished":
                yield TrialRecord.read(file)


def _alike(old: TrialRecord, new: TrialRecord) -> bool:
    """Whether two trials could be taken for each other."""
    keys = ("architecture", "fold", "seed", "members")
    same = [getattr(old.identity, key) == getattr(new.identity, key) for key in keys]
    left_out = [None if r.identity.inner is None else r.identity.inner[1] for r in (old, new)]
    same += [
        left_out[0] == left_out[1],
        old.context.dataset_name == new.context.dataset_name,
        old.context.location == new.context.location,  # many files are called plugin.py
        old.context.tuning is None,
    ]
    return all(same)


def differences(old: TrialRecord, task: TrialTask) -> list[str]:
    """What a planned trial has otherwise than a finished one, each in a few words."""
    a, b, new = old.identity, task.trial.identity, task.trial
    found = list(_settings(a.config, b.config, task.files))
    found += version_changes(a.packages, b.packages)
    if a.version != b.version:
        found.append(f"{new.context.distribution} {a.version or 'none'} -> {b.version or 'none'}")
    if a.source_hash != b.source_hash:
        found.append("its source changed")
    if a.dataset != b.dataset:
        found.append(f"the files of {new.context.dataset_name} changed")
    found += _recipes(old.context.recipe, new.context.recipe) if a.recipe != b.recipe else ()
    if a.split != b.split:
        found.append("the split changed")
    if a.inner != b.inner:
        found.append("the inner folds changed")
    if a.budget != b.budget:
        found.append(f"budget {Budget(*a.budget)} -> {Budget(*b.budget)}")
    for key, what in (
        ("precision", "precision"),
        ("device_class", "device"),
        ("compile", "compile"),
        ("numerics", "numerics of kitsbench"),
        ("pretrained_on", "pretrained on"),
    ):
        one, other = getattr(a, key), getattr(b, key)
        if one != other:
            found.append(f"{what} {_text(one)} -> {_text(other)}")
    if not found:
        found += ["its volumes are prepared otherwise"] if a.preparation != b.preparation else []
        found += ["its spec changed"] if a.spec != b.spec else []
    return found


def _settings(
    old: Mapping[str, Setting], new: Mapping[str, Setting], files: Mapping[str, Path]
) -> Iterator[str]:
    for key in dict.fromkeys([*new, *old]):
        before, after = old.get(key, ""), new.get(key, "")
        if before == after:
            continue
        if CONTENT.fullmatch(str(before)) or CONTENT.fullmatch(str(after)):
            name = files[key].name if key in files else key
            if before and after:
                yield f"file {name} changed"
            else:
                yield f"{key} none -> {name}" if after else f"{key} left out"
        else:
            yield f"{key} {_text(before)} -> {_text(after)}"


def _recipes(old: Recipe, new: Recipe) -> Iterator[str]:
    """What differs between two recipes, by the dotted names of their words."""
    if old.name != new.name:
        yield f"recipe {old.name} -> {new.name}"
        return
    one, other = _flat(old.to_dict()), _flat(new.to_dict())
    for key in dict.fromkeys([*one, *other]):
        before, after = one.get(key), other.get(key)
        if before == after or key.startswith("sources"):
            continue
        if isinstance(before, dict | list) or isinstance(after, dict | list):
            yield f"recipe's {key} changed"
        else:
            yield f"recipe's {key} {_text(before)} -> {_text(after)}"


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested words by dotted names; edges like 3x3x3 are one value."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def _text(value: Any) -> str:
    if isinstance(value, tuple) and value and all(isinstance(v, int | float) for v in value):
        return "x".join(f"{v:g}" for v in value)
    if value is None or value == "":
        return "none"
    return setting_text(value) if isinstance(value, str | float) else str(value)
