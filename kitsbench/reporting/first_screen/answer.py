"""The sentences of the answer: who is ahead, how sure that is, and what it does not say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kitsbench.experiments.compared import before_looks
from kitsbench.look import State, said
from kitsbench.metrics import UNDEFINED, find
from kitsbench.reporting import words
from kitsbench.reporting.analysis import Analysis
from kitsbench.reporting.first_screen.entrants import equal_entrants
from kitsbench.reporting.first_screen.leading import leaders, together, unjudged
from kitsbench.reporting.first_screen.looked import is_at_end
from kitsbench.reporting.scores import interval_of_mean


def details(analysis: Analysis) -> list[str]:
    """What stands below the first screen: counts of verdicts, the gap, and remarks on the data.

    Parameters
    ----------
    analysis : Analysis

    Returns
    -------
    list of str
        Sentences: how many pairs differ, the gap that would be seen, the versions that trained,
        what kind of data it was, scores that it cannot have, and cases that were set aside.
    """
    found = []
    if analysis.comparison:
        found += [_certainty(analysis), _gap(analysis)]
    found += [versions(analysis), _data(analysis), undefined(analysis)]
    found.append(analysis.results.experiment.dataset.set_aside() or "")
    return [sentence for sentence in found if sentence]


def headline(analysis: Analysis) -> str:
    """Say who is ahead, or why nobody is, in one sentence that the statistics bear out."""
    if analysis.results.scores.empty:
        if analysis.results.experiment.until is not None:
            return before_looks(analysis.results.experiment)
        return "No trial has finished, so there are no scores; the reasons are listed below."
    ranking = analysis.ranking
    region = words.region_name(analysis.region).lower()
    endpoint = words.endpoint_name(analysis.region, analysis.metric)
    if analysis.nothing_to_find:
        return (
            f"No test case has a {region}, so there is nothing "
            f"to find and no mean {endpoint}: nobody is ranked by it. Ask for another --endpoint."
        )
    if not ranking:
        name = analysis.scored[0]
        row = analysis.row(analysis.protocol, name, analysis.region, analysis.metric)
        if words.missing(row.get("mean")):
            return analysis.obstacle
        number = f"{name} reaches a mean {endpoint} of {words.number(row.get('mean'))}"
        interval = interval_of_mean(row)
        # One case has none.
        return f"{number}{'' if interval == words.DASH else f' {interval}'}. {analysis.obstacle}"
    condition = _condition(analysis)
    best = words.number(ranking[0]["mean"])
    if len(analysis.not_learned) == len(ranking):
        return (
            f"{condition}, no architecture learned to find the region: the "
            f"{_most(analysis)} mean {endpoint} is {best} ({ranking[0]['architecture']})."
        )
    if len({*unjudged(analysis)} - {str(ranking[0]["architecture"])}) == len(ranking) - 1:
        return f"{condition}, no winner can be named: too many predictions failed."
    return f"{condition}, {_ahead(analysis, endpoint, best)}"


def _condition(analysis: Analysis) -> str:
    """Under which training the ranking came about."""
    outside = [row["architecture"] for row in analysis.ranking]
    outside = [name for name in outside if name in analysis.elsewhere]
    if len(outside) == len(analysis.ranking):
        return "Without any training here"
    but = f" (but {words.listing(outside, most=3)}: trained elsewhere)" if outside else ""
    if analysis.left_out:
        but += f" and without {words.listing(analysis.left_out, most=3)} (no fold is common to all)"
    return f"After {words.spent(analysis.results.experiment.budget)} of training each{but}"


def elsewhere(analysis: Analysis) -> str:
    """Say who was trained elsewhere, on what, and what does not follow; empty where nobody was."""
    known = analysis.elsewhere
    if not known:
        return ""
    told = [
        f"{name} ({one.told()}{', no rank and no verdict' if one.apart else ''})"
        for name, one in known.items()
    ]
    return (
        f"Not trained here: {words.listing(told, most=4)}. No budget held for "
        f"{'it' if len(known) == 1 else 'them'}, so a verdict beside "
        f"{'it' if len(known) == 1 else 'them'} compares systems as they are, and says nothing "
        "about architectures."
    )


def _ahead(analysis: Analysis, endpoint: str, best: str) -> str:
    """Who is ahead, where some learned the endpoint and their predictions did not fail."""
    if analysis.baseline is not None and analysis.settled:
        return _beside_baseline(analysis, endpoint)
    top = leaders(analysis)
    mean = f"mean {endpoint} {best}"
    lost, doubtful = {*analysis.not_learned}, {*unjudged(analysis)}
    if top[0] in lost | doubtful:
        why = (
            "too many of its predictions failed"
            if top[0] in doubtful
            else "it found too little to say that it has learned it"
        )
        return f"no winner can be named: {top[0]} scores {_most(analysis)} ({mean}), but {why}."
    if analysis.scope == "L0" and not analysis.settled:
        equal = [str(r["architecture"]) for r in analysis.ranking if r["rank"] == 1]
        score = "scores" if len(equal) == 1 else "score"
        runs, most = analysis.runs
        whom = "each architecture" if runs == most else "some architectures"
        return (
            f"{words.listing(equal, most=3)} {score} {_most(analysis)} ({mean}{_lead(analysis)}), "
            f"but no winner can be named: with {words.times(runs)} of training for {whom} this "
            "may be luck."
        )
    others = {str(row["architecture"]) for row in analysis.ranking[1:]}
    # From those that learned nothing the first need not be separated to be ahead of them.
    apart = others - {*top} - lost - doubtful
    if len(top) > 1 and not apart and not (lost | doubtful):
        return (
            f"no winner can be named: no architecture is separated from {top[0]}, which has the "
            f"{_most(analysis)} mean {endpoint} ({best}); chance alone can explain that."
        )
    if len(top) > 1:
        return together(analysis, top, mean)
    if not apart:
        only = "is the only one to learn it at all" if lost else "is the only one judged"
        return f"{top[0]} scores {_most(analysis)} ({mean}) and {only}."
    limit = " that learned it" if lost & others else " that was judged" if doubtful & others else ""
    return (
        f"{top[0]} scores {_most(analysis)} ({mean}), and the statistics separate it from every "
        f"other architecture{limit}."
    )


def _most(analysis: Analysis) -> str:
    """Where the best of the ranking lies; of a distance that is the lowest."""
    return "highest" if find(analysis.metric).higher_is_better else "lowest"


def _lead(analysis: Analysis) -> str:
    """How far the first lies from the next, whose difference is what chance may have made."""
    first, rest = analysis.ranking[0], [row for row in analysis.ranking if row["rank"] > 1]
    if not rest or words.missing(first["mean"]) or words.missing(rest[0]["mean"]):
        return ""
    lead = words.number(abs(first["mean"] - rest[0]["mean"]))
    return f", {lead} ahead of the next" if float(lead) else ""


def _beside_baseline(analysis: Analysis, endpoint: str) -> str:
    """Who is found better or worse than the baseline, and who is not told apart from it."""
    baseline = str(analysis.baseline)
    found: dict[str, list[str]] = {"better": [], "worse": [], "open": []}
    for row in analysis.ranking:
        name = str(row["architecture"])
        pair = next((p for p in analysis.pairs if {p["a"], p["b"]} == {name, baseline}), None)
        if pair is not None:
            better = pair["better"]
            found["open" if better is None else "better" if better == name else "worse"] += [name]
    words_of = {
        "better": "found better than",
        "worse": "found worse than",
        "open": "not told apart from",
    }
    told = [
        f"{words.listing(names, most=4)} {'is' if len(names) == 1 else 'are'} {words_of[kind]} it"
        for kind, names in found.items()
        if names
    ]
    mean = next(row["mean"] for row in analysis.ranking if row["architecture"] == baseline)
    return f"beside {baseline} (mean {endpoint} {words.number(mean)}): {'; '.join(told)}."


def learned(analysis: Analysis) -> str:
    """How many have learned to find the region; empty where the headline says it or no rule does.

    Of a metric that has no value of an empty prediction, such as a distance, only predictions
    that are all empty tell anything.
    """
    lost, number = analysis.not_learned, len(analysis.ranking)
    region = words.region_name(analysis.region).lower()
    if len(lost) == number:
        return ""
    if not lost:
        least = find(analysis.metric).learned_from
        if least is None:
            return ""
        metric = words.metric_name(analysis.metric)
        return (
            f"All {number} entrants{_distinct(analysis)} have learned to find something of the "
            f"{region}: a mean {metric} of {least:g} or more above that of an empty prediction, "
            "which finds nothing. It is no more than that: whether a network is of use, its mean "
            "tells."
        )
    has = "has" if number - len(lost) == 1 else "have"
    return (
        f"{number - len(lost)} of {words.plural(number, 'entrant')} {has} learned to find the "
        f"{region}; no better than an empty prediction: {words.listing(lost, most=4)}."
    )


def _distinct(analysis: Analysis) -> str:
    """How many results differ, where some are equal in every case."""
    equal = sum(len(names) - 1 for names in equal_entrants(analysis))
    return f" ({len(analysis.ranking) - equal} different results)" if equal else ""


def one_network(analysis: Analysis) -> str:
    """Name entrants that have equal scores in every case; empty where there are none.

    By one shared recipe two configurations may be the same network, as two resolutions are.
    """
    ranks = {str(row["architecture"]): row["rank"] for row in analysis.ranking}
    told = []
    for names in equal_entrants(analysis):
        own = {ranks[name] for name in names if name in ranks}
        place = f"; they share rank {own.pop()}" if len(own) == 1 else ""
        told.append(
            f"{words.listing(list(names))} have equal scores in every case, as one network under "
            f"{len(names)} names has{place}."
        )
    return " ".join(told)


def _certainty(analysis: Analysis) -> str:
    if analysis.scope == "L0" and not analysis.settled and len(analysis.pairs) > 1:
        return (
            f"How sure: of {len(analysis.pairs)} pairs none is decided, however far apart two "
            f"lines lie: {words.times(analysis.runs[0])} of training cannot tell an architecture "
            "from luck."
        )
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
    parts += _by_looks(analysis, failed) or (
        [f"{open_pairs} {'stays' if open_pairs == 1 else 'stay'} open"] if open_pairs else []
    )
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
        drawn = analysis.comparison["rankings"]["bootstrap"]["drawn"]
        share = (
            f" When {drawn} are redrawn, {first['architecture']} comes first in "
            f"{words.percent(first['p_first'])} of the draws."
        )
    return f"How sure: {words.listing(parts)}.{share}"


def _by_looks(analysis: Analysis, failed: Sequence[dict[str, Any]]) -> list[str]:
    """What became of the pairs that are not decided, where looks judged; in the words of these."""
    if not any("look" in pair for pair in analysis.pairs):
        return []
    at_end = is_at_end(analysis.results)
    rest = [pair for pair in analysis.pairs if pair["verdict"] == "inconclusive"]
    found: list[State] = [pair["look"]["state"] for pair in rest if pair not in failed]
    verbs: dict[State, tuple[str, str]] = {
        "open": ("stays", "stay"),
        "futile": ("is", "are") if at_end else ("was", "were"),
        "not asked": ("is", "are"),
    }
    return [
        f"{found.count(state)} {verb[found.count(state) > 1]} {said(state, at_end)}"
        for state, verb in verbs.items()
        if state in found
    ]


def scope(analysis: Analysis) -> str:
    """How far the result reaches, for people who do not know the word."""
    if analysis.scope == "L0" and analysis.settled:
        number = words.plural(len(analysis.pairs), "pair")
        return (
            f"How far it reaches: for {analysis.settled} of {number} to the architectures (scope "
            "L1). Of the others, which have too few training runs, the sentences speak of the "
            f"trained networks only (scope L0). {analysis.advice}"
        ).strip()
    if analysis.scope == "L0":
        return (
            "How far it reaches (scope L0): to these trained networks on scans like these. "
            f"{words.times(analysis.runs[0]).capitalize()} of training cannot tell an architecture "
            "from luck, so nothing can be said about the architectures."
        )
    if analysis.scope:
        alpha = words.percent(analysis.comparison.get("alpha"))
        return (
            f"How far it reaches (scope {analysis.scope}): to the architectures, since scans and "
            "training runs both count as drawn by chance; a difference is called one only if the "
            f"risk of a false one among all pairs is at most {alpha}."
        )
    return ""


def _gap(analysis: Analysis) -> str:
    gap = analysis.gap
    if gap is None:  # where nothing is found, no gap is
        return ""
    first = analysis.ranking[0]["architecture"]
    judged = sum(pair.get("p_adjusted") is not None for pair in analysis.pairs)
    family = f", judged beside {words.plural(judged - 1, 'other pair')}" if judged > 1 else ""
    if analysis.finds_nothing:
        return (
            f"Seen at this size: nothing for sure. No difference that a mean "
            f"{words.metric_name(analysis.metric)} can have would be found between {first} and "
            f"every other (at 80 % power{family})."
        )
    return (
        f"Seen at this size: gaps of about {words.number(gap)} "
        f"{words.metric_name(analysis.metric)} or more between {first} and any other (at 80 % "
        f"power{family}); smaller ones may exist unseen."
    )


def amiss(analysis: Analysis) -> str:
    """Say which trials failed or are not finished, and who cannot take part."""
    trials = [trial for trial in analysis.results.trials if trial.state != "spared"]
    failed = [trial for trial in trials if trial.state == "failed"]
    waiting = [trial for trial in trials if trial.state in words.UNFINISHED]
    parts = []
    if failed:
        names = list(dict.fromkeys(trial.name for trial in failed))
        counted = "; the cases they should have segmented count as missed"
        parts.append(
            f"{len(failed)} of {words.plural(len(trials), 'trial')} failed "
            f"({words.listing(names)}){'' if analysis.results.scores.empty else counted}."
        )
    held = sum(trial.state == "held" for trial in waiting)
    if waiting:
        told = f"{len(waiting)} of {words.plural(len(trials), 'trial')}"
        rest = len(waiting) - held
        if held:
            told = f"{held} of {words.plural(len(trials), 'trial')} wait for their look"
            told += f", and {rest} are not finished" if rest else ""
        else:
            told += " are not finished"
        parts.append(f"{told}: this report is preliminary.")
        if len(waiting) < len(trials):
            named = [f"{trial.name} fold {trial.fold} seed {trial.seed}" for trial in waiting]
            parts.append(f"It has nothing of {words.listing(named)}.")
    broken = [e.name for e in analysis.results.experiment.entrants if e.status == "broken"]
    if broken:
        parts.append(f"{words.listing(broken)} cannot take part.")
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
            "The scans are synthetic, drawn by a program. They say nothing about patients, and the "
            "ranking need not hold on real scans."
        )
    if experiment.recipe is None:
        return (
            "Each architecture was trained by its paper's own recipe, so differences belong to "
            "architecture and recipe together."
        )
    return ""


def undefined(analysis: Analysis) -> str:
    """Say of which cases no distance can be had; empty where there is none."""
    scores = analysis.results.scores
    cases = sorted(set(scores.loc[scores["status"] == UNDEFINED, "case"]))
    if not cases:
        return ""
    return (
        f"The grid of {words.plural(len(cases), 'case')} is sheared ({words.listing(cases)}): "
        "surface Dice and distances are undefined there and leave these cases out."
    )
