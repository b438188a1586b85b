"""Verdicts and the sentences that say them: what the statistics allow one to say, and no more."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from kitsbench.statistics.table.endpoints import Endpoint
from kitsbench.statistics.tests.statements import Statements
from kitsbench.statistics.tests.twoway import TestResult

Verdict = Literal[
    "better_relevant", "better", "better_negligible", "equivalent", "inconclusive", "not_learned"
]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
FAILURES_TO_WARN = 0.02
FAILURES_WITHOUT_VERDICT = 0.10


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
    settles : bool
        Whether the test may give a verdict in this design.
    low, high : float
        Simultaneous interval: those of all pairs hold together.
    pairs : int
        How many are judged together.
    most_seeds : int
        Runs of the fold that has the most.
    p_adjusted, p_exceeds, p_within : float
        Adjusted p-values that there is a difference, that it exceeds the margin, and that it lies
        within it; NaN where there is none.
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
    not_learned : dict
        By architecture its mean, where it has not learned the endpoint.
    looked : bool
        Whether looks judge the pair.
    """

    a: str
    b: str
    endpoint: Endpoint
    result: TestResult
    settles: bool
    low: float
    high: float
    pairs: int
    most_seeds: int
    p_adjusted: float
    p_exceeds: float
    p_within: float
    p_nadeau_bengio: float
    margin: float | None
    gap: float
    alpha: float
    power: float
    dataset: str
    failures: dict[str, float]
    not_learned: dict[str, float]
    looked: bool = False


def decide(finding: Finding) -> tuple[Verdict, str | None]:
    """Give the verdict on a pair.

    Parameters
    ----------
    finding : Finding
        The evidence.

    Returns
    -------
    verdict : str
        One of :data:`VERDICTS`. ``not_learned`` where one of the two, or both, learned nothing;
        ``inconclusive`` also where too many predictions failed, where ranks and means point to
        different architectures, and where the design allows no verdict.
    better : str or None
        The architecture that is better, if one is.
    """
    if finding.failures:
        return "inconclusive", None
    result = finding.result
    stated = Statements(*map(np.array, (finding.p_adjusted, finding.p_exceeds, finding.p_within)))
    differs, exceeds, within = (bool(made) for made in stated.made(finding.alpha))
    better = None
    if finding.settles and differs and not result.contradicted:
        a_is_better = (result.estimate > 0) == finding.endpoint.higher_is_better
        better = finding.a if a_is_better else finding.b
    if finding.not_learned:
        # That two networks which learned nothing differ a little is nobody's merit.
        return "not_learned", None if len(finding.not_learned) == 2 else better
    equivalent = finding.settles and within
    if better is None:
        return ("equivalent" if equivalent else "inconclusive"), None
    if equivalent:
        return "better_negligible", better
    return ("better_relevant" if exceeds else "better"), better


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
    return f"{text} {_scope(finding, verdict)}." if scoped else text


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
    # A zero with a sign says nothing.
    value = 0.0 if round(value, digits) == 0 else value
    return f"{value:+.{digits}f}" if signed and value else f"{value:.{digits}f}"


def unit_after(endpoint: Endpoint) -> str:
    """Write the unit as it follows a number: `` mm``, or nothing."""
    return f" {endpoint.unit}" if endpoint.unit else ""


def difference(a: str, b: str, endpoint: Endpoint, result: TestResult) -> str:
    """Say a difference without judging it: ``a minus b is +0.010 [-0.005, 0.025]``."""
    return _difference(a, b, endpoint, result, result.ci_low, result.ci_high)


def _difference(
    a: str, b: str, endpoint: Endpoint, result: TestResult, low: float, high: float
) -> str:
    text = f"{a} minus {b} is {format_score(result.estimate, endpoint, signed=True)}"
    # Where looks have spent nothing yet there is no interval, however well the pair was measured.
    if math.isfinite(result.se) and math.isfinite(low) and math.isfinite(high):
        text += f" [{format_score(low, endpoint)}, {format_score(high, endpoint)}]"
    return text


def _claim(finding: Finding, verdict: Verdict, better: str | None) -> str:
    margin = "" if finding.margin is None else f"{finding.margin:g}{unit_after(finding.endpoint)}"
    if verdict == "not_learned":
        return _not_learned(finding, better)
    if better is not None:
        head = _head(finding, better)
        if verdict == "better_relevant":
            return f"{head} by {_size(finding)}; the difference exceeds the margin {margin}"
        if verdict == "better_negligible":
            return (
                f"{head} by {_size(finding)}, but the difference is below the margin {margin} "
                "(negligible)"
            )
        if finding.margin is None:
            return f"{head} by {_size(finding)}"
        return f"{head} by {_size(finding)}; whether it exceeds {margin} is not settled"
    if verdict == "equivalent":
        return (
            f"{finding.a} and {finding.b} are equivalent within ±{margin} under this protocol: "
            f"{_interval(finding)}"
        )
    return _inconclusive(finding)


def _head(finding: Finding, better: str) -> str:
    other = finding.b if better == finding.a else finding.a
    word = "higher" if finding.endpoint.higher_is_better else "lower"
    return f"{better} scores {word} than {other}"


def _not_learned(finding: Finding, better: str | None) -> str:
    endpoint = finding.endpoint
    means = {name: format_score(mean, endpoint) for name, mean in finding.not_learned.items()}
    what = f"{endpoint.region} {endpoint.metric}"
    if len(means) == 2:
        return (
            f"Neither {finding.a} nor {finding.b} has learned {what} (means {means[finding.a]}, "
            f"{means[finding.b]}; no better than an empty prediction): that they are alike, or "
            "not, says nothing about them"
        )
    name, mean = next(iter(means.items()))
    text = f"{name} has not learned {what} (mean {mean}, no better than an empty prediction)"
    if better is None:
        return f"{text}: {_interval(finding)}"
    return f"{text}; {_head(finding, better)} by {_size(finding)}"


def _models(finding: Finding, verdict: Verdict, better: str | None) -> str:
    """Scope L0: of the trained models alone."""
    end = "on these cases (scope L0); nothing can be said about the architectures"
    if verdict == "not_learned":
        return f"{_not_learned(finding, better)}, {end}."
    if better is not None:
        other = finding.b if better == finding.a else finding.a
        word = "higher" if finding.endpoint.higher_is_better else "lower"
        than = {"better_relevant": "more than", "better_negligible": "less than"}.get(verdict)
        remark = f", {than} the margin {finding.margin:g}," if than else ""
        return (
            f"The trained model {better} scored {_size(finding)} {word} than the trained model "
            f"{other}{remark} (adjusted {_p(finding.p_adjusted)}) {end}."
        )
    if verdict == "equivalent":
        return (
            f"The trained models {finding.a} and {finding.b} are equivalent within "
            f"±{finding.margin:g}{unit_after(finding.endpoint)} (adjusted {_p(finding.p_within)}) "
            f"{end}."
        )
    result = finding.result
    if not finding.settles and not finding.failures and (result.ci_low > 0 or result.ci_high < 0):
        # What the two networks did is a fact, and no verdict.
        a_is_better = (result.estimate > 0) == finding.endpoint.higher_is_better
        ends = (finding.a, finding.b) if a_is_better else (finding.b, finding.a)
        word = "higher" if finding.endpoint.higher_is_better else "lower"
        return (
            f"The trained model {ends[0]} scored {_size(finding)} {word} than the trained model "
            f"{ends[1]} {end}."
        )
    return f"{_inconclusive(finding)}; this is about the trained models {end}."


def _inconclusive(finding: Finding) -> str:
    result = finding.result
    found = _interval(finding)
    if finding.failures:
        rates = " and ".join(
            f"{100 * rate:.0f} % of {name}" for name, rate in finding.failures.items()
        )
        head = f"No verdict, because of failed predictions ({rates}): {found}"
    elif result.test == "none":
        few = "a single case allows" if result.n_cases == 1 else "so few clusters of cases allow"
        return f"{_open(finding)}: {found}, and {few} no test"
    elif result.se == 0 and result.estimate == 0:
        return (
            f"{_open(finding)}: {finding.a} and {finding.b} scored the same on every case, "
            "so there is nothing to test"
        )
    else:
        head = f"{_open(finding)}: {found}"
        if result.contradicted and finding.p_adjusted < finding.alpha:
            head += f", while the ranks of the cases point the other way ({_p(finding.p_adjusted)})"
    if not math.isfinite(finding.gap):
        return head
    # The gap is that of a pair by itself; the correction for many asks for more.
    who = "this design" if finding.pairs == 1 else "one comparison of this design"
    return (
        f"{head}; {who} could detect about {format_score(finding.gap, finding.endpoint)} at "
        f"{100 * finding.power:.0f} % power"
    )


def _open(finding: Finding) -> str:
    return "Inconclusive" if finding.settles else "No verdict"


def _interval(finding: Finding) -> str:
    return _difference(
        finding.a, finding.b, finding.endpoint, finding.result, finding.low, finding.high
    )


def _scope(finding: Finding, verdict: Verdict) -> str:
    result = finding.result
    folds = f"{result.n_folds} fold{'s' * (result.n_folds != 1)}"
    most = finding.most_seeds
    seeds = f"{result.n_seeds} to " * (result.n_seeds < most) + f"{most} seed{'s' * (most != 1)}"
    known = [f"over cases and training seeds of {finding.dataset}", f"{folds}, {seeds}"]
    known += [evidence] if (evidence := _evidence(finding, verdict)) else []
    if not finding.looked:  # it is of all scores, and the rest of the look that tested the pair
        known.append(
            f"Nadeau-Bengio {_p(finding.p_nadeau_bengio)}"
            if math.isfinite(finding.p_nadeau_bengio)
            else "Nadeau-Bengio p not defined"
        )
    return f"(scope L1: {'; '.join(known)})"


def _evidence(finding: Finding, verdict: Verdict) -> str:
    """The adjusted p-value of every hypothesis that the sentence states."""
    if not math.isfinite(finding.p_adjusted):
        return ""
    text = f"adjusted {_p(finding.p_adjusted)}"
    if verdict == "better_relevant":
        text += f", beyond the margin {_p(finding.p_exceeds)}"
    elif verdict in ("equivalent", "better_negligible"):
        text += f", within the margin {_p(finding.p_within)}"
    return text


def _size(finding: Finding) -> str:
    """Size of the difference as the better one's advantage, with its interval."""
    low, high = finding.low, finding.high
    if finding.result.estimate < 0:
        low, high = -high, -low
    text = (
        f"{format_score(abs(finding.result.estimate), finding.endpoint)}"
        f"{unit_after(finding.endpoint)}"
    )
    if not (math.isfinite(low) and math.isfinite(high)):
        return text  # no look has tested the pair
    return f"{text} [{format_score(low, finding.endpoint)}, {format_score(high, finding.endpoint)}]"


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
