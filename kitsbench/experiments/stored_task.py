"""From the folder of a trial to what running it needed, for whoever predicts with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kitsbench.errors import DataError, UsageError
from kitsbench.experiments.plan.elsewhere import LABEL_MAPS
from kitsbench.experiments.plan.entrants import task_of
from kitsbench.experiments.records import TRIAL_AGAIN, TrialRecord
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.registry import find, load, read_source_hash
from kitsbench.training.budget import Budget


def _find_plugin(trial: TrialRecord, files: Mapping[str, Sequence[Path]]) -> str:
    """What the registry finds a trial's plugin by; a path only where the user has given it.

    Whoever can write a trial's folder could name any file in it, and importing is running.
    """
    identity, context = trial.identity, trial.context
    name = identity.architecture
    if name in files:
        # Several may be called plugin.py; what is in them tells which is meant.
        places = [str(path) for path in files[name]]
        meant = (p for p in places if read_source_hash(p) == identity.source_hash)
        location = next(meant, places[0])
    elif context.location.endswith(".py"):
        raise UsageError(
            f"Trial {trial.id} was trained with the plugin file {Path(context.location).name}. A "
            f"file that a trial names is not run: give it with --plugin {name}.py, if it is yours."
        )
    else:
        location = name
    if (now := read_source_hash(location)) != identity.source_hash:
        raise DataError(_changed(trial, location, now))
    return location


def _changed(trial: TrialRecord, location: str, now: str) -> str:
    """What to do where a plugin's source is not that of a trial."""
    identity, context = trial.identity, trial.context
    name, dist = identity.architecture, context.distribution
    told = (
        f"The plugin '{name}' is not the one that trial {trial.id} was trained with: its source "
        f"has the hash {now}, and had {identity.source_hash}. The weights may not fit, so nothing "
        "of it was run.\n"
    )
    if location.endswith(".py"):
        return told + (
            f"Give the file as it was then with --plugin, or train again with the file of now: "
            f"kitsbench run {location}"
        )
    entry = find(name)
    if (entry.distribution, entry.version) != (dist, identity.version):
        remedy = (
            f"Installed is {entry.distribution} {entry.version}, and then it was {dist} "
            f"{identity.version}: install that one"
        )
    else:
        remedy = (
            f"Its version is {identity.version} now as then, so its files were edited: take the "
            "edit back (version control knows the state of then)"
        )
    return told + (
        f"{remedy}, give its file of then with --plugin FILE.py, or train again: kitsbench run "
        f"{name}"
    )


def read_task(folder: Path, files: Mapping[str, Sequence[Path]]) -> TrialTask:
    """Rebuild what running the trial needed from its ``trial.json``.

    Parameters
    ----------
    folder : Path
    files : mapping of str to sequence of Path
        Plugins' files by their names, as the user gave them.

    Raises
    ------
    DataError
        The folder holds another trial, or its plugin has changed.
    UsageError
        Its plugin's file was not given, or nothing could predict.
    """
    trial = TrialRecord.read(folder / "trial.json")
    identity, context = trial.identity, trial.context
    if Path(folder).resolve().name != trial.id:
        raise DataError(
            f"{folder / 'trial.json'}: the key id is '{trial.id}', which is not its folder's name."
            f"\n{TRIAL_AGAIN}"
        )
    members = tuple(read_task(folder.parent / member, files) for member in identity.members)
    if context.distribution == LABEL_MAPS:
        raise UsageError(
            f"Trial {trial.id} ({trial.name}) are label maps that were given; there is nothing "
            "that could segment another scan."
        )
    location = _find_plugin(trial, files)
    registered = load(location)
    recipe = context.recipe
    spec = registered.architecture.spec(identity.config, task_of(recipe, context.labels))
    return TrialTask(
        workdir=folder.parent.parent,
        trial=trial,
        location=registered.location,
        spec=spec,
        recipe=recipe,
        budget=Budget(context.budget.amount, context.budget.unit),
        stores={},
        train_cases=(),
        test_cases=(),
        cases={},
        window=context.window,
        protocols=(),
        members=members,
    )
