"""What the words of a page mean in the design at hand, and where each stands in a table's head."""

from __future__ import annotations

import re

from kitsbench.reporting import words
from kitsbench.reporting.analysis import Analysis
from kitsbench.reporting.methods import few_cases
from kitsbench.statistics.compare.remarks import FEW_CASES


def glossary(analysis: Analysis) -> list[tuple[str, str]]:
    """Words and their meanings; those that the page has no use for are left out.

    Parameters
    ----------
    analysis : Analysis
    """
    ranking, pairs = analysis.ranking, analysis.pairs
    used = {
        "P(first)": any(not words.missing(row.get("p_first")) for row in ranking),
        "rank 95 %": any(not words.missing(row.get("rank_low")) for row in ranking),
        "group": any(row.get("group") for row in ranking),
        "mean ± SD": spread_over_folds(analysis),
        "margin": analysis.margin is not None,
        "scope": bool(pairs),
        "gap that would be seen": analysis.gap is not None,
        "Kendall's τ": bool(pairs),
        "SD over seeds": analysis.results.experiment.seeds > 1,
        "official KiTS rank": bool(analysis.comparison.get("official")),
        "trained elsewhere": bool(analysis.elsewhere),
        "look": analysis.results.looks is not None,
    }
    own = {"95 % CI": _interval(analysis), "p": _probability(analysis)}
    return [
        (word, own.get(word, meaning))
        for word, meaning in words.GLOSSARY
        if used.get(word, True) and own.get(word, meaning)
    ]


def spread_over_folds(analysis: Analysis) -> bool:
    """Whether any mean has a standard deviation over folds, which takes two of them."""
    table = analysis.summary
    return not table.empty and bool(table["sd_over_folds"].notna().any())


def _interval(analysis: Analysis) -> str:
    counts = (
        "It counts both the choice of cases and the luck of training."
        if analysis.scope not in ("", "L0")
        else "With so few training runs it counts the choice of cases only: training again is not "
        "in it."
    )
    if few_cases(analysis):
        counts += f" From fewer than {FEW_CASES} cases it covers a little less than that."
    return f"{words.INTERVAL} {counts} Where a metric ends, such as Dice at 0 and 1, it is cut."


def _probability(analysis: Analysis) -> str:
    if not analysis.pairs:
        return ""
    meaning = words.PROBABILITY
    if all(pair.get("p_adjusted") is None for pair in analysis.pairs):
        return f"{meaning} Of the endpoint it is not given here, since there is no verdict."
    correction = str(analysis.comparison.get("correction", "")).capitalize()
    number = words.plural(len(analysis.pairs), "pair")
    return (
        f"{meaning} It is adjusted ({correction}) for the {number} that are compared; so is the "
        "p-value of every statement about the margin."
    )


def term_of(head: str, known: list[tuple[str, str]]) -> tuple[str, str, str] | None:
    """The word of the glossary that a table's head speaks of.

    Parameters
    ----------
    head : str
    known : list of (str, str)
        From :func:`glossary`.

    Returns
    -------
    (str, str, str) or None
        The word, its anchor, and its meaning.
    """
    for word, meaning in sorted(known, key=lambda pair: -len(pair[0])):
        plain = re.escape(word)
        if re.match(rf"{plain}s?(?!\w)|.*(?<!\w){plain}$", head, re.IGNORECASE):
            return word, anchor(word), meaning
    return None


def anchor(word: str) -> str:
    """Where a word stands on the page, such as ``word-95-ci``."""
    return "word-" + re.sub(r"[^a-z0-9]+", "-", word.lower()).strip("-")
