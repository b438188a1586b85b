"""``kitsbench calibrate``: the error rates of the tests, measured where the truth is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kitsbench.cli.options import json_option, seed_option
from kitsbench.cli.output import print_json, print_rich, say, tell
from kitsbench.cli.values import Whole
from kitsbench.screen import Column, make_table

if TYPE_CHECKING:
    from kitsbench.statistics.calibration.rates import Calibration, Rate


@click.command(name="calibrate")
@click.option("--quick", is_flag=True, help="Only what has an acceptance band, in few replicates.")
@click.option(
    "--replicates",
    type=Whole(),
    metavar="N",
    help="Simulated experiments per situation.  [default: 4000, with --quick 400]",
)
@seed_option
@click.option("--markdown", is_flag=True, help="Print the tables in Markdown.")
@json_option
@click.pass_context
def command(
    context: click.Context,
    quick: bool,
    replicates: int | None,
    seed: int,
    markdown: bool,
    as_json: bool,
) -> None:
    """Measure how often the tests err, on simulated scores of known truth.

    Scores of equal and of unequal architectures are simulated; the project's own tests and the
    usual naive ones are run on them. The exit code is 1 if a rate misses its acceptance band,
    which includes a naive test that does not come out inflated: then the simulation would be
    wrong. The whole benchmark takes about ten minutes on one core, --quick some seconds.
    """
    from kitsbench.cli.progress import counting
    from kitsbench.statistics.calibration.rates import calibrate

    with counting("situations") as bar:
        found = calibrate(replicates, seed, quick, bar)
    if as_json:
        print_json(found.to_dict())
    elif markdown:
        for line in _markdown(found).split("\n"):
            say(line)
    else:
        _show(found)
    tell(_conclusion(found))
    context.exit(0 if found.passed else 1)


def _conclusion(found: Calibration) -> str:
    banded = [rate for rate in found.rates if rate.passed is not None]
    missed = [rate for rate in banded if not rate.passed]
    return (
        f"{len(banded) - len(missed)} of {len(banded)} acceptance bands met "
        f"({found.replicates} replicates, seed {found.random_seed}, {found.seconds:.0f} s)."
    )


def _cells(rate: Rate) -> list[str]:
    design = f"{rate.cases} cases, {rate.folds} fold{'s' * (rate.folds != 1)}, "
    design += f"{rate.seeds} seed{'s' * (rate.seeds != 1)}"
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
        design,
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


def _markdown(found: Calibration) -> str:
    """Write one table a design and quantity: procedures down, situations across."""
    parts = []
    groups: dict[tuple[str, str], list[Rate]] = {}
    for rate in found.rates:
        quantity = "Family-wise error" if rate.quantity == "family-wise error" else "Rejections"
        if rate.quantity in ("coverage", "false equivalence"):
            quantity = "Intervals and equivalence"
        groups.setdefault((_cells(rate)[2], quantity), []).append(rate)
    for (design, quantity), rates in groups.items():
        situations = list(dict.fromkeys((rate.tau, rate.tau_train, rate.gap) for rate in rates))
        heads = [
            (f"gap {gap:g}" if gap else "equal")
            + f", tau {tau:g}"
            + (f" + training set {train:g}" if train else "")
            for tau, train, gap in situations
        ]
        lines = [
            f"**{quantity}, {design}** (%)",
            "",
            "| | " + " | ".join(heads) + " |",
            "|---|" + "---:|" * len(heads),
        ]
        for name in dict.fromkeys(rate.procedure for rate in rates):
            own = {(r.tau, r.tau_train, r.gap): r for r in rates if r.procedure == name}
            title = f"**{name}**" if next(iter(own.values())).own else name
            cells = [_cell(own[where]) if where in own else "" for where in situations]
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _cell(rate: Rate) -> str:
    mark = "" if rate.passed is None else " ✓" if rate.inside else " ≈" if rate.passed else " ✗"
    return f"{100 * rate.rate:.1f}{mark}"
