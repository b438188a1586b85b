"""What a reviewer asks of a comparison, and where the report answers, item by item.

The questions follow those of Metrics Reloaded and of the CLAIM guideline, in words of our own, as
far as a comparison of segmentation networks can answer them.
"""

from __future__ import annotations

from kitsbench.metrics import METRICS
from kitsbench.reporting import words
from kitsbench.reporting.analysis import Analysis
from kitsbench.reporting.first_screen.entrants import exceptions, sizes, trained_networks
from kitsbench.reporting.tables import Table

YES, NO, PART = "yes", "no", "in part"


def checklist(analysis: Analysis, there: set[str]) -> Table:
    """Questions, answers and places; each answer is a function of what was done.

    Parameters
    ----------
    analysis : Analysis
    there : set of str
        Keys of the sections that the report has, to which a place may lead.
    """
    rows = [
        *_of_data(analysis),
        *_of_training(analysis),
        *_of_metrics(analysis),
        *_of_statistics(analysis),
        ["Is every case listed with its scores, the worst first?",
         YES if not _empty(analysis) else NO, "Every case"],
        ["Can each number be walked back to its run?", YES, "Provenance"],
        ["Can the experiment be repeated from what is given?",
         YES if analysis.results.experiment.command else PART, "Provenance"],
    ]  # fmt: skip
    places = {
        "What these numbers are": "#facts",
        "Every case": "#cases",
        "Provenance": "#provenance",
        "Verdicts on pairs": "#pairs",
        "Scores by region and label": "#scores",
        "Recipe, folds, seeds": "#setup",
        "Failures and exclusions": "#failures",
        "How stable the ranking is": "#stability",
        "Fairness audit": "#fairness",
        "Ranking": "#ranking",
        "Tuning": "#tuning",
    }
    known = {f"#{key}" for key in (*there, "facts")}
    links = {row[2]: places[row[2]] for row in rows if places.get(row[2]) in known}
    caption = (
        "After Metrics Reloaded (Nature Methods 21, 2024, 195-212) and CLAIM (Radiology: "
        "Artificial Intelligence 2, 2020, e200029), in words of our own."
    )
    return Table(["Question", "Answer", "Where"], rows, caption, text_columns=3, links=links)


def _empty(analysis: Analysis) -> bool:
    return analysis.results.scores.empty


def _of_data(analysis: Analysis) -> list[list[str]]:
    dataset = analysis.results.experiment.dataset
    aside = len(dataset.excluded)
    return [
        ["Are the scans identified?", YES if dataset.fingerprint else PART,
         "What these numbers are"],
        ["Are they scans of patients?", NO if dataset.synthetic else YES,
         "What these numbers are"],
        # Of made-up scans the reference is no opinion: they were rendered from it.
        ["Is it said who drew the reference and how?",
         *(["yes: the images were made from it", "What these numbers are"]
           if dataset.synthetic else [NO, "not known to this report"])],
        ["Are exclusions listed with reasons?", YES if aside else "yes, none",
         "Failures and exclusions"],
        ["Was every network tested on scans that it had not seen?",
         YES if not analysis.apart else f"not {words.listing(list(analysis.apart))}, set apart",
         "Recipe, folds, seeds"],
        ["Is there an external test set?", NO, "folds of one dataset"],
    ]  # fmt: skip


def _of_training(analysis: Analysis) -> list[list[str]]:
    experiment = analysis.results.experiment
    folds, (least, most) = len(experiment.folds.used), analysis.seeds
    runs = folds * least
    often = f"{runs}" if least == most else f"{runs} to {folds * most}"
    failed = sum(trial.state == "failed" for trial in analysis.results.trials)
    tuned = experiment.tuning is not None
    return [
        ["Were all trained under the same budget?",
         f"{PART if analysis.elsewhere else YES}, {words.spent(experiment.budget)} a training; "
         "what that took of everything else is in the audit", "Fairness audit"],
        ["Were all trained by the same recipe?", _same_recipe(analysis), "Recipe, folds, seeds"],
        ["Are networks of the papers' size?", _sized(analysis), "What these numbers are"],
        ["Was training repeated?", f"{YES}, {often} runs each" if runs > 1 else NO,
         "What these numbers are"],
        ["Was anything tuned, and without the test scans?",
         "yes, on inner cases" if tuned else "nothing was tuned",
         "Tuning" if tuned else "What these numbers are"],
        ["Do failed runs count?", f"{YES}, {failed} of them" if failed else "yes, none failed",
         "Failures and exclusions"],
    ]  # fmt: skip


def _same_recipe(analysis: Analysis) -> str:
    """Whether one recipe held for all, and for whom not; losses are never part of it."""
    if analysis.results.experiment.recipe is None:
        return f"{NO}, each by its paper's"
    but = exceptions(analysis)
    if analysis.elsewhere:
        but.append(f"whatever trained {words.listing(list(analysis.elsewhere))}")
    if not but:
        return f"{YES}; what is each architecture's own, the methods say"
    return f"{PART}: but for {words.listing(but)}; what is each architecture's own, the methods say"


def _sized(analysis: Analysis) -> str:
    told = sizes(analysis)
    if told:
        return f"{NO}, {told}"
    known = [entrant.size for entrant in trained_networks(analysis)]
    return YES if known and all(known) else "not known"


def _of_metrics(analysis: Analysis) -> list[list[str]]:
    stored = set(analysis.results.scores["metric"])
    surfaces = sorted(METRICS[name].title for name in stored if name in METRICS
                      and METRICS[name].surfaces)  # fmt: skip
    return [
        ["Is one endpoint declared, with a margin that matters?",
         YES if analysis.margin is not None else PART, "What these numbers are"],
        ["Is overlap beside a metric of boundaries?",
         f"{YES}, {words.listing(surfaces)}" if surfaces else "no, overlap only",
         "Scores by region and label"],
        ["Is it fixed what an empty region scores?", f"{YES}, by {analysis.protocol}",
         "What these numbers are"],
        ["Is each region scored by itself?", YES, "Scores by region and label"],
    ]  # fmt: skip


def _of_statistics(analysis: Analysis) -> list[list[str]]:
    judged = any(pair.get("p_adjusted") is not None for pair in analysis.pairs)
    ranked = any(not words.missing(row.get("ci_low")) for row in analysis.ranking)
    correction = str(analysis.comparison.get("correction") or "").capitalize()
    return [
        ["Do means have intervals, and is it said how they were made?", YES if ranked else NO,
         "What these numbers are"],
        ["Do the tests count the luck of training?", YES if judged else "no, scope L0",
         "Verdicts on pairs"],
        ["Are they corrected for the number of pairs?",
         f"{YES}, {correction}" if judged else "no verdict, so none", "Verdicts on pairs"],
        ["Is the size of a gap given that would be seen?",
         f"{YES}, {words.number(analysis.gap)}"
        if analysis.gap is not None and not analysis.finds_nothing
        else NO,
         "What these numbers are"],
        ["Is it shown how stable the ranking is?", YES if judged else "no, and why",
         "How stable the ranking is" if analysis.pairs else "Ranking"],
    ]  # fmt: skip
