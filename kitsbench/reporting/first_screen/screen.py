"""What a reader sees first: the answer, the figure, how far it reaches, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass

from kitsbench.metrics import find
from kitsbench.reporting import words
from kitsbench.reporting.analysis import Analysis
from kitsbench.reporting.first_screen.answer import (
    amiss,
    elsewhere,
    headline,
    learned,
    one_network,
    scope,
)
from kitsbench.reporting.first_screen.curves import rising_rule, still_rising
from kitsbench.reporting.first_screen.entrants import (
    counted,
    exceptions,
    scans_of_training,
    sizes,
)
from kitsbench.reporting.first_screen.next_steps import Step, next_steps
from kitsbench.reporting.first_screen.standing import Standing, standing

MOST_STEPS = 3
_OVERLAP = "overlap with the truth: 0 none, 1 perfect"


@dataclass(frozen=True)
class FirstScreen:
    """The first screen of a report.

    Attributes
    ----------
    headline : str
        The one sentence.
    compared : str
        What was compared, on which scans, under which budget, by which score.
    remarks : list of str
        What is amiss, what learned, how far it reaches, what was still rising.
    standing : Standing or None
        The figure.
    steps : list of Step
        To a stronger statement.
    """

    headline: str
    compared: str
    remarks: list[str]
    standing: Standing | None
    steps: list[Step]


def first_screen(analysis: Analysis) -> FirstScreen:
    """Write the first screen.

    Parameters
    ----------
    analysis : Analysis
    """
    narrowed = "" if analysis.narrowed is None else analysis.narrowed.told
    remarks = [narrowed, joined(analysis), amiss(analysis), elsewhere(analysis)]
    if analysis.comparison:
        remarks += [learned(analysis), one_network(analysis), scope(analysis)]
    remarks.append(rising(analysis))
    return FirstScreen(
        headline=headline(analysis),
        compared=compared(analysis),
        remarks=[remark for remark in remarks if remark],
        standing=standing(analysis),
        steps=next_steps(analysis)[:MOST_STEPS],
    )


def joined(analysis: Analysis) -> str:
    """That the results were put together, and from what; empty where they were not."""
    found = analysis.results.joined
    if not found:
        return ""
    devices = list(dict.fromkeys(one.device.name for one in found))
    return (
        f"Joined from {len(found)} experiments that were made under the same conditions, on "
        f"{words.listing(devices)}; a trial that several have counts once."
    )


def compared(analysis: Analysis) -> str:
    """What was compared, on what, under which budget, and by what score, in plain words."""
    experiment = analysis.results.experiment
    entrants = [e for e in experiment.entrants if e.status == "ok" and e.elsewhere is None]
    outside = len(analysis.elsewhere)
    counts = counted(analysis)
    ensembles = counts.ensembles + counts.mirrored
    number = counts.told()
    folds, (least, seeds) = len(experiment.folds.used), analysis.seeds
    runs = folds * seeds
    often = {1: "once", 2: "twice"}.get(runs, f"{runs} times")
    often = often if least == seeds else f"{folds * least} to {runs} times"
    if folds > 1 and seeds > 1:
        often += f" ({folds} folds × {analysis.seeds_told})"
    recipe = "by one shared recipe" if experiment.recipe else "each by its paper's own recipe"
    if exceptions(analysis):
        recipe += " (with the exceptions that “What these numbers are” names)"
    records = analysis.results.records
    tested = len({case for record in records for case in record.context.test_cases})
    kind = "synthetic CT scans" if experiment.dataset.synthetic else "CT scans"
    where = (
        f"{tested} {kind} of the dataset {experiment.dataset.name}"
        if tested
        else experiment.dataset.name
    )
    found = [
        words.region_name(n).lower() for n, value in experiment.dataset.labels.items() if value
    ]
    facts = find(analysis.metric)
    score = f"mean {words.endpoint_name(analysis.region, analysis.metric)}"
    score += f" ({_OVERLAP})." if analysis.metric == "dice" else "."
    if facts.known and analysis.metric != "dice":
        score += f" {facts.plain}"
    others = f"{words.plural(outside, 'entrant')} that had been trained elsewhere"
    if not entrants and outside:
        return f"Compared: {others}, on {where}. Score: {score}"
    trained, _ = scans_of_training(analysis)
    on = f"on {trained} " if trained else ""
    reduced = sizes(analysis)
    return (
        f"Compared: {number}{';' if counts.networks < counts.entrants else ','} "
        f"{'each network' if ensembles or outside else 'each'} trained {often} {on}for "
        f"{words.spent(experiment.budget)} {recipe} to find "
        f"{words.listing(found, most=4)}, and tested on {where} that the network had not seen. "
        + (f"Reduced: {reduced}. " if reduced else "")
        + (
            f"Left out, since no fold is common to all: {words.listing(analysis.left_out)}. "
            if analysis.left_out
            else ""
        )
        + f"Score: {score}"
    )


def rising(analysis: Analysis) -> str:
    """Name the curves that were still rising when the budget was spent; empty where none was."""
    names = still_rising(analysis)
    if not names:
        return ""
    return (
        f"Still rising when the budget ended: {words.listing(names, most=4)}; with more "
        f"training they may score higher, and the order may change. {rising_rule(analysis)}"
    )
