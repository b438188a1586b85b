"""Label maps on disk: which file belongs to which case, and what is in it."""

from __future__ import annotations

import gzip
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from kitsbench.errors import DataError
from kitsbench.evaluation.scores import as_label_map

if TYPE_CHECKING:
    from nibabel import Nifti1Image
    from nibabel.arrayproxy import ArrayProxy

AFFINE_TOLERANCE = 1e-3
"""Largest sum of absolute differences between two affines of one grid (KiTS23's own check)."""

_NIFTI = (".nii.gz", ".nii")
# What the label map is called in a case's own folder: KiTS19 and KiTS23, KiTS21 (majority vote).
_TRUTH_NAMES = ("segmentation", "aggregated_MAJ_seg", "label", "labels")
_PREDICTION_NAMES = ("prediction", *_TRUTH_NAMES)
# Folders in which a dataset or a run of some tool keeps its label maps.
_TRUTH_FOLDERS = ("labelsTr", "labelsTs", "data", "dataset", "kits21/data")
_PREDICTION_FOLDERS = ("predictions", *_TRUTH_FOLDERS)
# KiTS19 asked for files called prediction_00210.nii.gz.
_AFFIXES = re.compile(
    r"^(?:prediction|pred|segmentation|seg)_|_(?:prediction|pred|segmentation|seg)$"
)


@dataclass(frozen=True)
class LabelFile:
    """What the header of a label map says.

    Attributes
    ----------
    path : Path
        The file.
    shape : tuple of int
        Voxels along the axes as they are stored.
    affine : ndarray, shape (4, 4)
        From stored voxel indices to mm, towards right, anterior and superior (RAS+).
    orientation : ndarray, shape (3, 2)
        Nibabel's description of how the stored axes lie in the patient.
    """

    path: Path
    shape: tuple[int, ...]
    affine: np.ndarray
    orientation: np.ndarray

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm along the patient's axes ``(z, y, x)``, from the affine."""
        sizes = np.linalg.norm(self.affine[:3, :3], axis=0)
        by_axis = dict(zip(self.orientation[:, 0], sizes, strict=True))
        z, y, x = (float(by_axis[axis]) for axis in (2, 1, 0))
        return z, y, x

    @property
    def sheared(self) -> bool:
        """Whether the axes are not perpendicular, so that voxels are no boxes."""
        directions = self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        return bool(np.abs(directions.T @ directions - np.eye(3)).max() > 1e-3)


def find_label_maps(folder: Path, predictions: bool) -> dict[str, Path]:
    """Find the label maps of a folder by case.

    Understood are a flat folder of ``<case>.nii.gz``, a folder for each case as KiTS19, KiTS21
    and KiTS23 have it (``<case>/segmentation.nii.gz``, ``<case>/aggregated_MAJ_seg.nii.gz``),
    nnU-Net's ``labelsTr``, the folder that contains one of these, and a single file; of
    predictions also the folder of an nnU-Net training, whose ``fold_<k>/validation`` are taken
    together.

    Parameters
    ----------
    folder : Path
        Where to look.
    predictions : bool
        Whether these are predictions rather than the truth.

    Raises
    ------
    DataError
        There is no such folder, it holds no label map, or two files claim one case.
    """
    folder = Path(folder)
    role = "predictions" if predictions else "truth"
    if folder.is_file():
        return {_case_of_file(folder): folder}
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder} ({role}).")
    inner = _PREDICTION_FOLDERS if predictions else _TRUTH_FOLDERS
    names = _PREDICTION_NAMES if predictions else _TRUTH_NAMES
    for candidate in (folder, *(folder / name for name in inner)):
        found = _find_here(candidate, names) if candidate.is_dir() else {}
        if found:
            return found
    by_fold = _validation_folders(folder) if predictions else {}
    found = {}
    for inside in by_fold.values():
        for case, path in _find_here(inside, names).items():
            if case in found:
                raise DataError(
                    f"{found[case]} and {path} both claim the case {case}. A case is tested in one "
                    "fold: remove one of them, or evaluate each fold's folder by itself."
                )
            found[case] = path
    if found:
        return found
    raise DataError(
        f"{folder} ({role}) holds no label map. Understood are <case>.nii.gz, "
        "<case>/segmentation.nii.gz (KiTS) and labelsTr/<case>.nii.gz (nnU-Net)."
    )


def folds_of(folder: Path) -> dict[str, int]:
    """Fold in which each case was predicted, where the folder of an nnU-Net training says so.

    Returns
    -------
    dict
        Name of the label map to fold; empty for any other folder.
    """
    return {
        case: fold
        for fold, inside in _validation_folders(Path(folder)).items()
        for case in _find_here(inside, _PREDICTION_NAMES)
    }


def _validation_folders(folder: Path) -> dict[int, Path]:
    """Validation predictions of an nnU-Net training by fold."""
    found = {}
    for path in folder.glob("fold_*/validation") if folder.is_dir() else ():
        number = path.parent.name.removeprefix("fold_")
        if number.isdecimal() and path.is_dir():
            found[int(number)] = path
    return dict(sorted(found.items()))


def _find_here(folder: Path, names: tuple[str, ...]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        label_map: Path | None = path
        case = _stem(path)
        if path.is_dir():
            label_map, case = _in_case_folder(path, names), path.name
        if label_map is None or case is None:
            continue
        if case in found:
            raise DataError(
                f"{found[case]} and {label_map} both claim the case {case}. Remove one of them."
            )
        found[case] = label_map
    return found


def _in_case_folder(folder: Path, names: tuple[str, ...]) -> Path | None:
    for name in names:
        for suffix in _NIFTI:
            if (folder / (name + suffix)).is_file():
                return folder / (name + suffix)
    return None


def _stem(path: Path) -> str | None:
    """File name without the NIfTI suffix; None for anything else."""
    if path.is_file():
        for suffix in _NIFTI:
            if path.name.lower().endswith(suffix):
                return path.name[: -len(suffix)]
    return None


def _case_of_file(path: Path) -> str:
    stem = _stem(path)
    if stem is None:
        raise DataError(f"{path} is no NIfTI file (.nii or .nii.gz).")
    return path.resolve().parent.name if stem in _PREDICTION_NAMES else stem


def match_cases(
    predictions: dict[str, Path], truth: dict[str, Path]
) -> tuple[dict[str, Path], list[str]]:
    """Give every case of the truth its prediction.

    Returns
    -------
    matched : dict
        Case of the truth -> prediction, in the order of the truth.
    extra : list of str
        Predictions that belong to no case.

    Raises
    ------
    DataError
        Two predictions belong to one case.
    """
    found = {case: path for case, path in predictions.items() if case in truth}
    extra = []
    for name, path in predictions.items():
        if name in truth:
            continue
        bare = _AFFIXES.sub("", name)
        case = next((c for c in (bare, f"case_{bare}") if c in truth), None)
        if case is None:
            extra.append(name)
        elif case in found:
            raise DataError(
                f"{found[case]} and {path} both claim the case {case}. Remove one of them."
            )
        else:
            found[case] = path
    return {case: found[case] for case in truth if case in found}, extra


def read_header(path: Path) -> LabelFile:
    """Read a label map's header.

    Raises
    ------
    DataError
        The file is no NIfTI file, is damaged, or its grid makes no sense.
    """
    import nibabel as nib

    try:
        image = _load(path)
        shape, affine = image.shape, np.asarray(image.affine, float)
    except (*_READ_ERRORS, nib.filebasedimages.ImageFileError) as error:
        raise DataError(f"{path} cannot be read as NIfTI: {_reason(error)}") from error
    # Some tools append axes of length one.
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or 0 in shape:
        raise DataError(f"{path} has shape {image.shape}; a label map has three axes.")
    orientation = (
        nib.io_orientation(affine) if np.isfinite(affine).all() else np.full((3, 2), np.nan)
    )
    if np.isnan(orientation).any():
        raise DataError(f"{path} has an affine that is no grid: {format_affine(affine)}.")
    return LabelFile(Path(path), tuple(int(n) for n in shape), affine, orientation)


def read_labels(file: LabelFile) -> np.ndarray:
    """Read a label map.

    Returns
    -------
    ndarray of uint8, shape (z, y, x)
        Index 0 is the patient's lowest, most posterior, leftmost voxel (RAS+, reversed axes),
        however the file stores its axes. A view where possible.

    Raises
    ------
    DataError
        The file is damaged or holds something that is no label.
    """
    import nibabel as nib

    try:
        data = _stored_values(_load(file.path), file.path)
    except _READ_ERRORS as error:
        raise DataError(f"{file.path} is damaged: {_reason(error)}") from error
    labels = as_label_map(data.reshape(file.shape, order="A"), str(file.path))
    return nib.apply_orientation(labels, file.orientation).T


def _load(path: Path) -> Nifti1Image:
    """Open a NIfTI file of either version; the second is a kind of the first to nibabel."""
    import nibabel as nib

    return cast("Nifti1Image", nib.load(path))


def _stored_values(image: Nifti1Image, path: Path) -> np.ndarray:
    """Values as the header scales them, in a view of the decompressed file where possible.

    Nibabel stops reading after the last voxel, before gzip's checksum, so that it takes damaged
    voxels for labels. Reading the file whole is also faster, and nothing is held twice.
    """
    proxy = cast("ArrayProxy", image.dataobj)
    if not path.name.lower().endswith(".gz"):
        return np.asanyarray(proxy)
    content = gzip.decompress(path.read_bytes())
    size = proxy.offset + int(np.prod(proxy.shape)) * proxy.dtype.itemsize
    if len(content) < size:
        raise ValueError(f"it holds {len(content)} bytes; its header promises {size}")
    values = np.ndarray(proxy.shape, proxy.dtype, content, proxy.offset, order="F")
    if (proxy.slope, proxy.inter) != (1, 0):
        return values * proxy.slope + proxy.inter
    return values


def find_samples(truth: Path) -> tuple[Path, ...]:
    """Find the sampled annotations of a case in KiTS21's layout.

    The organisers' script writes them to ``<case>/segmentation_samples/group_*/*.nii.gz``, next
    to the majority mask.

    Parameters
    ----------
    truth : Path
        The case's majority mask.

    Returns
    -------
    tuple of Path
        All members of all groups; empty where there are none.
    """
    members = truth.parent.glob("segmentation_samples/group*/*")
    return tuple(sorted(path for path in members if _stem(path) and path.name[0] != "."))


def check_same_grid(prediction: LabelFile, truth: LabelFile, role: str = "prediction") -> None:
    """Check that a prediction lies on the grid of its truth.

    A file may store the same voxels along other axes or in the other direction; that is no
    difference. The comparison is made along the axes of the truth.

    Parameters
    ----------
    prediction, truth : LabelFile
        The two.
    role : str
        What to call the first in messages.

    Raises
    ------
    DataError
        Shape or affine differ; the message names both files and both values.
    """
    import nibabel as nib

    turn = nib.orientations.ornt_transform(prediction.orientation, truth.orientation)
    order = np.argsort(turn[:, 0])
    shape = tuple(prediction.shape[axis] for axis in order)
    pair = f"{role} {prediction.path} and truth {truth.path}"
    if shape != truth.shape:
        raise DataError(
            f"{pair} differ in shape: {prediction.shape} and {truth.shape}. "
            f"A {role} must have the voxels of its truth; resample it to the original scan."
        )
    affine = prediction.affine @ nib.orientations.inv_ornt_aff(turn, prediction.shape)
    difference = np.abs(affine - truth.affine).sum()
    if difference > AFFINE_TOLERANCE:
        raise DataError(
            f"{pair} differ in affine by {difference:.4g} (sum of absolute differences, at most "
            f"{AFFINE_TOLERANCE:g}): {format_affine(affine)} and {format_affine(truth.affine)}. "
            f"Save the {role} with the header of the original scan."
        )


def format_affine(affine: np.ndarray) -> str:
    """Write the three rows of an affine that matter on one line."""
    rows = (", ".join(f"{value:.6g}" for value in row) for row in affine[:3])
    return "[" + "; ".join(rows) + "]"


_READ_ERRORS = (OSError, EOFError, ValueError, zlib.error, MemoryError)


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) < 160 else text[:157] + "..."
