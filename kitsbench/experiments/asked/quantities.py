"""What people write for a memory, folds, a patch or a spacing, read into values.

A configuration file gives numbers and lists where a command line gives texts; both are read here.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from kitsbench.errors import UsageError
from kitsbench.files.foreign import brief
from kitsbench.training.budget import MOST, UNITS

LARGEST = 4096  # voxels; the whole of a scan is no larger
WIDEST = 100.0  # mm; no scan has voxels of 10 cm, so a larger spacing is a slip


def parse_memory(text: Any) -> int:
    """Read an amount of memory such as ``11GiB`` or ``500MB`` into bytes.

    Raises
    ------
    UsageError
        The text is no amount of a byte or more with a unit.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)(i?)b\s*", str(text).lower())
    amount = 0.0
    if match is not None:
        amount = float(match[1]) * (1024 if match[3] else 1000) ** " kmgt".index(match[2] or " ")
    if not 1 <= amount <= 2**60:
        raise UsageError(
            f"The memory '{brief(text, 500)}' cannot be read; write for example 11GiB or 500MB."
        )
    return int(amount)


def parse_interval(text: Any) -> float:
    """Read a time such as ``10min``, ``90s`` or a number of seconds into seconds.

    Raises
    ------
    UsageError
        The text is no time of a second or more.
    """
    match = re.fullmatch(r"\s*([0-9]{1,20}(?:\.[0-9]{1,20})?)\s*([a-z]*)\s*", str(text).lower())
    currency, factor = UNITS.get(match[2] or "s", ("", 0.0)) if match is not None else ("", 0.0)
    seconds = float(match[1]) * factor if match is not None else 0.0
    if currency != "seconds" or not 1 <= seconds <= MOST["seconds"]:
        raise UsageError(
            f"The time '{brief(text, 500)}' cannot be read; write for example 10min, 90s or a "
            "number of seconds, at least 1."
        )
    return seconds


def parse_folds(value: Any) -> tuple[int, ...] | Literal["all"]:
    """Read ``all``, ``0,2``, a number or a list of numbers into fold indices.

    Raises
    ------
    UsageError
        The value is none of these.
    """
    text = _text(value)
    if text.strip().lower() == "all":
        return "all"
    try:
        folds = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        folds = ()
    if not folds or folds[0] < 0:
        raise UsageError(
            f"The folds '{brief(text)}' cannot be read; write all, or indices such as 0,2."
        )
    return folds


def parse_patch(value: Any) -> tuple[int, int, int]:
    """Read a patch in voxels: ``64`` for all axes, or ``32,48,48`` or ``32x48x48`` (z, y, x).

    Raises
    ------
    UsageError
        It is not that.
    """
    found = parse_triple(value, int)
    if found is None or min(found) < 1 or max(found) > LARGEST:
        raise UsageError(
            f"The patch '{brief(_text(value))}' cannot be read; write one edge or three (z,y,x), "
            f"in whole voxels of at least 1, such as 64 or 32,48,48 (and at most {LARGEST})."
        )
    return found


def parse_spacing(value: Any) -> tuple[float, float, float]:
    """Read a voxel size in mm: ``4.5`` for all axes, or ``3,0.78,0.78`` (z, y, x).

    Raises
    ------
    UsageError
        It is not that.
    """
    found = parse_triple(value, float)
    # Written so that NaN, which is above and below nothing, is refused too.
    if found is None or not all(0 < length < WIDEST for length in found):
        raise UsageError(
            f"The spacing '{brief(_text(value))}' cannot be read; write one length or three "
            f"(z,y,x), in mm above 0 and below {WIDEST:g}, such as 4 or 3,0.78,0.78."
        )
    return found


def parse_triple(value: Any, kind: type) -> tuple[Any, Any, Any] | None:
    """Read one number for all axes, or three (z, y, x) with commas or x between; None for others.

    Parameters
    ----------
    value : str, number or list
    kind : type
        ``int`` or ``float``.
    """
    try:
        numbers = [kind(part) for part in re.split("[x,]", _text(value).lower())]
    except ValueError:
        return None
    numbers = numbers * 3 if len(numbers) == 1 else numbers
    return (numbers[0], numbers[1], numbers[2]) if len(numbers) == 3 else None


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
