"""Small scans on disk for the tests of the data room."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

# Slices first, from head to foot, front to back, right to left: as KiTS stores them.
KITS_AFFINE = np.array(
    [[0, 0, -2.0, 0], [0, -2.0, 0, 0], [-3.0, 0, 0, 0], [0, 0, 0, 1]], dtype=float
)
SHAPE = (12, 16, 18)


def ct(shape: tuple[int, ...] = SHAPE, seed: int = 0) -> np.ndarray:
    """Numbers like HU: air outside, tissue inside."""
    rng = np.random.default_rng(seed)
    image = rng.normal(60, 20, shape)
    image[:, :2] = -1000
    return image.astype(np.int16)


def kidneys(shape: tuple[int, ...] = SHAPE, cyst: bool = False) -> np.ndarray:
    """Label map with two kidneys and a tumour on one of them."""
    label = np.zeros(shape, dtype=np.uint8)
    z, y, x = (s // 2 for s in shape[:3])
    label[z - 3 : z + 3, y - 3 : y + 2, 2:6] = 1
    label[z - 3 : z + 3, y - 3 : y + 2, x + 3 : x + 7] = 1
    label[z - 1 : z + 2, y - 1 : y + 2, 5:7] = 2
    if cyst:
        label[z - 3, y - 3, 2:4] = 3
    return label


def save(
    path: Path,
    array: np.ndarray,
    affine: np.ndarray = KITS_AFFINE,
    edit=None,
    **fields,
) -> Path:
    """Write a NIfTI file; ``edit`` gets the header, ``fields`` are set in the raw header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nifti = nibabel.Nifti1Image(array, None, dtype=array.dtype)
    nifti.header.set_sform(affine, code=2)
    nifti.header.set_zooms([*np.sqrt((affine[:3, :3] ** 2).sum(0)), *[1.0] * (array.ndim - 3)])
    if edit is not None:
        edit(nifti.header)
    nibabel.save(nifti, path)
    if fields:
        patch(path, **fields)
    return path


def on_file_voxels(case) -> np.ndarray:
    """Labels of a prepared case on the voxels of its file, brought there as predictions are."""
    import torch

    from kitsbench.inference.native import nearest_native

    mapping = np.linalg.inv(case.affine) @ np.asarray(case.native["affine"])
    return nearest_native(torch.from_numpy(case.label), mapping, case.native["shape"])


def patch(path: Path, **fields) -> None:
    """Change raw header fields of a file, whatever nibabel thinks of the result."""
    import gzip

    packed = path.name.endswith(".gz")
    data = gzip.decompress(path.read_bytes()) if packed else path.read_bytes()
    header = nibabel.Nifti1Header(data[:348], check=False)
    for name, value in fields.items():
        header[name] = value
    data = header.binaryblock + data[348:]
    path.write_bytes(gzip.compress(data, mtime=0) if packed else data)


def case(
    root: Path,
    name: str = "case_00000",
    image: np.ndarray | None = None,
    label: np.ndarray | None = None,
    affine: np.ndarray = KITS_AFFINE,
) -> Path:
    """Write one case in the layout of KiTS19; returns its folder."""
    folder = root / name
    image = ct(seed=sum(name.encode())) if image is None else image
    save(folder / "imaging.nii.gz", image, affine)
    save(folder / "segmentation.nii.gz", kidneys() if label is None else label, affine)
    return folder
