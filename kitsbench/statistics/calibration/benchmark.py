"""The whole benchmark: the grid of designs, tests side by side, plans, and P(first)."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from kitsbench.statistics.calibration import rates as side_by_side
from kitsbench.statistics.calibration.first_place import FIELDS, Field, FirstPlace, first_place
from kitsbench.statistics.calibration.grid import full_grid, quick_grid
from kitsbench.statistics.calibration.promises import (
    Promise,
    Request,
    promise,
    quick_requests,
    requests,
)
from kitsbench.statistics.calibration.rates import Rate
from kitsbench.statistics.calibration.saved import (
    FEWEST,
    Job,
    Progress,
    Saved,
    check_experiments,
    measure_each,
    name_of,
)
from kitsbench.statistics.calibration.study import Cell, CellResult, measure

REPLICATES, QUICK_REPLICATES = 4000, 400
CELL_EXPERIMENTS, QUICK_CELL_EXPERIMENTS = 2000, 1000
_FIRST_PLACES = 1000
_CLOSER_LOOK = 5
"""How many times more experiments a cell gets that lies outside a band."""


@dataclass(frozen=True)
class Calibration:
    """Outcome of :func:`calibrate`.

    Attributes
    ----------
    cells : list of CellResult
        The grid.
    rates : list of Rate
        Tests side by side, on the default designs.
    first_places : list of FirstPlace
        What P(first) is worth; empty with ``quick``.
    promises : list of Promise
        Whether plans keep theirs.
    replicates, experiments, random_seed : int
        Experiments per situation side by side and per cell of the grid, and where the random
        numbers began.
    quick : bool
        Whether only a part was run.
    seconds : float
        Wall time.
    missing : int
        Situations that were left out, because nothing was saved of them.
    """

    cells: list[CellResult]
    rates: list[Rate]
    first_places: list[FirstPlace]
    promises: list[Promise]
    replicates: int
    experiments: int
    random_seed: int
    quick: bool
    seconds: float
    missing: int

    @property
    def passed(self) -> bool:
        """Whether every band was met."""
        return (
            all(rate.passed is not False for rate in self.rates)
            and all(cell.passed for cell in self.cells)
            and all(kept.found is None or kept.found.passed is not False for kept in self.promises)
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "passed": self.passed,
            "replicates": self.replicates,
            "experiments": self.experiments,
            "random_seed": self.random_seed,
            "quick": self.quick,
            "missing": self.missing,
            "rates": [asdict(rate) for rate in self.rates],
            "cells": [cell.to_dict() for cell in self.cells],
            "first_places": [place.to_dict() for place in self.first_places],
            "promises": [kept.to_dict() for kept in self.promises],
        }


def calibrate(
    replicates: int | None = None,
    random_seed: int = 0,
    quick: bool = False,
    progress: Progress | None = None,
    saved: str | Path | None = None,
    only_saved: bool = False,
) -> Calibration:
    """Measure error rates and power by simulation, and hold them against the bands.

    Parameters
    ----------
    replicates : int, optional
        Experiments per situation. By default 4000 side by side and 2000 in each cell of the grid;
        with ``quick`` 400 and 1000. A cell that lies outside a band gets five times as many.
    random_seed : int
        The result is a function of it and of ``replicates``.
    quick : bool
        Run twenty cells of the grid, and side by side only what has a band.
    progress : callable, optional
        Called with situations done and their number.
    saved : str or path, optional
        File that keeps every situation as soon as it is measured. What it holds is not measured
        again; begin a new one after a change to the statistics.
    only_saved : bool
        Measure nothing.

    Returns
    -------
    Calibration

    Raises
    ------
    UsageError
        Fewer than 50 replicates: they would tell nothing. The file holds something else.
    """
    number = replicates or (QUICK_REPLICATES if quick else REPLICATES)
    experiments = replicates or (QUICK_CELL_EXPERIMENTS if quick else CELL_EXPERIMENTS)
    check_experiments(number)
    start = time.perf_counter()
    store = Saved(saved)
    jobs = _jobs(number, experiments, random_seed, quick)
    plain, missing = measure_each(jobs, store, only_saved, progress)
    found = Calibration([], [], [], [], number, experiments, random_seed, quick, 0.0, missing)
    for one in plain:
        found.cells.extend(CellResult.from_dict(cell) for cell in one.get("cells", ()))
        found.rates.extend(Rate(**rate) for rate in one.get("rates", ()))
        found.first_places.extend(map(FirstPlace.from_dict, one.get("first_places", ())))
        found.promises.extend(map(Promise.from_dict, one.get("promises", ())))
    return replace(found, seconds=time.perf_counter() - start)


def _jobs(number: int, experiments: int, random_seed: int, quick: bool) -> list[Job]:
    """What is to be measured."""
    jobs: list[Job] = []

    def add(what: object, times: int, run: Callable[[], dict[str, Any]]) -> None:
        jobs.append((name_of(what, times, random_seed), run))

    for cell in quick_grid() if quick else full_grid():
        add(cell, experiments, functools.partial(_cell, cell, experiments, random_seed))
    listed = side_by_side.quick_cells() if quick else side_by_side.all_cells()
    for index, one in enumerate(listed):
        run = functools.partial(side_by_side.measure_rates, one, number, random_seed, index)
        add(f"{index}: {one}", number, functools.partial(_rates, run))
    families = (0.02,) if quick else (0.01, 0.02)
    fewer = max(FEWEST, number // side_by_side.FAMILY_SHARE)
    for index, tau in enumerate(families, len(listed)):
        run = functools.partial(side_by_side.family_rates, tau, fewer, random_seed, index)
        add(f"{index}: families, tau {tau}", fewer, functools.partial(_rates, run))
    for request in quick_requests() if quick else requests():
        times = experiments // 2
        add(request, times, functools.partial(_promise, request, times, random_seed))
    if not quick:
        for field in FIELDS:
            times = min(_FIRST_PLACES, number)
            add(field, times, functools.partial(_first, field, times, random_seed))
    return jobs


def _cell(cell: Cell, experiments: int, random_seed: int) -> dict[str, Any]:
    found = measure(cell, experiments, random_seed)
    if any(rate.inside is False for rate in found.rates.values()):
        # Among hundreds of cells some lie outside by chance, and some beside a band by luck.
        found = measure(cell, _CLOSER_LOOK * experiments, random_seed)
    return {"cells": [found.to_dict()]}


def _rates(run: Callable[[], list[Rate]]) -> dict[str, Any]:
    return {"rates": [asdict(rate) for rate in run()]}


def _promise(request: Request, experiments: int, random_seed: int) -> dict[str, Any]:
    kept = promise(request, experiments, random_seed)
    if kept.found is not None and kept.found.inside is False:
        kept = promise(request, _CLOSER_LOOK * experiments, random_seed)
    return {"promises": [kept.to_dict()]}


def _first(field: Field, experiments: int, random_seed: int) -> dict[str, Any]:
    return {"first_places": [first_place(field, experiments, random_seed).to_dict()]}
