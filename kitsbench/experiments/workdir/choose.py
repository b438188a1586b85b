"""Which trials of a working directory a user means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kitsbench.errors import UsageError
from kitsbench.experiments.workdir.inventory import Inventory, KeptTrial


@dataclass(frozen=True)
class Choice:
    """Trials that are chosen by what they are, besides those that are named.

    Parameters
    ----------
    state : str or None
        Those of a state, such as ``failed``.
    reason : str or None
        Those that failed for a reason, such as ``out-of-memory``.
    unused : bool
        Those that no experiment plans, and no ensemble that one plans combines.
    """

    state: str | None = None
    reason: str | None = None
    unused: bool = False

    def __bool__(self) -> bool:
        return self.state is not None or self.reason is not None or self.unused


def find_trial(inventory: Inventory, name: str) -> KeptTrial:
    """The trial of an id, of the first letters of one, or of the path of its folder.

    Raises
    ------
    UsageError
        There is none, or there are several.
    """
    place = Path(name)
    if place.parent != Path(".") and place.parent.resolve() == _trials(inventory).resolve():
        name = place.name
    fitting = [trial for trial in inventory.trials if name and trial.id.startswith(name)]
    exact = [trial for trial in fitting if trial.id == name]
    if len(exact or fitting) == 1:
        return (exact or fitting)[0]
    where = f"`kitsbench trials {inventory.workdir}` lists them"
    if not fitting:
        raise UsageError(f"There is no trial '{name}' in {inventory.workdir}; {where}.")
    raise UsageError(
        f"'{name}' fits {len(fitting)} trials of {inventory.workdir}; give more letters of the id. "
        f"{where[0].upper()}{where[1:]}."
    )


def choose_trials(inventory: Inventory, names: Sequence[str], choice: Choice) -> list[KeptTrial]:
    """Trials that are named, and those of a choice, in the order of the inventory.

    Raises
    ------
    UsageError
        A name fits none or several, or it cannot be known which trials are unused.
    """
    named = {find_trial(inventory, name).id for name in names}
    unused = unused_trials(inventory) if choice.unused else set()
    return [
        trial
        for trial in inventory.trials
        if trial.id in named
        or (
            choice
            and choice.state in (None, trial.state)
            and choice.reason in (None, trial.reason)
            and (not choice.unused or trial.id in unused)
        )
    ]


def unused_trials(inventory: Inventory) -> set[str]:
    """Ids of trials that no experiment needs.

    Raises
    ------
    UsageError
        An experiment's file is damaged, so that nobody knows what it needs.
    """
    if damaged := inventory.damaged_experiments:
        raise UsageError(
            "Which trials are unused is not known, since what one of the experiments plans cannot "
            f"be read: {damaged[0].problem}"
        )
    known = {trial.id: trial for trial in inventory.trials}
    needed = {trial.id for trial in inventory.trials if trial.experiments}
    for name in list(needed):
        record = known[name].record
        needed |= set(record.identity.members if record else ())
    if inventory.searching:  # its trials stand in no file until all of them have ended
        needed |= {
            trial.id
            for trial in inventory.trials
            if trial.record is not None and trial.record.context.tuning is not None
        }
    return {trial.id for trial in inventory.trials} - needed


def _trials(inventory: Inventory) -> Path:
    return inventory.workdir / "trials"
