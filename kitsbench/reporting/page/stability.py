"""How much a ranking owes to the way it was made: other schemes, folds, failures, draws."""

from __future__ import annotations

from typing import Any

from kitsbench.metrics import find
from kitsbench.reporting import words
from kitsbench.reporting.analysis import Analysis
from kitsbench.reporting.drawing.figures import Picture
from kitsbench.reporting.drawing.rank_plots import rank_bubbles
from kitsbench.reporting.first_screen.entrants import each_counts
from kitsbench.reporting.tables import Table

SCHEMES = {
    "mean_then_rank": ("Mean", "the mean over cases: the ranking of this report"),
    "median_then_rank": ("Median", "the median over cases"),
    "rank_then_mean": ("Mean rank", "the mean of the ranks on each case"),
    "rank_then_median": ("Median rank", "the median of the ranks on each case"),
    "significance": ("Wins", "how many others an architecture is found better than"),
}


def agreement(analysis: Analysis) -> Table | None:
    """How far each other way to rank agrees with the ranking by means; None without a ranking."""
    found = analysis.comparison.get("rankings") or {}
    own = _ranks_here(analysis)
    if not found.get("schemes") or len(own) < 2:
        return None
    rows = []
    for name, what, row in _ways(found):
        ranks = row["ranks"]
        first = sorted(ranks, key=lambda one: (ranks[one], own.get(one, 0)))[0]
        moved = sum(ranks[one] != place for one, place in own.items() if one in ranks)
        rows.append([name, what, first, f"{moved}", words.number(row["kendall_tau"], 2)])
    drawn = found.get("bootstrap")
    if drawn and not words.missing(drawn.get("mean_kendall_tau")):
        what = f"{drawn['drawn']} drawn again, {drawn['replicates']} times; mean over draws"
        tau = words.number(drawn["mean_kendall_tau"], 2)
        rows.append(["Drawn again", what, words.DASH, words.DASH, tau])
    head = ["Ranking by", "How", "First", "Placed otherwise", "Kendall's τ"]
    caption = (
        "Kendall's τ with the ranking by means: 1 is the same order, 0 none in common, −1 the "
        f"reverse. Placed otherwise: of {len(own)} entrants, those with another rank."
        f"{each_counts(analysis)}"
    )
    return Table(head, rows, caption, text_columns=3)


def ranks(analysis: Analysis) -> Table | None:
    """The rank of every architecture by every scheme and without each fold."""
    found = analysis.comparison.get("rankings") or {}
    own = _ranks_here(analysis)
    if not found.get("schemes") or len(own) < 2:
        return None
    ways = _ways(found)
    rows = [
        [name, *(str(row["ranks"].get(name, words.DASH)) for _, _, row in ways)] for name in own
    ]
    caption = "Rank 1 is the best; equal scores share the smallest rank."
    caption += each_counts(analysis)
    return Table(["Architecture", *(name for name, _, _ in ways)], rows, caption)


def _ways(found: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """Name, meaning and ranks of every scheme, and of the ranking without each fold."""
    ways = [(*SCHEMES.get(key, (key, key)), row) for key, row in found["schemes"].items()]
    for row in found.get("leave_one_fold_out") or []:
        name = f"Without fold {row['fold']}"
        ways.append((name, f"the mean over the cases of all folds but {row['fold']}", row))
    return ways


def _ranks_here(analysis: Analysis) -> dict[str, int]:
    return {str(row["architecture"]): row["rank"] for row in analysis.ranking}


def bubbles(analysis: Analysis) -> Picture | None:
    """How often each gets each rank when cases and runs are drawn again; None where it cannot."""
    drawn = (analysis.comparison.get("rankings") or {}).get("bootstrap")
    return None if not drawn else rank_bubbles(analysis.ranking, drawn)


def without_failed(analysis: Analysis) -> Table | None:
    """Means without the cases that failed for any architecture; None where none failed."""
    found = analysis.comparison.get("sensitivity")
    if not found or not found["means"]:
        return None
    known = {str(row["architecture"]): row["mean"] for row in analysis.ranking}
    without = {str(row["architecture"]): row["mean"] for row in found["means"]}
    order = {name: find(analysis.metric).order(mean) for name, mean in without.items()}
    rows = [
        [
            name,
            words.number(known.get(name)),
            words.number(without[name]),
            str(1 + sum(other < order[name] for other in order.values())),
        ]
        for name in known
        if name in without
    ]
    cases = words.plural(found["n_cases"], "case")
    head = ["Architecture", "All cases", "Without failed cases", "Place by that"]
    caption = (
        f"Mean over the {cases} that failed for no architecture. Failed predictions count as "
        "missed in the ranking; this shows what that costs, and is no ranking of its own."
    )
    return Table(head, rows, caption)


def collapsed(analysis: Analysis) -> str:
    """Which runs collapsed and what hangs on them; empty where none did."""
    found = analysis.comparison.get("collapsed")
    return str(found["sentence"]) if found else ""


def why_not(analysis: Analysis) -> str:
    """Why the ranking's stability is not shown; empty where it is."""
    if analysis.scope not in ("", "L0"):
        return ""
    runs, most = analysis.runs
    whom = "each" if runs == most else "some"
    return (
        f"Not shown for architectures: with {words.times(runs)} of training for {whom}, drawing "
        "again would vary the scans only, and a rank that holds over scans may still be the luck "
        "of one training (scope L0)."
    )
