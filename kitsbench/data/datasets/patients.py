"""Who is who: cases that are one patient in several datasets, and the guard against leaks.

KiTS21 and KiTS23 hold the patients of KiTS19 under the same numbers: 00000-00209, its training
cases, and 00210-00299, its hidden test set. Their masks were drawn anew, so files that differ
say nothing; the number does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import model_validator

from kitsbench.errors import DataError
from kitsbench.files.documents import Document, Part, read_object
from kitsbench.files.foreign import brief, names_or_file
from kitsbench.scans.names import match_names
from kitsbench.text import visible

if TYPE_CHECKING:
    from kitsbench.data.datasets.dataset import Dataset

KITS = {
    "kits19": (range(210),),
    "kits21": (range(300),),
    "kits23": (range(300), range(400, 589)),
}
"""Numbers of the public training cases of each year."""
_NUMBER = re.compile(r"(?:kits(?:19|21|23)?[_-]?)?(?:case[_-])?(\d{5})(?:_0000)?", re.IGNORECASE)
_DESCRIPTION = "phantom.json"
PROVENANCE = "provenance.json"
"""File beside predictions that says which patients the networks behind them trained on."""
REMEDY = (
    "Restore it, or move the label maps to a folder of their own: nothing is known then of what "
    "their networks trained on."
)


class SourceTrial(Part):
    """A trial behind label maps, and the KiTS patients that it trained on."""

    architecture: str
    train_patients: tuple[str, ...]


class PredictedCase(Part):
    """Which trials predicted a case, and whether the very scan was trained on."""

    trials: tuple[str, ...]
    trained_on: bool


class Provenance(Document):
    """``provenance.json``: trials by their id, cases by the name of their label map."""

    remedy: ClassVar[str] = REMEDY

    schema_version: Literal[1] = 1
    trials: dict[str, SourceTrial]
    cases: dict[str, PredictedCase]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        named = {trial for case in self.cases.values() for trial in case.trials}
        if unknown := sorted(named - set(self.trials)):
            raise ValueError(f"the key trials lacks {unknown[0]}, which a case names")
        return self


def kits_number(case: str) -> int | None:
    """Number of a KiTS case, however the file or folder is spelled; None for another name."""
    match = _NUMBER.fullmatch(case)
    return int(match[1]) if match else None


def patient(case: str) -> str | None:
    """Name of a patient that is the same in every KiTS dataset; None for a case of none."""
    number = kits_number(case)
    return None if number is None else f"kits:{number:05d}"


def patients(dataset: Dataset, cases: Iterable[str]) -> list[str]:
    """Names of the KiTS patients among some cases of a dataset, sorted.

    A phantom imitates the layout of KiTS and numbers its cases anew, even those that were drawn
    around real masks.
    """
    return _patients(cases) if shows_patients(Path(dataset.root)) else []


def shows_patients(folder: Path) -> bool:
    """Whether the cases of a folder may be patients, so that their names mean something.

    Parameters
    ----------
    folder : Path
        A dataset, a case in it, or the folder around it.
    """
    places = (folder, folder.parent, folder.parent.parent)
    return not any((place / _DESCRIPTION).is_file() for place in places)


def _patients(cases: Iterable[str]) -> list[str]:
    return sorted({name for name in map(patient, cases) if name is not None})


def known_patients(text: str) -> list[str]:
    """Patients that a model trained on, from what its user says of it.

    Parameters
    ----------
    text : str
        ``kits19``, ``kits21`` or ``kits23`` for all training cases of that year; a file with one
        case a line; or names with commas between.

    Raises
    ------
    DataError
        None of the names is that of a KiTS case.
    """
    if text.lower() in KITS:
        return [f"kits:{n:05d}" for numbers in KITS[text.lower()] for n in numbers]
    try:
        content = names_or_file(text)
    except (OSError, ValueError) as error:
        why = "is no text in UTF-8" if isinstance(error, UnicodeError) else "cannot be read"
        raise DataError(f"{text} {why} ({error}). Give a file of names.") from error
    names = [part.strip() for part in re.split(r"[,\s]+", content) if part.strip()]
    unknown = [name for name in names if patient(name) is None]
    if unknown or not names:
        raise DataError(
            f"'{brief(unknown[0] if unknown else text)}' is no KiTS case. Give kits19, kits21, "
            "kits23, case names such as case_00012, or a file with such names."
        )
    return _patients(names)


def check_split_patients(cases: Iterable[str]) -> None:
    """Refuse a dataset that holds a patient twice, because one could be trained on, one tested.

    Raises
    ------
    DataError
        Two cases are one patient.
    """
    seen: dict[str, str] = {}
    for case in sorted(cases):
        name = patient(case)
        if name is None:
            continue
        if name in seen:
            raise DataError(
                f"{seen[name]} and {case} are one patient, KiTS case {name[-5:]}. A patient is "
                "trained on or tested, never both: remove one of the two."
            )
        seen[name] = case


def record_prediction(
    folder: Path, case: str, trials: Mapping[str, Mapping[str, Any]], trained_on: bool
) -> None:
    """Write down beside a label map which networks made it; records of others are kept.

    Parameters
    ----------
    folder : Path
        Where the label map is.
    case : str
        Its name without the suffix.
    trials : mapping
        Trial to ``architecture`` and ``train_patients``.
    trained_on : bool
        Whether the very scan was trained on.
    """
    file = Path(folder) / PROVENANCE
    found = _read_provenance(file)
    entry = {"trials": sorted(trials), "trained_on": trained_on}
    cases = {**found.get("cases", {}), visible(case): entry}
    known = {**found.get("trials", {}), **{name: dict(about) for name, about in trials.items()}}
    used = {name for entry in cases.values() for name in entry["trials"]}
    kept = {name: known[name] for name in sorted(used & set(known))}
    Provenance.of_plain({"trials": kept, "cases": dict(sorted(cases.items()))}).write(file)


def recorded_leaks(predictions: Path, truth: Path, cases: Iterable[str]) -> list[str]:
    """Cases that the networks behind a folder of predictions are known to have trained on.

    Parameters
    ----------
    predictions : Path
        A folder that ``kitsbench predict`` wrote, or ``predictions`` of a trial; of others
        nothing is known.
    truth : Path
        Where the label maps of the cases are; a phantom's are nobody's.
    cases : iterable of str
        The cases that are scored.

    Raises
    ------
    DataError
        A file that tells is damaged: that nothing could be read does not mean that nothing was
        trained on.
    """
    folder = predictions if predictions.is_dir() else predictions.parent
    record = _read_provenance(folder / PROVENANCE)
    # The record has the names of the predictions, which are matched as evaluation does it.
    entries = record.get("cases", {})
    cases = list(cases)
    by_case = {case: entries[name] for name, case in match_names(entries, cases).items()}
    own = _trained_patients(folder.parent / "trial.json")
    real = shows_patients(truth)
    leaked = []
    for case in sorted(cases):
        entry = entries.get(case, by_case.get(case))
        if entry is not None:
            seen, sources = entry["trained_on"], [record["trials"][t] for t in entry["trials"]]
        else:
            seen, sources = False, [{"train_patients": own}]
        trained = {name for about in sources for name in about.get("train_patients", ())}
        if seen or (real and patient(case) in trained):
            leaked.append(case)
    return leaked


def recorded_sources(folder: Path) -> list[str]:
    """Architectures behind label maps, as kitsbench wrote it down; empty where it did not.

    Parameters
    ----------
    folder : Path
        Where the label maps are.

    Raises
    ------
    DataError
        A file that tells is damaged.
    """
    record = _read_provenance(Path(folder) / PROVENANCE)
    if record:
        return sorted({about["architecture"] for about in record["trials"].values()})
    file = Path(folder).parent / "trial.json"
    context = read_object(file, REMEDY).get("context") if os.path.lexists(file) else None
    name = context.get("name") if isinstance(context, dict) else None
    return [name] if isinstance(name, str) else []


def _read_provenance(file: Path) -> dict[str, Any]:
    """What stands in a record; nothing where there is none."""
    if not os.path.lexists(file):
        return {}
    return Provenance.read(file).model_dump(mode="json")


def _trained_patients(file: Path) -> list[str]:
    """Patients that the trial beside a folder of label maps trained on; none where there is none.

    The file is that of :class:`kitsbench.experiments.records.TrialRecord`, which stands above this
    room; a test holds the two together.

    Raises
    ------
    DataError
        It does not say.
    """
    if not os.path.lexists(file):
        return []
    context = read_object(file, REMEDY).get("context")
    found = context.get("train_patients") if isinstance(context, dict) else None
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise DataError(
            f"{file}: the key context.train_patients is missing or no list of names.\n{REMEDY}"
        )
    return found


def leaked_cases(cases: Iterable[str], trained_on: Iterable[str]) -> list[str]:
    """Cases whose patient is among those that a model trained on, sorted."""
    held = set(trained_on)
    return sorted(case for case in cases if patient(case) in held)


def refuse_leak(leaked: list[str], total: int) -> DataError:
    """Make the error for cases that a model was trained on."""
    return DataError(
        f"The model was trained on {len(leaked)} of these {total} cases: {', '.join(leaked[:5])}"
        f"{' ...' if len(leaked) > 5 else ''}. A score on a training case says nothing about new "
        "patients (KiTS21 and KiTS23 hold the patients of KiTS19 under the same numbers). Leave "
        "them out, or say --allow-training-cases to have them marked instead."
    )
