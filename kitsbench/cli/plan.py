"""``kitsbench plan``: what a design can detect, before any training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kitsbench.cli.options import alpha_option, endpoint_option, json_option, protocol_option
from kitsbench.cli.output import print_json, print_rich, say
from kitsbench.cli.values import PATH, Number, Whole
from kitsbench.screen import Column, make_table


@click.command(name="plan")
@click.option("--cases", type=Whole(), required=True, metavar="N", help="Cases that are scored.")
@click.option(
    "--folds",
    type=Whole(),
    required=True,
    metavar="F",
    help="Folds that are run; 1 for a hold-out.",
)
@click.option(
    "--seeds", type=Whole(), required=True, metavar="S", help="Seeds per architecture and fold."
)
@click.option(
    "--tau",
    type=Number(),
    multiple=True,
    help="Seed SD of a fold mean; may be given several times.  [default: 0.01 and 0.02]",
)
@click.option("--case-sd", type=Number(), help="SD of architecture x case.  [default: 0.063]")
@click.option("--noise-sd", type=Number(), help="SD of case x run.  [default: 0.065]")
@click.option(
    "--pilot",
    type=PATH,
    metavar="SCORES",
    help="Take the SDs from an earlier score table with two seeds or more.",
)
@endpoint_option("Endpoint of the pilot table.")
@protocol_option("Scoring protocol of the pilot table, where it holds several.")
@click.option("--gap", type=Number(), help="How many seeds does it take to detect this gap?")
@alpha_option
@click.option("--power", type=Number(), default=0.8, show_default=True, help="Power.")
@json_option
def command(
    cases: int,
    folds: int,
    seeds: int,
    tau: tuple[float, ...],
    case_sd: float | None,
    noise_sd: float | None,
    pilot: Path | None,
    endpoint: str,
    protocol: str | None,
    gap: float | None,
    alpha: float,
    power: float,
    as_json: bool,
) -> None:
    """Say the smallest gap that a design detects, and the seeds that a gap needs.

    The gap is the difference of two mean scores that a comparison finds with 80 % power. The
    defaults describe simulated tumour Dice; the seed SD of KiTS is not known, so two are shown.
    """
    from kitsbench.statistics import plan

    components = _components(tau, case_sd, noise_sd, pilot, endpoint, protocol)
    result = plan(cases, folds, seeds, components, alpha, power, gap)
    if as_json:
        print_json(result)
        return
    _show(result)


def _components(
    tau: tuple[float, ...],
    case_sd: float | None,
    noise_sd: float | None,
    pilot: Path | None,
    endpoint: str,
    protocol: str | None,
) -> list[Any]:
    from kitsbench.statistics import Components, pilot_components, read_scores

    base, seed_sds = Components(), tau or (0.01, 0.02)
    if pilot is not None:
        base = pilot_components(read_scores(pilot), endpoint, protocol)
        seed_sds = tau or (base.seed_sd,)
    return [
        Components(
            case_sd=base.case_sd if case_sd is None else case_sd,
            noise_sd=base.noise_sd if noise_sd is None else noise_sd,
            seed_sd=value,
        )
        for value in seed_sds
    ]


def _show(result: dict[str, Any]) -> None:
    size = f"{result['cases']} cases, {result['folds']} fold{'s' * (result['folds'] != 1)}"
    title = (
        f"Smallest detectable gap: {size}, {100 * result['power']:g} % power, "
        f"alpha {result['alpha']:g}"
    )
    columns = [Column("tau", "right")]
    counts = [row["seeds"] for row in result["scenarios"][0]["by_seeds"]]
    for count in counts:
        mark = " *" if count == result["seeds"] else ""
        columns.append(Column(f"{count} seed{'s' * (count != 1)}{mark}", "right"))
    columns.append(Column("unlimited", "right"))
    rows = []
    for scenario in result["scenarios"]:
        cells = [_cell(row) for row in scenario["by_seeds"]]
        rows.append((f"{scenario['seed_sd']:.3g}", *cells, f"{scenario['unlimited_seeds']:.3f}"))
    print_rich(make_table(columns, rows, title))
    say("tau: SD of a fold mean between training runs. * the design asked for.")
    first = result["scenarios"][0]
    if first["by_seeds"][0]["scope"] == "L0":
        say(
            "(in brackets: without a second seed or four folds a test speaks of the trained models "
            "only, scope L0)"
        )
    for scenario in result["scenarios"]:
        if scenario["fold_test_gap"] is not None:
            say(
                f"With one seed the test is over {result['folds']} folds; its gap is "
                f"{scenario['fold_test_gap']:.3f} rather (tau {scenario['seed_sd']:.3g})."
            )
        if result["gap"] is not None:
            say(_needed(result, scenario))


def _cell(row: dict[str, Any]) -> str:
    gap = f"{row['smallest_detectable_gap']:.3f}"
    return f"({gap})" if row["scope"] == "L0" else gap


def _needed(result: dict[str, Any], scenario: dict[str, Any]) -> str:
    gap, tau = result["gap"], f"tau {scenario['seed_sd']:.3g}"
    if scenario["seeds_needed"] is None:
        return (
            f"No number of seeds detects a gap of {gap:g} ({tau}): the cases alone leave "
            f"{scenario['unlimited_seeds']:.3f}."
        )
    return f"A gap of {gap:g} needs {scenario['seeds_needed']} seeds ({tau})."
