"""Whether the masks bear out a layout that was guessed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from kitsbench.data.datasets.dataset import Dataset
from kitsbench.errors import DataError
from kitsbench.scans.findings import Finding
from kitsbench.scans.label_names import KITS
from kitsbench.scans.nifti import FOREIGN_LABEL

SHARE = 0.05
"""Share of masks from which on a label belongs to the dataset; below that a mask is damaged."""


def contradicted(dataset: Dataset, excluded: Mapping[str, str]) -> Finding | None:
    """What speaks against the layout of a dataset, if it was guessed.

    KiTS19 and KiTS23 have the same files, and only the masks of the second have cysts. Taken for
    KiTS19, a part of KiTS23 would lose exactly the cases with a cyst.

    Parameters
    ----------
    dataset : Dataset
    excluded : mapping of str to str
        Why each case that cannot be used cannot be used, masks having been read.
    """
    if not dataset.guessed or "cyst" in dataset.labels:
        return None
    odd = f"{FOREIGN_LABEL}{KITS['cyst']}"
    cases = sorted(case for case, what in excluded.items() if re.fullmatch(odd, what))
    if not cases or len(cases) < SHARE * len(dataset.cases):
        return None
    return Finding(
        "",
        str(dataset.root),
        f"{len(cases)} of {len(dataset.cases)} masks hold label {KITS['cyst']}, a cyst in KiTS21 "
        f"and KiTS23; the layout {dataset.layout} was guessed and has none",
        "A layout that is guessed must fit the masks.",
        f"Name it: --layout kits23, or --layout {dataset.layout} to set these cases aside.",
    )


def check_guess(dataset: Dataset, excluded: Mapping[str, str]) -> None:
    """Refuse a dataset whose layout was guessed and cannot be what it was taken for.

    Raises
    ------
    DataError
        Its masks hold labels of another layout.
    """
    found = contradicted(dataset, excluded)
    if found is not None:
        raise DataError(f"{Path(found.file)}: {found.what}.\n{found.remedy}")
