"""``kitsbench plan``: what a design can detect, before any training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from kitsbench.cli.options import (
    alpha_option,
    declared_options,
    endpoint_option,
    futility_option,
    json_option,
    protocol_option,
    question_option,
    spending_option,
    was_given,
)
from kitsbench.cli.output import print_json, print_rich, say, tell
from kitsbench.cli.values import PATH, Number, Whole
from kitsbench.errors import UsageError
from kitsbench.metrics import Metric
from kitsbench.text.screen import Column, make_table

_DASH = "–"


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
    "--mean",
    type=Number(),
    metavar="M",
    help="Mean score of the others, between 0 and 1, of a metric that scatters less near the ends.",
)
@click.option(
    "--pilot",
    type=PATH,
    metavar="SCORES",
    help="Take the SDs from an earlier score table with two seeds or more.",
)
@endpoint_option("Endpoint of the pilot table.")
@declared_options
@protocol_option("Scoring protocol of the pilot table, where it holds several.")
@click.option(
    "--architectures",
    type=Whole(),
    default=2,
    show_default=True,
    metavar="K",
    help="How many are compared; all pairs are corrected for their number.",
)
@click.option("--gap", type=Number(), help="How many seeds does it take to detect this gap?")
@alpha_option
@click.option("--power", type=Number(), default=0.8, show_default=True, help="Power.")
@click.option(
    "--run-hours",
    type=Number(),
    metavar="H",
    help="Device hours of one training run: adds those that the design takes.",
)
@click.option(
    "--hours-of",
    type=PATH,
    metavar="WORKDIR",
    help="Take the hours of a training run from the finished trials of an experiment instead.",
)
@click.option(
    "--until",
    type=click.Choice(["decided"]),
    help="Say too what looks after each seed take, S at most: simulated, with their spread.",
)
@question_option
@spending_option
@futility_option
@click.option("--figure", type=PATH, metavar="FILE.svg", help="Draw power by gap there.")
@json_option
def command(
    cases: int,
    folds: int,
    seeds: int,
    tau: tuple[float, ...],
    case_sd: float | None,
    noise_sd: float | None,
    mean: float | None,
    pilot: Path | None,
    endpoint: str,
    declared: dict[str, Metric],
    protocol: str | None,
    gap: float | None,
    alpha: float,
    power: float,
    architectures: int,
    run_hours: float | None,
    hours_of: Path | None,
    until: str | None,
    question: str,
    spending: str,
    futility: float,
    figure: Path | None,
    as_json: bool,
) -> None:
    """Say the smallest gap that a design detects, and the seeds that a gap needs.

    The gap is the difference of mean scores between one architecture and all others, which are
    equal; it is detected where a comparison finds it with 80 % power, pair by pair. The defaults
    describe simulated tumour Dice; the seed SD of KiTS is not known, so two are shown.
    """
    from kitsbench.cli.verbs.statistics.looking import Looking, check_until, foresee
    from kitsbench.statistics import plan

    given = [name for name in ("question", "spending", "futility") if was_given(name)]
    check_until(until is not None, given, seeds)
    if figure is not None and figure.suffix.lower() != ".svg":
        raise UsageError(f"The figure is drawn as SVG, so '{figure.name}' must end in .svg.")
    hours = _hours_of_a_run(run_hours, hours_of)
    components = _components(tau, case_sd, noise_sd, mean, pilot, endpoint, declared, protocol)
    result = plan(cases, folds, seeds, components, alpha, power, gap, architectures)
    result["device_hours"] = None if hours is None else hours * architectures * folds * seeds
    if until is not None:
        wanted = Looking(question, spending, futility)
        margin = _margin(endpoint, declared)
        foresee(result, components, wanted, alpha, gap or margin or 0.02, margin, hours)
    if figure is not None:
        from kitsbench.reporting.drawing.power_plot import write_power

        write_power(result, figure)
        tell(f"wrote {figure}")
    if as_json:
        print_json(result)
        return
    _show(result)
    if until is not None:
        from kitsbench.cli.views.look_view import show_expected

        show_expected(result)


def _margin(endpoint: str, declared: Mapping[str, Metric]) -> float | None:
    from kitsbench.statistics import parse_endpoint
    from kitsbench.statistics.table.endpoints import margin_of

    return margin_of(parse_endpoint(endpoint, declared), None)


def _hours_of_a_run(hours: float | None, workdir: Path | None) -> float | None:
    """Device hours of one training run: as given, or as finished trials took; else None."""
    from statistics import mean

    if hours is not None and workdir is not None:
        raise UsageError(
            "Both --run-hours and --hours-of were given; give one of them: the hours of a training "
            "run as you know them, or those that finished trials took."
        )
    if hours is not None and hours <= 0:
        raise UsageError(f"A training run takes {hours:g} hours; give a positive number.")
    if hours is not None or workdir is None:
        return hours
    from kitsbench.experiments.results import load_results

    spent = [
        trial.ledger.device_seconds
        for trial in load_results(workdir).trials
        if trial.state == "finished" and trial.ledger is not None and trial.trained
    ]
    if not spent:
        raise UsageError(
            f"No trial in {workdir} that trains has finished, so nothing tells how long one "
            "takes; give the number by --run-hours."
        )
    return mean(spent) / 3600


def _components(
    tau: tuple[float, ...],
    case_sd: float | None,
    noise_sd: float | None,
    mean: float | None,
    pilot: Path | None,
    endpoint: str,
    declared: Mapping[str, Metric],
    protocol: str | None,
) -> list[Any]:
    from dataclasses import replace

    from kitsbench.statistics import Components, pilot_components, read_scores
    from kitsbench.statistics.table.clusters import clusters_of

    base, seed_sds = Components(), tau or (0.01, 0.02)
    if pilot is not None:
        scores = read_scores(pilot, declared=declared)
        base = pilot_components(scores, endpoint, protocol, declared=declared)
        grouped = clusters_of(scores)
        if grouped is not None:
            tell(
                f"The pilot has several cases of one {grouped.column}. A plan takes cases for "
                "independent, so a comparison of such cases will detect larger gaps only."
            )
        seed_sds = tau or (base.seed_sd,)
    if mean is not None:
        # Without a pilot: as scores that are normal on the scale of the logit.
        base = replace(base, mean=mean)
        if pilot is None:
            base = replace(base, noise_bend=2.0, seed_bend=2.0)
    return [
        replace(
            base,
            case_sd=base.case_sd if case_sd is None else case_sd,
            noise_sd=base.noise_sd if noise_sd is None else noise_sd,
            seed_sd=value,
        )
        for value in seed_sds
    ]


def _show(result: dict[str, Any]) -> None:
    size = f"{result['cases']} cases, {result['folds']} fold{'s' * (result['folds'] != 1)}"
    title = (
        f"Smallest detectable gap: {size}, {result['architectures']} architectures, "
        f"{100 * result['power']:g} % power, alpha {result['alpha']:g}"
    )
    columns = [Column("tau", "right")]
    counts = [row["seeds"] for row in result["scenarios"][0]["by_seeds"]]
    for count in counts:
        mark = " *" if count == result["seeds"] else ""
        columns.append(Column(f"{count} seed{'s' * (count != 1)}{mark}", "right"))
    columns.append(Column("unlimited", "right"))
    rows = []
    for scenario in result["scenarios"]:
        cells = [_cell(row["smallest_detectable_gap"]) for row in scenario["by_seeds"]]
        rows.append((f"{scenario['seed_sd']:.3g}", *cells, _cell(scenario["unlimited_seeds"])))
    print_rich(make_table(columns, rows, title))
    say("tau: SD of a fold mean between training runs. * the design asked for.")
    first = result["scenarios"][0]
    say(
        f"Spread: architecture x case {first['case_sd']:.3g}, case x run {first['noise_sd']:.3g} "
        "(standard deviations)."
    )
    if first["mean"] is not None and first["seed_bend"] > 0:
        say(
            f"Mean score {first['mean']:.3g}; with a mean m the variance between runs is as "
            f"(m (1 - m)) ** {first['seed_bend']:.2g}."
        )
    if result["advice"] is not None:
        say(f"The design asked for allows no verdict on architectures. {result['advice']}")
    elif any(row["scope"] == "L0" for row in result["scenarios"][0]["by_seeds"]):
        say(f"{_DASH} so few training runs allow no verdict on architectures.")
    for scenario in result["scenarios"]:
        if result["gap"] is not None:
            say(_needed(result, scenario))
    if result["device_hours"] is not None:
        runs = result["architectures"] * result["folds"] * result["seeds"]
        say(f"Training takes {result['device_hours']:.3g} device hours ({runs} runs).")


def _cell(gap: float | None) -> str:
    return _DASH if gap is None else f"{gap:.3f}"


def _needed(result: dict[str, Any], scenario: dict[str, Any]) -> str:
    gap, tau = result["gap"], f"tau {scenario['seed_sd']:.3g}"
    found = scenario["power_at_gap"]
    now = "" if found is None else f" The design asked for finds it with {100 * found:.0f} % power."
    if scenario["seeds_needed"] is None:
        left = scenario["unlimited_seeds"]
        why = "" if left is None else f": the cases alone leave {left:.3f}"
        return f"No number of seeds detects a gap of {gap:g} ({tau}){why}.{now}"
    number = scenario["seeds_needed"]
    return f"A gap of {gap:g} needs {number} seed{'s' * (number != 1)} ({tau}).{now}"
