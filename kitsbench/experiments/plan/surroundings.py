"""What surrounds training: starting, evaluation, prediction, scoring, disk; as far as it is known.

Trials that have finished in the working directory tell it. Where none has, the operations of a
forward pass and the speed of the device do, roughly.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Literal

from kitsbench.data.preparation.store import PreparedStore
from kitsbench.errors import KitsbenchError
from kitsbench.experiments.records import LedgerRecord, TrialRecord, in_all
from kitsbench.experiments.trial.folder import TrialFolder
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.inference.tiles import tile_starts

Basis = Literal["trials like it", "other trials", "profile", "rough", "none"]
Kind = tuple[str, str, str, int]  # spec, recipe, precision, threads

MOST = 64  # finished trials that are asked; each takes some milliseconds
SAMPLE = 3  # test cases whose tiles are counted

# Measured on two cores: in the 18 tiny networks that the default run trains on the phantom, and
# VOXELS in the drawn scan of median size of `kitsbench profile --scan`. Other networks, scans and
# machines may be far from it, so what they give is called rough wherever it is shown.
START = 1.1  # seconds until a trial trains, with its end: 0.5, and 2.3 where more is imported
PASSES = 3  # predictions of the curve's cases along the budget: 2.7
# Speed of forward passes of tiles, by that of the calibration's training: 1.02 in the sum, and
# 0.15 (of two grids) to 2.0 in each.
EFFICIENCY = 1.0
VOXELS = 0.19  # seconds a million voxels of a scan: resampled, decided, scored; 0.09 on the phantom
WAITING = 0.022  # seconds of waiting and checkpoints, of one of training: 0.012 to 0.057
LABEL_BYTES = 0.0145  # of a compressed label map, a voxel: 0.0127 to 0.0167


@dataclass(frozen=True)
class Cost:
    """What surrounded the training of a trial, so that another one's can be told.

    Attributes
    ----------
    fixed : float
        Seconds once a trial.
    case, curve : float
        Seconds a held-out case, and a case that is scored along the budget.
    share : float
        Seconds a second of training: waiting for batches, checkpoints.
    """

    fixed: float
    case: float
    curve: float
    share: float

    def of(self, task: TrialTask, training: float | None) -> float:
        """Seconds beside so many of training."""
        context = task.trial.context
        seconds = self.fixed + self.case * len(context.test_cases)
        if not (task.members or task.elsewhere):
            seconds += self.curve * len(context.curve_cases) + self.share * (training or 0.0)
        return seconds


@dataclass
class Surroundings:
    """What finished trials of a working directory, or a rough count, say of others.

    Parameters
    ----------
    workdir : Path
    flops : mapping of str to (int or None)
        Of a forward pass of one patch, by the entrant's name.
    speed : callable
        Gives the GFLOP/s of the device in its calibration, or None; asked once, if needed.
    profiled : callable
        Gives the seconds of a forward pass of a trial's network where a profile has them.
    """

    workdir: Path
    flops: Mapping[str, int | None] = field(default_factory=dict)
    speed: Callable[[], float | None] = lambda: None
    profiled: Callable[[TrialTask], float | None] = lambda task: None
    _costs: dict[tuple[str, Kind], list[Cost]] | None = None
    _gflops: float | None = None
    _asked: bool = False
    _profiles: dict[tuple[str, str, str], float | None] = field(default_factory=dict)
    _sizes: dict[tuple[str, Kind], list[int]] = field(default_factory=dict)
    _tiles: dict[tuple[str, tuple[str, ...]], tuple[float, float]] = field(default_factory=dict)

    def seconds(self, task: TrialTask, training: float | None) -> tuple[float | None, Basis]:
        """Seconds that surround the training of a trial, and by what that is known."""
        found, basis = self._cost(task)
        if found is not None:
            return found.of(task, training), basis
        by, each = self._passes(task)
        counted = None if each is None else self._counted(task, each)
        return (None, "none") if counted is None else (counted.of(task, training), by)

    def disk(self, tasks: Sequence[TrialTask], parameters: Mapping[str, int | None]) -> int | None:
        """Bytes that trials will leave; None where nothing tells it."""
        self._learn()
        every = [size for sizes in self._sizes.values() for size in sizes]
        total = 0.0
        for task in tasks:
            own = self._sizes.get((task.trial.identity.dataset, kind(task.trial, task.threads)))
            counted = self._rough_size(task, parameters.get(task.name))
            if own:
                total += median(own)
            elif counted is not None:
                total += counted
            elif every:
                total += mean(every)
            else:
                return None
        return round(total)

    def _cost(self, task: TrialTask) -> tuple[Cost | None, Basis]:
        known = self._learn()
        dataset = task.trial.identity.dataset
        if own := known.get((dataset, kind(task.trial, task.threads))):
            return _typical(own), "trials like it"
        others = [
            _typical(costs)
            for (scans, one), costs in known.items()
            if scans == dataset and one[3] == task.threads
        ]
        return (_typical(others), "other trials") if others else (None, "none")

    def _learn(self) -> dict[tuple[str, Kind], list[Cost]]:
        if self._costs is None:
            self._costs = {}
            for folder, trial, ledger in finished(self.workdir, MOST):
                key = trial.identity.dataset, kind(trial, ledger.threads)
                self._sizes.setdefault(key, []).append(_size(folder.path))
                if (cost := _cost_of(trial, ledger)) is not None:
                    self._costs.setdefault(key, []).append(cost)
        return self._costs

    def _passes(self, task: TrialTask) -> tuple[Basis, list[float] | None]:
        """Seconds of a forward pass of each network of a trial; None where nothing tells them."""
        networks = task.members or (task,)
        if task.elsewhere:
            return "none", None
        measured = [self._profile(one) for one in networks]
        if all(seconds is not None for seconds in measured):
            return "profile", [seconds or 0.0 for seconds in measured]
        operations = [self.flops.get(one.name) for one in networks]
        if not all(operations):
            return "none", None
        if not self._asked:
            self._gflops, self._asked = self.speed(), True
        if not self._gflops:
            return "none", None
        speed = self._gflops * 1e9 * EFFICIENCY
        return "rough", [(flops or 0) / speed for flops in operations]

    def _profile(self, task: TrialTask) -> float | None:
        identity = task.trial.identity
        key = task.name, identity.spec, identity.recipe
        if key not in self._profiles:
            self._profiles[key] = self.profiled(task)
        return self._profiles[key]

    def _counted(self, task: TrialTask, each: Sequence[float]) -> Cost | None:
        """What nothing like it was measured of: forward passes by number, scoring by voxels."""
        networks = task.members or (task,)
        if not all(one.spec.grids for one in networks):
            return None
        try:
            places = [self._places(one, task) for one in networks]
        except (KitsbenchError, OSError, KeyError):  # whoever runs it says what is wrong
            return None
        predicted = sum(n * seconds for (n, _), seconds in zip(places, each, strict=True))
        # Of the voxels, scoring takes so little that further protocols do not count.
        case = predicted + VOXELS * places[0][1] / 1e6
        return Cost(START, case, PASSES * case, WAITING)

    def _places(self, network: TrialTask, task: TrialTask) -> tuple[float, float]:
        """Forward passes of a test case, and its own voxels; means over some cases."""
        key = network.trial.identity.spec, task.test_cases
        if key not in self._tiles:
            rule = network.recipe.inference
            grid = network.spec.grids[0]
            store = PreparedStore.open(network.stores[grid.name])
            passes, voxels = [], []
            for case in task.test_cases[:SAMPLE]:
                prepared = store.case(case)
                shape = prepared.image.shape[-3:]
                counts = [
                    len(tile_starts(n, edge, rule.overlap))
                    for n, edge in zip(shape, grid.shape, strict=True)
                ]
                passes.append(math.prod(counts) * 2 ** len(rule.mirror))
                voxels.append(math.prod(prepared.native["shape"]))
            self._tiles[key] = mean(passes), mean(voxels)
        return self._tiles[key]

    def _rough_size(self, task: TrialTask, parameters: int | None) -> float | None:
        """Weights with what the optimiser holds of them, and compressed label maps."""
        if task.members or task.elsewhere:
            weights = 0.0
        elif parameters is None:
            return None
        else:
            states = 3 if task.recipe.optimiser.name.startswith("adam") else 2
            weights = 4.0 * parameters * (states + (task.recipe.average is not None))
        maps = 0.0
        network = (task.members or (task,))[0]
        # A system without a network of ours has no grid, and nothing was prepared for it.
        with contextlib.suppress(KitsbenchError, OSError, KeyError):
            voxels = self._places(network, task)[1] if network.spec.grids else 0.0
            maps = LABEL_BYTES * voxels * len(task.test_cases) * task.keep_predictions
        return weights + maps


def kind(trial: TrialRecord, threads: int) -> Kind:
    """What trials that take equally long have in common."""
    identity = trial.identity
    return identity.spec, identity.recipe, identity.precision, threads


def finished(
    workdir: Path, most: int | None = None
) -> Iterable[tuple[TrialFolder, TrialRecord, LedgerRecord]]:
    """Trials that have finished in a working directory, the latest first where only some count."""
    paths = list(workdir.glob("trials/*"))
    if most is not None:
        paths = sorted(paths, key=_changed, reverse=True)[:most]
    for path in paths:
        folder = TrialFolder(workdir, path.name)
        # A damaged trial is not what an estimate complains about.
        with contextlib.suppress(KitsbenchError):
            if folder.read_status().status == "finished":
                ledger, trial = LedgerRecord.read(folder.ledger), TrialRecord.read(folder.trial)
                if {ledger.trial, trial.id} == {path.name}:  # else files of another trial
                    yield folder, trial, ledger


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _size(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.stat(os.path.join(parent, name)).st_size
    return total


def _cost_of(trial: TrialRecord, ledger: LedgerRecord) -> Cost | None:
    if not ledger.sittings:  # of an earlier kitsbench
        return None
    spent, context = in_all(ledger.sittings), trial.context
    beside = spent["loader_wait_s"] + spent["checkpoint_s"]
    return Cost(
        spent["start_s"] + spent["rest_s"],
        (spent["prediction_s"] + spent["scoring_s"]) / max(len(context.test_cases), 1),
        spent["evaluation_s"] / max(len(context.curve_cases), 1),
        beside / spent["training_s"] if spent["training_s"] else 0.0,
    )


def _typical(costs: Sequence[Cost]) -> Cost:
    return Cost(
        *(
            median(getattr(cost, key) for cost in costs)
            for key in ("fixed", "case", "curve", "share")
        )
    )
