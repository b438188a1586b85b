"""One case from its files to the prepared grid, in memory.

Preparation of datasets and prediction of single scans go through the same functions, so that a
network sees the same voxels in both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kitsbench.data.preparation.resample import NEAREST, ORDERS, resample_by, resample_labels
from kitsbench.data.preparation.store import PreparedCase
from kitsbench.errors import UsageError
from kitsbench.preparation import Preparation
from kitsbench.scans.findings import Finding, Refused
from kitsbench.scans.formats import open_scan
from kitsbench.scans.geometry import fitting_spacing, resampled_grid, spacing_of
from kitsbench.scans.grids import axes_onto, grid_findings
from kitsbench.scans.header import Header, canonical, refuse
from kitsbench.scans.label_names import LabelNames, names_of
from kitsbench.scans.nifti import read_header, read_label

Triple = tuple[float, float, float]
LARGEST, SMALLEST = 50.0, 0.05  # edges of voxels, mm


@dataclass(frozen=True)
class How:
    """How the scans of a network are prepared, beside the voxel size of each grid.

    Parameters
    ----------
    fit : tuple of int, optional
        Most voxels (z, y, x) of a case: where there would be more, the spacing is larger by one
        factor.
    preparation : Preparation
        Of the recipe.
    own : bool
        A spacing counts in the scan's own voxels instead of mm.
    """

    fit: tuple[int, int, int] | None = None
    preparation: Preparation = Preparation()
    own: bool = False


PLAIN = How()


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
    spacing: Triple,
    labels: LabelNames | Mapping[str, int] | None = None,
    how: How = PLAIN,
    ct: Path | None = None,
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
    how : How
    ct : Path, optional
        The CT of the scan, by which it is cut, where ``image`` is another channel of it.

    Raises
    ------
    Refused
        The case breaks a rule.
    UsageError
        The spacing is no spacing.
    """
    check_spacing(spacing, how.own)
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
    above = how.preparation.crop_above
    if above is not None:
        seen = array if ct is None else open_scan(ct, case).read()[0]
        # Channels that do not lie on the CT's voxels are refused where they come together.
        if seen.shape == shape:
            box = box_above(seen, above)
            if label is not None and mask is not None:
                findings += cut_off(case, label, mask, box, above)
            array, mask = array[box], None if mask is None else mask[box]
            affine, shape = affine.copy(), array.shape
            affine[:3, 3] += affine[:3, :3] @ [side.start for side in box]
    if how.own:
        z, y, x = (float(e * by) for e, by in zip(spacing_of(affine), spacing, strict=True))
        spacing = z, y, x
    if how.fit is not None:
        spacing = fitting_spacing(affine, shape, spacing, how.fit)
    new_affine, new_shape = resampled_grid(affine, shape, spacing)
    mapping = np.linalg.inv(affine) @ new_affine
    if new_shape != shape or not np.allclose(mapping, np.eye(4), atol=1e-9):
        z, y, x = (float(v) for v in np.diag(mapping)[:3])
        oz, oy, ox = (float(v) for v in mapping[:3, 3])
        of_image, of_labels = orders(how.preparation, spacing_of(affine), spacing)
        array = resample_by(array, new_shape, (z, y, x), (oz, oy, ox), of_image)
        if mask is not None:
            mask = resample_labels(mask, new_shape, (z, y, x), (oz, oy, ox), of_labels)
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


def box_above(array: np.ndarray, threshold: float) -> tuple[slice, slice, slice]:
    """The box around all voxels above a threshold; the whole array where there are none."""
    found = [np.zeros(size, dtype=bool) for size in array.shape]
    for row, plane in enumerate(array):  # a mask of a whole scan would take as much as the scan
        above = plane > threshold
        found[0][row] = above.any()
        found[1] |= above.any(1)
        found[2] |= above.any(0)
    if not found[0].any():
        found = [np.ones(size, dtype=bool) for size in array.shape]
    ends = [np.flatnonzero(side)[[0, -1]].tolist() for side in found]
    z, y, x = (slice(first, last + 1) for first, last in ends)
    return z, y, x


def cut_off(
    case: str, path: Path, mask: np.ndarray, box: tuple[slice, slice, slice], above: float
) -> list[Finding]:
    """A warning where labelled voxels lie outside of what a recipe leaves of a scan."""
    whole, left = np.count_nonzero(mask), np.count_nonzero(mask[box])
    if left == whole:
        return []
    return [
        Finding(
            case,
            str(path),
            f"{whole - left} of {whole} labelled voxels lie outside the box above {above:g} HU",
            "What a recipe cuts off (crop_above) is background to its network.",
            "Lower crop_above, or see whether the scan is in HU.",
            "warning",
        )
    ]


def orders(
    preparation: Preparation, old: Triple, new: Triple
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Orders of the splines along (z, y, x) for images and for label maps.

    Parameters
    ----------
    preparation : Preparation
    old, new : tuple of float
        Spacing of the scan and of the grid, mm.
    """
    images = [ORDERS[preparation.interpolation]] * 3
    labels = [ORDERS[preparation.labels]] * 3
    if preparation.slices_from is not None:
        for edges in (np.array(old), np.array(new)):
            if edges.max() > preparation.slices_from * edges.min():
                # Of two long axes neither is that of slices.
                longest = np.flatnonzero(edges >= (1 - 1e-3) * edges.max())
                if len(longest) == 1:
                    images[longest[0]] = labels[longest[0]] = NEAREST
                break
    return tuple(images), tuple(labels)


def check_spacing(spacing: Triple, own: bool = False) -> None:
    """Refuse a spacing that is no spacing; one in a scan's own voxels is checked by its recipe.

    Raises
    ------
    UsageError
        It has not three positive, finite numbers.
    """
    if own:
        return
    if len(spacing) != 3 or not all(np.isfinite(s) and SMALLEST <= s <= LARGEST for s in spacing):
        raise UsageError(
            f"spacing {tuple(spacing)} is not usable; give three lengths (z, y, x) in mm "
            f"between {SMALLEST:g} and {LARGEST:g}."
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
