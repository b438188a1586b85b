"""What experiments B, C and D of the repository found: recipes, cysts, budgets.

As in ``findings.py``, each function is the rule of a design.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from findings_boards import (
    LEARNED,
    Board,
    compared,
    judged,
    names_of,
    pair_sentence,
    rows_of,
    table_of,
)

from kitsbench.leaderboard import Entry
from kitsbench.reporting import words
from kitsbench.statistics import kendall_tau

DRAWS = 2000  # of cases, for the interval of a rank correlation
CYST = 0.10  # of C's design: Dice of the cyst over the scans that have one
_THERE = ("ok", "empty_prediction")  # statuses of scans whose truth has the region


def recipes(a: Board, b: Board) -> str:
    """B's design: the rank correlation of both orders, and no verdict on pairs."""
    left, right = _shared(a, b)
    names = list(left.columns)
    tau, low, high = agreement(left, right)
    if low > 0:
        held = "The order of one recipe tells something of the order of the other"
    elif high < 0:
        held = "The orders of the two recipes oppose each other"
    else:
        held = "That the order of one recipe tells anything of the order of the other is not shown"
    blocks = [
        f"**Order**: Kendall's τ between the means of both recipes is {tau:.2f} [{low:.2f}, "
        f"{high:.2f}] for {len(names)} entrants on the same {len(left)} cases (interval: 95 %, "
        f"cases drawn again; of other training runs it knows nothing). {held}; whether they are "
        "the same it does not say. Two entrants with equal means drop out of τ as a pair, and "
        "cases drawn again let means that lie close change places, so that the interval need not "
        "be centred on it.",
        _beside_the_design(a, b, left, right),
    ]
    one_sided = [name for name in b.means if name not in names]
    if one_sided:
        blocks.append(f"Only on the board of B, and not in τ: {names_of(one_sided)}.")
    blocks.append("One run a fold allows no verdict on a pair, and none is given.")
    means, others = left.mean(), right.mean()
    order = sorted(names, key=lambda name: -others[name])
    rows = [[f"`{name}`", f"{means[name]:.3f}", f"{others[name]:.3f}"] for name in order]
    columns = ["Recipe `matched` (A, its seeds, these folds)", "Recipe `paper` (B, one seed)"]
    blocks.append(table_of(["Architecture", *columns], rows))
    return "\n\n".join(blocks)


def _beside_the_design(a: Board, b: Board, left: pd.DataFrame, right: pd.DataFrame) -> str:
    """What the design did not ask, and a reader of its answer has to know."""
    names, means, others = list(left.columns), left.mean(), right.mean()
    reached = [name for name in names if means[name] >= LEARNED]
    also = sum(others[name] >= LEARNED for name in names)
    told = [
        f"A mean of {LEARNED:.2f} is reached by {also} of {len(names)} by the papers' recipes, and "
        f"by {len(reached)} by `matched`, on these cases"
    ]
    lost = b.found["not_learned"]
    if lost:
        told.append(
            f"By the papers' recipes {len(lost)} of the {len(b.means)} on B's board are not told "
            f"from an empty prediction: {names_of(lost)}"
        )
    if 3 <= len(reached) < len(names):
        tau, low, high = agreement(left[reached], right[reached])
        told.append(
            f"For the {len(reached)} that reach it by `matched` τ is {tau:.2f} [{low:.2f}, "
            f"{high:.2f}], so that what the orders share "
            + ("is more than who learns little" if low > 0 else "may be no more than who learns "
               "little by both")
        )  # fmt: skip
    own = rows_of(a)
    here = left.index.get_level_values("fold")
    own = own[own["fold"].isin(here) & own["architecture"].isin(names)]
    seeds = [_by_case(part, names).mean() for _, part in own.groupby("seed")]
    folds = [right[here == fold].mean() for fold in sorted(set(here))]
    if len(seeds) == len(folds) == 2:
        one, two = (float(kendall_tau(x.to_numpy(), y.to_numpy())) for x, y in (seeds, folds))
        told.append(
            f"Between the two seeds of A τ is {one:.2f}, and between the two folds of B, which "
            f"are other cases and other trainings, {two:.2f}"
            + (": B's own runs may scatter more than A's" if two < one else "")
        )
    points = "\n".join(f"- {text}." for text in told)
    return f"**What the design did not ask**, and was worked out after its answer:\n\n{points}"


def _shared(a: Board, b: Board) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores of both boards on the folds of the second, of entrants that both have.

    Raises
    ------
    ValueError
        Cases differ, scores are missing, or fewer than three entrants are shared.
    """
    names = [name for name in b.means if name in a.means]
    if len(names) < 3:
        raise ValueError(f"{len(names)} entrants stand on both boards; an order has three or more.")
    right = _by_case(rows_of(b), names)
    own = rows_of(a)
    left = _by_case(own[own["fold"].isin(right.index.get_level_values("fold"))], names)
    if list(left.index) != list(right.index):
        raise ValueError("The two boards have other cases in the folds that they share.")
    if left.isna().any(axis=None) or right.isna().any(axis=None):
        raise ValueError("An entrant has no scores of a fold that the boards share.")
    return left, right


def agreement(left: pd.DataFrame, right: pd.DataFrame) -> tuple[float, float, float]:
    """Kendall's tau of the means of two tables of the same cases and entrants.

    Returns
    -------
    tau, low, high : float
        The interval is the percentiles of samples of cases, drawn within their folds.
    """
    rng, fold = np.random.default_rng(0), left.index.get_level_values("fold").to_numpy()
    places = [np.flatnonzero(fold == one) for one in np.unique(fold)]
    drawn = np.concatenate([rng.choice(at, (DRAWS, at.size)) for at in places], axis=1)
    x, y = left.to_numpy(), right.to_numpy()
    tau = float(kendall_tau(x.mean(axis=0), y.mean(axis=0)))
    taus = [float(kendall_tau(x[at].mean(axis=0), y[at].mean(axis=0))) for at in drawn]
    low, high = np.percentile(taus, [2.5, 97.5])
    return tau, float(low), float(high)


def cysts(board: Board) -> str:
    """C's design: whether cysts are told from tumours, and pairs on the masses."""
    table = board.table
    own = table[(table["protocol"] == "labels") & (table["region"] == "cyst")]
    own = own[own["metric"] == "dice"]
    # Whether a scan has a cyst is told by a prediction of anybody that did not fail.
    there = own["case"].isin(own.loc[own["status"].isin(_THERE), "case"])
    by_case = (
        own[there]
        .assign(value=own["value"].fillna(0.0))
        .pivot_table(index="case", columns="architecture", values="value")
    )
    marked = own["status"].isin(("ok", "false_positive"))
    told = [name for name in board.means if by_case[name].mean() >= CYST]
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(by_case), (DRAWS, len(by_case)))
    rows = []
    for name, mean in board.means.items():
        dice, this = by_case[name].to_numpy(), own["architecture"] == name
        low, high = np.percentile(dice[drawn].mean(axis=1), [2.5, 97.5])
        within = f" [{low:.3f}, {high:.3f}]" if dice.any() else ""
        counts = [f"{(this & marked & part).sum()} of {(this & part).sum()}"
                  for part in (there, ~there)]  # fmt: skip
        scans = own.loc[this & marked, "case"].nunique()
        rows.append([f"`{name}`", f"{mean:.3f}", f"{dice.mean():.3f}{within}", *counts, f"{scans}"])
    pairs = board.found["pairs"]
    verdicts = Counter(words.verdict_name(pair) for pair in pairs)
    settled = [p for p in pairs if p["better"] is not None or p["verdict"] == "equivalent"]
    others = [f"`{p['a']}` and `{p['b']}`" for p in pairs if p not in settled]
    robust = sum(pair["better"] is not None and pair["robust_to_training_set"] for pair in pairs)
    head = ["Architecture", "Dice of the masses", "Dice of the cyst", "Marked, with a cyst",
            "Marked, without one", "Scans marked"]  # fmt: skip
    blocks = [
        f"**Cysts**: {len(told)} of {len(board.means)} entrants tell cysts from tumours by the "
        f"design's rule, a mean Dice of the cyst of at least {CYST:.2f} over the "
        f"{len(by_case)} scans that have one" + (f": {names_of(told)}." if told else "."),
        table_of(head, rows),
        "“Marked” counts predictions with a voxel of cyst, over both runs, of scans with a cyst "
        "and of scans without one; to mark a scan is not to find its cyst. “Scans marked” counts "
        "scans with such a prediction. Intervals of the cyst: 95 %, scans drawn again; none where "
        "every Dice is 0.",
        f"**Masses**: of {len(pairs)} pairs, "
        + "; ".join(f"{count} {name}" for name, count in verdicts.most_common())
        + f". {robust} of the separated would be so by the test of Nadeau and Bengio, too, "
        "corrected for all pairs.",
        "\n".join(f"- {pair_sentence(pair)}" for pair in settled),
        f"Undecided: {'; '.join(others)}." if others else "",
    ]
    return "\n\n".join(filter(None, blocks))


def at_budgets(boards: Mapping[int, Board]) -> str:
    """D's design: signs of all pairs at each budget, and whether scores rise."""
    folds = set.intersection(*({*board.table["fold"]} for board in boards.values()))
    names = list(boards[min(boards)].means)
    tables, like = {}, boards[min(boards)].entries[0]
    for steps, board in boards.items():
        own = board.table
        tables[steps] = own[own["fold"].isin(folds) & own["architecture"].isin(names)]
    found = {steps: compared(table, like.endpoint, like) for steps, table in tables.items()}
    pairs = {
        steps: {frozenset((p["a"], p["b"])): p for p in one["pairs"]}
        for steps, one in found.items()
    }
    rows, turned, settled, without = [], [], 0, []
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            own = [pairs[steps][frozenset((a, b))] for steps in boards]
            rows.append([f"`{a}` − `{b}`", *(difference(pair, a) for pair in own)])
            better = {pair["better"] for pair in own} - {None}
            settled += bool(better)
            without += [
                f"- {steps} steps: {pair_sentence(pair)}"
                for steps, pair in zip(boards, own, strict=True)
                if not judged(found[steps], pair)
            ]
            if len(better) > 1:
                turned.append(f"{a} and {b}")
    gaps = [p["smallest_detectable_gap"] for one in found.values() for p in one["pairs"]]
    gaps = [gap for gap in gaps if gap is not None]
    order = (
        f"**The order changes with the budget**: {words.listing(turned)} are separated at two "
        "budgets in opposite directions."
        if turned
        else "**That the order changes with the budget has not been seen**: no pair is separated "
        "at two budgets in opposite directions."
    )
    if gaps:
        order += (
            f" One pair alone shows a gap of {np.median(gaps):.3f} with 80 % power, in the median; "
            "what turns by less goes unseen."
        )
    head = ["Difference in Dice of the tumour", *(f"{steps} steps" for steps in boards)]
    blocks = [
        f"{order} {settled} of {len(rows)} pairs are separated at one budget at least (bold).",
        table_of(head, rows),
        f"Folds {', '.join(map(str, sorted(folds)))}, at 2000 steps those of A. Intervals hold for "
        "the pairs of one budget together (95 %); an interval that holds 0 leaves the sign open, "
        "and × marks a pair with an entrant that has learned nothing.",
    ]
    if without:
        blocks += ["Without a verdict:", "\n".join(without)]
    return "\n\n".join([*blocks, rising(tables, like)])


def rising(tables: Mapping[int, pd.DataFrame], like: Entry) -> str:
    """Whether the scores of each architecture rise from budget to budget.

    Parameters
    ----------
    tables : mapping of int to DataFrame
        Scores by steps, of the same architectures, cases and seeds.
    like : Entry
        Whose endpoint, protocol and folds hold.
    """
    whole = pd.concat(
        [
            table.assign(architecture=table["architecture"] + f" @ {steps} steps")
            for steps, table in tables.items()
        ],
        ignore_index=True,
    )
    found = compared(whole, like.endpoint, like)
    means = {row["architecture"]: row["mean"] for row in found["ranking"]}
    pairs = {frozenset((p["a"], p["b"])): p for p in found["pairs"]}
    budgets = sorted(tables)
    names = list(dict.fromkeys(tables[budgets[0]]["architecture"]))
    rows = []
    kinds: dict[str, list[str]] = {"rise": [], "fall": [], "open": []}
    higher: list[str] = []  # at the last budget than at the first
    for name in names:
        at = [f"{name} @ {steps} steps" for steps in budgets]
        neighbours = [pairs[frozenset(two)] for two in pairwise(at)]
        better = [pair["better"] for pair in neighbours]
        if any(less == which for less, which in zip(at[:-1], better, strict=True)):
            kinds["fall"].append(name)
        else:
            kinds["rise" if better == at[1:] else "open"].append(name)
        if pairs[frozenset((at[0], at[-1]))]["better"] == at[-1]:
            higher.append(name)
        cells = [difference(p, more) for p, more in zip(neighbours, at[1:], strict=True)]
        rows.append([f"`{name}`", *(f"{means[one]:.3f}" for one in at), *cells])
    steps = [f"{steps} steps" for steps in budgets]
    head = ["Architecture", *steps, *(f"{more} − {less}" for less, more in pairwise(steps))]
    told = f"**Scores rise with the budget** from each to the next for {len(kinds['rise'])} of "
    told += f"{len(names)}" + (f": {names_of(kinds['rise'])}" if kinds["rise"] else "")
    if kinds["open"]:
        told += f"; not separated at one step or more: {names_of(kinds['open'])}"
    if kinds["fall"]:
        told += f"; found lower after more steps: {names_of(kinds['fall'])}"
    family = len(found["pairs"])
    return "\n\n".join(
        (
            f"{told}. From the first budget to the last, which the design did not ask, "
            f"{len(higher)} of {len(names)} are found higher"
            + (f": {names_of(higher)}." if higher else "."),
            table_of(head, rows),
            f"Here an architecture at a budget is an entrant of its own, and intervals hold for "
            f"all {family} pairs together.",
        )
    )


def difference(pair: Mapping[str, Any], minuend: str) -> str:
    """Difference of a pair with the interval for all pairs; without a sign where it is open."""
    low, high = pair["ci_simultaneous_low"], pair["ci_simultaneous_high"]
    if low is None or high is None:
        return "no interval"
    sign = 1 if pair["a"] == minuend else -1
    low, high = sorted((sign * low, sign * high))
    within = f"[{_signed(low)}, {_signed(high)}]"
    lost = " ×" if pair["verdict"] == "not_learned" else ""
    if pair["better"] is None:
        return f"{within}{lost}"
    return f"**{_signed(sign * pair['difference'])} {within}**{lost}"


def _signed(value: float) -> str:
    """With its sign, but for a zero."""
    return f"{value:+.3f}" if round(value, 3) else "0.000"


def _by_case(rows: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Scores averaged over seeds: a row for each case, a column for each entrant."""
    table = rows.pivot_table(index=["fold", "case"], columns="architecture", values="value")
    return table.reindex(columns=[*names]).sort_index()
