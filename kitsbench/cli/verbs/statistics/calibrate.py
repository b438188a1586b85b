"""``kitsbench calibrate``: the error rates of the tests, measured where the truth is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kitsbench.cli.options import json_option, seed_option
from kitsbench.cli.output import print_json, print_rich, say, tell
from kitsbench.cli.values import Whole
from kitsbench.errors import UsageError
from kitsbench.text.screen import Column, make_table

if TYPE_CHECKING:
    from kitsbench.statistics.calibration.benchmark import Calibration
    from kitsbench.statistics.calibration.look_tables import LookCalibration
    from kitsbench.statistics.calibration.promises import Promise, Request
    from kitsbench.statistics.calibration.rates import Rate
    from kitsbench.statistics.calibration.situation import Rates, Situation
    from kitsbench.statistics.calibration.study import CellResult


@click.command(name="calibrate")
@click.option("--quick", is_flag=True, help="Twenty cells of the grid, in few replicates.")
@click.option(
    "--looks",
    is_flag=True,
    help="Looks while trials come in instead: error over all looks, power, device hours.",
)
@click.option(
    "--replicates",
    type=Whole(),
    metavar="N",
    help="Simulated experiments per situation.  [default: 2000 in a cell of the grid, 4000 where "
    "tests stand side by side; with --quick 1000 and 400]",
)
@seed_option
@click.option("--markdown", is_flag=True, help="Print the tables in Markdown.")
@click.option(
    "--saved",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Keep each situation here as soon as it is measured, and do not measure again what is "
    "there. Begin a new file after a change to the statistics.",
)
@click.option("--only-saved", is_flag=True, help="Measure nothing: show what is in --saved.")
@click.option(
    "--write",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the tables into a document, such as docs/calibration.md, between its marks.",
)
@json_option
@click.pass_context
def command(
    context: click.Context,
    quick: bool,
    looks: bool,
    replicates: int | None,
    seed: int,
    markdown: bool,
    saved: Path | None,
    only_saved: bool,
    write: Path | None,
    as_json: bool,
) -> None:
    """Measure how often the tests err, on simulated scores of known truth.

    Scores of equal and of unequal architectures are simulated, in designs of many sizes; the
    project's own tests and the usual naive ones are run on them. The exit code is 1 if a rate
    misses its acceptance band by more than chance, which includes a naive test that does not come
    out inflated: then the simulation would be wrong. The whole benchmark takes about half an hour
    on one core, --quick less than one; --looks as long again.
    """
    from kitsbench.cli.progress import counting
    from kitsbench.statistics.calibration.tables import read_document, write_into

    if only_saved and saved is None:
        raise UsageError("--only-saved shows what a file holds; name it with --saved FILE.")
    if write is not None:
        read_document(write)  # refused before the work, not after it
    study = _looks() if looks else _tests()
    with counting("situations") as bar:
        found = study.measure(replicates, seed, quick, bar, saved, only_saved)
    if write is not None:
        write_into(write, study.tables(found))
    if as_json:
        print_json(found.to_dict())
    elif markdown:
        for line in study.tables(found).split("\n"):
            say(line)
    else:
        study.show(found)
    tell(study.conclude(found))
    context.exit(0 if found.passed else 1)


@dataclass(frozen=True)
class _Study:
    """What is measured, and how it is shown."""

    measure: Callable[..., Any]
    tables: Callable[[Any], str]
    show: Callable[[Any], None]
    conclude: Callable[[Any], str]


def _tests() -> _Study:
    from kitsbench.statistics.calibration.benchmark import calibrate
    from kitsbench.statistics.calibration.document import tables

    return _Study(calibrate, tables, _show, _conclusion)


def _looks() -> _Study:
    from kitsbench.statistics.calibration.look_tables import calibrate_looks, look_tables

    return _Study(calibrate_looks, look_tables, _show_looks, _conclusion_of_looks)


def _conclusion_of_looks(found: LookCalibration) -> str:
    met = _judged(found.cells)
    return (
        f"{sum(met)} of {len(met)} acceptance bands met ({found.experiments} experiments in each "
        f"of {len(found.cells)} cells, seed {found.random_seed}, {found.seconds:.0f} s)."
    )


def _judged(cells: Iterable[Rates[Any]]) -> list[bool]:
    """Whether each band of each cell was met."""
    return [r.passed for cell in cells for r in cell.rates.values() if r.passed is not None]


def _design(of: Situation | Request) -> str:
    return f"{of.architectures} on {of.cases} cases, {of.folds} x {of.seeds}"


def _show_looks(found: LookCalibration) -> None:
    """Print a row for each cell, with what lies outside its band."""
    from kitsbench.statistics.calibration.looks import BANDS

    names = ("hours", *BANDS)
    columns = [Column(name) for name in ("design", "tau", "truth", "question")]
    columns += [Column(name, "right") for name in names]
    rows = []
    for one in found.cells:
        cell = one.cell
        row = [_design(cell), cell.scatter, cell.truth, cell.question, f"{100 * one.hours:.0f}"]
        for name in BANDS:
            rate = one.rates.get(name)
            missed = " MISSED" if rate is not None and rate.passed is False else ""
            row.append("" if rate is None else f"{100 * rate.rate:.1f}{missed}")
        rows.append(row)
    print_rich(make_table(columns, rows))


def _conclusion(found: Calibration) -> str:
    met = [rate.passed for rate in found.rates if rate.passed is not None]
    met += _judged(found.cells)
    judged = [kept.found for kept in found.promises if kept.found is not None]
    met += [rate.passed for rate in judged if rate.passed is not None]
    text = (
        f"{sum(met)} of {len(met)} acceptance bands met ({found.experiments} experiments in each "
        f"cell of the grid, {found.replicates} side by side, seed {found.random_seed}, "
        f"{found.seconds:.0f} s)."
    )
    if found.missing:
        text += f" Not run: {found.missing} situations."
    return text


def _cells(rate: Rate) -> list[str]:
    from kitsbench.statistics.calibration.document import design_of

    spread = f"{rate.tau:g}" + f" + {rate.tau_train:g}" * bool(rate.tau_train)
    low = "" if rate.low is None else f"{100 * rate.low:.1f}"
    high = "" if rate.high is None else f"{100 * rate.high:.1f}"
    band = ""
    if rate.passed is not None:
        band = f"{low} to {high}" if low and high else f"≥ {low}" if low else f"≤ {high}"
    verdict = {None: "", True: "met", False: "MISSED"}[rate.passed]
    if rate.passed and not rate.inside:
        verdict = "met within error"
    return [
        rate.quantity,
        rate.procedure,
        design_of(rate),
        spread,
        f"{rate.gap:g}",
        f"{100 * rate.rate:.1f} ± {100 * rate.se:.1f}",
        band,
        verdict,
    ]


_HEADER = ("quantity", "procedure", "design", "tau", "gap", "rate (%)", "band (%)", "")


def _show(found: Calibration) -> None:
    columns = [
        Column(name, "right" if name in ("tau", "gap", "rate (%)") else "left") for name in _HEADER
    ]
    print_rich(make_table(columns, [_cells(rate) for rate in found.rates]))
    if found.cells:
        _show_grid(found.cells)
    if found.promises:
        _show_promises(found.promises)


def _show_grid(cells: list[CellResult]) -> None:
    """Print a row for each cell of the grid, with what lies outside its band."""
    from kitsbench.statistics.calibration.study import BANDS

    columns = [
        Column(name, "right" if name in BANDS else "left")
        for name in ("scores", "design", "tau", "truth", *BANDS)
    ]
    rows = []
    for found in cells:
        cell = found.cell
        row = [
            cell.generator,
            _design(cell),
            cell.scatter,
            cell.truth + ", clusters" * cell.clusters,
        ]
        for name in BANDS:
            rate = found.rates.get(name)
            text = "" if rate is None else f"{100 * rate.rate:.1f}"
            if rate is not None and rate.inside is False:
                text += f" [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"
                text += "" if rate.passed else " MISSED"
            row.append(text)
        rows.append(row)
    print_rich(make_table(columns, rows))


def _show_promises(promises: list[Promise]) -> None:
    """Print the power that plans promised, and what was found."""
    right = ("tau", "gap", "promised", "found")
    columns = [
        Column(name, "right" if name in right else "left") for name in ("scores", "design", *right)
    ]
    rows = []
    for kept in promises:
        asked, rate = kept.request, kept.found
        if rate is None or kept.gap is None:
            continue
        text = f"{100 * rate.rate:.1f} [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"
        promised = f"{100 * asked.power:g}"
        missed = " MISSED" if rate.passed is False else ""
        cells = [f"{asked.tau:g}", f"{kept.gap:.3f}", promised, text + missed]
        rows.append([asked.generator, _design(asked), *cells])
    print_rich(make_table(columns, rows))
