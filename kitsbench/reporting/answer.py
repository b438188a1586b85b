"""The first paragraph of a report: who won, how sure that is, and what it does not say."""

from __future__ import annotations

from kitsbench.metrics import UNDEFINED
from kitsbench.reporting import words
from kitsbench.reporting.analysis import Analysis
from kitsbench.reporting.scores import interval_of_mean
from kitsbench.statistics.compare.verdicts import FAILURES_WITHOUT_VERDICT


def answer(analysis: Analysis) -> list[str]:
    """Write the answer.

    Parameters
    ----------
    analysis : Analysis

    Returns
    -------
    list of str
        Sentences in the order of reading: the result, who learned anything, how sure, its scope,
        the smallest detectable gap, failures, what kind of data it was, scores that it cannot
        have, and cases that were set aside.
    """
    sentences = [_result(analysis)]
    if analysis.comparison:
        sentences.append(_learned(analysis))
        sentences += [_certainty(analysis), _scope(analysis), _gap(analysis)]
    sentences += [_failures(analysis), versions(analysis), _data(analysis), _undefined(analysis)]
    sentences.append(analysis.results.experiment.dataset.set_aside() or "")
    return [sentence for sentence in sentences if sentence]


def _result(analysis: Analysis) -> str:
    endpoint = words.endpoint_name(analysis.region, analysis.metric)
    if analysis.results.scores.empty:
        return "No trial has finished, so there are no scores; the reasons are listed below."
    ranking = analysis.ranking
    if analysis.nothing_to_find:
        return (
            f"No test case has a {words.region_name(analysis.region).lower()}, so there is nothing "
            f"to find and no mean {endpoint}: nobody is ranked by it. Ask for another --endpoint."
        )
    if not ranking:
        name = analysis.scored[0]
        row = analysis.row(analysis.protocol, name, analysis.region, analysis.metric)
        number = f"{name} reaches a mean {endpoint} of {words.number(row.get('mean'))}"
        return f"{number} {interval_of_mean(row)}. {analysis.obstacle}"
    condition = f"With {analysis.results.experiment.budget.text} for each training run"
    if len(analysis.not_learned) == len(ranking):
        return (
            f"{condition}, no architecture learned to find the region: the highest mean {endpoint} "
            f"is {words.number(ranking[0]['mean'])} ({ranking[0]['architecture']})."
        )
    top = leaders(analysis)
    judged = len(ranking) - len(set(unjudged(analysis)) - {top[0]})
    best = words.number(ranking[0]["mean"])
    if judged == 1:
        return f"{condition}, no winner can be named: too many predictions failed."
    if len(top) == 1:
        return (
            f"{condition}, {top[0]} scores highest: a mean {endpoint} of {best}, and the "
            "statistics separate it from every other architecture that was judged."
            if judged < len(ranking)
            else f"{condition}, {top[0]} scores highest: a mean {endpoint} of {best}, and the "
            "statistics separate it from every other architecture."
        )
    if analysis.scope == "L0":
        return (
            f"{condition}, no winner can be named: the trained model of {top[0]} has the highest "
            f"mean {endpoint} ({best}), and so few training runs say nothing about architectures."
        )
    if len(top) == judged:
        return (
            f"{condition}, no winner can be named: no architecture is separated from "
            f"{top[0]}, which has the highest mean {endpoint} ({best}); chance alone can explain "
            "that."
        )
    return (
        f"{condition}, {words.listing(top)} lead and cannot be told apart; {top[0]} has the "
        f"highest mean {endpoint} ({best})."
    )


def leaders(analysis: Analysis) -> list[str]:
    """Architectures that no test separates from the first of the ranking, it included."""
    ranking = analysis.ranking
    if not ranking:
        return []
    first = str(ranking[0]["architecture"])
    beaten = {
        name
        for pair in analysis.pairs
        if pair["better"] == first
        for name in (pair["a"], pair["b"])
        if name != first
    }
    apart = beaten | {*unjudged(analysis)} | {*analysis.not_learned}
    return [
        str(row["architecture"])
        for row in ranking
        if row is ranking[0] or row["architecture"] not in apart
    ]


def _learned(analysis: Analysis) -> str:
    """How many have learned the endpoint at all; empty where all have."""
    lost = analysis.not_learned
    number = len(analysis.ranking)
    if not lost or len(lost) == number:
        return ""
    has = "has" if number - len(lost) == 1 else "have"
    return (
        f"{number - len(lost)} of {words.plural(number, 'architecture')} {has} learned "
        f"{words.endpoint_name(analysis.region, analysis.metric)} at all; no better than an empty "
        f"prediction: {words.listing(lost)}."
    )


def unjudged(analysis: Analysis) -> list[str]:
    """Architectures on which there is no verdict because too many of their predictions failed."""
    return [
        str(row["architecture"])
        for row in analysis.ranking
        if (row.get("failure_rate") or 0) > FAILURES_WITHOUT_VERDICT
    ]


def _certainty(analysis: Analysis) -> str:
    found = [pair for pair in analysis.pairs if str(pair["verdict"]).startswith("better")]
    relevant = [pair for pair in found if pair["verdict"] == "better_relevant"]
    equal = [pair for pair in analysis.pairs if pair["verdict"] == "equivalent"]
    doubtful = unjudged(analysis)
    failed = [p for p in analysis.pairs if p["a"] in doubtful or p["b"] in doubtful]
    failed = [p for p in failed if p["verdict"] == "inconclusive"]
    lost = [pair for pair in analysis.pairs if pair["verdict"] == "not_learned"]
    open_pairs = len(analysis.pairs) - len(found) - len(equal) - len(failed) - len(lost)
    differ = "differs" if len(found) == 1 else "differ"
    parts = [f"of {words.plural(len(analysis.pairs), 'pair')}, {len(found)} {differ}"]
    if relevant and analysis.margin:
        parts[0] += f" ({len(relevant)} by more than the margin of {analysis.margin:g})"
    if equal:
        parts.append(f"{len(equal)} {'is' if len(equal) == 1 else 'are'} equivalent")
    if lost:
        word = "has" if len(lost) == 1 else "have"
        parts.append(f"{len(lost)} {word} an architecture that learned nothing")
    if open_pairs:
        parts.append(f"{open_pairs} {'stays' if open_pairs == 1 else 'stay'} open")
    if failed:
        parts.append(f"{len(failed)} have no verdict because predictions failed")
    first = analysis.ranking[0]
    share = ""
    # Drawing again is too sure of itself where there are few runs: it may support a finding, not
    # make one.
    if (
        analysis.scope == "L1"
        and len(leaders(analysis)) == 1
        and not words.missing(first.get("p_first"))
    ):
        share = (
            f" When cases and training runs are redrawn, {first['architecture']} comes first in "
            f"{words.percent(first['p_first'])} of the draws."
        )
    return f"How sure: {words.listing(parts)}.{share}"


def _scope(analysis: Analysis) -> str:
    if analysis.scope == "L0":
        advice = analysis.comparison.get("advice") or ""
        return (
            "Scope L0: too few training runs to tell an architecture from the luck of its "
            "training. Intervals are those of the trained models on cases like these, and "
            f"nothing can be said about the architectures. {advice}"
        ).strip()
    meaning = words.SCOPES.get(analysis.scope, "")
    return f"Scope {analysis.scope}: this {meaning}." if meaning else ""


def _gap(analysis: Analysis) -> str:
    gap = analysis.comparison.get("smallest_detectable_gap")
    if words.missing(gap):
        return ""
    return (
        f"An experiment of this size finds gaps of about {words.number(gap)} "
        f"{words.metric_name(analysis.metric)} (at 80 % power); smaller ones may exist unseen."
    )


def _failures(analysis: Analysis) -> str:
    trials = analysis.results.trials
    failed = [trial for trial in trials if trial.state == "failed"]
    waiting = [trial for trial in trials if trial.state in ("pending", "running")]
    parts = []
    if failed:
        names = list(dict.fromkeys(trial.name for trial in failed))
        counted = "; the cases they should have segmented count as missed"
        parts.append(
            f"{len(failed)} of {words.plural(len(trials), 'trial')} failed "
            f"({words.listing(names)}){'' if analysis.results.scores.empty else counted}."
        )
    if waiting:
        parts.append(
            f"{len(waiting)} of {words.plural(len(trials), 'trial')} are not finished: this "
            "report is preliminary."
        )
    broken = [e.name for e in analysis.results.experiment.entrants if e.status == "broken"]
    if broken:
        parts.append(f"{words.listing(broken)} could not be loaded.")
    return " ".join(parts)


def versions(analysis: Analysis) -> str:
    """That several versions of kitsbench trained what is compared; empty where one did."""
    found = analysis.results.versions
    if len(found) < 2:
        return ""
    return (
        f"The trials were trained by kitsbench {words.listing(found)}. Trials whose numbers would "
        "differ between two versions have different ids, but speed and memory may differ too."
    )


def _data(analysis: Analysis) -> str:
    experiment = analysis.results.experiment
    if experiment.dataset.synthetic:
        return (
            "The scans are synthetic: they are drawn by a program and show how the architectures "
            "learn under this budget. They say nothing about patients, and the ranking need not "
            "hold on real scans."
        )
    if experiment.recipe is None:
        return (
            "Each architecture was trained by its paper's own recipe, so differences belong to "
            "architecture and recipe together."
        )
    return ""


def _undefined(analysis: Analysis) -> str:
    scores = analysis.results.scores
    cases = sorted(set(scores.loc[scores["status"] == UNDEFINED, "case"]))
    if not cases:
        return ""
    return (
        f"The grid of {words.plural(len(cases), 'case')} is sheared ({words.listing(cases)}): "
        "surface Dice and distances are undefined there and leave these cases out."
    )
