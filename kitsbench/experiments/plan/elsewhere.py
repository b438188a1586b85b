"""Who was trained elsewhere: folders of label maps as entrants, and the guard against leaks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from kitsbench.data.datasets.dataset import Case, Dataset
from kitsbench.data.datasets.leaks import UNKNOWN, why_leaks
from kitsbench.data.datasets.patients import recorded_leaks, recorded_sources
from kitsbench.errors import DataError, UsageError
from kitsbench.evaluation.label_files import find_label_maps, match_cases
from kitsbench.experiments.asked.predictions import Predictions
from kitsbench.experiments.asked.request import Tell
from kitsbench.experiments.plan.entrant import NO_RECIPE, Entrant, Given
from kitsbench.experiments.records import ElsewhereRecord
from kitsbench.experiments.trial.systems import names_beside
from kitsbench.files import file_digest
from kitsbench.registry import RegisteredArchitecture, discover
from kitsbench.scans.grids import grid_findings
from kitsbench.scans.label_names import LabelNames
from kitsbench.scans.nifti import read_header
from kitsbench.spec import Labels, Spec

LABEL_MAPS = "label maps"
"""What stands for the distribution of entrants that are label maps."""
BESIDE = "what lies beside its label maps says"
"""Begins why label maps may know the test, where kitsbench has written it down itself."""
_TOLD = 3  # faults of one folder


def check_names(predictions: Sequence[Predictions], others: Iterable[str]) -> None:
    """Refuse a folder of label maps that is called as an architecture is.

    One that takes part would share its name, and any other that is installed would be taken for
    what the label maps come from.

    Raises
    ------
    UsageError
        It is.
    """
    if not predictions:
        return
    taken, installed = set(others), {entry.name for entry in discover()}
    for one in predictions:
        if one.name in taken:
            raise UsageError(
                f"--predictions calls a folder '{one.name}', as an architecture is called that "
                "takes part; give it another name."
            )
        if one.name in installed:
            raise UsageError(
                f"--predictions calls a folder '{one.name}', which is an installed architecture: "
                "its label maps would pass for that one trained here. Give it another name."
            )


def given_entrants(
    predictions: Sequence[Predictions], dataset: Dataset, labels: Labels
) -> list[Entrant]:
    """Make entrants of folders with label maps.

    Parameters
    ----------
    predictions : sequence of Predictions
    dataset : Dataset
        Whose scans they segment.
    labels : tuple of (str, int)
        The dataset's.

    Raises
    ------
    DataError
        A folder is missing, holds no label map of the dataset, or one that does not lie on the
        grid of its scan.
    """
    return [_entrant(one, dataset, labels) for one in predictions]


def _entrant(one: Predictions, dataset: Dataset, labels: Labels) -> Entrant:
    cases = {case.id: case for case in dataset.cases}
    scans = {case: file.image for case, file in cases.items() if file.image is not None}
    matched, _ = match_cases(find_label_maps(one.folder, predictions=True), scans)
    files = {case: file.resolve() for case, file in matched.items()}
    if not files:
        raise DataError(
            f"No label map in {one.folder} belongs to a case of {dataset.name}, such as "
            f"{next(iter(cases), 'none')}. Name the files by their cases."
        )
    _check_grids(one, files, cases)
    named = _names(files, dataset.names)
    folders = sorted({file.parent for file in files.values()})
    seen = {c for folder in folders for c in recorded_leaks(folder, Path(dataset.root), files)}
    known = list(dict.fromkeys(name for folder in folders for name in recorded_sources(folder)))
    recorded = (f"what kitsbench recorded of {', '.join(known)}",) if known else (UNKNOWN,)
    marks = {case: file_digest(file) for case, file in files.items()}
    given = Given(one.folder.resolve(), files, marks, named, one.hours, frozenset(seen))
    return Entrant(
        one.name,
        RegisteredArchitecture(
            one.name,
            title=f"label maps in {one.folder.name}",
            distribution=LABEL_MAPS,
            status="ok",
            source_hash=given.digest(files),
            location=str(one.folder.resolve()),
        ),
        Spec(labels=labels, trained_on=one.trained_on or recorded),
        NO_RECIPE,
        given=given,
    )


def _check_grids(one: Predictions, files: Mapping[str, Path], cases: Mapping[str, Case]) -> None:
    """See that every label map lies on its scan, before hours are spent on others."""
    wrong = []
    for case, file in files.items():
        image = cases[case].image
        assert image is not None
        try:
            found = grid_findings(read_header(image, case), read_header(file, case), "prediction")
            wrong += [f"{finding.case}: {finding.what} {finding.remedy}" for finding in found[:1]]
        except DataError as error:
            wrong.append(" ".join(str(error).split()))
    if wrong:
        more = f"\n... and {len(wrong) - _TOLD} more" * (len(wrong) > _TOLD)
        raise DataError(
            f"{len(wrong)} of {len(files)} label maps of '{one.name}' cannot be used; repair them, "
            "or take them away to have their cases count as missed.\n"
            + "\n".join(wrong[:_TOLD])
            + more
        )


def _names(files: Mapping[str, Path], names: LabelNames) -> LabelNames:
    """What the values of the files mean; those of the dataset where nothing beside them says."""
    found: dict[Path, LabelNames] = {}
    for file in files.values():
        if file.parent not in found:
            found[file.parent] = names_beside(file, names)
    first = next(iter(found))
    for folder, own in found.items():
        if own != found[first]:
            raise DataError(
                f"The labels in {first} and {folder} are numbered in two ways: "
                f"{found[first].told()} and {own.told()}.\nGive them as two --predictions."
            )
    return found[first]


def guard(
    entrants: Sequence[Entrant],
    dataset: Dataset,
    cases: Sequence[str],
    allow: bool,
    tell: Tell = lambda text: None,
) -> list[Entrant]:
    """Judge whether who was trained elsewhere may know the scans of the test.

    Parameters
    ----------
    entrants : sequence of Entrant
    dataset : Dataset
    cases : sequence of str
        That are tested.
    allow : bool
        Whether they are compared all the same.
    tell : callable
        Gets what a user should read before anything runs.

    Raises
    ------
    DataError
        A folder of label maps has none of the cases.
    """
    found = []
    for entrant in entrants:
        if entrant.spec is None or not entrant.spec.trained_on:
            found.append(entrant)
            continue
        given, spec = entrant.given, entrant.spec
        leak = why_leaks(spec.trained_on, dataset, cases)
        seen = given.seen & set(cases) if given else frozenset()
        if seen:
            number = f"{len(seen)} of the {len(cases)} scans"
            leak = f"{BESIDE} that it trained on {number} of the test"
        missing = [case for case in cases if given and case not in given.files]
        if missing and len(missing) == len(cases):
            raise DataError(
                f"'{entrant.name}' has a label map of none of the {len(cases)} cases that are "
                f"tested, such as {cases[0]}. Choose the --folds that it has, or leave it out."
            )
        if missing:
            tell(
                f"{entrant.name}: {len(missing)} of {len(cases)} test cases have no label map "
                f"({', '.join(missing[:3])}{' ...' * (len(missing) > 3)}) and count as missed."
            )
        if leak:
            apart = "is marked" if allow else "gets no rank and no verdict (--allow-leak)"
            tell(f"{entrant.name} {apart}: {leak}.")
        elsewhere = ElsewhereRecord(
            kind="predictions" if given else "system",
            trained_on=spec.trained_on,
            leak=leak,
            allowed=allow,
            hours=given.hours if given else None,
            missing=len(missing),
        )
        found.append(replace(entrant, elsewhere=elsewhere))
    return found
