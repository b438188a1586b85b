"""All cells of looks, measured one after the other, and their tables in Markdown."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kitsbench.statistics.calibration.looks import (
    BANDS,
    LookCell,
    LookResult,
    look_grid,
    measure_looks,
    quick_look_grid,
)
from kitsbench.statistics.calibration.saved import (
    Job,
    Progress,
    Saved,
    check_experiments,
    measure_each,
    name_of,
)
from kitsbench.statistics.calibration.situation import Measured
from kitsbench.statistics.calibration.tables import mark, summary, table

EXPERIMENTS, QUICK_EXPERIMENTS = 10_000, 200
_SHORT = {
    "differs": "differs",
    "differs, at will": "at will",
    "differs, fixed": "fixed",
    "any statement": "any",
    "fixed power": "power, fixed",
    "power lost": "lost",
    "coverage": "coverage",
    "naive coverage": "naive",
    "repeated coverage": "repeated",
}


@dataclass(frozen=True)
class LookCalibration:
    """Outcome of :func:`calibrate_looks`.

    Attributes
    ----------
    cells : list of LookResult
    experiments, random_seed : int
        Experiments per cell, and where the random numbers began.
    seconds : float
        Wall time.
    missing : int
        Cells of which nothing was saved.
    """

    cells: list[LookResult]
    experiments: int
    random_seed: int
    seconds: float
    missing: int

    @property
    def passed(self) -> bool:
        """Whether every band was met."""
        return all(cell.passed for cell in self.cells)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "passed": self.passed,
            "experiments": self.experiments,
            "random_seed": self.random_seed,
            "missing": self.missing,
            "cells": [cell.to_dict() for cell in self.cells],
        }


def calibrate_looks(
    replicates: int | None = None,
    random_seed: int = 0,
    quick: bool = False,
    progress: Progress | None = None,
    saved: str | Path | None = None,
    only_saved: bool = False,
) -> LookCalibration:
    """Measure looks while trials come in: error, power, hours and coverage.

    Parameters
    ----------
    replicates : int, optional
        Experiments in each cell; by default 10,000, with ``quick`` 200.
    random_seed, progress, saved, only_saved
        As for :func:`~kitsbench.statistics.calibration.benchmark.calibrate`.
    quick : bool
        Measure six cells.

    Raises
    ------
    UsageError
        Fewer than 50 replicates: they would tell nothing. The file holds something else.
    """
    number = replicates or (QUICK_EXPERIMENTS if quick else EXPERIMENTS)
    check_experiments(number)
    start, store = time.perf_counter(), Saved(saved)

    def job(cell: LookCell) -> Job:
        name = name_of(cell, number, random_seed)
        return name, lambda: measure_looks(cell, number, random_seed).to_dict()

    jobs = [job(cell) for cell in (quick_look_grid() if quick else look_grid())]
    plain, missing = measure_each(jobs, store, only_saved, progress)
    cells = [LookResult.from_dict(one) for one in plain]
    return LookCalibration(cells, number, random_seed, time.perf_counter() - start, missing)


def look_tables(found: LookCalibration) -> str:
    """Write everything that was measured, with what was not."""
    text = (
        f"Cells: {len(found.cells)}, with {found.experiments} experiments each, seed "
        f"{found.random_seed}."
    )
    if found.missing:
        text += f" **Not run: {found.missing} cells.**"
    parts = [text]
    if found.cells:
        parts += [summary(found.cells, BANDS, _where), _hours(found.cells)]
    groups: dict[tuple[str, str], list[LookResult]] = {}
    for cell in found.cells:
        groups.setdefault((cell.cell.question, cell.cell.spending), []).append(cell)
    parts += [_group(*key, members) for key, members in groups.items()]
    return "\n\n".join(parts)


def _short(rate: Measured | None) -> str:
    if rate is None:
        return ""
    return f"{100 * rate.rate:.1f}{mark(rate)}"


def _where(found: LookResult) -> str:
    cell = found.cell
    return (
        f"{cell.architectures} architectures, {cell.folds} x {cell.seeds}, {cell.cases} cases, "
        f"tau {cell.scatter}, {cell.truth}, {cell.question}, {cell.spending}"
    )


def _hours(cells: list[LookResult]) -> str:
    """Hours by true state: the mean over cells, the least and the most."""
    groups: dict[tuple[str, str, str], list[float]] = {}
    for cell in cells:
        one = cell.cell
        groups.setdefault((one.question, one.spending, one.truth), []).append(cell.hours)
    rows = [
        [*key, str(len(hours)), f"{100 * sum(hours) / len(hours):.0f}",
         f"{100 * min(hours):.0f}", f"{100 * max(hours):.0f}",
         str(sum(x <= 0.5 for x in hours))]
        for key, hours in groups.items()
    ]  # fmt: skip
    head = ["question", "spending", "truth", "cells", "mean", "least", "most", "cells ≤ 50"]
    return (
        "**Device hours, as a part of the fixed design's, which runs all rounds** (%)\n\n"
        + table(head, rows, 3)
    )


def _group(question: str, spending: str, members: list[LookResult]) -> str:
    rows = []
    for found in sorted(members, key=_order):
        cell = found.cell
        rows.append(
            [
                f"{cell.folds} x {cell.seeds}",
                str(cell.cases),
                str(cell.architectures),
                cell.scatter,
                cell.truth,
                f"{100 * found.hours:.0f} ± {100 * found.spread:.0f}",
                *(_short(found.rates.get(name)) for name in _SHORT),
            ]
        )
    head = ["folds x rounds", "cases", "architectures", "tau", "truth", "hours",
            *_SHORT.values()]  # fmt: skip
    return f"**Question {question}, spending {spending}** (%)\n\n" + table(head, rows, 5)


def _order(found: LookResult) -> tuple[int, int, int, int, str]:
    cell = found.cell
    return cell.folds, cell.seeds, cell.cases, cell.architectures, cell.scatter
