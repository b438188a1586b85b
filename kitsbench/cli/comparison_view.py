"""How the terminal shows a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kitsbench.cli.output import say, stdout_console
from kitsbench.metrics import Metric, find

if TYPE_CHECKING:
    from rich.console import JustifyMethod

    from kitsbench.statistics import Comparison

_SCHEMES = {
    "mean_then_rank": "mean",
    "median_then_rank": "median",
    "rank_then_mean": "mean rank",
    "rank_then_median": "median rank",
    "significance": "wins",
}


def show(comparison: Comparison, secondary: bool = False, rankings: bool = False) -> None:
    """Print a comparison for a reader: ranking, sentences, smallest detectable gap, notes.

    Parameters
    ----------
    comparison : Comparison
        What to print.
    secondary : bool
        Whether to list the secondary endpoints.
    rankings : bool
        Whether to show the ranking by other schemes.
    """
    _ranking(comparison)
    for pair in comparison.pairs:
        say("• " + pair["sentence"])
    if comparison.pairs:
        say("")
        say(f"Test: {comparison.test}; correction: {comparison.correction} over all pairs.")
    if comparison.smallest_detectable_gap is not None:
        size = f"{comparison.smallest_detectable_gap:.3g} {_metric(comparison).unit}".strip()
        say(f"Smallest gap that one comparison of this design detects at 80 % power: {size}")
    if comparison.components is not None:
        found = comparison.components
        say(
            f"Spread: architecture x case {found['case_sd']:.3g}, case x run "
            f"{found['noise_sd']:.3g}, training run {found['seed_sd']:.3g} (standard deviations)."
        )
    if rankings:
        _rankings(comparison)
    if comparison.demsar is not None:
        _demsar(comparison.demsar)
    if comparison.strata:
        _strata(comparison)
    if comparison.secondary:
        _secondary(comparison.secondary, secondary)
    for warning in comparison.warnings:
        say(warning, "Note", "yellow")


def _ranking(comparison: Comparison) -> None:
    from rich.markup import escape
    from rich.table import Table

    from kitsbench.statistics.table.endpoints import cut

    where = " · ".join(text for text in (comparison.dataset, comparison.protocol) if text)
    title = f"{comparison.endpoint}{' · ' if where else ''}{where}"
    table = Table(title=escape(title), title_justify="left")
    columns: tuple[tuple[str, JustifyMethod], ...] = (
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
    )
    for name, justify in columns:
        table.add_column(name, justify=justify, no_wrap=name != "architecture")
    metric = _metric(comparison)
    digits = 2 if metric.unit else 4
    for row in comparison.ranking:
        low, high = row["ci_low"], row["ci_high"]
        if low is not None and high is not None:
            low, high = cut(low, high, metric.name)
        table.add_row(
            str(row["rank"]),
            escape(row["architecture"]),
            f"{row['mean']:.{digits}f}",
            _interval(low, high, digits),
            f"{row['rank_low']}-{row['rank_high']}",
            f"{row['p_first']:.2f}",
            row["group"] or "",
            f"{100 * row['failure_rate']:.1f} %" if row["failure_rate"] else "",
        )
    stdout_console().print(table)


def _metric(comparison: Comparison) -> Metric:
    return find(comparison.endpoint.partition(":")[2])


def _interval(low: float | None, high: float | None, digits: int) -> str:
    if low is None or high is None:
        return "not defined"
    return f"{low:.{digits}f} to {high:.{digits}f}"


def _secondary(rows: list[dict[str, Any]], listed: bool) -> None:

    if not listed:
        say(
            f"{len(rows)} secondary comparisons (exploratory) are in --json; --secondary prints "
            "them."
        )
        return
    say("\nSecondary endpoints, exploratory:")
    for row in rows:
        say("• " + row["sentence"])


def _rankings(comparison: Comparison) -> None:
    from rich.markup import escape
    from rich.table import Table

    schemes = comparison.rankings["schemes"]
    left_out = comparison.rankings["leave_one_fold_out"]
    title = "Rank by other schemes" + ", and without one fold (-0: without fold 0)" * bool(left_out)
    table = Table(title=title, title_justify="left")
    table.add_column("architecture", overflow="fold")
    for name in schemes:
        table.add_column(_SCHEMES[name], justify="right")
    for row in left_out:
        table.add_column(f"-{row['fold']}", justify="right")
    for row in comparison.ranking:
        entrant = row["architecture"]
        cells = [str(found["ranks"][entrant]) for found in (*schemes.values(), *left_out)]
        table.add_row(escape(entrant), *cells)
    agreement = [found["kendall_tau"] for found in (*schemes.values(), *left_out)]
    cells = ["" if tau is None else f"{tau:.2f}" for tau in agreement]
    table.add_row("Kendall's tau", *cells, style="dim")
    stdout_console().print(table)
    bootstrap = comparison.rankings["bootstrap"]
    if bootstrap["mean_kendall_tau"] is not None:
        say(
            f"When cases and training runs are drawn again ({bootstrap['replicates']} times), the "
            f"ranking by mean agrees with itself by a Kendall's tau of "
            f"{bootstrap['mean_kendall_tau']:.2f} on average (scope {bootstrap['scope']})."
        )
    if comparison.official is not None:
        places = ", ".join(
            f"{row['rank']} {row['architecture']}" for row in comparison.official["rows"]
        )
        rule = comparison.official["rule"]
        line = f"By the rule of {comparison.protocol} ({rule}): {places}."
        say(line)


def _demsar(found: dict[str, Any]) -> None:

    ranks = ", ".join(f"{r['architecture']} {r['mean_rank']:.2f}" for r in found["mean_ranks"])
    lines = [
        f"Mean ranks over {found['n_cases']} cases (scope L0, the trained models): {ranks}.",
        f"Friedman's test: p = {found['friedman_p']:.3g} (Iman and Davenport: "
        f"{found['iman_davenport_p']:.3g}); Kendall's W {found['kendall_w']:.2f}.",
        f"Nemenyi's critical difference: {found['critical_difference']:.3g} ranks at alpha "
        f"{found['alpha']:g}.",
    ]
    groups = [" = ".join(group) for group in found["groups"]]
    lines.append("Not told apart by it: " + ("; ".join(groups) if groups else "none") + ".")
    say("")
    for line in lines:
        say(line)


def _strata(comparison: Comparison) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="Declared strata, exploratory: means", title_justify="left")
    for name in ("stratum", "group"):
        table.add_column(name)
    table.add_column("cases", justify="right")
    order = [row["architecture"] for row in comparison.ranking]
    for entrant in order:
        table.add_column(escape(entrant), justify="right")
    digits = 2 if _metric(comparison).unit else 3
    for row in comparison.strata:
        means = {m["architecture"]: m["mean"] for m in row["means"]}
        cells = [f"{means[entrant]:.{digits}f}" for entrant in order]
        stratum = row["stratum"].partition(":")[0]
        table.add_row(escape(stratum), escape(row["level"]), str(row["n_cases"]), *cells)
    stdout_console().print(table)
    for row in comparison.strata:
        for pair in row["pairs"]:
            if pair["p_adjusted"] is None or pair["p_adjusted"] >= comparison.alpha:
                continue
            low, high = pair["ci_low"], pair["ci_high"]
            line = (
                f"• Exploratory: where {row['stratum'].partition(':')[0]} is {row['level']}, "
                f"{pair['a']} minus {pair['b']} is {pair['difference']:+.{digits}f} "
                f"[{low:.{digits}f}, {high:.{digits}f}]; p = {pair['p_adjusted']:.3g} after "
                f"Benjamini-Hochberg (scope {pair['scope']})."
            )
            say(line)
