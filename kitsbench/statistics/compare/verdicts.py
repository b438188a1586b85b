"""Verdicts and the sentences that say them: what the statistics allow one to say, and no more."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from kitsbench.metrics import find
from kitsbench.statistics.table.endpoints import Endpoint
from kitsbench.statistics.tests.twoway import TestResult

Verdict = Literal["better_relevant", "better", "better_negligible", "equivalent", "inconclusive"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
FAILURES_TO_WARN = 0.02
FAILURES_WITHOUT_VERDICT = 0.10


def nothing_learned(metric: str, means: Iterable[float]) -> bool:
    """Whether the means of all architectures say that none has learned to find the region."""
    least = find(metric).learned_from
    return least is not None and all(mean < least for mean in means)


@dataclass(frozen=True)
class Finding:
    """All that a verdict on the pair (a, b) depends on.

    Attributes
    ----------
    a, b : str
        Architectures; the result is ``a`` minus ``b``.
    endpoint : Endpoint
        Region and metric.
    result : TestResult
        The test of the pair.
    p_adjusted, p_equivalence : float
        Adjusted p-values of the difference and of equivalence; NaN where there is none.
    p_nadeau_bengio : float
        Sensitivity to the training set; NaN where not defined.
    margin : float or None
        Margin of equivalence.
    gap : float
        Smallest detectable gap of the pair.
    alpha, power : float
        Level of the tests, power of ``gap``.
    dataset : str
        Name for the sentence.
    failures : dict
        By architecture the fraction of failed predictions, where it exceeds 10 %.
    """

    a: str
    b: str
    endpoint: Endpoint
    result: TestResult
    p_adjusted: float
    p_equivalence: float
    p_nadeau_bengio: float
    margin: float | None
    gap: float
    alpha: float
    power: float
    dataset: str
    failures: dict[str, float]


def decide(finding: Finding) -> tuple[Verdict, str | None]:
    """Give the verdict on a pair.

    Parameters
    ----------
    finding : Finding
        The evidence.

    Returns
    -------
    verdict : str
        One of :data:`VERDICTS`. ``inconclusive`` as well where too many predictions failed, and
        where ranks and means point to different architectures.
    better : str or None
        The architecture that is better, if one is.
    """
    if finding.failures:
        return "inconclusive", None
    result = finding.result
    significant = finding.p_adjusted < finding.alpha and not result.contradicted
    equivalent = finding.margin is not None and finding.p_equivalence < finding.alpha
    if not significant:
        return ("equivalent" if equivalent else "inconclusive"), None
    a_is_better = (result.estimate > 0) == finding.endpoint.higher_is_better
    better = finding.a if a_is_better else finding.b
    if equivalent:
        return "better_negligible", better
    # The interval of a test on ranks is that of the mean, and may hold 0 all the same.
    apart = result.ci_low > 0 or result.ci_high < 0
    nearest = min(abs(result.ci_low), abs(result.ci_high)) if apart else 0.0
    if finding.margin is not None and nearest > finding.margin:
        return "better_relevant", better
    return "better", better


def sentence(finding: Finding, verdict: Verdict, better: str | None) -> str:
    """Say the verdict in one sentence with its scope.

    Parameters
    ----------
    finding : Finding
        The evidence.
    verdict, better
        From :func:`decide`.
    """
    scoped = finding.result.scope == "L1"
    text = _claim(finding, verdict, better) if scoped else _models(finding, verdict, better)
    return f"{text} {_scope(finding)}." if scoped else text


def format_score(value: float, endpoint: Endpoint, signed: bool = False) -> str:
    """Write a score or a difference with the digits that its metric deserves.

    Parameters
    ----------
    value : float
        In units of the metric.
    endpoint : Endpoint
        Three digits for scores between 0 and 1, two for mm and ml.
    signed : bool
        Whether to write a plus sign.
    """
    digits = 2 if endpoint.unit else 3
    # A zero with a minus sign says nothing.
    value = 0.0 if round(value, digits) == 0 else value
    return f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"


def unit_after(endpoint: Endpoint) -> str:
    """Write the unit as it follows a number: `` mm``, or nothing."""
    return f" {endpoint.unit}" if endpoint.unit else ""


def difference(a: str, b: str, endpoint: Endpoint, result: TestResult) -> str:
    """Say a difference without judging it: ``a minus b is +0.010 [-0.005, 0.025]``."""
    text = f"{a} minus {b} is {format_score(result.estimate, endpoint, signed=True)}"
    if math.isfinite(result.se):
        low, high = (format_score(bound, endpoint) for bound in (result.ci_low, result.ci_high))
        text += f" [{low}, {high}]"
    return text


def _claim(finding: Finding, verdict: Verdict, better: str | None) -> str:
    margin = "" if finding.margin is None else f"{finding.margin:g}{unit_after(finding.endpoint)}"
    if better is not None:
        other = finding.b if better == finding.a else finding.a
        word = "higher" if finding.endpoint.higher_is_better else "lower"
        head = f"{better} scores {word} than {other}"
        size = f"by {_size(finding)}"
        if verdict == "better_relevant":
            return f"{head} {size}; the difference exceeds the margin {margin}"
        if verdict == "better_negligible":
            return f"{head}, but the difference is below the margin {margin} (negligible)"
        if finding.margin is None:
            return f"{head} {size}"
        return f"{head} {size}; whether it exceeds {margin} is not settled"
    if verdict == "equivalent":
        return f"{finding.a} and {finding.b} are equivalent within ±{margin} under this protocol"
    return _inconclusive(finding)


def _models(finding: Finding, verdict: Verdict, better: str | None) -> str:
    """Scope L0: of the trained models alone."""
    end = "on these cases (scope L0); nothing can be said about the architectures."
    if better is not None:
        other = finding.b if better == finding.a else finding.a
        word = "higher" if finding.endpoint.higher_is_better else "lower"
        than = {"better_relevant": "more than", "better_negligible": "less than"}.get(verdict)
        remark = f", {than} the margin {finding.margin:g}," if than else ""
        return (
            f"The trained model {better} scored {_size(finding)} {word} than the trained model "
            f"{other}{remark} {end}"
        )
    if verdict == "equivalent":
        return (
            f"The trained models {finding.a} and {finding.b} are equivalent within "
            f"±{finding.margin:g}{unit_after(finding.endpoint)} {end}"
        )
    return f"{_inconclusive(finding)}; this is about the trained models {end}"


def _inconclusive(finding: Finding) -> str:
    result = finding.result
    found = difference(finding.a, finding.b, finding.endpoint, result)
    if finding.failures:
        rates = " and ".join(
            f"{100 * rate:.0f} % of {name}" for name, rate in finding.failures.items()
        )
        head = f"No verdict, because of failed predictions ({rates}): {found}"
    elif result.test == "none":
        return f"Inconclusive: {found}, and a single case allows no test"
    elif result.se == 0 and result.estimate == 0:
        return (
            f"Inconclusive: {finding.a} and {finding.b} scored the same on every case, "
            "so there is nothing to test"
        )
    else:
        head = f"Inconclusive: {found}"
        if result.contradicted and finding.p_adjusted < finding.alpha:
            head += (
                f", while the ranks of the cases point the other way (p {_p(finding.p_adjusted)})"
            )
        elif result.p_value < finding.alpha:
            # The interval is that of this pair alone; the family decides.
            head += f", but p {_p(finding.p_adjusted)} over all pairs"
    if not math.isfinite(finding.gap):
        return head
    return (
        f"{head}; this design could detect about {format_score(finding.gap, finding.endpoint)} at "
        f"{100 * finding.power:.0f} % power"
    )


def _scope(finding: Finding) -> str:
    result = finding.result
    folds = f"{result.n_folds} fold{'s' * (result.n_folds != 1)}"
    seeds = f"{result.n_seeds} seed{'s' * (result.n_seeds != 1)}"
    resampled = (
        f"Nadeau-Bengio p {_p(finding.p_nadeau_bengio)}"
        if math.isfinite(finding.p_nadeau_bengio)
        else "Nadeau-Bengio p not defined"
    )
    return (
        f"(scope L1: over cases and training seeds of {finding.dataset}; {folds}, {seeds}; "
        f"{resampled})"
    )


def _size(finding: Finding) -> str:
    """Size of the difference as the better one's advantage, with its interval."""
    result = finding.result
    low, high = result.ci_low, result.ci_high
    if result.estimate < 0:
        low, high = -high, -low
    return (
        f"{format_score(abs(result.estimate), finding.endpoint)}{unit_after(finding.endpoint)} "
        f"[{format_score(low, finding.endpoint)}, {format_score(high, finding.endpoint)}]"
    )


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
