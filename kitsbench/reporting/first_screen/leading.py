"""Who leads a ranking, as far as the tests tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kitsbench.reporting import words
from kitsbench.reporting.analysis import Analysis
from kitsbench.statistics.compare.verdicts import FAILURES_WITHOUT_VERDICT


def leaders(analysis: Analysis) -> list[str]:
    """Architectures that no test separates from the first of the ranking, it included.

    With a baseline: from the baseline, with which alone they were compared.
    """
    ranking = analysis.ranking
    if not ranking:
        return []
    if analysis.baseline is not None:
        told = [pair for pair in analysis.pairs if pair["better"] is not None]
        apart = {name for pair in told for name in (pair["a"], pair["b"])} - {analysis.baseline}
        apart |= {*unjudged(analysis), *analysis.not_learned}
        return [name for row in ranking if (name := str(row["architecture"])) not in apart]
    first = str(ranking[0]["architecture"])
    until = analysis.results.experiment.until
    # Of the question who leads, whoever was found worse than anybody is out.
    anybody = until is not None and until.question == "top"
    beaten = _beaten(analysis.pairs, by=None if anybody else first)
    apart = beaten | {*unjudged(analysis)} | {*analysis.not_learned}
    return [
        str(row["architecture"])
        for row in ranking
        if row is ranking[0] or row["architecture"] not in apart
    ]


def winner(analysis: Analysis) -> str | None:
    """The one that the tests separate from all others that were judged; None where there is none.

    With a baseline others were not compared with each other, so nobody can win.
    """
    top = leaders(analysis)
    if analysis.baseline is not None or len(top) != 1 or not analysis.settled:
        return None
    beats = any(pair["better"] == top[0] for pair in analysis.pairs)
    doubtful = {*analysis.not_learned, *unjudged(analysis)}
    return top[0] if beats and top[0] not in doubtful else None


def unjudged(analysis: Analysis) -> list[str]:
    """Architectures on which there is no verdict because too many of their predictions failed."""
    return [
        str(row["architecture"])
        for row in analysis.ranking
        if (row.get("failure_rate") or 0) > FAILURES_WITHOUT_VERDICT
    ]


def together(analysis: Analysis, top: list[str], mean: str) -> str:
    """Say who leads where several do: of those not separated from the first, who is unbeaten.

    Whoever is not separated from the first may still be from the second, so that not all of them
    are alike. Of two that were never found worse than anybody none was found worse than the other.

    Parameters
    ----------
    analysis : Analysis
    top : list of str
        From :func:`leaders`; more than one.
    mean : str
        Of the first, in words.
    """
    beaten = _beaten(analysis.pairs)
    level = [name for name in top if name == top[0] or name not in beaten]
    behind = [name for name in top if name not in level]
    first = f"{top[0]} ({mean})"
    text = f"{words.listing([first, *level[1:]], most=3)} lead and cannot be told apart"
    if len(level) == 1:
        text = f"{first} leads"
    if behind:
        were = "was" if len(behind) == 1 else "were"
        text += (
            f"; {words.listing(behind, most=3)} {were} found worse than others, though not told "
            f"apart from {top[0]}"
        )
    return f"{text}."


def _beaten(pairs: Sequence[Mapping[str, Any]], by: str | None = None) -> set[str]:
    """Who was found worse than somebody, or than one of them."""
    return {
        name
        for pair in pairs
        if pair["better"] is not None and by in (None, pair["better"])
        for name in (pair["a"], pair["b"])
        if name != pair["better"]
    }
