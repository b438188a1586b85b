"""How the terminal shows a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kitsbench.cli.output import print_rich, say
from kitsbench.cli.views.look_view import show_look
from kitsbench.metrics import Metric, find
from kitsbench.text import one_line
from kitsbench.text.screen import Column, make_table, words

if TYPE_CHECKING:
    from kitsbench.statistics import Comparison

_DASH = "–"
_MOST_PAIRS = 15  # six architectures; above that nobody reads a sentence for each
_SHOWN_PAIRS = 8
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
    if comparison.look is not None:
        show_look(comparison.look, 2 if _metric(comparison).unit else 3)
    listed = _telling(comparison)
    for pair in listed:
        say("• " + pair["sentence"])
    if len(listed) < len(comparison.pairs):
        say(f"{_counts(comparison)} The sentences of all pairs are in --json.")
    if comparison.pairs:
        say("")
        family = sum(pair["p_adjusted"] is not None for pair in comparison.pairs)
        corrected = f"; correction: {comparison.correction} over {family} pairs" * (family > 1)
        say(f"Test: {comparison.test}{corrected}.")
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


def _telling(comparison: Comparison) -> list[dict[str, Any]]:
    """All pairs; of many, those of the first with its nearest rivals, and what was found of it."""
    pairs = comparison.pairs
    if len(pairs) <= _MOST_PAIRS:
        return pairs
    order = [row["architecture"] for row in comparison.ranking]
    first = order[0]
    place = {name: index for index, name in enumerate(order)}
    own = [pair for pair in pairs if first in (pair["a"], pair["b"])]
    own.sort(key=lambda pair: max(place[pair["a"]], place[pair["b"]]))
    return own[:_SHOWN_PAIRS]


def _counts(comparison: Comparison) -> str:
    """How many pairs got which verdict, and who leads."""
    order = [row["architecture"] for row in comparison.ranking]
    beaten = {
        name
        for pair in comparison.pairs
        if pair["better"] == order[0]
        for name in (pair["a"], pair["b"])
    } - {order[0]}
    tied = [name for name in order[1:] if name not in beaten]
    named = ", ".join(tied[:_SHOWN_PAIRS]) + ", ..." * (len(tied) > _SHOWN_PAIRS)
    top = f"{order[0]} is separated from all others."
    if tied:
        top = f"{len(tied)} of {len(order) - 1} are not separated from {order[0]}: {named}."
    found: dict[str, int] = {}
    for pair in comparison.pairs:
        found[pair["verdict"]] = found.get(pair["verdict"], 0) + 1
    listed = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in found.items())
    return f"{top} Of {len(comparison.pairs)} pairs: {listed}."


def _ranking(comparison: Comparison) -> None:
    from kitsbench.statistics.table.endpoints import cut

    where = " · ".join(text for text in (comparison.dataset, comparison.protocol) if text)
    title = f"{comparison.endpoint}{' · ' if where else ''}{where}"
    places = any(row["rank_low"] is not None for row in comparison.ranking)
    drawn = any(row["p_first"] is not None for row in comparison.ranking)
    lettered = any(row["group"] for row in comparison.ranking)
    failed = any(row["failure_rate"] for row in comparison.ranking)
    level = f"{100 * (1 - comparison.alpha):g} % CI"
    columns = [Column("rank", "right", whole=True), Column("architecture")]
    columns += [Column(name, "right", whole=True) for name in ("mean", level)]
    # What holds for no architecture of the design has no column.
    columns += [Column("rank 95 %", "right", whole=True, extra=True)] * places
    columns += [Column("P(first)", "right", whole=True, extra=True)] * drawn
    columns += [Column("group", whole=True, extra=True)] * lettered
    columns += [Column("failed", "right", whole=True, extra=True)] * failed
    rows = []
    metric = _metric(comparison)
    digits = 2 if metric.unit else 4
    for row in comparison.ranking:
        low, high = row["ci_low"], row["ci_high"]
        if low is not None and high is not None:
            low, high = cut(low, high, metric.name)
        cells = [
            str(row["rank"]),
            row["architecture"],
            f"{row['mean']:.{digits}f}",
            _interval(low, high, digits),
        ]
        if places:
            known = row["rank_low"] is not None
            cells.append(f"{row['rank_low']}-{row['rank_high']}" if known else _DASH)
        if drawn:
            cells.append(_DASH if row["p_first"] is None else f"{row['p_first']:.2f}")
        cells += [row["group"] or _DASH] * lettered
        cells += [f"{100 * row['failure_rate']:.1f} %" if row["failure_rate"] else ""] * failed
        rows.append(cells)
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
    if bootstrap is not None and bootstrap["mean_kendall_tau"] is not None:
        say(
            f"When {bootstrap['drawn']} are drawn again ({bootstrap['replicates']} times), the "
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
