"""What the numbers of a report are: everything that one must know before one believes them."""

from __future__ import annotations

from kitsbench.evaluation.protocols import get_protocol
from kitsbench.metrics import TRUTH_EMPTY, find, say
from kitsbench.reporting import words
from kitsbench.reporting.analysis import Analysis
from kitsbench.reporting.first_screen.entrants import (
    counted,
    exceptions,
    scans_of_training,
    sizes,
    trials_told,
)
from kitsbench.reporting.first_screen.next_steps import plan_command
from kitsbench.reporting.methods import OWN, interval_method, tests_in_words
from kitsbench.statistics.design.scope import allows_verdict, seeds_for_a_verdict


def facts(analysis: Analysis) -> list[tuple[str, str]]:
    """Names and values, each a function of the files of the experiment.

    Parameters
    ----------
    analysis : Analysis

    Returns
    -------
    list of (str, str)
        In the order of reading; what the design does not have says so.
    """
    found = [
        ("Scans", _scans(analysis)),
        ("Scored by", _protocol(analysis)),
        ("Endpoint", _endpoint(analysis)),
        ("Tested on", _tested(analysis)),
        ("Entrants", counted(analysis).told()),
        ("Trained on", _trained(analysis)),
        ("Nothing to find", _empty(analysis)),
        ("Runs", _runs(analysis)),
        ("Budget and recipe", _training(analysis)),
        ("Size of the networks", sizes(analysis)),
        ("Test", _test(analysis)),
        ("Intervals of means", _intervals(analysis)),
        ("Gap that would be seen", _gap(analysis)),
        ("Noise of training", _noise(analysis)),
        ("Drawn again", _redrawn(analysis)),
        ("Device", _device(analysis)),
        ("Software", _software(analysis)),
        ("Experiment", _experiment(analysis)),
    ]
    return [(name, value) for name, value in found if value]


def _scans(analysis: Analysis) -> str:
    dataset = analysis.results.experiment.dataset
    kind = (
        "synthetic: a program made the images from the labels"
        if dataset.synthetic
        else "real scans"
    )
    mark = f"; fingerprint {dataset.fingerprint}" if dataset.fingerprint else ""
    return f"{dataset.name}, {words.cases_used(dataset)}; {kind}{mark}"


def _protocol(analysis: Analysis) -> str:
    rule = get_protocol(analysis.protocol)
    title = rule.title if rule.title.lower().startswith(rule.name) else f"{rule.name}: {rule.title}"
    official = analysis.comparison.get("official")
    if not official:
        return title
    return f"{title}; its challenge ranks by the {words.with_regions(str(official['rule']))}"


def _endpoint(analysis: Analysis) -> str:
    name = f"mean {words.endpoint_name(analysis.region, analysis.metric)} over {analysis.averaged}"
    declared = f"declared on {analysis.results.experiment.created[:10]}"
    origin = (
        "kitsbench's own margin for this endpoint, fixed before any score was seen; "
        "kitsbench report --margin judges by another, and says so"
    )
    if analysis.narrowed is not None and analysis.narrowed.asked.endpoint is not None:
        declared = "chosen when this report was made"
    if analysis.narrowed is not None and analysis.narrowed.asked.margin is not None:
        origin = "a margin that was chosen when this report was made"
    if analysis.margin is None:
        return f"{name}, {declared}; it has no margin of equivalence"
    return f"{name}, {declared}; differences within ±{analysis.margin:g} do not matter ({origin})"


def _tested(analysis: Analysis) -> str:
    scores = analysis.results.scores
    if scores.empty:
        return ""
    own = scores[(scores["protocol"] == analysis.protocol) & (scores["region"] == analysis.region)]
    absent = set(own.loc[own["status"].isin(TRUTH_EMPTY), "case"])
    cases = set(own["case"])
    region = words.region_name(analysis.region).lower()
    with_it = len(cases - absent)
    share = (
        f"all with a {region}" if with_it == len(cases) else f"{with_it} of them with a {region}"
    )
    here = " that was trained here" if analysis.elsewhere else ""
    return f"{words.plural(len(cases), 'scan')} that no network{here} had seen, {share}"


def _empty(analysis: Analysis) -> str:
    """What a scan scores whose truth or prediction has nothing of the endpoint's region."""
    known = find(analysis.metric)
    found = [known.at(status) for status in ("both_empty", "empty_prediction", "false_positive")]
    # What is no number, such as the diagonal of a scan, stands on the page of the protocol.
    if not known.known or not all(isinstance(value, (int, float)) for value in found):
        return ""
    region = words.region_name(analysis.region).lower()
    nothing, missed, invented = map(say, found)
    return (
        f"a scan without {region} scores {nothing} where nothing was predicted and {invented} "
        f"where something was; one with {region} in which nothing was predicted scores {missed}"
    )


def _runs(analysis: Analysis) -> str:
    experiment, trials = analysis.results.experiment, analysis.results.trials
    done = sum(trial.state == "finished" for trial in trials)
    failed = sum(trial.state == "failed" for trial in trials)
    spared = sum(trial.state == "spared" for trial in trials)
    held = sum(trial.state == "held" for trial in trials)
    waiting = len(trials) - done - failed - spared - held
    folds = experiment.folds
    entrants = [entrant for entrant in experiment.entrants if entrant.status == "ok"]
    tested = f"{words.plural(len(folds.used), 'test fold')} of {folds.count}"
    parts = [
        f"{tested if folds.count > 1 else 'one split'} × {analysis.seeds_told} for each of "
        f"{words.plural(len(entrants), 'entrant')}: {done} of {trials_told(analysis)} finished"
    ]
    parts += [f"{failed} failed (their cases count as missed)"] * bool(failed)
    parts += [f"{spared} never run, since looks had decided before"] * bool(spared)
    parts += [f"{held} held: they have finished, and wait for the next look"] * bool(held)
    parts += [f"{waiting} not finished (they enter no number)"] * bool(waiting)
    return ", ".join(parts)


def _trained(analysis: Analysis) -> str:
    trained, tested = scans_of_training(analysis)
    if not trained:
        return ""
    folds = analysis.results.experiment.folds
    on = f", the {words.plural(folds.count - 1, 'other fold')}" if folds.count > 1 else ""
    return f"{trained} a run{on}; the {tested} of its test are not among them"


def _training(analysis: Analysis) -> str:
    experiment = analysis.results.experiment
    recipe = experiment.recipe
    shared = "each by its paper's own recipe"
    if recipe is not None:
        shared = f"the same recipe for all, “{recipe.name}” ({recipe.digest()})"
        patch, but = recipe.patch, exceptions(analysis)
        shared += f", patches of {'×'.join(map(str, patch))} voxels" if patch else ""
        if isinstance(recipe.spacing, tuple):
            shared += f" of {'×'.join(f'{edge:g}' for edge in recipe.spacing)} mm"
        shared += f"; except {words.listing(but)}" if but else ""
    own = OWN.replace("were", "are").rstrip(".")
    told = f"{words.spent(experiment.budget)} a training; {shared}; {own[0].lower()}{own[1:]}"
    return told if experiment.tuning is not None else f"{told}; nothing was tuned"


def _test(analysis: Analysis) -> str:
    if not analysis.pairs:
        return ""
    alpha = float(analysis.comparison.get("alpha") or 0.05)
    judged = sum(pair.get("p_adjusted") is not None for pair in analysis.pairs)
    unit = "; a unit is a case" if analysis.scope == "L0" else "; units are cases and training runs"
    told = f"{tests_in_words(analysis)}, two-sided, α = {alpha:g}{unit}"
    if not judged:
        return f"{told}; no verdict in this design, so no p-value is given"
    correction = str(analysis.comparison.get("correction")).capitalize()
    looks = "" if analysis.results.experiment.until is None else " and all looks"
    return f"{told}; adjusted by {correction} over {words.plural(judged, 'pair')}{looks}"


def _intervals(analysis: Analysis) -> str:
    told = interval_method(analysis)
    if not told:
        return ""
    return told.removeprefix("95 % intervals of means are ").rstrip(".") + (
        "; cut where the metric ends"
    )


def _gap(analysis: Analysis) -> str:
    if analysis.results.experiment.until is not None:
        return "not given, since looks decided how much was run" if analysis.pairs else ""
    if analysis.gap is None:
        return no_gap(analysis) if analysis.pairs else ""
    first = analysis.ranking[0]["architecture"]
    if analysis.finds_nothing:
        return f"none that {words.metric_name(analysis.metric)} can have, between {first} and any"
    return (
        f"{words.number(analysis.gap)} between {first} and any other, at 80 % power and the level "
        "of the first step of the adjustment"
    )


def no_gap(analysis: Analysis) -> str:
    """Why no gap can be given that would be seen, and what tells of one."""
    experiment = analysis.results.experiment
    folds, seeds = len(experiment.folds.used), experiment.seeds
    if allows_verdict(folds, seeds):
        return "cannot be computed: no pair of the first can get a verdict"
    runs = words.times(folds * seeds)
    return (
        f"cannot be computed with {runs} of training each, which do{'es' * (folds * seeds == 1)} "
        "not tell how much training again changes a score; what more seeds would find says "
        f"{plan_command(analysis, seeds_for_a_verdict(folds))}"
    )


def _noise(analysis: Analysis) -> str:
    """Standard deviation of a fold's mean between seeds."""
    found = analysis.comparison.get("components") or {}
    if words.missing(found.get("seed_sd")):
        seeds = analysis.results.experiment.seeds
        return f"not to be told from {words.plural(seeds, 'seed')}" if analysis.pairs else ""
    return (
        f"standard deviation {words.number(found['seed_sd'], 4)} between seeds (of a fold's mean), "
        f"{words.number(found['noise_sd'], 4)} of a single case; between cases "
        f"{words.number(found['case_sd'], 4)} (architecture × case)"
    )


def _redrawn(analysis: Analysis) -> str:
    drawn = (analysis.comparison.get("rankings") or {}).get("bootstrap")
    if not drawn:
        return ""
    what = "ranks" if analysis.results.experiment.until is not None else "ranks and P(first)"
    return f"{drawn['drawn']}, {drawn['replicates']} times (random start 0), for {what}"


def _device(analysis: Analysis) -> str:
    device = analysis.results.experiment.device
    told = f"{device.name}, {words.plural(device.threads, 'thread')} a trial"
    speeds = [
        trial.environment.speed.speed_gflops
        for trial in analysis.results.trials
        if trial.environment is not None and trial.environment.speed is not None
    ]
    if speeds:
        low, high = min(speeds), max(speeds)
        span = f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}"
        told += f"; {span} GFLOP/s in a fixed mix of work that tells machines apart, not its peak"
    return told


def _software(analysis: Analysis) -> str:
    experiment = analysis.results.experiment
    trained = words.listing(analysis.results.versions)
    commits = words.listing(analysis.results.commits)
    return (
        f"kitsbench {experiment.version}"
        + (f"; trials by {trained}" if trained and trained != experiment.version else "")
        + (f"; commit {commits}" if commits else "")
    )


def _experiment(analysis: Analysis) -> str:
    experiment = analysis.results.experiment
    return f"{experiment.id}, split {experiment.folds.split_id}, planned {experiment.created[:10]}"
