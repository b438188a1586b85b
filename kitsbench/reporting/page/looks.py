"""The looks of a run that stopped by itself: the path of every pair, and what was spared."""

from __future__ import annotations

from typing import Any

from kitsbench.look import STATES, PairLook, said
from kitsbench.reporting import words
from kitsbench.reporting.analysis import Analysis
from kitsbench.reporting.first_screen.looked import hours_of, last_look
from kitsbench.reporting.tables import Table


def looks_table(analysis: Analysis) -> Table | None:
    """A row for each look; None where none was taken."""
    looks = analysis.results.looks
    if looks is None or not looks.looks:
        return None
    rows, before = [], 0
    for look in looks.looks:
        states = [pair.state for pair in look.pairs]
        family = look.families[0]
        rows.append(
            [
                f"{look.seeds}",
                f"{len(look.trials) - before}",
                f"{len(look.missed)}",
                f"{max(f.fraction for f in look.families):.2f}",
                f"{family.price:.5f}",
                f"{family.spent:.5f}",
                *(str(states.count(state)) for state in STATES),
                str(len(look.going)),
            ]
        )
        before = len(look.trials)
    head = ["Look", "New trials", "Failed", "Information", "α here", "α so far"]
    head += [said(state).capitalize() for state in STATES] + ["Go on"]
    caption = (
        "A look is named by the seeds of each fold that had ended. Information is "
        "the largest share of a pair's, of what the fixed design would have. α here "
        "is what the look cost of the error of all pairs and looks together. Failed trials count "
        "as missed cases, and stay so. At the last look planned, given up means not settled: no "
        "round is left."
    )
    return Table(head, rows, caption)


def path_table(analysis: Analysis) -> Table | None:
    """The path of every pair: a row for each pair and look; None where no look was taken."""
    looks = analysis.results.looks
    if looks is None or not looks.looks:
        return None
    rows, last = [], last_look(analysis.results)
    for place, first in enumerate(looks.looks[0].pairs):
        if not {*first.name} <= {*analysis.names}:  # a report may leave some out
            continue
        rows += [_path_row(look.pairs[place], look.seeds, last) for look in looks.looks]
    head = ["Pair", "Look", "State", "Difference", "Interval", "Information", "p", "Bound",
            "p (adjusted)", "Chance"]  # fmt: skip
    caption = (
        "Difference: the first minus the second, with the interval that holds for all pairs and "
        "looks together. p is of the look by itself, and had to be below the bound. Chance: to be "
        "decided by the last look, as this one saw it. What was decided keeps its numbers, but for "
        "the adjusted p, which falls as others are decided."
    )
    return Table(head, rows, caption, text_columns=3, beneath=2)


def _path_row(pair: PairLook, seeds: int, last: int) -> list[str]:
    # Of a pair that is settled or got no more runs the numbers are those of an earlier look.
    at = "" if pair.tested_at in (None, seeds) else f" (numbers of look {pair.tested_at})"
    return [
        f"{pair.a} − {pair.b}",
        str(seeds),
        f"{said(pair.state, seeds >= last)}{at}",
        words.number(pair.estimate, signed=True),
        words.interval(pair.low, pair.high, signed=True),
        words.DASH if pair.fraction is None else f"{pair.fraction:.2f}",
        words.probability(pair.p_value),
        words.DASH if pair.bound is None else f"{pair.bound:.5f}",
        words.probability(pair.p_adjusted),
        words.percent(pair.chance) if pair.chance is not None else words.DASH,
    ]


def final_table(analysis: Analysis) -> Table | None:
    """What the looks allow to be said of each pair, beside a test that knows of no looks."""
    rows = [_final_row(pair) for pair in analysis.pairs if "look" in pair]
    if not rows:
        return None
    head = ["Pair", "Verdict", "Naive verdict", "Estimate", "Interval", "Of the pair alone",
            "p (adjusted)", "Naive difference", "Naive interval", "Naive p (adjusted)"]  # fmt: skip
    caption = (
        "Verdict, estimate, intervals and p know of the looks: the estimate is median-unbiased by "
        "the order of looks, with its interval as of this pair alone; the first interval holds for "
        "all pairs and looks together. Naive: what a test of all scores says that knows of no "
        "look. It errs more often than it says, and stands here to be compared."
    )
    return Table(head, rows, caption, text_columns=3)


def _final_row(pair: dict[str, Any]) -> list[str]:
    naive, look = pair["naive"], pair["look"]
    return [
        f"{pair['a']} − {pair['b']}",
        words.VERDICT_NAMES[pair["verdict"]],
        words.VERDICT_NAMES[naive["verdict"]],
        words.number(look["unbiased"], signed=True),
        words.interval(pair["ci_simultaneous_low"], pair["ci_simultaneous_high"], signed=True),
        words.interval(look["ordered_low"], look["ordered_high"], signed=True),
        words.probability(pair["p_adjusted"]),
        words.number(naive["difference"], signed=True),
        words.interval(naive["ci_simultaneous_low"], naive["ci_simultaneous_high"], signed=True),
        words.probability(naive["p_adjusted"]),
    ]


def spared_table(analysis: Analysis) -> Table | None:
    """Trials that were never run, a row for each architecture and reason; None where all were."""
    why: dict[tuple[str, str], list[int]] = {}
    for trial in analysis.results.trials:
        if trial.state == "spared":
            why.setdefault((trial.name, trial.spared), []).append(trial.seed)
    rows = []
    for (name, reason), seeds in why.items():
        hours = hours_of(analysis.results, name)
        listed = ", ".join(map(str, sorted({*seeds})))
        rows.append(
            [
                name,
                f"{reason[:1].upper()}{reason[1:]}",
                listed,
                str(len(seeds)),
                words.duration(3600 * hours.spent),
                words.DASH if hours.spared is None else words.duration(3600 * hours.spared),
            ]
        )
    if not rows:
        return None
    head = ["Architecture", "Why", "Seeds", "Trials", "Spent", "Spared"]
    caption = (
        "None of them failed: they were not needed. Spared is device time, each trial as long as "
        "those of its architecture that ran took in the mean."
    )
    return Table(head, rows, caption, text_columns=3)
