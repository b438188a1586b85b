"""Numbers that did not fit their type and came out at its other end."""

from __future__ import annotations

import numpy as np

WIDTH = 1 << 16  # numbers of 16 bits, signed or not
EMPTY = 40_000  # HU of a scan, with metal, span some thousands; wrapping leaves the rest empty
Span = tuple[float, float]


def spans(values: np.ndarray) -> list[Span]:
    """Lowest and highest number, apart for either side of a gap in which nothing lies.

    Parameters
    ----------
    values : ndarray
        A part of a scan, not empty.

    Returns
    -------
    list of (float, float)
        One span, or two with more than :data:`EMPTY` between.
    """
    low, high = float(values.min()), float(values.max())
    if high - low <= EMPTY:
        return [(low, high)]
    upper = values > (low + high) / 2
    below, above = float(values[~upper].max()), float(values[upper].min())
    return [(low, below), (above, high)] if above - below > EMPTY else [(low, high)]


def wrapped(found: list[Span]) -> Span | None:
    """The numbers that are another 65536 too high, if a scan holds such.

    Negative HU saved as unsigned numbers of 16 bits become 64512 to 65535, positive ones stay; an
    offset of 32768 read as signed numbers does the like. One number that stands alone is no
    tissue, but what a scanner writes outside its field of view.

    Parameters
    ----------
    found : list of (float, float)
        What :func:`spans` gave for all parts of the scan.

    Returns
    -------
    (float, float) or None
        Their lowest and highest.
    """
    low, high = min(span[0] for span in found), max(span[1] for span in found)
    middle = (low + high) / 2
    upper = [span for span in found if span[0] > middle]
    lower = [span for span in found if span[1] <= middle]
    if len(upper) + len(lower) < len(found) or not upper or high - low >= WIDTH:
        return None
    first, below = min(span[0] for span in upper), max(span[1] for span in lower)
    return (first, high) if first - below > EMPTY and first < high and low < below else None
