"""Which label of a file is which, for truths and predictions that somebody else made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kitsbench.errors import DataError
from kitsbench.evaluation.protocols import Protocol, for_labels
from kitsbench.scans.label_names import KITS, LabelNames, near


@dataclass(frozen=True)
class Naming:
    """What the values of a folder of truths and of one of predictions mean.

    Attributes
    ----------
    truth : LabelNames or None
        None where nothing names the labels, which then are those of KiTS.
    predictions : LabelNames or None
        With the values that the truth's labels have here; None as for the truth.
    protocols : tuple of Protocol
        Those asked for, fitted to the truth's labels.
    notes : tuple of str
        How it was found out, where that is worth saying.
    """

    truth: LabelNames | None
    predictions: LabelNames | None
    protocols: tuple[Protocol, ...]
    notes: tuple[str, ...] = ()


def name_values(
    pairs: Mapping[str, tuple[Path | None, Path]], protocols: Sequence[Protocol]
) -> Naming:
    """Find out what the values of label maps mean, from the ``dataset.json`` above them.

    Predictions without one are numbered as their truth is. Without any, 1 is kidney, 2 tumor and
    3 cyst.

    Parameters
    ----------
    pairs : mapping
        Case to the files of its prediction, which may be missing, and its truth.
    protocols : sequence of Protocol
        By which to score.

    Raises
    ------
    DataError
        A description does not hold, files of one folder are named in several ways, predictions
        have labels that the truth lacks, or a protocol does not score the labels.
    """
    truth = _one(path for _, path in pairs.values())
    predicted = _one(path for path, _ in pairs.values() if path is not None)
    fitted, notes = tuple(protocols), []
    if truth is not None:
        fitted = tuple(for_labels(protocol, truth.labels) for protocol in protocols)
    reference = truth or LabelNames(dict(KITS))
    if predicted is None:
        predicted = truth
    else:
        try:
            predicted = predicted.onto(reference)
        except DataError as error:
            raise DataError(
                f"The predictions have other labels than the truth: {error}.\n"
                "Map their label maps to the labels of the truth first."
            ) from error
    if reference.of_kits:
        # Values of KiTS need no exchange, and what else may occur is for the protocol to say.
        truth = truth if truth is not None and truth.on_disk else None
        predicted = predicted if predicted is not None and predicted.on_disk else None
    changed = [
        f"{role} {names.told()}"
        for role, names in (("truth", truth), ("predictions", predicted))
        if names is not None and names.on_disk
    ]
    if changed:
        notes.append(f"Labels go by their names, not their values: {'; '.join(changed)}.")
    if truth is not None and truth.ignores:
        notes.append("Voxels that the truth ignores are background in both maps.")
    return Naming(truth, predicted, fitted, tuple(notes))


def _one(paths: Iterable[Path]) -> LabelNames | None:
    """The names that all files share."""
    found: dict[Path, LabelNames | None] = {}
    first: Path | None = None
    for path in paths:
        folder = path.resolve().parent
        if folder in found:
            continue
        found[folder] = near(path)
        first = first or folder
        if found[folder] != found[first]:
            told = [names.told() if names else "nothing" for names in (found[first], found[folder])]
            raise DataError(
                f"The labels in {first} and {folder} are numbered in two ways: {told[0]} and "
                f"{told[1]}.\nEvaluate them one by one."
            )
    return None if first is None else found[first]
