"""Who takes part and how they were trained, in the words and counts that every place uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kitsbench.experiments.records import EntrantRecord, TrialRecord
from kitsbench.reporting import words
from kitsbench.reporting.analysis import Analysis
from kitsbench.statistics.table.runs import equal_runs

_MOST = 40  # names in one sentence


@dataclass(frozen=True)
class Counted:
    """How many take part, by what they are.

    Attributes
    ----------
    architectures, settings : int
        Architectures that were trained here, and further settings of them that were trained too.
    ensembles, mirrored : int
        What combines networks of others, and what tests the networks of another mirrored.
    outside : int
        Trained elsewhere.
    """

    architectures: int
    settings: int
    ensembles: int
    mirrored: int
    outside: int

    @property
    def networks(self) -> int:
        """What was trained here."""
        return self.architectures + self.settings

    @property
    def entrants(self) -> int:
        """All of them."""
        return self.networks + self.ensembles + self.mirrored + self.outside

    def told(self) -> str:
        """The sum in words, such as ``15 architectures + 3 further settings = 18 networks``."""
        parts = [words.plural(self.architectures, "architecture")] if self.architectures else []
        if self.settings:
            further = words.plural(self.settings, "further setting")
            parts = [f"{parts[0]} + {further} of them = {self.networks} networks"]
        others = [
            *[words.plural(self.ensembles, "ensemble")] * bool(self.ensembles),
            *[f"{self.mirrored} mirrored at test time"] * bool(self.mirrored),
            *[f"{self.outside} trained elsewhere"] * bool(self.outside),
        ]
        if not others:
            return parts[0] if parts else "nobody"
        comma = "," if self.settings else ""
        whole = f" = {self.entrants} entrants" if parts or len(others) > 1 else ""
        return f"{comma} + ".join([*parts, " + ".join(others)]) + whole


def counted(analysis: Analysis) -> Counted:
    """Count who takes part.

    Parameters
    ----------
    analysis : Analysis
    """
    every = [e for e in analysis.results.experiment.entrants if e.status == "ok"]
    networks = trained_networks(analysis)
    architectures = len({entrant.architecture for entrant in networks})
    mirrored = [e for e in every if e.tta is not None and e.elsewhere is None]
    ensembles = [e for e in every if e.members and e.tta is None]
    return Counted(
        architectures=architectures,
        settings=len(networks) - architectures,
        ensembles=len(ensembles),
        mirrored=len(mirrored),
        outside=sum(e.elsewhere is not None for e in every),
    )


def trained_networks(analysis: Analysis) -> list[EntrantRecord]:
    """Entrants that were trained here: no ensemble, and nothing from elsewhere."""
    return [
        entrant
        for entrant in analysis.results.experiment.entrants
        if entrant.status == "ok" and entrant.elsewhere is None and not entrant.members
        and entrant.tta is None
    ]  # fmt: skip


def trainings(analysis: Analysis) -> list[TrialRecord]:
    """Records of the trials that trained a network."""
    names = {entrant.name for entrant in trained_networks(analysis)}
    return [r for r in analysis.results.records if r.context.name in names]


def trials_told(analysis: Analysis) -> str:
    """How many trials there are, and how many of them trained nothing, in words."""
    trials = analysis.results.trials
    networks = {entrant.name for entrant in trained_networks(analysis)}
    others = sum(trial.name not in networks for trial in trials)
    told = words.plural(len(trials), "trial")
    if not others:
        return told
    return f"{told} ({words.plural(len(trials) - others, 'training')}, {others} without training)"


def scans_of_training(analysis: Analysis) -> tuple[str, str]:
    """How many scans a run trained on, and how many it was tested on; empty where nobody knows."""
    records = [record for record in trainings(analysis) if record.context.train_cases]
    if not records:
        return "", ""
    return (
        _span([len(record.context.train_cases) for record in records]),
        _span([len(record.context.test_cases) for record in records]),
    )


def _span(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return words.plural(high, "scan") if low == high else f"{low} to {high} scans"


def sizes(analysis: Analysis) -> str:
    """Of what size the networks are beside those of the papers, in one sentence without a stop.

    Parameters
    ----------
    analysis : Analysis

    Returns
    -------
    str
        Empty where nothing says it, or where all are of the papers' size.
    """
    networks = trained_networks(analysis)
    presets = [e.size for e in networks if e.size]
    if not presets or {*presets} == {"paper"}:
        return ""
    kinds = [f"“{size}”" for size in dict.fromkeys(presets)]
    if len(kinds) == 1 and len(presets) == len(networks):
        told = f"all networks are of size {kinds[0]}, not of their papers'"
    else:
        of = {size: [e.name for e in networks if e.size == size] for size in dict.fromkeys(presets)}
        told = "; ".join(f"of size “{size}”: {_names(names)}" for size, names in of.items())
    parameters = _shares([(e.parameters, e.paper_parameters) for e in networks])
    flops = _shares([(e.flops, e.paper_flops) for e in networks])
    parts = [
        *[f"{parameters} of the parameters"] * bool(parameters),
        *[f"{flops} of the operations of a forward pass that size “paper” has on the patches of "
          "that size"] * bool(flops),
    ]  # fmt: skip
    return told + (f" ({' and '.join(parts)})" if parts else "")


def _shares(pairs: Sequence[tuple[int | None, int | None]]) -> str:
    """A range of percentages; empty where none is known."""
    known = [100 * own / paper for own, paper in pairs if own and paper]
    if not known:
        return ""
    low, high = (f"{value:.2g}" for value in (min(known), max(known)))
    return f"{low} %" if low == high else f"{low} to {high} %"


def exceptions(analysis: Analysis) -> list[str]:
    """What of the training was not the same for all, though one recipe was shared.

    Parameters
    ----------
    analysis : Analysis

    Returns
    -------
    list of str
        Parts of a sentence: patches of another size, voxels of another size, settings that were
        searched for, and what each architecture brings itself. Empty with recipes of their own.
    """
    experiment = analysis.results.experiment
    recipe, records = experiment.recipe, trainings(analysis)
    if recipe is None:
        return []
    found = []
    patches: dict[tuple[int, ...], list[str]] = {}
    grids: dict[tuple[float, ...], list[str]] = {}
    for record in records:
        name, context = record.context.name, record.context
        if recipe.patch is not None and context.patch not in (None, tuple(recipe.patch)):
            patches.setdefault(tuple(context.patch or ()), []).append(name)
        if isinstance(recipe.spacing, tuple) and context.spacing != recipe.spacing:
            grids.setdefault(context.spacing, []).append(name)
    found += [
        f"patches of {_edges(size)} voxels for {_names(own)}" for size, own in patches.items()
    ]
    found += [f"voxels of {_edges(size)} mm for {_names(own)}" for size, own in grids.items()]
    several = [r.context.name for r in records if len(r.identity.preparation) > 1]
    if several:
        found.append(f"a further grid of voxels for {_names(several)}")
    staged = [
        trial.name
        for trial in analysis.results.trials
        if trial.trained and trial.ledger is not None and len(trial.ledger.stages) > 1
    ]
    if staged:
        found.append(f"several stages of training for {_names(staged)}")
    if experiment.tuning is not None:
        searched = words.listing(list(experiment.tuning.space))
        found.append(f"{searched}, for which each searched before it was trained")
    return found


def _names(names: Sequence[str]) -> str:
    return words.listing(list(dict.fromkeys(names)), most=_MOST)


def _edges(size: Sequence[float]) -> str:
    return "×".join(f"{edge:g}" for edge in size)


def equal_entrants(analysis: Analysis) -> list[tuple[str, ...]]:
    """Groups of entrants that have equal scores in every case of every run, in their order.

    Parameters
    ----------
    analysis : Analysis
    """
    if analysis.results.scores.empty:
        return []
    runs: dict[str, set[tuple[int, int]]] = {}
    for trial in analysis.results.trials:
        runs.setdefault(trial.name, set()).add((trial.fold, trial.seed))
    alike: dict[tuple[str, ...], set[tuple[int, int]]] = {}
    for group in equal_runs(analysis.results.scores):
        names = tuple(
            name for name in analysis.scored if name in {run.architecture for run in group}
        )
        if len(names) > 1:
            alike.setdefault(names, set()).update((run.fold, run.seed) for run in group)
    return [names for names, where in alike.items() if all(where == runs[n] for n in names)]


def each_counts(analysis: Analysis) -> str:
    """That entrants with equal scores count once each in what follows; empty where there are none.

    Parameters
    ----------
    analysis : Analysis

    Returns
    -------
    str
        A sentence with a space before it: a mean over entrants, a count of pairs or a mean of
        ranks would be another one if they counted as one network.
    """
    told = [words.listing(list(names)) for names in equal_entrants(analysis)]
    if not told:
        return ""
    return f" Entrants with equal scores count each by itself here: {'; '.join(told)}."
