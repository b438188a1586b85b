"""What the name of a file says of its case: one rule for datasets, truths, predictions and splits.

Two names mean one case if they are alike, or else alike up to capitals and to how an accented
letter is coded (macOS takes ``ü`` apart into two characters), or else alike without what tools put
round the name of a case: the suffix of a file, ``_0000`` for nnU-Net's first channel,
``prediction_`` or ``_seg``, ``case_`` before a number. The nearer likeness goes first, so that
cases called ``scan`` and ``scan_0000`` stay two; a name that means two cases equally well is
refused.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from kitsbench.errors import DataError

NIFTI = (".nii.gz", ".nii")
CHANNEL = "_0000"
IMAGE = "imaging"
"""What KiTS calls the scan in the folder of its case."""
SCANS = (IMAGE, "image", "img", "ct", "scan", "volume")
"""What a scan is called in the folder of its case, where a label map lies beside it."""
TRUTHS = ("segmentation", "aggregated_MAJ_seg", "label", "labels")
"""What the label map is called there: in KiTS19 and 23, in KiTS21 (majority vote), elsewhere."""
# The last is the folder into which macOS packs its notes about the files of an archive.
_HIDDEN = re.compile(r"\.|__macosx$", re.IGNORECASE)
# KiTS19 asked for files called prediction_00210.nii.gz.
_AROUND = re.compile(
    r"^(?:prediction|pred|segmentation|seg)_(?=.)"
    r"|(?<=.)(?:_(?:prediction|pred|segmentation|seg|0000)|\.nii(?:\.gz)?)$"
    r"|^case_(?=\d+$)"
)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is none of a user's: ``._x`` and the like."""
    return bool(_HIDDEN.match(name))


def nifti_stem(name: str) -> str | None:
    """Name of a NIfTI file without its suffix, in capitals or not; None for any other file."""
    for suffix in NIFTI:
        if name.lower().endswith(suffix) and len(name) > len(suffix) and not is_hidden(name):
            return name[: -len(suffix)]
    return None


def folded(name: str) -> str:
    """A name as a file system sees it that knows neither capitals nor codings of a letter."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def bare(name: str) -> str:
    """The folded name without what tools put round the name of a case."""
    name, before = folded(name), ""
    while name != before:
        name, before = _AROUND.sub("", name), name
    return name


def case_of_scan(stem: str, folder: Path | str, own: bool = False) -> str:
    """Case that a scan belongs to.

    Parameters
    ----------
    stem : str
        Its file's name without the suffix.
    folder : Path or str
        Where it lies: in KiTS, the folder of one case that gives it its name.
    own : bool
        Whether it is known to be the folder of one case, since a label map lies there that is
        called as in such folders (:data:`TRUTHS`).
    """
    stem = stem.removesuffix(CHANNEL) or stem
    name = Path(folder).name
    general = SCANS if own else (IMAGE,)
    return name if name and folded(stem) in general else stem


def match_names(names: Iterable[str], cases: Iterable[str]) -> dict[str, str]:
    """Give every name the case that it means.

    Parameters
    ----------
    names : iterable of str
        Of files without their suffix, or as a list holds them.
    cases : iterable of str
        Ids that differ by more than capitals and the coding of letters.

    Returns
    -------
    dict of str to str
        Name to case, in the order of the names; without those that mean no case. Several names
        may mean one case.

    Raises
    ------
    DataError
        A name means two cases equally well.
    """
    known = dict.fromkeys(cases)
    by_fold = {folded(case): case for case in known}
    by_core: dict[str, list[str]] = {}
    for each in known:
        by_core.setdefault(bare(each), []).append(each)
    found = {}
    for name in names:
        case: str | None = name if name in known else by_fold.get(folded(name))
        if case is None:
            likely = by_core.get(bare(name), [])
            if len(likely) > 1:
                raise DataError(
                    f"'{name}' may mean the case {likely[0]} or {likely[1]}. Give it the exact "
                    "name of its case."
                )
            case = likely[0] if likely else None
        if case is not None:
            found[name] = case
    return found


def one_name_each(found: dict[str, str]) -> None:
    """Refuse names of which two mean one case.

    Parameters
    ----------
    found : dict of str to str
        What :func:`match_names` gave.

    Raises
    ------
    DataError
        There are such.
    """
    seen: dict[str, str] = {}
    for name, case in found.items():
        if case in seen:
            raise DataError(
                f"'{seen[case]}' and '{name}' both mean the case {case}. Keep one of them."
            )
        seen[case] = name
