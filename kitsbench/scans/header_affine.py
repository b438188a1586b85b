"""The affine of a NIfTI file: that of nibabel, or none.

It is the sform if its code is 1 to 5, else the qform if its code is, else the spacing alone, with
the middle of the image at 0 and the first axis towards the patient's left. Codes that NIfTI does
not know count as 0, a negative spacing as its absolute value, and a ``pixdim[0]`` that is not -1
as 1. One part of the header never stands in for another that counts more: a file whose sform is
broken is refused, for nibabel would place it there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kitsbench.scans.geometry import grid_shift, spacing_of
from kitsbench.scans.header import refuse

SPACING_LIMITS = (0.01, 100.0)  # mm; beyond, a header is broken rather than unusual


def choose_affine(
    path: Path, case: str, raw: Any, repaired: Any, warn: Any
) -> tuple[np.ndarray, tuple[int, int]]:
    """Choose the affine of a file as nibabel does.

    Parameters
    ----------
    path, case : Path, str
        For messages.
    raw, repaired : nibabel.Nifti1Header
        The header as stored, and as nibabel puts it right.
    warn : callable
        Takes what was found, the rule and what to do.

    Returns
    -------
    affine : ndarray (4, 4)
        World mm (RAS+) from disk indices.
    codes : tuple of int
        sform code, qform code; 0 where unknown.

    Raises
    ------
    Refused
        The affine is no grid.
    """
    codes = int(repaired["sform_code"]), int(repaired["qform_code"])
    for name, code in zip(("sform", "qform"), codes, strict=True):
        given = int(raw[f"{name}_code"])
        if given != code:
            warn(
                f"the code of the {name} is {given}",
                "NIfTI knows the codes 0 to 5.",
                f"The {name} is left out, as in nibabel.",
            )
    source = "sform" if codes[0] else "qform" if codes[1] else "spacing"
    affine = _matrix(repaired.get_best_affine)
    pixdim = raw["pixdim"][1:4]
    # Nibabel makes 1 mm of 0, which nobody has measured.
    if not _is_grid(affine) or (source != "sform" and (pixdim == 0).any()):
        raise refuse(
            path,
            case,
            *_fault(source, affine, pixdim),
            "Export the scan again with its geometry.",
        )
    if source == "spacing":
        warn(
            "the header has no orientation (sform and qform codes are 0)",
            "Geometry comes from the affine.",
            "As in nibabel, the axes are taken as left, front, head in this order, round the "
            "middle of the image; check left and right.",
        )
    elif source == "sform" and codes[1]:
        _compare_forms(affine, _matrix(repaired.get_qform), repaired, warn)
    return affine, codes


def _fault(source: str, affine: np.ndarray, pixdim: np.ndarray) -> tuple[str, str]:
    """What is wrong with an affine that is no grid, and the rule that it breaks."""
    lengths = pixdim if source != "sform" else spacing_of(affine)
    spacing = f"{', '.join(f'{v:g}' for v in lengths)} mm"
    rule = "Spacing is a length of 0.01 to 100 mm along every axis."
    if source == "spacing":
        return f"the spacing is {spacing}", rule
    why = f"spacing {spacing}"
    if _is_spacing(np.abs(lengths)):
        if np.isfinite(affine).all():
            why, rule = "its axes lie in one plane", "The three axes of a scan span a volume."
        elif source == "sform":
            why, rule = "a part is no number", "An affine holds twelve finite numbers."
        else:
            why = "its quaternion is no rotation"
            rule = "The squares of quatern_b, quatern_c and quatern_d add up to at most 1."
    return f"the {source} of the header is no geometry ({why})", rule


def _matrix(read: Callable[[], np.ndarray]) -> np.ndarray:
    """An affine of nibabel's; NaN where it has none (a quaternion that is no rotation)."""
    import nibabel

    try:
        with np.errstate(all="ignore"):
            return np.asarray(read(), dtype=np.float64)
    except (ValueError, nibabel.spatialimages.HeaderDataError):
        return np.full((4, 4), np.nan)


def _compare_forms(sform: np.ndarray, qform: np.ndarray, header: Any, warn: Any) -> None:
    if not _is_grid(qform):
        warn("the qform is no geometry", "sform and qform agree.", "The sform is used.")
        return
    shift = grid_shift(sform, qform, tuple(int(v) for v in header["dim"][1:4]))
    if shift > 0.05:
        warn(
            f"sform and qform disagree by up to {shift:.2g} voxels",
            "Both describe one geometry.",
            "The sform is used, as in nibabel; other programs may show another position.",
        )


def _is_grid(matrix: np.ndarray) -> bool:
    if not np.isfinite(matrix).all() or not _is_spacing(spacing_of(matrix)):
        return False
    return abs(float(np.linalg.det(matrix[:3, :3] / spacing_of(matrix)))) > 1e-3


def _is_spacing(lengths: Sequence[float] | np.ndarray) -> bool:
    low, high = SPACING_LIMITS
    return all(low <= length <= high for length in lengths)  # false for NaN
