"""The words of a report: how names and numbers are written, and what each word means."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from kitsbench.evaluation.protocols import LABELS, STORED_METRICS, for_labels, get_protocol
from kitsbench.experiments.records.parts import BudgetNote, DatasetNote
from kitsbench.metrics import METRICS
from kitsbench.metrics.titles import REGION_NAMES as REGION_NAMES
from kitsbench.metrics.titles import endpoint_name as endpoint_name
from kitsbench.metrics.titles import metric_name as metric_name
from kitsbench.metrics.titles import region_name as region_name
from kitsbench.optimisers import Schedule
from kitsbench.text import numbers, one_line

DASH = "–"
UNFINISHED = ("pending", "running", "interrupted", "held")
"""States of trials whose scores are in no table yet."""

VERDICT_NAMES = {
    "better_relevant": "better, by more than the margin",
    "better": "better",
    "better_negligible": "better, but negligibly",
    "equivalent": "equivalent",
    "inconclusive": "inconclusive",
    "not_learned": "learned nothing",
}
IDENTICAL = "identical scores"
NO_VERDICT = "no verdict possible"
"""Of a pair whose design allows none, however far apart the two lie."""
SCOPES = {
    "L0": "holds for these trained models on cases like these, not for the architectures",
    "L1": "holds for the architectures under this protocol: over cases and training runs",
    "L2": "holds also for other training sets drawn from the same source",
}
INTERVAL = (
    "Confidence interval: a range made by a rule that covers the true value in 95 of 100 such "
    "experiments."
)
PROBABILITY = (
    "How often chance alone would produce a difference at least this large if there were none."
)

GLOSSARY = [
    (
        "architecture",
        "What is compared: a network with its heads, targets, loss and decoding. It is written "
        "as a name, followed by the settings that differ from its defaults.",
    ),
    (
        "entrant",
        "Whoever has a row in the ranking: an architecture, a further setting of one, which is a "
        "network of its own, an ensemble, or what was trained elsewhere.",
    ),
    (
        "ensemble",
        "An entrant that trains nothing and puts together the predictions of networks that others "
        "trained, its members.",
    ),
    (
        "recipe",
        "How training is done: voxel spacing, patch, batch, augmentation, optimiser, schedule. "
        "The recipe “matched” is one for all, as far as their networks allow it, and only then can "
        "differences speak about architectures. With “paper”, each uses its own.",
    ),
    (
        "budget",
        "What one training run may spend: seconds on the device, steps, voxels or FLOPs. The "
        "learning-rate schedule follows the share that is spent, so every run anneals fully.",
    ),
    (
        "ledger",
        "What a training run did spend, in every currency, with its peak memory.",
    ),
    (
        "trial",
        "One entrant, on one fold, with one seed: a training run with the test that follows. That "
        "of an ensemble, or of what was trained elsewhere, only tests.",
    ),
    (
        "fold",
        "One part of the cases. A trial trains on the other folds and is tested on this one, so "
        "no network is ever scored on a scan that it was trained on.",
    ),
    (
        "seed",
        "The start of the random numbers of one training run. Two seeds give two networks of the "
        "same architecture; their spread is the noise of training.",
    ),
    (
        "endpoint",
        "The one score by which architectures are ranked and judged, declared before the run. All "
        "others are exploratory: they are shown, and decide nothing.",
    ),
    (
        "protocol",
        "The scoring rule: which labels form a region, and what an empty region scores.",
    ),
    (
        "trained elsewhere",
        "A system that only predicts here, or label maps that somebody gave. Neither had the "
        "budget, the recipe or the folds of the others, so beside them a difference belongs to "
        "all of that together.",
    ),
    ("region", "A set of labels that is scored together, such as kidney and tumour."),
    *((METRICS[name].title, METRICS[name].plain) for name in STORED_METRICS),
    (
        "mean ± SD",
        "The mean over cases and seeds; the standard deviation is over the means of the folds, "
        "as papers print it. It mixes easy and hard folds: do not use it to compare.",
    ),
    # What these two mean depends on the design: kitsbench.reporting.glossary writes it.
    ("95 % CI", ""),
    ("p", ""),
    (
        "margin",
        "The smallest difference that would matter, fixed before the experiment. Architectures "
        "whose difference surely lies within it are called equivalent.",
    ),
    (
        "gap that would be seen",
        "The true difference that an experiment of this size finds in 80 of 100 repetitions, "
        "at the strictest level at which a pair is judged beside all others. Smaller differences "
        "can exist without being seen here.",
    ),
    (
        "group",
        "Architectures that share a letter are not separated by the statistics. Read the "
        "letters, not the order of the rows.",
    ),
    (
        "P(first)",
        "How often the architecture comes first when cases and training runs are drawn again from "
        "those at hand. It supports a finding, and makes none: the groups decide.",
    ),
    (
        "rank 95 %",
        "The ranks that the tests of all pairs leave open: one more than are found better, to as "
        "many as are not found worse. They hold for all architectures at once.",
    ),
    (
        "look",
        "A comparison made while trials still came in, paid for by a share of α that was set aside "
        "for it. What a look decides stands, and its trials were not run any further.",
    ),
    (
        "official KiTS rank",
        "The place by the rule of the challenge whose protocol scores here. It has no test and no "
        "interval, so it says who scored more, not who is better.",
    ),
    (
        "scope",
        "What a verdict may be generalised to. "
        + " ".join(f"{scope} {meaning}." for scope, meaning in SCOPES.items()),
    ),
    (
        "Kendall's τ",
        "How far two rankings agree: the share of pairs in the same order minus that of pairs in "
        "the reverse order. 1 is the same ranking, 0 no agreement.",
    ),
    (
        "SD over seeds",
        "Standard deviation between the seeds of an architecture, of the mean of a fold: how much "
        "another training of the same network changes its score.",
    ),
    ("FLOPs", "Floating-point operations, a measure of computation that no device influences."),
    (
        "overshoot",
        "What was spent beyond the budget: a step that has begun is finished, never more.",
    ),
    (
        "loader wait",
        "Time in which training stood still because no batch was ready.",
    ),
]


def verdict_name(pair: Mapping[str, Any]) -> str:
    """The verdict on a pair in words; equal scores in every case are called so."""
    if pair.get("identical") and pair["verdict"] == "inconclusive":
        return IDENTICAL
    if without_verdict(pair):
        return f"{NO_VERDICT} ({times(int(pair['n_folds']) * int(pair['n_seeds']))})"
    return VERDICT_NAMES.get(str(pair["verdict"]), str(pair["verdict"]))


def without_verdict(pair: Mapping[str, Any]) -> bool:
    """Whether a pair is open because its design allows no verdict at all."""
    undecided = pair["verdict"] == "inconclusive" and pair.get("scope") == "L0"
    return undecided and pair.get("p_adjusted") is None


def kind_of(pair: Mapping[str, Any]) -> str:
    """The kind of a verdict: a key of GLYPHS in :mod:`kitsbench.reporting.page.verdicts`."""
    if verdict_name(pair) == IDENTICAL:
        return "identical"
    return "no_verdict" if without_verdict(pair) else str(pair["verdict"])


def no_p(pairs: Sequence[Mapping[str, Any]]) -> str:
    """Why pairs have neither a p-value nor a verdict, in a sentence; empty where any has one.

    Parameters
    ----------
    pairs : sequence of mapping
        Of the endpoint.
    """
    if not pairs or any(pair.get("p_adjusted") is not None for pair in pairs):
        return ""
    runs = max(int(pair["n_folds"]) * int(pair["n_seeds"]) for pair in pairs)
    return (
        f"No p-value and no verdict are given, however far a line lies from 0: "
        f"{times(runs)} of training each cannot tell an architecture from luck, and a "
        "p-value over the scans alone would be read as one on architectures."
    )


def with_regions(text: str) -> str:
    """A text with the names of regions for people in place of those of files."""
    for region, name in REGION_NAMES.items():
        text = text.replace(f"{region} ", f"{name.lower()} ")
    return text


def region_meaning(protocol: str, region: str, labels: dict[str, int]) -> str:
    """Which labels of the dataset a region holds, such as ``kidney, tumor``."""
    names = {value: name for name, value in (labels or LABELS).items()}
    own = bool(labels) and protocol == "labels"
    rule = for_labels(protocol, labels) if own else get_protocol(protocol)
    for candidate in rule.regions:
        if candidate.name == region:
            return ", ".join(names[value] for value in candidate.labels if value in names)
    return ""


def cases_used(dataset: DatasetNote) -> str:
    """Such as ``3 cases (3 set aside)``: those that were trained on or tested, and the others."""
    aside = f" ({len(dataset.excluded)} set aside)" if dataset.excluded else ""
    return f"{plural(dataset.n_cases, 'case')}{aside}"


def missing(value: Any) -> bool:
    """Whether there is no number to print."""
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def number(value: Any, digits: int = 3, signed: bool = False) -> str:
    """A decimal with a true minus sign; a dash where there is none."""
    if missing(value):
        return DASH
    # Adding zero takes the sign off a zero that rounding has left negative.
    rounded = round(float(value), digits) + 0.0
    return f"{rounded:{'+' if signed and rounded else ''}.{digits}f}".replace("-", "−")


def interval(low: Any, high: Any, digits: int = 3, signed: bool = False) -> str:
    """A range in brackets; a dash where a bound is missing."""
    if missing(low) or missing(high):
        return DASH
    return f"[{number(low, digits, signed)}, {number(high, digits, signed)}]"


def probability(value: Any) -> str:
    """A p-value: three decimals, or ``<0.001``."""
    if missing(value):
        return DASH
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def percent(value: Any, digits: int = 0) -> str:
    """A share of one as a percentage."""
    return DASH if missing(value) else f"{100 * float(value):.{digits}f} %"


def big(value: Any, unit: str = "") -> str:
    """Three significant digits with k, M, G, T, P, E."""
    return DASH if missing(value) else numbers.big(float(value), unit)


def memory(value: Any) -> str:
    """Bytes in KiB, MiB or GiB."""
    return DASH if missing(value) else numbers.memory(float(value), 1)


def duration(seconds: Any) -> str:
    """Seconds as people say them."""
    if missing(seconds):
        return DASH
    seconds = float(seconds)
    if seconds < 120:
        return f"{seconds:.{1 if seconds < 100 else 0}f} s"
    if seconds < 7200:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def exactly(seconds: float) -> str:
    """A time that was measured, as a clock shows it: ``3.2 s``, ``4 min 10 s``, ``2 h 05 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"


def spent(budget: BudgetNote) -> str:
    """A budget as people say it, such as ``2 h``, ``400 steps`` and ``3.00 TFLOP``."""
    if budget.unit == "seconds":
        for size, unit in ((3600, "h"), (60, "min")):
            if budget.amount >= size and budget.amount % size == 0:
                return f"{budget.amount / size:g} {unit}"
        return f"{budget.amount:g} s"
    if budget.unit == "steps":
        return f"{budget.amount:,.0f} step{'' if budget.amount == 1 else 's'}"
    return big(budget.amount, {"voxels": "voxels", "flops": "FLOP"}[budget.unit])


def times(runs: int) -> str:
    """Such as ``one run`` and ``15 runs``."""
    return "one run" if runs == 1 else f"{runs} runs"


def listing(names: list[str], most: int = 6) -> str:
    """Names joined as in a sentence; a long list is cut and says so."""
    if len(names) > most:
        return ", ".join(names[:most]) + f" and {len(names) - most} more"
    if len(names) < 2:
        return "".join(names)
    return ", ".join(names[:-1]) + " and " + names[-1]


def short_names(names: list[str], most: int = 26) -> dict[str, str]:
    """Names for the axes of a figure: long ones are cut, and stay different from each other."""
    found: dict[str, str] = {}
    for given in names:
        name = one_line(given)
        text = name if len(name) <= most else name[: most - 1] + "…"
        if text in found.values():
            # Labels of one architecture differ at their end: keep that instead.
            text = f"{name[: most // 2]}…{name[-(most - most // 2 - 1) :]}"
        while text in found.values():
            text += "′"
        found[given] = text
    return found


def plural(count: int, word: str) -> str:
    """Such as ``1 fold`` and ``3 folds``."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def about(seconds: float) -> str:
    """A time that was estimated: no more digits than it deserves."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            value = seconds / size
            return (
                f"{value:.0f} {unit}" if value >= 10 else f"{value:.1f} {unit}".replace(".0 ", " ")
            )
    return f"{max(seconds, 1):.0f} s"


def optimiser(name: str) -> str:
    """An optimiser as papers write it; one that torch has under another name stays as it is."""
    return {"adamw": "AdamW", "adam": "Adam", "sgd": "SGD"}.get(name, name)


def schedule(rule: Schedule) -> str:
    """A learning-rate schedule with the numbers that its rule uses, and no others."""
    told = {
        "polynomial": f"polynomial decay with power {rule.power:g}",
        "cosine": "cosine decay",
        "constant": "constant rate",
        "steps": f"decay by {rule.factor:g} in {rule.count:g} steps",
        "exponential": f"exponential decay to {rule.factor:g} to the power {rule.count:g}",
        "plateau": f"times {rule.factor:g} at each plateau of the loss",
    }[rule.rule]
    if rule.warmup:
        told += f", warm-up over {percent(rule.warmup)} of the budget"
    if rule.warmup_steps:
        told += f", warm-up over {rule.warmup_steps} steps"
    return told
