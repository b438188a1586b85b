"""Writing label maps that fit their image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kitsbench.errors import DataError
from kitsbench.files import write_atomic
from kitsbench.scans.geometry import spacing_of
from kitsbench.scans.grids import AFFINE_TOLERANCE


def write_label(path: Path, label: np.ndarray, native: dict[str, Any]) -> None:
    """Write a label map on the grid of an image.

    Parameters
    ----------
    path : Path
        ``.nii`` or ``.nii.gz``; whole or absent.
    label : ndarray of uint8
        Axes as on disk, shape ``native["shape"]``.
    native : dict
        :meth:`Header.native` of the image: its shape, affine and header codes are kept.

    Raises
    ------
    DataError
        The shapes differ.
    """
    import nibabel

    if list(label.shape) != list(native["shape"]):
        raise DataError(
            f"the label map has {label.shape} voxels, its image {tuple(native['shape'])}. "
            "A prediction has the shape of its image: resample it to the scan's own grid."
        )
    affine = np.array(native["affine"], dtype=np.float64)
    # NIfTI-1 has 15 bits for an axis and single precision for an affine.
    rounding = np.abs(affine.astype(np.float32) - affine).sum()
    small = rounding < AFFINE_TOLERANCE / 10 and max(label.shape) < 2**15
    kind: type[nibabel.Nifti1Image] = nibabel.Nifti1Image if small else nibabel.Nifti2Image
    nifti = kind(np.asfortranarray(label, dtype=np.uint8), None)
    nifti.header.set_zooms(spacing_of(affine))
    sform, qform = int(native["sform_code"]), int(native["qform_code"])
    nifti.header.set_sform(affine, code=sform or (0 if qform else 2))
    if qform:
        nifti.header.set_qform(affine, code=qform, strip_shears=True)
        if not np.allclose(nifti.header.get_qform(), affine, atol=1e-3) and not sform:
            # A quaternion cannot hold a sheared grid; the matrix can.
            nifti.header.set_sform(affine, code=qform)
    nifti.header["xyzt_units"] = int(native["units"]) or 2
    _save(path, lambda temporary: nibabel.save(nifti, temporary))


def _save(path: Path, write: Callable[[Path], None]) -> None:
    """Write through a temporary file whose suffix nibabel understands."""

    def through(temporary: Path) -> None:
        inner = temporary.with_name(
            temporary.name + (".nii.gz" if path.name.endswith(".gz") else ".nii")
        )
        try:
            write(inner)
            inner.replace(temporary)
        finally:
            inner.unlink(missing_ok=True)

    write_atomic(Path(path), through)
