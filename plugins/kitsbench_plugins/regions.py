"""Regions that the labels of a task make up, by what their names say of each other."""

from __future__ import annotations

from kitsbench.architecture import Key, Labels
from kitsbench.errors import LabelsError

KIDNEY = "kidney"
MASSES = ("tumor", "cyst", "mass")  # labels of what grows in a kidney

REGIONS = Key(
    "nested",
    "KiTS: kidney with its masses, masses, tumour; the others for labels of another kind",
    options=("nested", "ordered", "separate"),
    help="nested: as the names of KiTS's labels say; ordered: each label within the one of the "
    "value before; separate: each label by itself",
)


def regions_of(labels: Labels, how: str) -> tuple[tuple[int, ...], ...]:
    """Label values of each region, from the largest region to the smallest.

    Parameters
    ----------
    labels : tuple of (str, int)
    how : {"nested", "ordered", "separate"}
        See :data:`REGIONS`. For kidney and tumour, ``nested`` are the regions of KiTS19; with a
        cyst they are those that KiTS21 and KiTS23 score: kidney and masses, masses, tumour.

    Raises
    ------
    LabelsError
        They are to be nested, and their names do not say which holds which.
    """
    values = [value for _, value in labels]
    if how == "separate" or len(values) == 1:
        return tuple((value,) for value in values)
    if how == "ordered":
        return tuple(tuple(values[start:]) for start in range(len(values)))
    known = dict(labels)
    if KIDNEY not in known or not known.keys() <= {KIDNEY, *MASSES}:
        raise LabelsError(
            f"the labels are {', '.join(known)}, and its regions hold each other as those of a "
            "kidney with masses: give regions=separate for labels that lie side by side, "
            "regions=ordered where each lies within the one of the value before."
        )
    kidney = known[KIDNEY]
    masses = [value for value in values if value != kidney]
    tails = [tuple(masses[:count]) for count in range(len(masses), 0, -1)]
    return (tuple(values), *tails)
