"""Scans in any format: NIfTI by our own reader, DICOM folders by GDCM, all others by torchio."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kitsbench.scans.findings import Finding, Refused
from kitsbench.scans.geometry import axes_of, spacing_of
from kitsbench.scans.header import Header, refuse
from kitsbench.scans.intensities import hounsfield
from kitsbench.scans.nifti import read_header, read_image

NIFTI = (".nii.gz", ".nii")
SUFFIXES = (*NIFTI, ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr", ".img", ".mgz", ".mgh", ".dcm")
RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Scan:
    """A scan whose geometry is known and whose voxels can be read.

    Attributes
    ----------
    header : Header
        Shape and affine, for the axes as the label map will have them.
    read : callable
        Returns HU as int16 (z, y, x), and warnings about them.
    """

    header: Header
    read: Callable[[], tuple[np.ndarray, list[Finding]]]


def stem_of(path: Path) -> str:
    """Name of a scan without the suffix of its format."""
    name = path.name or path.resolve().name
    lower = name.lower()
    for suffix in SUFFIXES:
        if lower.endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return name


def open_scan(path: Path, case: str = "") -> Scan:
    """Open a scan of any format.

    Parameters
    ----------
    path : Path
        A NIfTI, NRRD or MetaImage file, another that torchio reads, or a folder with the slices of
        one DICOM series.
    case : str
        Case id for messages.

    Raises
    ------
    Refused
        The scan cannot be read, has several channels, or its slices make no volume.
    """
    path = Path(path)
    if path.is_dir():
        return _scan(path, case, *_read_series(path, case))
    if path.is_file() and not _is_nifti(path):
        return _scan(path, case, *_read_other(path, case))
    header = read_header(path, case)
    return Scan(header, lambda: read_image(header))


def _is_nifti(path: Path) -> bool:
    """By the name, or by the first bytes of a file whose name tells nothing."""
    name = path.name.lower()
    if name.endswith(SUFFIXES):
        return name.endswith(NIFTI)
    try:
        with open(path, "rb") as file:
            block = file.read(348)
    except OSError:
        return True  # the reader reports it
    return block[:2] == b"\x1f\x8b" or block[344:347] == b"n+1" or block[4:7] == b"n+2"


def _scan(
    path: Path, case: str, array: np.ndarray, affine: np.ndarray, remarks: list[Finding]
) -> Scan:
    spacing = spacing_of(affine)
    if not (np.isfinite(affine).all() and min(spacing) >= 0.01 and max(spacing) <= 100):
        raise refuse(
            path,
            case,
            f"the spacing is {', '.join(f'{s:g}' for s in spacing)} mm",
            "Spacing is a length of 0.01 to 100 mm along every axis.",
            "Export the scan again with its geometry.",
        )
    if array.dtype.kind not in "iuf":
        raise refuse(
            path,
            case,
            f"the voxels are of type {array.dtype}",
            "Voxels are integers or floating-point numbers in HU.",
            "Convert from the original scan.",
        )
    header = Header(
        path=path,
        case=case,
        shape=(array.shape[0], array.shape[1], array.shape[2]),
        affine=affine,
        dtype=array.dtype,
        slope=1.0,
        intercept=0.0,
        offset=0,
        codes=(1, 0),  # label maps get a scanner-based sform
        units=2,
        findings=remarks,
    )

    def read() -> tuple[np.ndarray, list[Finding]]:
        image, findings = hounsfield(header, _planes(array))
        return axes_of(affine).to_zyx(image), findings

    return Scan(header, read)


def _planes(array: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    for first in range(0, array.shape[2], 16):
        where = slice(first, min(first + 16, array.shape[2]))
        yield where, array[:, :, where]


def _read_other(path: Path, case: str) -> tuple[np.ndarray, np.ndarray, list[Finding]]:
    """Read a file by torchio."""
    import torchio

    _silence()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torchio tells which reader it tries next
            image = torchio.ScalarImage(path)
            image.load()
        data, affine = image.data.numpy(), np.asarray(image.affine, dtype=np.float64)
    except Exception as error:  # ITK and nibabel raise what they like
        raise _unreadable(path, case, error) from error
    if data.shape[0] > 1:
        raise refuse(
            path,
            case,
            f"the image has {data.shape[0]} channels",
            "A scan has one channel of HU.",
            "Save the phase that is meant as its own file; a colour picture is no scan.",
        )
    if data.shape[3] == 1:
        raise refuse(
            path,
            case,
            "the file holds a single slice",
            "A scan is a volume.",
            "Give the folder with all slices of the series.",
        )
    return data[0], affine, []


def _read_series(path: Path, case: str) -> tuple[np.ndarray, np.ndarray, list[Finding]]:
    """Read the DICOM series in a folder; its geometry comes from the positions of its slices."""
    import SimpleITK as sitk

    _silence()
    files, affine, remarks = _series(path, case)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise _unreadable(path, case, error) from error
    if image.GetNumberOfComponentsPerPixel() > 1:
        raise refuse(
            path,
            case,
            "the slices are colours (RGB)",
            "A scan has one channel of HU.",
            "Give the folder of the series itself, not of pictures made from it.",
        )
    return sitk.GetArrayViewFromImage(image).transpose(2, 1, 0).copy(order="F"), affine, remarks


def _series(path: Path, case: str) -> tuple[list[str], np.ndarray, list[Finding]]:
    """Files of the one series of a folder in order, and the affine that their headers give."""
    import SimpleITK as sitk

    def no(what: str, rule: str, remedy: str) -> Refused:
        return refuse(path, case, what, rule, remedy)

    found = {
        name: list(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path), name))
        for name in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(path))
    }
    if not found:
        count = sum(p.name.lower().endswith(SUFFIXES) for p in path.iterdir())
        raise no(
            f"the folder holds no DICOM series ({count} files of other formats)",
            "A folder stands for the slices of one scan.",
            "Name the files themselves, or the folder inside that holds the slices.",
        )
    if len(found) > 1:
        sizes = ", ".join(str(len(files)) for files in found.values())
        raise no(
            f"the folder holds {len(found)} DICOM series (of {sizes} files)",
            "A folder stands for one scan.",
            "Put each series into a folder of its own.",
        )
    (files,) = found.values()
    slices = [_slice(file, no) for file in files]
    first = slices[0]
    if len(slices) < 2:
        raise no("there is one slice", "A scan is a volume.", "Give the folder with all slices.")
    for other in slices:
        if other["size"] != first["size"] or not np.allclose(
            other["plane"], first["plane"], atol=1e-4
        ):
            raise no(
                "the slices differ in size, pixel spacing or direction",
                "The slices of a scan lie in parallel planes of one grid.",
                "Remove localizers and reformatted slices from the folder.",
            )
    steps = np.diff([s["origin"] for s in slices], axis=0)
    step = np.median(steps, axis=0)
    length = float(np.linalg.norm(step))
    worst = float(np.abs(steps - step).max())
    if length < 0.01 or worst > max(0.02 * length, 0.02):
        lengths = np.linalg.norm(steps, axis=1)
        raise no(
            f"the slices are {lengths.min():.3g} to {lengths.max():.3g} mm apart",
            "The slices of a scan are evenly spaced.",
            "Slices are missing or come from two acquisitions: export the series again.",
        )
    lps = np.eye(4)
    lps[:3, :2] = first["plane"]
    lps[:3, 2] = (slices[-1]["origin"] - first["origin"]) / (len(slices) - 1)
    lps[:3, 3] = first["origin"]
    return files, RAS_FROM_LPS @ lps, _remarks(path, case, files, first["modality"])


def _remarks(path: Path, case: str, files: list[str], modality: str) -> list[Finding]:
    """What is odd about a folder of slices that make a volume nevertheless."""
    found = []
    if modality not in ("CT", ""):
        found.append(
            Finding(
                case,
                str(path),
                f"the modality is {modality}",
                "Architectures here are trained on CT.",
                "Check that this is the scan you mean.",
                "warning",
            )
        )
    # GDCM passes over what it cannot read; at the ends of a scan nothing else would show that.
    used = {Path(file).name for file in files}
    left = [p.name for p in sorted(path.iterdir()) if p.name not in used and _is_dicom(p)]
    if left:
        found.append(
            Finding(
                case,
                str(path),
                f"{len(left)} DICOM files are no slices of the series (the first: {left[0]})",
                "A folder holds the slices of one scan.",
                "If they are damaged slices, copy or export them again.",
                "warning",
            )
        )
    return found


def _is_dicom(path: Path) -> bool:
    if not path.is_file() or path.name.upper() == "DICOMDIR":
        return False
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def _slice(file: str, no: Callable[[str, str, str], Refused]) -> dict[str, Any]:
    """Geometry of a DICOM file: its first voxel and the steps along its axes in world mm (LPS)."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise no(
            f"{Path(file).name} cannot be read ({_line(error)})",
            "Every slice of the series is a DICOM file.",
            "Copy or export it again.",
        ) from error
    direction = np.array(reader.GetDirection()).reshape(3, 3)
    key = "0008|0060"
    return {
        "origin": np.array(reader.GetOrigin()),
        "size": reader.GetSize(),
        "plane": direction[:, :2] * np.array(reader.GetSpacing())[:2],
        "modality": reader.GetMetaData(key).strip() if reader.HasMetaDataKey(key) else "",
    }


def _silence() -> None:
    """Keep ITK from writing to the terminal: what matters is raised."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)


def _unreadable(path: Path, case: str, error: Exception) -> Refused:
    return refuse(
        path,
        case,
        f"cannot be read ({_line(error)})",
        "A scan is NIfTI, NRRD, MetaImage, or a folder with one DICOM series.",
        "Convert it to one of these, or copy it again if it is damaged.",
    )


def _line(error: Exception) -> str:
    """The line of an error that says something: the last one of ITK's."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200]
