"""How large numbers are written: three digits and a letter, the same wherever they stand."""

from __future__ import annotations

import math

PREFIXES = ("", "k", "M", "G", "T", "P", "E")


def big(value: float, unit: str = "") -> str:
    """Three significant digits with k, M, G, T, P or E: ``287 k``, ``1.02 M``; two below 1.

    Parameters
    ----------
    value : float
        Finite.
    unit : str
        What follows the letter.
    """
    space = " " if unit else ""
    if value == 0:
        return f"0{space}{unit}"
    if abs(value) < 0.995:
        return f"{value:.2g}{space}{unit}"
    # What rounds up to 1000 of one letter is 1.00 of the next.
    rounded = float(f"{abs(value):.3g}")
    step = min(max(int(math.log10(rounded) // 3), 0), len(PREFIXES) - 1)
    scaled = value / 1000**step
    digits = 0 if abs(scaled) >= 99.95 or (step == 0 and scaled == int(scaled)) else 1
    digits = 2 if abs(scaled) < 9.995 and step else digits
    return f"{scaled:.{digits}f} {PREFIXES[step]}{unit}".strip()


def plain(value: float) -> str:
    """A number of about three digits, without a letter: ``0.53``, ``12.3``, ``2804``."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def memory(value: float, digits: int = 2) -> str:
    """Bytes in GiB, or in MiB or KiB where they are fewer: ``1.52 GiB``, ``320 MiB``.

    Parameters
    ----------
    value : float
    digits : int
        Of GiB, after the point.
    """
    if value >= 2**30:
        return f"{value / 2**30:.{digits}f} GiB"
    return f"{value / 2**20:.0f} MiB" if value >= 2**20 else f"{value / 2**10:.0f} KiB"
