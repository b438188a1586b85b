"""A request after defaults: every value that was left open is decided here, and only here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from kitsbench.errors import UsageError
from kitsbench.evaluation.protocols import for_labels
from kitsbench.experiments.asked.request import Folds, Request
from kitsbench.recipe import Recipe, Sampling
from kitsbench.scans.label_names import LabelNames
from kitsbench.statistics.table.endpoints import parse_endpoint
from kitsbench.training.budget import Budget
from kitsbench.training.recipes import matched


@dataclass(frozen=True)
class Defaults:
    """What an experiment takes where the request is silent.

    Parameters
    ----------
    cases : int or None
        Scans that are made; None where a folder holds the cases.
    split : str
        Rule, number of folds, or file of the split.
    folds : tuple of int or "all"
        Which folds of that split are run. Of a split that was asked for, all are.
    seeds : int
    budget : dict of str to Budget
        Of a trial, for each kind of device.
    curve_cases : int
        Held-out cases of a trial that are scored along the budget.
    showcases : int
        Test cases that the report draws.
    """

    cases: int | None
    split: str
    folds: Folds
    seeds: int
    budget: Mapping[str, Budget]
    curve_cases: int
    showcases: int = 3


# A first run shall take minutes on a laptop: with every reference architecture on two cores there
# is no time for more than one fold and one seed, nor for a second case along the budget, and the
# report says that it then speaks of these trained networks only. Three quarters of the cases train.
# In steps, so that a slower machine takes longer and shows the same. It is as short on a GPU.
PHANTOM = Defaults(
    cases=32,
    split="4",
    folds=(0,),
    seeds=1,
    budget={"cpu": Budget.parse("700steps"), "cuda": Budget.parse("100steps")},
    curve_cases=1,
)
# A real run shall be able to say something: five folds test every case once, and three seeds tell
# what is due to the architecture from what is due to the run.
DATASET = Defaults(
    cases=None,
    split="5",
    folds="all",
    seeds=3,
    budget={"cpu": Budget.parse("5min"), "cuda": Budget.parse("2h")},
    curve_cases=2,
)


@dataclass(frozen=True)
class Resolved:
    """What a request comes to on its dataset and its kind of device.

    How many trials run at a time is no part of it: the machine says that.

    Attributes
    ----------
    split : str
        Rule, number of folds, or file of the split.
    folds : tuple of int or "all"
        Which of its folds are run.
    seeds : int
        Training runs of each entrant and fold.
    budget, tuning_budget : Budget
        Of a trial, and of a trial that searches for settings.
    matched : Recipe
        The recipe that all share, with what the request replaces.
    size : {"tiny", "small", "paper"}
        Preset of the architectures that were not given one.
    protocols : tuple of str
        Protocols that scores are stored for; the first is the experiment's.
    endpoint : str
        ``region:metric`` of the first protocol, which verdicts are about.
    curve_cases : int
        Held-out cases of a trial that are scored along the budget.
    showcases : int
        Test cases that the report draws.
    """

    split: str
    folds: Folds
    seeds: int
    budget: Budget
    tuning_budget: Budget
    matched: Recipe
    size: str
    protocols: tuple[str, ...]
    endpoint: str
    curve_cases: int
    showcases: int

    @property
    def protocol(self) -> str:
        """The experiment's protocol."""
        return self.protocols[0]


def defaults_of(request: Request) -> Defaults:
    """The defaults that a request falls back to: those of the phantom, or of a real dataset."""
    return PHANTOM if request.phantom else DATASET


def is_timed(request: Request) -> bool:
    """Whether any trial spends seconds, which are worth something on one device only.

    Told by the request alone, since the device is chosen by it.
    """
    asked = [request.budget, request.tuning.budget if request.tuning else None]
    budgets = [budget for budget in asked if budget is not None]
    if request.budget is None:
        budgets += defaults_of(request).budget.values()
    return any(budget.unit == "seconds" for budget in budgets)


def resolve(request: Request, labels: Mapping[str, int], kind: str) -> Resolved:
    """Decide what a request leaves open.

    Parameters
    ----------
    request : Request
    labels : mapping of str to int
        The dataset's labels by name.
    kind : {"cpu", "cuda"}
        What the trials run on.

    Raises
    ------
    UsageError
        There is no such protocol, the endpoint is no ``region:metric``, or the protocol has no
        such region or metric.
    DataError
        The protocol does not score the dataset's labels.
    """
    defaults = defaults_of(request)
    budget = defaults.budget[kind] if request.budget is None else request.budget
    tuned_by = None if request.tuning is None else request.tuning.budget
    folds: Folds = defaults.folds if request.split is None else "all"
    protocols = _protocols(request.protocol, labels)
    seeds = defaults.seeds if request.seeds is None else request.seeds
    return Resolved(
        split=defaults.split if request.split is None else request.split,
        folds=folds if request.folds is None else request.folds,
        seeds=seeds if request.until is None else request.until.max_seeds,
        budget=budget,
        tuning_budget=budget if tuned_by is None else tuned_by,
        matched=replace(matched(kind), **request.overrides),
        size={"cpu": "tiny", "cuda": "paper"}[kind] if request.size == "auto" else request.size,
        protocols=protocols,
        endpoint=_endpoint(request.endpoint, protocols[0], labels),
        curve_cases=defaults.curve_cases,
        showcases=defaults.showcases,
    )


def _protocols(asked: str | None, labels: Mapping[str, int]) -> tuple[str, ...]:
    """The protocol that was asked for or is the dataset's own, and each label by itself."""
    own = "kits23" if "cyst" in labels else "kits19"
    if not LabelNames(dict(labels)).of_kits:
        own = "labels"
    names = tuple(dict.fromkeys((asked or own, "labels")))
    for name in names:
        for_labels(name, labels)
    return names


def _endpoint(asked: str | None, protocol_name: str, labels: Mapping[str, int]) -> str:
    """The endpoint's name, once it is known that there will be scores of it."""
    protocol = for_labels(protocol_name, labels)
    regions = [region.name for region in protocol.regions]
    if asked is None:
        asked = f"{'tumor' if 'tumor' in regions else regions[0]}:dice"
    endpoint = parse_endpoint(asked)
    for what, name, known in (
        ("region", endpoint.region, regions),
        ("metric", endpoint.metric, list(protocol.metrics)),
    ):
        if name not in known:
            raise UsageError(
                f"The endpoint is {asked!r}, but protocol {protocol.name} has no {what} "
                f"'{name}'; it has {', '.join(known)}."
            )
    return endpoint.name


def own_labels(labels: Mapping[str, int], resolved: Resolved) -> str | None:
    """What to say of a dataset that no challenge's protocol can score; None of others."""
    if LabelNames(dict(labels)).of_kits:
        return None
    return (
        f"The labels are {', '.join(labels)}, not kidney and tumor, so no protocol of KiTS "
        f"applies: each is scored by its own name, and verdicts are about {resolved.endpoint}."
    )


def drawn_elsewhere(sampling: Sampling, labels: Mapping[str, int]) -> str:
    """Say that a recipe centres patches on labels that a dataset lacks; empty where it does not."""
    known = {*labels, "foreground", "background"}
    lacking = [name for name, _ in sampling.weights if name not in known]
    if not lacking:
        return ""
    return (
        f"The recipe centres patches on {' and '.join(lacking)}, which nobody labelled here; they "
        "lie on any label instead."
    )
