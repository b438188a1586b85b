"""``kitsbench compare``: statistics on any long score table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from kitsbench.statistics import Comparison


@click.command(name="compare")
@click.argument("scores", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--endpoint",
    default="tumor:dice",
    show_default=True,
    metavar="REGION:METRIC",
    help="The one endpoint that the verdicts are about.",
)
@click.option(
    "--margin",
    type=float,
    help="Differences below it do not matter; 0.02 for Dice (0.01 with the kidney) by default.",
)
@click.option("--alpha", type=float, default=0.05, show_default=True, help="Level of the tests.")
@click.option("--protocol", help="Scoring protocol, where the table holds several.")
@click.option("--dataset", help="Dataset, where the table holds several.")
@click.option("--baseline", metavar="ARCH", help="Compare with this architecture only.")
@click.option(
    "--correction",
    type=click.Choice(["holm", "hommel"]),
    default="holm",
    show_default=True,
    help="Correction for several pairs.",
)
@click.option("--conservative", is_flag=True, help="Larger standard errors in the two-way test.")
@click.option(
    "--fold-count",
    type=int,
    metavar="N",
    help="Folds of the whole cross-validation, if the table holds some only; 1 if it is none.",
)
@click.option("--secondary", is_flag=True, help="Print the secondary (exploratory) endpoints too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    scores: tuple[Path, ...],
    endpoint: str,
    margin: float | None,
    alpha: float,
    protocol: str | None,
    dataset: str | None,
    baseline: str | None,
    correction: str,
    conservative: bool,
    fold_count: int | None,
    secondary: bool,
    as_json: bool,
) -> None:
    """Compare architectures on long score tables (CSV or Parquet).

    SCORES have the columns architecture, fold, seed, case, region, metric, value and optionally
    status, protocol, dataset. All seeds of a fold test the same cases; a missing prediction is a
    row with the status failed.
    """
    from kitsbench.statistics import compare, read_scores

    comparison = compare(
        read_scores(scores),
        endpoint,
        margins=margin,
        alpha=alpha,
        correction=correction,
        baseline=baseline,
        conservative=conservative,
        protocol=protocol,
        dataset=dataset,
        fold_count=fold_count,
    )
    if as_json:
        click.echo(json.dumps(comparison.to_dict(), indent=2, ensure_ascii=False, allow_nan=False))
        return
    show(comparison, secondary)


def show(comparison: Comparison, secondary: bool = False) -> None:
    """Print a comparison for a reader: ranking, sentences, smallest detectable gap, notes.

    Parameters
    ----------
    comparison : Comparison
        What to print.
    secondary : bool
        Whether to list the secondary endpoints.
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        # In a file or a pipe nothing needs to be squeezed into 80 columns.
        console = Console(highlight=False, width=120)
    _ranking(console, comparison)
    for pair in comparison.pairs:
        console.print(Text("• " + pair["sentence"]), soft_wrap=True)
    if comparison.pairs:
        console.print()
        line = f"Test: {comparison.test}; correction: {comparison.correction} over all pairs."
        console.print(Text(line), soft_wrap=True)
    if comparison.smallest_detectable_gap is not None:
        console.print(
            f"Smallest gap that one comparison of this design detects at 80 % power: "
            f"{comparison.smallest_detectable_gap:.3g}{_unit(comparison.endpoint)}",
            soft_wrap=True,
        )
    if comparison.components is not None:
        found = comparison.components
        console.print(
            f"Spread: architecture x case {found['case_sd']:.3g}, case x run "
            f"{found['noise_sd']:.3g}, training run {found['seed_sd']:.3g} (standard deviations).",
            soft_wrap=True,
        )
    if comparison.secondary:
        _secondary(console, comparison.secondary, secondary)
    for warning in comparison.warnings:
        console.print(Text("Note: " + warning, style="yellow"), soft_wrap=True)


def _ranking(console: Console, comparison: Comparison) -> None:
    from rich.markup import escape
    from rich.table import Table

    where = " · ".join(text for text in (comparison.dataset, comparison.protocol) if text)
    title = f"{comparison.endpoint}{' · ' if where else ''}{where}"
    table = Table(title=escape(title), title_justify="left")
    for name, justify in (
        ("rank", "right"),
        ("architecture", "left"),
        ("mean", "right"),
        (
            "95 % CI" if comparison.alpha == 0.05 else f"{100 * (1 - comparison.alpha):g} % CI",
            "right",
        ),
        ("rank interval", "right"),
        ("P(first)", "right"),
        ("group", "left"),
        ("failed", "right"),
    ):
        table.add_column(name, justify=justify, no_wrap=name != "architecture")
    digits = 2 if comparison.endpoint.endswith(("_mm", "_ml")) else 4
    for row in comparison.ranking:
        table.add_row(
            str(row["rank"]),
            escape(row["architecture"]),
            f"{row['mean']:.{digits}f}",
            _interval(row["ci_low"], row["ci_high"], digits),
            f"{row['rank_low']}-{row['rank_high']}",
            f"{row['p_first']:.2f}",
            row["group"] or "",
            f"{100 * row['failure_rate']:.1f} %" if row["failure_rate"] else "",
        )
    console.print(table)


def _unit(endpoint: str) -> str:
    return {"_mm": " mm", "_ml": " ml"}.get(endpoint[-3:], "")


def _interval(low: float | None, high: float | None, digits: int) -> str:
    if low is None or high is None:
        return "not defined"
    return f"{low:.{digits}f} to {high:.{digits}f}"


def _secondary(console: Console, rows: list[dict[str, Any]], listed: bool) -> None:
    from rich.text import Text

    if not listed:
        console.print(
            f"{len(rows)} secondary comparisons (exploratory) are in --json; --secondary prints "
            "them.",
            soft_wrap=True,
        )
        return
    console.print("\nSecondary endpoints, exploratory:")
    for row in rows:
        console.print(Text("• " + row["sentence"]), soft_wrap=True)
