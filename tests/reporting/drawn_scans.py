"""Draws the scans of a working directory, and predictions that differ from one another."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

# RAS array (x, y, z) -> array of a KiTS file: slices first, then rows to the back, then to the
# left; the affine says so.
SPACING = (3.0, 1.6, 1.6)
SHAPE = (20, 72, 88)


def write_scan(folder: Path, layout: str, seed: int) -> None:
    """Write one case exactly as KiTS lays it out: slice-first arrays and a flipped affine."""
    image, label = scan(layout, seed)
    affine = np.zeros((4, 4))
    affine[0, 2] = -SPACING[2]  # third axis runs to the left
    affine[1, 1] = -SPACING[1]  # second axis runs to the back
    affine[2, 0] = SPACING[0]
    affine[3, 3] = 1
    folder.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(image, affine), folder / "imaging.nii.gz")
    nib.save(nib.Nifti1Image(label, affine), folder / "segmentation.nii.gz")


def scan(layout: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A body, two kidneys, a tumour on the patient's left kidney (and a cyst)."""
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]

    def ball(centre, radius):
        terms = zip((z, y, x), centre, radius, strict=True)
        return sum(((axis - c) / r) ** 2 for axis, c, r in terms) <= 1

    label = np.zeros(SHAPE, np.uint8)
    label[ball((10, 44, 26), (8, 9, 7)) | ball((10, 44, 62), (8, 9, 7))] = 1
    label[ball((11, 40, 69), (4, 6, 6))] = 2
    if layout == "kits23":
        label[ball((8, 50, 22), (3, 4, 4))] = 3
    generator = np.random.default_rng(seed)
    image = np.full(SHAPE, -1000, np.float32)
    image[np.broadcast_to(ball((10, 38, 44), (40, 30, 40)), SHAPE)] = 20
    for value, hounsfield in ((1, 160), (2, 90), (3, 5)):
        image[label == value] = hounsfield
    image += generator.normal(0, 12, SHAPE)
    return image.astype(np.int16), label


def write_prediction(case_folder: Path, out: Path, case: str, number: int) -> None:
    """Write the truth moved by some voxels; every second architecture misplaces the tumour."""
    truth = nib.load(case_folder / "segmentation.nii.gz")
    label = np.asarray(truth.dataobj).astype(np.uint8)
    label = np.roll(label, number + 1, axis=1)
    if number % 2:
        label[label == 2] = 1
        label[9:13, 36:41, 66:72] = 2
    out.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(label, truth.affine, truth.header), out / f"{case}.nii.gz")
