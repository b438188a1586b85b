"""One case from its files to the prepared grid, in memory.

Preparation of datasets and prediction of single scans go through the same functions, so that a
network sees the same voxels in both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kitsbench.data.preparation.resample import resample
from kitsbench.data.preparation.store import PreparedCase
from kitsbench.errors import UsageError
from kitsbench.scans.findings import Finding, Refused
from kitsbench.scans.formats import open_scan
from kitsbench.scans.geometry import fitting_spacing, resampled_grid, spacing_of
from kitsbench.scans.grids import axes_onto, grid_findings
from kitsbench.scans.header import Header, canonical, refuse
from kitsbench.scans.label_names import LabelNames, names_of
from kitsbench.scans.nifti import read_header, read_label


@dataclass
class Loaded:
    """A case on the prepared grid, with what was noticed on the way.

    Attributes
    ----------
    case : PreparedCase
        Image and label; ``foreground`` is empty.
    findings : list of Finding
        Warnings.
    """

    case: PreparedCase
    findings: list[Finding] = field(default_factory=list)


def load_case(
    case: str,
    image: Path,
    label: Path | None,
    spacing: tuple[float, float, float],
    labels: LabelNames | Mapping[str, int] | None = None,
    fit: tuple[int, int, int] | None = None,
) -> Loaded:
    """Read, check, turn and resample a case.

    Parameters
    ----------
    case : str
        Its id.
    image, label : Path
        Its files; a scan may come without a label map.
    spacing : tuple of float
        Wanted spacing (z, y, x) in mm.
    labels : LabelNames, or mapping of str to int, optional
        Labels of the mask; others are refused.
    fit : tuple of int, optional
        Most voxels (z, y, x): where there would be more, the spacing is larger by one factor.

    Raises
    ------
    Refused
        The case breaks a rule.
    UsageError
        The spacing is no spacing.
    """
    check_spacing(spacing)
    scan = open_scan(image, case)
    header = scan.header
    findings = list(header.findings)
    mask = None
    if label is not None:
        mask_header = read_header(label, case)
        findings += mask_header.findings
        check_pair(header, mask_header)
        mask = read_label(mask_header, labels, axes_onto(mask_header, header.affine))
        check_content(mask_header, mask, labels)
    array, remarks = scan.read()
    findings += remarks
    affine, shape = canonical(header)
    if fit is not None:
        spacing = fitting_spacing(affine, shape, spacing, fit)
    new_affine, new_shape = resampled_grid(affine, shape, spacing)
    mapping = np.linalg.inv(affine) @ new_affine
    if new_shape != shape or not np.allclose(mapping, np.eye(4), atol=1e-9):
        z, y, x = (float(v) for v in np.diag(mapping)[:3])
        oz, oy, ox = (float(v) for v in mapping[:3, 3])
        array = resample(array, new_shape, (z, y, x), (oz, oy, ox), nearest=False)
        if mask is not None:
            mask = resample(mask, new_shape, (z, y, x), (oz, oy, ox), nearest=True)
    return Loaded(
        PreparedCase(
            id=case,
            image=np.ascontiguousarray(array),
            label=None if mask is None else np.ascontiguousarray(mask),
            spacing=spacing_of(new_affine),
            affine=new_affine,
            native=header.native(),
        ),
        findings,
    )


def check_spacing(spacing: tuple[float, float, float]) -> None:
    """Refuse a spacing that is no spacing.

    Raises
    ------
    UsageError
        It has not three positive, finite numbers.
    """
    if len(spacing) != 3 or not all(np.isfinite(s) and 0.05 <= s <= 50 for s in spacing):
        raise UsageError(
            f"spacing {tuple(spacing)} is not usable; give three lengths (z, y, x) in mm "
            "between 0.05 and 50."
        )


def check_pair(image: Header, mask: Header) -> None:
    """Refuse a mask that does not lie on the grid of its image.

    Raises
    ------
    Refused
        Shapes or affines differ.
    """
    found = grid_findings(image, mask)
    if found:
        raise Refused(found[0])


def check_content(
    header: Header, mask: np.ndarray, labels: LabelNames | Mapping[str, int] | None
) -> None:
    """Refuse a mask with nothing in it, or without a kidney where there should be one.

    Parameters
    ----------
    header : Header
        Of its file.
    mask : ndarray of uint8
        With the values that its labels have here.
    labels : LabelNames, or mapping of str to int, or None
        Of the dataset.

    Raises
    ------
    Refused
        The mask is empty or holds no kidney.
    """
    if not mask.any():
        raise refuse(
            header.path,
            header.case,
            "the mask is empty",
            "Every mask shows something, such as a kidney.",
            "Restore the mask or remove the case.",
        )
    kidney = names_of(labels or {}).labels.get("kidney")
    if kidney is not None and not (mask == kidney).any():
        raise refuse(
            header.path,
            header.case,
            f"the mask holds no kidney ({names_of(labels or {}).told()})",
            "Every mask shows at least a kidney.",
            "Check the label values of the mask.",
        )
