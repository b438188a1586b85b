"""How the terminal shows a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kitsbench.cli.output import print_rich, say
from kitsbench.metrics import Metric, find
from kitsbench.screen import Column, make_table, words
from kitsbench.text import one_line

if TYPE_CHECKING:
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
    from kitsbench.statistics.table.endpoints import cut

    where = " · ".join(text for text in (comparison.dataset, comparison.protocol) if text)
    title = f"{comparison.endpoint}{' · ' if where else ''}{where}"
    interval = "95 % CI" if comparison.alpha == 0.05 else f"{100 * (1 - comparison.alpha):g} % CI"
    columns = [
        Column("rank", "right", whole=True),
        Column("architecture"),
        *(Column(name, "right", whole=True) for name in ("mean", interval)),
        *(Column(name, "right", whole=True) for name in ("rank interval", "P(first)")),
        Column("group", whole=True),
        Column("failed", "right", whole=True),
    ]
    rows = []
    metric = _metric(comparison)
    digits = 2 if metric.unit else 4
    for row in comparison.ranking:
        low, high = row["ci_low"], row["ci_high"]
        if low is not None and high is not None:
            low, high = cut(low, high, metric.name)
        rows.append(
            (
                row["rank"],
                row["architecture"],
                f"{row['mean']:.{digits}f}",
                _interval(low, high, digits),
                f"{row['rank_low']}-{row['rank_high']}",
                f"{row['p_first']:.2f}",
                row["group"] or "",
                f"{100 * row['failure_rate']:.1f} %" if row["failure_rate"] else "",
            )
        )
    print_rich(make_table(columns, rows, title))


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
    say("")
    say("Secondary endpoints, exploratory:")
    for row in rows:
        say("• " + row["sentence"])


def _rankings(comparison: Comparison) -> None:
    schemes = comparison.rankings["schemes"]
    left_out = comparison.rankings["leave_one_fold_out"]
    title = "Rank by other schemes" + ", and without one fold (-0: without fold 0)" * bool(left_out)
    columns = [Column("architecture")]
    columns += [Column(_SCHEMES[name], "right") for name in schemes]
    columns += [Column(f"-{row['fold']}", "right") for row in left_out]
    rows: list[tuple[object, ...]] = []
    for row in comparison.ranking:
        entrant = row["architecture"]
        cells = [str(found["ranks"][entrant]) for found in (*schemes.values(), *left_out)]
        rows.append((entrant, *cells))
    agreement = [found["kendall_tau"] for found in (*schemes.values(), *left_out)]
    cells = ["" if tau is None else f"{tau:.2f}" for tau in agreement]
    rows.append(tuple(words(cell, "dim") for cell in ("Kendall's tau", *cells)))
    print_rich(make_table(columns, rows, title))
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
    order = [row["architecture"] for row in comparison.ranking]
    columns = [Column("stratum"), Column("group"), Column("cases", "right")]
    columns += [Column(one_line(entrant), "right") for entrant in order]
    rows = []
    digits = 2 if _metric(comparison).unit else 3
    for row in comparison.strata:
        means = {m["architecture"]: m["mean"] for m in row["means"]}
        cells = [f"{means[entrant]:.{digits}f}" for entrant in order]
        stratum = row["stratum"].partition(":")[0]
        rows.append((stratum, row["level"], row["n_cases"], *cells))
    print_rich(make_table(columns, rows, "Declared strata, exploratory: means"))
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
