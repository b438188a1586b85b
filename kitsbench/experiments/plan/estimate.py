"""What trials that have not run yet will take, as far as it is known."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import median
from typing import Any

from kitsbench.errors import DataError
from kitsbench.experiments.plan.surroundings import Basis, Kind, Surroundings, finished, kind
from kitsbench.experiments.plan.tuning import Study
from kitsbench.experiments.records import (
    AccountsRecord,
    LedgerRecord,
    ProfileRecord,
    known_experiments,
)
from kitsbench.experiments.trial.kept_scores import is_done
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.training.budget import Budget

CURRENCIES = {"seconds": "device_seconds", "steps": "steps", "voxels": "voxels", "flops": "flops"}

# Measured in a default run of twenty trials on two cores; whatever rests on it is called rough.
PROFILE = 3.5  # seconds of an architecture: 15 took 24.5 s, two at a time
REPORT = 10.0  # of a report: 10.5 s

# Operations of a step, by those of a forward pass: gradients of inputs and of weights cost as much
# each. 2.2 to 3.0 times in 18 networks of the default run, and below 2.8 in one of them alone.
STEP = 3
# Speed of steps, by that of the calibration: 1.12 times in the sum of those networks, and 0.28 to
# 1.96 times in each.
TRAINING = 1.1
WORST: tuple[Basis, ...] = ("none", "rough", "profile", "other trials", "trials like it")


def _profile_of(task: TrialTask) -> ProfileRecord | None:
    """A profile of this very network and recipe, by whichever run it was measured."""
    for file in sorted((task.workdir / "profiles").glob("*.json")):
        # A damaged profile is not what an estimate complains about.
        with contextlib.suppress(DataError):
            found = ProfileRecord.read(file)
            if (found.name, *found.key[:2]) == (
                task.name,
                task.spec.digest(),
                task.recipe.digest(),
            ):
                return found
    return None


def estimate(
    tasks: Sequence[TrialTask],
    flops: Mapping[str, int | None] | None = None,
    speed: Callable[[], float | None] = lambda: None,
) -> dict[str, dict[str, Any]]:
    """Device seconds that training takes, for each trial by its id.

    A time budget says it. For any other, trials of the same network, recipe and number of threads
    that have finished in this working directory do, else the profile of the architecture, and
    else, roughly, the operations of its steps and the speed of the device.

    Parameters
    ----------
    tasks : sequence of TrialTask
    flops : mapping of str to (int or None), optional
        Of a forward pass of one patch, by the entrant's name.
    speed : callable, optional
        Gives the GFLOP/s of the device in its calibration, or None; asked where nothing else tells.

    Returns
    -------
    dict
        {id: {``device_seconds`` (None where nothing is known), ``basis``}}, where the basis is
        ``budget``, ``finished trials``, ``profile``, ``rough``, ``none`` or, where nothing is
        trained, ``members`` or ``elsewhere``.
    """
    # Of time budgets nothing has to be looked up, and there may be thousands of trials.
    timed = all(t.members or t.elsewhere or t.budget.unit == "seconds" for t in tasks)
    rates = {} if timed else _finished_rates(tasks)
    return {task.id: _estimate(task, rates, flops or {}, speed) for task in tasks}


@dataclass(frozen=True)
class Forecast:
    """What is left to do of an experiment.

    Attributes
    ----------
    open_trials, open_searches : int
        Trials that have not finished, and those of the tuning before them.
    seconds : float
        Of training, by the clock of one trial after the other, as far as it is known.
    longest : float
        Of the longest trial, with what surrounds its training.
    unknown : tuple of str
        Names of the entrants of which nothing tells how long they train.
    world_size : int
        Devices that train one trial together.
    jobs : int or None
        Trials at the same time; None where a cluster decides.
    around : float
        Seconds that surround training, of one trial after the other, as far as they are known.
    after : float
        Seconds of profiles and the report when all have ended.
    basis : str
        The weakest basis that ``around`` rests on, see
        :data:`~kitsbench.experiments.plan.surroundings.Basis`; ``rough`` where training rests on
        operations alone.
    disk : int or None
        Bytes that the trials will leave, as far as it is known.
    rough : bool
        Whether ``seconds`` of training, too, rest on operations alone.
    """

    open_trials: int
    open_searches: int
    seconds: float
    longest: float
    unknown: tuple[str, ...]
    world_size: int
    jobs: int | None
    around: float = 0.0
    after: float = 0.0
    basis: Basis = "none"
    disk: int | None = None
    rough: bool = False

    @property
    def device_hours(self) -> float:
        """Hours of training, those of every device of a trial counted."""
        return self.seconds * self.world_size / 3600

    @property
    def held_hours(self) -> float:
        """Hours for which trials hold their devices, with what surrounds their training."""
        return (self.seconds + self.around) * self.world_size / 3600

    @property
    def wall_hours(self) -> float | None:
        """Hours by the clock on the wall; None where nobody knows how many trials run at a time."""
        if self.jobs is None:
            return None
        side = (self.seconds + self.around) / self.jobs
        return (max(side, self.longest) + self.after) / 3600

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; a sum that lacks a part is None."""
        whole = not self.unknown
        wall = self.wall_hours
        return {
            "open_trials": self.open_trials,
            "open_tuning_trials": self.open_searches,
            "device_seconds": self.device_hours * 3600 if whole else None,
            "wall_seconds": wall * 3600 if whole and wall is not None else None,
            "known_device_seconds": self.device_hours * 3600,
            "unknown": list(self.unknown),
            "world_size": self.world_size,
            "surrounding_seconds": None if self.basis == "none" else self.around,
            "surrounding_basis": self.basis,
            "after_seconds": self.after,
            "held_device_seconds": self.held_hours * 3600 if whole else None,
            "disk_bytes": self.disk,
        }


def foresee(
    tasks: Sequence[TrialTask],
    studies: Sequence[Study],
    tuning_budget: Budget,
    world_size: int,
    jobs: int | None,
    flops: Mapping[str, int | None] | None = None,
    parameters: Mapping[str, int | None] | None = None,
    speed: Callable[[], float | None] = lambda: None,
) -> Forecast:
    """Add up what is left to do.

    Members that ensembles share are trials of their own and count once; a trial that has finished
    costs nothing, be it scored or not.

    Parameters
    ----------
    tasks : sequence of TrialTask
        With tuning that is not complete, as they are without it.
    studies : sequence of Study
        Searches that are not complete, asked as far as they have got.
    tuning_budget : Budget
        Of each of their trials.
    world_size : int
    jobs : int or None
    flops, parameters : mapping of str to (int or None), optional
        Of a forward pass of one patch, and of the network, by the entrant's name.
    speed : callable, optional
        Gives the GFLOP/s of the device in its calibration; asked where nothing else tells.
    """
    # What a search finds decides what the trials are, so none of them is known to be done before.
    unfinished = [task for task in tasks if studies or not is_done(task)]
    waiting = [t for t in unfinished if studies or t.folder.read_status().status != "finished"]
    searches = [
        (task, study.tuning.trials - sum(is_done(done) for done in study.tasks))
        for study in studies
        for task in tasks
        if (task.name, task.trial.fold, task.trial.seed) == (study.entrant.name, study.fold, 0)
    ]
    searched = [replace(task, budget=tuning_budget) for task, _ in searches]
    flops, speed = flops or {}, cache(speed)
    trained, tried = estimate(waiting, flops, speed), estimate(searched, flops, speed)
    parts = [(task, trained[task.id]["device_seconds"], 1) for task in waiting]
    parts += [(task, tried[task.id]["device_seconds"], number) for task, number in searches]
    parts = [(task, seconds, number) for task, seconds, number in parts if number]
    known = [(seconds, number) for _, seconds, number in parts if seconds is not None]
    whole, basis = [0.0], WORST[-1]
    around, rough = 0.0, False
    if parts:
        beside = Surroundings(parts[0][0].workdir, flops, speed, _pass_of)
        for task, seconds, number in parts:
            own, by = beside.seconds(task, seconds)
            around += (own or 0.0) * number
            whole.append((own or 0.0) + (seconds or 0.0))
            basis = min(basis, by, key=WORST.index)
        if rough := "rough" in {one["basis"] for one in (*trained.values(), *tried.values())}:
            basis = min(basis, "rough", key=WORST.index)
    return Forecast(
        open_trials=len(unfinished),
        open_searches=sum(number for _, number in searches),
        seconds=sum(seconds * number for seconds, number in known),
        longest=max(whole),
        unknown=tuple(dict.fromkeys(task.name for task, seconds, _ in parts if seconds is None)),
        world_size=world_size,
        jobs=jobs,
        around=around,
        after=_after(waiting, jobs or 1),
        basis=basis if parts else "none",
        disk=beside.disk(waiting, parameters or {}) if parts else 0,
        rough=rough,
    )


def _after(waiting: Sequence[TrialTask], jobs: int) -> float:
    """Seconds that profiles and the report take once trials have ended."""
    if not waiting:
        return 0.0
    workdir = waiting[0].workdir
    trained = {t.name: t for t in waiting if not (t.members or t.elsewhere)}
    unmeasured = sum(_profile_of(task) is None for task in trained.values())
    found = [AccountsRecord.find(workdir, name) for name in known_experiments(workdir)]
    calls = sorted((c for one in found if one for c in one.calls), key=lambda call: call.began)
    reports = [call.report_s for call in calls if call.report_s]
    return PROFILE * unmeasured / jobs + (reports[-1] if reports else REPORT)


def _pass_of(task: TrialTask) -> float | None:
    """Seconds of a forward pass of a patch by the network's profile; None where it has none.

    Scans are predicted several tiles at a time. On a CPU a patch alone can take several times as
    long as one of a batch, so that of a training step counts where it is the quicker.
    """
    profile = _profile_of(task)
    if profile is None:
        return None
    forward = (profile.parts or {}).get("forward")
    each = [profile.inference_ms] + ([forward.ms / profile.batch] if forward else [])
    return min(each) / 1000


def _estimate(
    task: TrialTask,
    rates: Mapping[Kind, list[LedgerRecord]],
    flops: Mapping[str, int | None],
    speed: Callable[[], float | None],
) -> dict[str, Any]:
    budget = task.budget
    if task.members:
        return {"device_seconds": 0.0, "basis": "members"}
    if task.elsewhere:
        return {"device_seconds": 0.0, "basis": "elsewhere"}
    if budget.unit == "seconds":
        return {"device_seconds": budget.amount, "basis": "budget"}
    currency = CURRENCIES[budget.unit]
    known = [
        ledger.device_seconds / getattr(ledger, currency)
        for ledger in rates.get(kind(task.trial, task.threads), [])
        if getattr(ledger, currency)
    ]
    if known:
        return {"device_seconds": median(known) * budget.amount, "basis": "finished trials"}
    steps = _profiled_step(task)
    if steps is not None:
        return {"device_seconds": steps, "basis": "profile"}
    operations = _operations(task, flops.get(task.name))
    gflops = speed() if operations else None
    if operations and gflops:
        return {"device_seconds": operations / (gflops * 1e9 * TRAINING), "basis": "rough"}
    return {"device_seconds": None, "basis": "none"}


def _finished_rates(tasks: Sequence[TrialTask]) -> dict[Kind, list[LedgerRecord]]:
    found: dict[Kind, list[LedgerRecord]] = {}
    for _, trial, ledger in finished(tasks[0].workdir):
        found.setdefault(kind(trial, ledger.threads), []).append(ledger)
    return found


def _operations(task: TrialTask, forward: int | None) -> float | None:
    """FLOPs of a training; None where those of a forward pass of one patch are not known."""
    budget = task.budget
    if budget.unit == "flops":
        return budget.amount
    if not forward or not task.spec.grids:
        return None
    patches = budget.amount * task.recipe.batch
    if budget.unit == "voxels":
        patches = budget.amount / math.prod(task.spec.grids[0].shape)
    return STEP * forward * patches


def _profiled_step(task: TrialTask) -> float | None:
    """Device seconds by the profile's step time, if this very network was profiled."""
    profile = _profile_of(task)
    if profile is None:
        return None
    try:
        per_step = {
            "steps": 1.0,
            "voxels": float(math.prod(task.spec.grids[0].shape) * task.recipe.batch),
            "flops": float(profile.flops_step or 0) * task.recipe.batch,
        }[task.budget.unit]
        return task.budget.amount / per_step * profile.train_step_ms / 1000
    except ZeroDivisionError:
        return None
