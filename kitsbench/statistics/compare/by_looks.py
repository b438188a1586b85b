"""Verdicts by looks while trials come in, in place of those that the scores by themselves give.

Whoever tests scores that he has looked at before, as if nobody had, errs more often than he says.
So p-values and intervals of a pair are those over all looks and pairs; all else of its verdict
follows by the rules that hold without looks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from kitsbench.look import PairLook
from kitsbench.statistics.compare.pairs import number
from kitsbench.statistics.compare.verdicts import Finding, Verdict, sentence

Looked = dict[tuple[str, str], PairLook]
"""Pairs at a look, each by its architectures in both orders, as the first minus the second."""


def both_ways(pairs: Iterable[PairLook]) -> Looked:
    """Find pairs by their architectures, in whichever order they are asked about.

    Parameters
    ----------
    pairs : iterable of PairLook
        Of one look, or of one at each family.
    """
    found: Looked = {}
    for pair in pairs:
        turned = pair.turned()
        found |= {pair.name: pair, turned.name: turned}
    return found


def by_look(finding: Finding, pair: PairLook | None) -> Finding:
    """What a verdict rests on where scores are looked at while trials come in.

    Parameters
    ----------
    finding : Finding
        By the scores alone.
    pair : PairLook or None
        What the last look says of the same pair, in the same order; None where it was not asked.

    Returns
    -------
    Finding
        Without p-values, and with an endless interval, where no look could test the pair.
    """

    def known(name: str, otherwise: float) -> float:
        value = getattr(pair, name, None)
        return otherwise if value is None else value

    # Estimate, interval and p-value are of one look; another estimate may lie outside the interval.
    estimate = known("estimate", finding.result.estimate)
    seeds = int(known("seeds", finding.result.n_seeds))
    return replace(
        finding,
        result=replace(finding.result, estimate=estimate, n_seeds=seeds),
        most_seeds=finding.most_seeds if getattr(pair, "seeds", None) is None else seeds,
        looked=pair is not None,
        p_adjusted=known("p_adjusted", math.nan),
        p_exceeds=known("p_adjusted_exceeds", math.nan),
        p_within=known("p_adjusted_within", math.nan),
        low=known("low", -math.inf),
        high=known("high", math.inf),
        gap=math.nan,  # of a fixed design; what looks find, `plan --until decided` says
    )


def stated(finding: Finding, verdict: Verdict, better: str | None) -> dict[str, Any]:
    """The part of a pair's row that rests on looks, where there are any.

    Parameters
    ----------
    finding : Finding
    verdict, better
        From :func:`~kitsbench.statistics.compare.verdicts.decide`.
    """
    return {
        "difference": finding.result.estimate,
        "verdict": verdict,
        "better": better,
        "sentence": sentence(finding, verdict, better),
        "p_adjusted": number(finding.p_adjusted),
        "p_equivalence": number(finding.p_within),
        "p_exceeds_margin": number(finding.p_exceeds),
        "ci_simultaneous_low": number(finding.low),
        "ci_simultaneous_high": number(finding.high),
    }
