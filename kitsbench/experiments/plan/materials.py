"""What an experiment works on: the dataset, its prepared volumes, and its folds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from kitsbench.data.channels.derived import wanted_on
from kitsbench.data.channels.stores import image_key
from kitsbench.data.datasets.dataset import Dataset, open_dataset
from kitsbench.data.datasets.patients import check_split_patients, shows_patients
from kitsbench.data.phantom.dataset import write_phantom
from kitsbench.data.preparation.prepare import prepare
from kitsbench.data.preparation.store import PreparedStore
from kitsbench.data.preparation.volumes import How
from kitsbench.data.preparation.wanted import grid_spacings, prepared_how
from kitsbench.data.splits.rules import SEED as SPLIT_SEED
from kitsbench.data.splits.rules import choose_rule, tumor_volumes
from kitsbench.data.splits.split import Split, make_folds
from kitsbench.errors import DataError, UsageError
from kitsbench.evaluation.protocols import for_labels
from kitsbench.experiments.asked.request import Count, Folds, Request, Tell
from kitsbench.experiments.asked.resolve import Resolved, defaults_of
from kitsbench.experiments.machines.environment import usable_cores
from kitsbench.experiments.plan.entrant import Entrant
from kitsbench.preparation import Triple
from kitsbench.recipe import Recipe
from kitsbench.spec import Grid, Spec
from kitsbench.statistics.table.endpoints import parse_endpoint

Stores = dict[str, dict[str, PreparedStore]]  # {entrant's name: {grid: prepared store}}


def find_dataset(request: Request, tell: Tell, count: Count) -> Dataset:
    """Open the dataset that was asked for; make the phantom if it is that.

    Raises
    ------
    UsageError, DataError
        There is no such folder, or it holds no dataset.
    """
    made = defaults_of(request).cases
    if made is not None:
        folder = request.workdir / "datasets" / f"phantom-small-{made}"
        write_phantom(
            folder,
            made,
            tumors="large",  # a short training on coarse voxels cannot learn the others
            progress=lambda done, total: count("phantom", done, total),
            jobs=usable_cores(),
        )
        return open_dataset(folder)
    path = Path(str(request.dataset)).expanduser()
    if not path.exists():
        raise UsageError(
            f"The dataset '{request.dataset}' is neither a folder nor the word 'phantom'. "
            "Give the folder that holds the cases."
        )
    dataset = open_dataset(path, request.layout)
    for finding in dataset.problems:
        tell(f"{finding.case}: {finding.what} {finding.remedy}")
    if dataset.on_disk:
        tell(f"{dataset.name}: {dataset.note}")
    return dataset


def with_its_channels(entrant: Entrant, dataset: Dataset) -> Entrant:
    """An entrant, with an error where the dataset lacks a channel that its network sees."""
    for grid in entrant.spec.grids if entrant.spec else ():
        for name in wanted_on(grid, entrant.spec).images:  # type: ignore[arg-type]
            try:
                dataset.channel_number(name)
            except DataError as error:
                return replace(entrant, spec=None, recipe=None, error=f"data error: {error}")
    return entrant


def prepare_all(
    request: Request, entrants: Sequence[Entrant], dataset: Dataset, shared: Recipe, count: Count
) -> Stores:
    """Prepare every spacing and channel that an architecture's grids ask for, each once.

    Returns
    -------
    dict
        {entrant's name: {grid: store}}, with the stores of further channels by
        :func:`~kitsbench.data.channels.stores.image_key`.

    Parameters
    ----------
    request : Request
    entrants : sequence of Entrant
    dataset : Dataset
    shared : Recipe
        What all share; its spacing is prepared where nobody trains.
    count : callable

    Raises
    ------
    DataError
        No case can be used, or with ``strict`` one cannot.
    """
    made: dict[tuple[int, Triple, How], PreparedStore] = {}
    stores: Stores = {}

    def made_at(channel: int, wanted: Triple, how: How) -> PreparedStore:
        key = channel, wanted, how
        if key not in made:
            edges = "x".join(f"{edge:g}" for edge in wanted)
            what = f"cases prepared at {edges} {'of their own voxels' if how.own else 'mm'}"
            what += f", channel {channel:04d}" if channel else ""
            made[key] = prepare(
                dataset.of_channel(channel),
                wanted,
                request.workdir / "prepared",
                jobs=usable_cores(),
                progress=lambda done, total: count(what, done, total),
                strict=request.strict,
                how=how,
                cut_by=dataset if channel else None,
            )
        return made[key]

    usable = [(e.name, e.spec, e.recipe) for e in entrants]
    wanting: list[tuple[str, Spec, Recipe, tuple[Grid, ...]]] = [
        (name, spec, recipe, spec.grids)
        for name, spec, recipe in usable
        if spec is not None and recipe is not None and not spec.members and not spec.trained_on
    ]
    if not wanting:
        # Who was trained elsewhere reads the scans themselves. Which of them can be used, and what
        # they are called by, is found out in the same way, whoever else takes part.
        elsewhere = [(n, s) for n, s, _ in usable if s is not None and not s.members]
        wanting = [(n, s, shared, (Grid("image", (1, 1, 1)),)) for n, s in elsewhere[:1]]
    for name, spec, recipe, grids in wanting:
        how = prepared_how(spec, recipe)
        # Any other rule for the voxel size was resolved when the entrant was planned.
        mm = recipe.spacing if isinstance(recipe.spacing, tuple) else (1.0, 1.0, 1.0)
        spacings = grid_spacings(grids, recipe, mm)
        stores[name] = {}
        for grid in grids:
            wanted = spacings[grid.name]
            stores[name][grid.name] = made_at(0, wanted, how)
            for image in wanted_on(grid, spec).images:
                number = dataset.channel_number(image)
                stores[name][image_key(grid.name, image, number)] = made_at(number, wanted, how)
    return stores


def nobody_has(resolved: Resolved, dataset: Dataset, stores: Stores) -> str | None:
    """Say that no prepared case has the endpoint's region; None where one has.

    At coarse voxels a small tumour vanishes, though the scan that is scored has it.
    """
    first = next((store for grids in stores.values() for store in grids.values()), None)
    if first is None:
        return None
    endpoint = parse_endpoint(resolved.endpoint)
    regions = for_labels(resolved.protocol, dataset.labels).regions
    region = next(region for region in regions if region.name == endpoint.region)
    # Of a label without voxels a store has no intensities.
    known = first.manifest.fingerprint.intensity
    present = {value for name, value in first.labels.items() if name in known}
    if present & set(region.labels):
        return None
    return (
        f"No case of {dataset.name} has a {endpoint.region} at the voxel size of training, so none "
        f"can be learned; if the scans have none either, there will be no mean {endpoint.name} and "
        "no ranking by it. --endpoint names another."
    )


def choose_split(
    rule: str, asked: Folds, dataset: Dataset, stores: Stores, count: Count
) -> tuple[Split, tuple[int, ...]]:
    """One split for all architectures, over the cases that every store holds.

    Parameters
    ----------
    rule : str
        Rule, number of folds, or file of the split.
    asked : tuple of int or "all"
        Which of its folds are run.
    dataset : Dataset
    stores : dict
    count : callable

    Returns
    -------
    Split, tuple of int
        The folds, and which of them are run.

    Raises
    ------
    UsageError, DataError
        There are too few cases, or a fold does not exist.
    """
    # Architectures share stores, and each case is opened once a store.
    distinct = {store.id: store for grids in stores.values() for store in grids.values()}
    every = [set(store.cases) for store in distinct.values()]
    if not every:
        # Nobody can take part; the experiment without trials still says so in its own files.
        return make_folds(["none-0", "none-1"], 2, SPLIT_SEED), ()
    cases = sorted(
        case
        for case in set.intersection(*every)
        if all(store.case(case).label is not None for store in distinct.values())
    )
    if len(cases) < max(int(rule) if rule.isdecimal() else 2, 2):
        raise DataError(
            f"{len(cases)} usable cases with masks are too few for the split '{rule}'; "
            "use fewer folds (--split) or more cases (see `kitsbench data verify`)."
        )
    if shows_patients(dataset.root):
        check_split_patients(cases)
    split = choose_rule(
        rule,
        cases,
        lambda chosen: tumor_volumes(
            dataset.select(chosen), lambda done, total: count("tumours measured", done, total)
        ),
        seed=SPLIT_SEED,
    )
    folds = tuple(range(len(split.folds))) if asked == "all" else asked
    if max(folds) >= len(split.folds):
        raise UsageError(
            f"Fold {max(folds)} does not exist: the split has folds 0 to {len(split.folds) - 1}."
        )
    return split, folds
