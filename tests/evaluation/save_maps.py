"""Write label maps as NIfTI files, along any axes."""

from __future__ import annotations

import nibabel as nib
import numpy as np

SPACING = (3.0, 0.8, 0.7)  # z, y, x


def save_map(path, labels, spacing=SPACING, axes="RAS", dtype=np.uint8, shift=(0, 0, 0)):
    """Write an array (z, y, x), index 0 lowest, most posterior and leftmost, along any axes."""
    affine = np.diag([*spacing[::-1], 1.0])
    affine[:3, 3] = np.array([-20.0, 11.0, 300.0]) + shift
    image = nib.Nifti1Image(np.asarray(labels).T.astype(dtype), affine)
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(affine), nib.orientations.axcodes2ornt(tuple(axes))
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image.as_reoriented(turn), path)
    return path
