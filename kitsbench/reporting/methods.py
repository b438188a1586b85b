"""The methods paragraph of a paper, written from what was really done, and its references."""

from __future__ import annotations

from kitsbench.experiments.looks.design import told_known
from kitsbench.experiments.records import UntilNote
from kitsbench.recipe import Recipe
from kitsbench.reporting import words
from kitsbench.reporting.analysis import Analysis
from kitsbench.reporting.first_screen.entrants import (
    counted,
    exceptions,
    scans_of_training,
    sizes,
    trained_networks,
    trials_told,
)
from kitsbench.reporting.first_screen.looked import hours_of
from kitsbench.statistics.compare.remarks import FEW_CASES
from kitsbench.statistics.looks.sharing import least_hope
from kitsbench.statistics.tests.folds_and_cases import (
    FOLD_T,
    FOLDS_FOR_A_FOLD_TEST,
    PAIRED_T,
)
from kitsbench.statistics.tests.twoway import TWO_WAY

_HELLER_2021 = (
    "Heller N, et al. The state of the art in kidney and kidney tumor segmentation in "
    "contrast-enhanced CT imaging: results of the KiTS19 challenge. Medical Image Analysis 67 "
    "(2021) 101821."
)
_HELLER_2023 = (
    "Heller N, et al. The KiTS21 challenge: automatic segmentation of kidneys, renal tumors, and "
    "renal cysts in corticomedullary-phase CT. arXiv:2307.01984 (2023)."
)
_PROTOCOLS = {
    "kits19": _HELLER_2021,
    "kits21": _HELLER_2023,
    # KiTS23 kept the rule and published no paper of its own.
    "kits23": f"{_HELLER_2023} Of this challenge KiTS23 has its regions and its scores.",
}
_TESTS = {
    TWO_WAY: "a two-way analysis of cases and training runs (t test, both random)",
    FOLD_T: "a t test of the differences of the folds, weighted by their cases",
    PAIRED_T: "a paired t test over cases",
}
_INTERVALS = {
    TWO_WAY: "a two-way analysis of cases and training runs",
    FOLD_T: "the means of the folds",
    PAIRED_T: "the cases alone",
}
_CORRECTIONS = {
    "holm": (
        "Holm",
        "Holm S. A simple sequentially rejective multiple test procedure. Scandinavian Journal of "
        "Statistics 6 (1979) 65-70.",
    ),
    "hommel": (
        "Hommel",
        "Hommel G. A stagewise rejective multiple test procedure based on a modified Bonferroni "
        "test. Biometrika 75 (1988) 383-386.",
    ),
    "shaffer": (
        "Shaffer",
        "Shaffer JP. Modified sequentially rejective multiple test procedures. Journal of the "
        "American Statistical Association 81 (1986) 826-831.",
    ),
}
OWN = "Heads, targets, loss and decoding were each architecture's own."
"""What no recipe holds, since it is part of what is compared."""
_LAN_DEMETS = (
    "Lan KKG, DeMets DL. Discrete sequential boundaries for clinical trials. Biometrika 70 (1983) "
    "659-663."
)
_SHAPES = {
    "obrien-fleming": (
        "O'Brien and Fleming",
        "O'Brien PC, Fleming TR. A multiple testing procedure for clinical trials. Biometrics 35 "
        "(1979) 549-556.",
    ),
    "pocock": (
        "Pocock",
        "Pocock SJ. Group sequential methods in the design and analysis of clinical trials. "
        "Biometrika 64 (1977) 191-199.",
    ),
}
_BENJAMINI = (
    "Benjamini Y, Hochberg Y. Controlling the false discovery rate: a practical and powerful "
    "approach to multiple testing. Journal of the Royal Statistical Society B 57 (1995) 289-300."
)


def methods(analysis: Analysis) -> list[str]:
    """The paragraphs: data and training, scores, statistics.

    Parameters
    ----------
    analysis : Analysis

    Returns
    -------
    list of str
        Each of several sentences, in the past tense of a paper.
    """
    parts = [_training(analysis), _scoring(analysis), _statistics(analysis)]
    return [part for part in parts if part]


def references(analysis: Analysis) -> list[str]:
    """What the paragraphs rest on, and the papers of the architectures."""
    experiment = analysis.results.experiment
    found = [f"kitsbench {', '.join(_versions(analysis))} (software)."]
    if experiment.protocol in _PROTOCOLS:
        found.append(_PROTOCOLS[experiment.protocol])
    if _judged(analysis):
        correction = str(analysis.comparison.get("correction"))
        found += [_CORRECTIONS[correction][1]] if correction in _CORRECTIONS else []
    if _exploratory_p(analysis):
        found.append(_BENJAMINI)
    if experiment.until is not None:
        found += [_LAN_DEMETS, _SHAPES[experiment.until.spending][1]]
    papers = {entrant.paper: None for entrant in experiment.entrants if entrant.paper}
    return [*found, *papers]


def _versions(analysis: Analysis) -> list[str]:
    return analysis.results.versions or [analysis.results.experiment.version]


def _training(analysis: Analysis) -> str:
    experiment = analysis.results.experiment
    dataset, folds = experiment.dataset, experiment.folds
    everybody = [e for e in experiment.entrants if e.status == "ok"]
    entrants = [e for e in everybody if e.elsewhere is None]
    networks = trained_networks(analysis)
    were = "was" if len(everybody) == 1 else "were"
    number, sum_of = words.plural(len(everybody), "entrant"), counted(analysis).told()
    told = [
        f"{number} ({words.listing([e.name for e in everybody], most=40)}"
        + (f"; {sum_of}" if sum_of.endswith("entrants") else "")
        + f") {were} compared with "
        f"kitsbench {words.listing(_versions(analysis))} on the "
        f"{'synthetic ' if dataset.synthetic else ''}dataset {dataset.name} "
        f"({words.cases_used(dataset)}; fingerprint {dataset.fingerprint or 'unknown'})."
    ]
    if networks:
        told.append(
            f"Each of {words.plural(len(networks), 'network')} was trained {_split(analysis)} "
            f"(split {folds.split_id}, the same for all), with {analysis.seeds_told}, "
            f"for {words.spent(experiment.budget)} a run on {experiment.device.name}, "
            f"{_scans(analysis)}"
        )
        told += [_recipe(analysis), _sizes(analysis)]
    ensembles = [e for e in entrants if e.members]
    told += [
        f"{e.name} combined {words.listing(list(e.members))} ({e.combine})." for e in ensembles
    ]
    if analysis.elsewhere:
        outside = [f"{name} ({one.told()})" for name, one in analysis.elsewhere.items()]
        told.append(f"Not trained here: {words.listing(outside, most=40)}.")
    return " ".join(filter(None, told))


def _split(analysis: Analysis) -> str:
    """On which folds was trained; the folds that were tested on are not among them."""
    folds = analysis.results.experiment.folds
    if folds.count < 2:
        return "on one split"
    if len(folds.used) == folds.count:
        return f"in {folds.count} folds of cross-validation"
    if len(folds.used) == 1:
        return f"on {folds.count - 1} of {folds.count} folds"
    return f"for {len(folds.used)} test folds of {folds.count}, each time on the others"


def _scans(analysis: Analysis) -> str:
    """How many scans each run trained on and was tested on."""
    trained, tested = scans_of_training(analysis)
    if not trained:
        return "and tested on scans that it had not been trained on."
    return f"on {trained}, and tested on {tested} that it had not been trained on."


def _recipe(analysis: Analysis) -> str:
    recipe = analysis.results.experiment.recipe
    if recipe is None:
        return "Each was trained by the recipe of its own paper, and with the loss of its own."
    but = exceptions(analysis)
    return (
        f"All were trained by one recipe: {_in_words(recipe)}"
        + (f"; except {words.listing(but)}" if but else "")
        + f". {OWN}"
    )


def _sizes(analysis: Analysis) -> str:
    told = sizes(analysis)
    return f"Networks were reduced: {told}." if told else ""


def _in_words(recipe: Recipe) -> str:
    """A recipe as one cites it; the table has every key."""
    optimiser = recipe.optimiser
    parts = [
        f"{words.optimiser(optimiser.name)}, learning rate {optimiser.lr:g}, weight decay "
        f"{optimiser.weight_decay:g}",
        words.schedule(recipe.schedule),
        f"batches of {recipe.batch} patch{'' if recipe.batch == 1 else 'es'}",
    ]
    if recipe.patch is not None:
        parts[-1] += f" of {'×'.join(map(str, recipe.patch))} voxels"
    if isinstance(recipe.spacing, tuple):
        parts.append(f"voxels of {'×'.join(f'{edge:g}' for edge in recipe.spacing)} mm (z, y, x)")
    if recipe.augmentation:
        names = list(dict.fromkeys(one.name.replace("_", " ") for one in recipe.augmentation))
        parts.append(f"augmentation by {words.listing(names, most=12)}")
    else:
        parts.append("no augmentation")
    return f"“{recipe.name}” ({'; '.join(parts)}; hash {recipe.digest()})"


def _scoring(analysis: Analysis) -> str:
    experiment = analysis.results.experiment
    scores = analysis.results.scores
    if scores.empty:
        return ""
    tested = int(scores.loc[scores["protocol"] == experiment.protocol, "case"].nunique())
    told = [
        f"Predictions were scored by the protocol {experiment.protocol} on "
        f"{words.plural(tested, 'test case')}; the endpoint was the mean "
        f"{words.endpoint_name(analysis.region, analysis.metric)} over {analysis.averaged}."
    ]
    failed = sum(trial.state == "failed" for trial in analysis.results.trials)
    number = trials_told(analysis)
    told.append(
        f"{failed} of {number} failed; their cases counted as missed."
        if failed
        else f"None of {number} failed."
    )
    waiting = sum(t.state in words.UNFINISHED for t in analysis.results.trials)
    if waiting:
        told.append(f"{waiting} were not finished and entered no number.")
    if analysis.apart:
        told.append(f"{words.listing(list(analysis.apart))} entered no comparison.")
    return " ".join(told)


def _judged(analysis: Analysis) -> bool:
    return any(pair.get("p_adjusted") is not None for pair in analysis.pairs)


def _exploratory_p(analysis: Analysis) -> bool:
    return any(pair.get("p_adjusted") is not None for pair in analysis.secondary)


def _statistics(analysis: Analysis) -> str:
    if analysis.summary.empty:
        return ""
    found = analysis.comparison
    told = [interval_method(analysis)]
    if told[0] and few_cases(analysis):
        told.append("From so few cases they cover a little less than they say.")
    if analysis.pairs:
        alpha, number = float(found.get("alpha") or 0.05), words.plural(len(analysis.pairs), "pair")
        were = "was" if len(analysis.pairs) == 1 else "were"
        if _judged(analysis):
            correction = str(found.get("correction"))
            named = _CORRECTIONS.get(correction, (correction, ""))[0]
            told.append(
                f"{number} {were} compared by {tests_in_words(analysis)}, two-sided at "
                f"α = {alpha:g}, adjusted by {named} over "
                f"{'these' if analysis.baseline else 'all'} pairs; intervals of differences are "
                "simultaneous."
            )
        elif all(words.missing(pair.get("ci_simultaneous_low")) for pair in analysis.pairs):
            told.append(f"Of {number} no interval and no p-value can be given.")
        else:
            told.append(
                f"Of {number} the differences have {100 * (1 - alpha):g} % intervals of "
                f"{tests_in_words(analysis)}, each by itself and without correction, for these "
                "trained networks only: with "
                f"{words.plural(len(analysis.results.experiment.folds.used), 'fold')} × "
                f"{words.plural(analysis.results.experiment.seeds, 'seed')} no verdict on "
                "architectures and no p-value was given."
            )
    told += _looks(analysis)
    narrowed = analysis.narrowed
    if analysis.margin is not None and narrowed is not None and narrowed.asked.margin is not None:
        told.append(
            f"The margin of equivalence, ±{analysis.margin:g}, was chosen when the report was made."
        )
    elif analysis.margin is not None:
        told.append(
            f"The margin of equivalence, ±{analysis.margin:g}, is kitsbench's own for this "
            "endpoint and so was fixed before any score was seen."
        )
    if narrowed is not None:
        told.append(f"{narrowed.told}")
    if analysis.secondary:
        adjusted = (
            ", adjusted by Benjamini and Hochberg,"
            if _exploratory_p(analysis)
            else ", with intervals and without p-values,"
        )
        told.append(f"Other regions and metrics were exploratory{adjusted} without verdicts.")
    components = found.get("components") or {}
    if not words.missing(components.get("seed_sd")):
        told.append(
            "The standard deviation of a fold's mean between seeds was estimated as "
            f"{words.number(components['seed_sd'], 4)}."
        )
    drawn = (found.get("rankings") or {}).get("bootstrap")
    if drawn:
        told.append(f"Ranks were redrawn {drawn['replicates']} times over {drawn['drawn']}.")
    if analysis.finds_nothing:
        told.append(
            f"No difference that a mean {words.metric_name(analysis.metric)} can have is found "
            "between the first and every other with 80 % power."
        )
    elif analysis.gap is not None:
        told.append(
            f"A difference of {words.number(analysis.gap)} between the first and any other is "
            "found with 80 % power at the level of the first step of that adjustment."
        )
    return " ".join(told)


def _looks(analysis: Analysis) -> list[str]:
    """How often was looked, and how the error was kept."""
    until = analysis.results.experiment.until
    if until is None:
        return []
    seeds = words.listing([str(number) for number in until.looks], most=len(until.looks))
    shape = _SHAPES[until.spending][0]
    told = [
        f"Trials ran in rounds of a seed over all folds. Looks were planned after {seeds} seeds; α "
        f"was spent by the information at hand (Lan and DeMets, shape of {shape}), and verdicts "
        "rest on sequential p-values and repeated intervals over all pairs and looks.",
        f"An architecture got no more trials when all its pairs were decided{_given_up(until)}.",
    ]
    looks = analysis.results.looks
    if looks is not None and (known := told_known(looks.known)):
        told.append(known)
    hours = hours_of(analysis.results)
    if hours.spared_trials:
        told.append(f"So {hours.spared_trials} of {hours.trials} planned trials were never run.")
    return told


def _given_up(until: UntilNote) -> str:
    """From which chance on a pair is given up, if any."""
    if not until.futility:
        return ""
    told = f", or had less than {until.futility:g} chance to be"
    if until.question != "claim":  # each of its pairs is a family by itself
        lone = 2 * least_hope(until.futility)
        told += f" (more, {lone:.2g} of a pair, where some were in training for one another alone)"
    return told


def tests_in_words(analysis: Analysis) -> str:
    """By which tests the pairs were compared."""
    names = str(analysis.comparison.get("test")).split("; ")
    return " and ".join(_TESTS.get(name, name) for name in names)


def interval_method(analysis: Analysis) -> str:
    """How the intervals of the means of the endpoint were made, in one sentence."""
    kinds = []
    for name in analysis.scored:
        row = analysis.row(analysis.protocol, name, analysis.region, analysis.metric)
        if row and not words.missing(row.get("ci_low")):
            kinds.append(_interval_test(row["n_cases"], row["n_folds"], row["n_seeds"]))
    if not kinds:
        return ""
    told = " or, where there were fewer runs, ".join(_INTERVALS[kind] for kind in _ordered(kinds))
    return f"95 % intervals of means are two-sided t intervals by {told}."


def few_cases(analysis: Analysis) -> bool:
    """Whether the endpoint rests on so few cases that intervals of means cover too little."""
    found = (
        analysis.row(analysis.protocol, name, analysis.region, analysis.metric)
        for name in analysis.scored
    )
    counts = [row["n_cases"] for row in found if row and not words.missing(row.get("n_cases"))]
    return bool(counts) and max(counts) < FEW_CASES


def _ordered(kinds: list[str]) -> list[str]:
    return [kind for kind in _INTERVALS if kind in kinds]


def _interval_test(cases: float, folds: float, seeds: float) -> str:
    """Which analysis a mean of such a design gets, as ``best_test`` chooses it."""
    if seeds > 1 and cases > folds:
        return TWO_WAY
    return FOLD_T if folds >= FOLDS_FOR_A_FOLD_TEST else PAIRED_T
