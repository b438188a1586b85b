"""What another working directory has comes into this one, if it is what its name says.

A trial's id is worked out again from what it is, and what it measured must be its own. Nothing
that has finished here is ever replaced: where both have trained the same, what is here stays, and
whether the scores agree is told.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kitsbench.errors import DataError, UsageError
from kitsbench.experiments.asked.again import RequestRecord
from kitsbench.experiments.records import (
    LatestRecord,
    LooksRecord,
    experiment_file,
    latest_file,
    make_latest,
    request_file,
)
from kitsbench.experiments.trial.folder import TrialFolder
from kitsbench.experiments.trial.lease import LeaseTaken, holders
from kitsbench.experiments.workdir.agreement import disagreement
from kitsbench.experiments.workdir.inventory import (
    Inventory,
    KeptExperiment,
    KeptTrial,
    check_measured,
    read_trial,
    take_inventory,
)
from kitsbench.experiments.workdir.light import (
    heavy,
    light_size,
    lighten,
    waiting_for_ensembles,
    write_experiment,
)
from kitsbench.experiments.workdir.places import (
    LEASE,
    alone,
    copy_aside,
    find_link,
    move_aside,
    remove_tree,
)
from kitsbench.files import write_atomic
from kitsbench.training.checkpoints.checkpoint import latest_checkpoint

What = Literal["new", "replaces", "same", "conflict", "left out", "waits"]
DONE = ("finished", "unscored")
# Folders of small files that experiments and trials refer to.
BESIDE = ("splits", "profiles", "cases")
MOVING = (LEASE, "progress.json")  # of whoever works on a trial at a moment
ROOM = 2**26  # bytes that are left free


@dataclass(frozen=True)
class Coming:
    """What becomes of a trial or an experiment of the other working directory.

    Attributes
    ----------
    id : str
    what : str
        ``new`` and ``replaces`` (of one that has not finished here) are taken over; ``same`` is
        here already; of a ``conflict`` what is here stays; ``left out`` could not be taken;
        ``waits`` has not finished there, or an ensemble of it has not, and a light copy of it would
        be of no use yet.
    why : str
        In words, empty for a new one.
    trial : KeptTrial or None
        There; None of an experiment.
    """

    id: str
    what: What
    why: str = ""
    trial: KeptTrial | None = None

    @property
    def taken(self) -> bool:
        """Whether it is taken over."""
        return self.what in ("new", "replaces")


@dataclass(frozen=True)
class Merge:
    """What would come from another working directory.

    Attributes
    ----------
    workdir, other : Path
        Where to, and from where.
    trials, experiments : list of Coming
    beside : list of Path
        Small files, by their paths in the working directory.
    light : bool
        Whether trials come without weights and label maps,
        see :mod:`kitsbench.experiments.workdir.light`.
    """

    workdir: Path
    other: Path
    trials: list[Coming]
    experiments: list[Coming]
    beside: list[Path]
    light: bool = False

    @property
    def size(self) -> int:
        """Bytes of the trials that would be copied."""
        return sum(map(self.size_of, self.trials))

    def size_of(self, one: Coming) -> int:
        """Bytes that would be copied of a trial; 0 where it is not taken."""
        if not one.taken or one.trial is None:
            return 0
        return light_size(one.trial.folder) if self.light else one.trial.size

    def came_to(self, one: Coming) -> int:
        """Bytes of a trial that has come."""
        return light_size(TrialFolder(self.workdir, one.id)) if self.light else self.size_of(one)


def plan_merge(workdir: Path, other: Path, patience: float = 0.0, light: bool = False) -> Merge:
    """Say what would come; nothing is changed.

    Parameters
    ----------
    workdir : Path
        It need not be there.
    other : Path
    patience : float
        Seconds in which holders on other machines may show that they live.
    light : bool
        Only finished trials come, each without its weights and label maps.

    Raises
    ------
    UsageError
        Both are one folder.
    DataError
        The other is no working directory.
    """
    workdir, other = Path(workdir), Path(other)
    if os.path.realpath(workdir) == os.path.realpath(other):
        raise UsageError(
            f"{other} is the working directory itself. Name the one whose trials shall come, and "
            "with --workdir the one that they shall come to."
        )
    places = [Path(os.path.realpath(place)) for place in (workdir, other)]
    if any(a in b.parents for a, b in (places, places[::-1])):
        raise UsageError(
            f"{other} and {workdir} lie one in the other. Give two folders that lie apart."
        )
    theirs = take_inventory(other, patience)
    ours = Inventory(workdir, [], [], (), ())
    if (workdir / "trials").is_dir() or (workdir / "experiments").is_dir():
        ours = take_inventory(workdir, patience)
    here = {trial.id: trial for trial in ours.trials}
    known = {one.id: one for one in ours.experiments}
    waiting = waiting_for_ensembles(theirs) if light else {}
    return Merge(
        workdir,
        other,
        [_of_trial(one, here.get(one.id), light, waiting.get(one.id)) for one in theirs.trials],
        [_of_experiment(other, one, known.get(one.id)) for one in theirs.experiments],
        list(_beside(other, workdir)),
        light,
    )


def _of_trial(
    their: KeptTrial, our: KeptTrial | None, light: bool = False, ensemble: str | None = None
) -> Coming:
    what, why = _compared(their, our)
    if light and what in ("new", "replaces", "left out") and their.state not in ("damaged", *DONE):
        what, why = "waits", f"it is {their.state} there"
    elif light and what in ("new", "replaces") and ensemble is not None:
        what, why = "waits", f"{ensemble} still needs its weights"
    return Coming(their.id, what, why, their)


def _compared(their: KeptTrial, our: KeptTrial | None) -> tuple[What, str]:
    if their.state == "damaged":
        return "left out", their.message.splitlines()[0].rstrip(".")
    if their.holder is not None:
        return "left out", f"{their.holder} works on it there"
    if their.record is None:
        return "left out", "it was never begun there"
    if link := find_link(their.folder.path):
        return "left out", f"{link} is no file but a link or a device, which is not followed"
    if our is None:
        return "new", ""
    if our.state in DONE:
        if their.state not in DONE:
            return "same", f"it is {their.state} there, and finished here"
        return _agreement(their, our)
    if our.holder is not None:
        return "conflict", f"{our.holder} works on it here"
    if their.state in DONE:
        reason = f": {our.reason}" * bool(our.reason)
        return "replaces", f"it is {our.state}{reason} here, and finished there"
    return "same", f"it is {their.state} there and {our.state} here"


def _agreement(their: KeptTrial, our: KeptTrial) -> tuple[What, str]:
    """Whether two trainings of one trial came to the same scores."""
    if "unscored" in (their.state, our.state):
        return "same", "it is trained here too"
    found = disagreement(their.folder.scores, our.folder.scores)
    if found is None:
        return "same", "it has the same scores here"
    return "conflict", f"it was trained here as well, and {found}; what is here stays"


def _of_experiment(other: Path, their: KeptExperiment, our: KeptExperiment | None) -> Coming:
    if their.record is None:
        return Coming(their.id, "left out", their.problem.splitlines()[0].rstrip("."))
    file = request_file(other, their.id)
    try:
        LooksRecord.find(other, their.id)  # which come along, since nothing takes them back
        if os.path.lexists(file):
            RequestRecord.read(file)
    except DataError as error:
        return Coming(their.id, "left out", str(error).splitlines()[0].rstrip("."))
    if our is None:
        return Coming(their.id, "new")
    if our.record is None:
        return Coming(their.id, "replaces", "its file is damaged here")
    return Coming(their.id, "same")


def _beside(other: Path, workdir: Path) -> Iterator[Path]:
    for name in BESIDE:
        for file in sorted((other / name).glob("*.json")):
            own = file.relative_to(other)
            if file.is_file() and not file.is_symlink() and not os.path.lexists(workdir / own):
                yield own


def merge(
    plan: Merge, done: Callable[[Coming], None] = lambda coming: None
) -> list[tuple[Coming, str]]:
    """Take over what was planned.

    Parameters
    ----------
    plan : Merge
    done : callable
        Called with each trial that has come.

    Returns
    -------
    list of (Coming, str)
        Trials that could not be taken over, and why.

    Raises
    ------
    UsageError
        There is no room for all, or another process removes or merges trials here.
    """
    plan.workdir.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(plan.workdir).free
    if plan.size + ROOM > free:
        raise UsageError(
            f"The trials take {plan.size:,} bytes, and {plan.workdir} has room for {free:,}. Make "
            "room, such as with `kitsbench trials delete --unused`."
        )
    faults = []
    with alone(plan.workdir):
        for coming in plan.trials:
            if not coming.taken or coming.trial is None:
                continue
            try:
                _take(coming.trial.folder, TrialFolder(plan.workdir, coming.id), plan.light)
                done(coming)
            except LeaseTaken:
                faults.append((coming, "a process has begun to work on it"))
            except DataError as error:
                faults.append((coming, str(error).splitlines()[0]))
            except OSError as error:
                why = error.strerror or str(error)
                faults.append((coming, f"{error.filename or coming.id}: {why}"))
        for own in plan.beside:
            _copy(plan.other / own, plan.workdir / own)
        for one in plan.experiments:
            if one.taken:  # its request first: the experiment's file says that it is there
                if not plan.light:  # it says where somebody keeps data and plugins
                    _take_request(plan, one.id)
                if (looks := LooksRecord.file(plan.other, one.id)).is_file():
                    _copy(looks, LooksRecord.file(plan.workdir, one.id))
                if plan.light:
                    write_experiment(plan.other, plan.workdir, one.id)
                    continue
                _copy(experiment_file(plan.other, one.id), experiment_file(plan.workdir, one.id))
        _follow_latest(plan)
    return faults


def _follow_latest(plan: Merge) -> None:
    """Let a folder that is only merged into, or that has no latest experiment, have the other's.

    Where somebody runs experiments of their own, the latest stays theirs.
    """
    taken = [one.id for one in plan.experiments if one.taken]
    if os.path.lexists(latest_file(plan.workdir)) and not plan.light:
        return
    theirs = latest_file(plan.other)
    latest = LatestRecord.read(theirs).id if theirs.is_file() else ""
    if latest and experiment_file(plan.workdir, latest).is_file():
        make_latest(plan.workdir, latest)
    elif taken and not os.path.lexists(latest_file(plan.workdir)):
        make_latest(plan.workdir, taken[-1])


def _take(there: TrialFolder, here: TrialFolder, light: bool = False) -> None:
    """Copy a trial, see that the copy is whole and is the trial, and put it in its place."""
    if any(holder.sure for holder in holders([there.path / LEASE]).values()):
        raise LeaseTaken(there.path.name)
    before = _lease(there)  # of somebody who was seen to be gone, if there is one
    left = (*MOVING, *heavy(there)) if light else MOVING
    copy = copy_aside(there.path, here.path.parent, left)
    try:
        if _lease(there) != before:
            raise LeaseTaken(there.path.name)
        _check_copy(there, copy, left)
        if light:
            lighten(copy, there)
        aside = move_aside(here.path) if here.path.is_dir() else None
        copy.rename(here.path)
    except BaseException:
        remove_tree(copy)
        raise
    if aside is not None:
        remove_tree(aside)


def _take_request(plan: Merge, name: str) -> None:
    """Copy what an experiment asked for, marked: it may name code, which nobody here has named."""
    file = request_file(plan.other, name)
    if file.is_file():
        origin = {"merged_from": str(plan.other.resolve())}
        RequestRecord.read(file).model_copy(update=origin).write(request_file(plan.workdir, name))


def _check_copy(there: TrialFolder, copy: Path, left: Collection[str]) -> None:
    """See that nobody has changed the trial meanwhile, and that its weights are whole."""
    read_trial(there)
    check_measured(there, there.read_status())
    for file in sorted(there.path.glob("*.*")):
        own = copy / file.name
        same = own.is_file() and own.read_bytes() == file.read_bytes()
        if file.name not in left and not same:
            raise DataError(f"{file} has changed while it was copied.")
    steps = [path for path in (copy / "checkpoint").glob("step-*") if path.is_dir()]
    if steps and latest_checkpoint(copy / "checkpoint") is None:
        raise DataError(f"{there.checkpoints} has no whole checkpoint.")


def _lease(folder: TrialFolder) -> bytes | None:
    try:
        return (folder.path / LEASE).read_bytes()
    except OSError:
        return None


def _copy(source: Path, target: Path) -> None:
    write_atomic(target, lambda temporary: shutil.copyfile(source, temporary))
