"""The built-in dataset: phantom patients in the layout of KiTS19 or KiTS23.

Every case is a function of the seed and its number alone, so that asking for more cases changes
none of those already there.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from kitsbench.data.phantom.anatomy import (
    BODY_HALF_WIDTH,
    BODY_HALF_WIDTH_SD,
    TUMOURS,
    draw_patient,
    quantile,
)
from kitsbench.data.phantom.canvas import Fields
from kitsbench.data.phantom.kidneys import settle
from kitsbench.data.phantom.patient import Patient
from kitsbench.data.phantom.render import Frame, render
from kitsbench.data.preparation.pool import in_processes
from kitsbench.errors import DataError, UsageError
from kitsbench.files import read_json, write_json, write_text

VERSION = 2  # of the images: raised whenever the same seed gives other voxels
FOLDERS = {"kits19": ("data", "kits.json"), "kits23": ("dataset", "kits23.json")}
DESCRIPTION = "phantom.json"
SMALL_SPACING = (4.5, 4.5, 4.5)

NOTE = (
    "Phantom: neither the images nor the anatomy come from patients. "
    "Scores on it say nothing about clinical performance."
)
ON_MASKS = "Synthetic images on real masks"
NOTE_ANATOMY = ON_MASKS + (
    ": the label maps are those of '{name}', every intensity is simulated. Never present results "
    "on it as results on real CT."
)


@dataclass(frozen=True)
class Rendering:
    """One case before it is written.

    Attributes
    ----------
    image : ndarray of int16 (z, y, x)
        HU.
    label : ndarray of uint8 (z, y, x)
        0 background, 1 kidney, 2 tumour, 3 cyst (1 in the KiTS19 label set).
    spacing : tuple of float
        (z, y, x) in mm.
    patient : Patient
        What was drawn.
    """

    image: np.ndarray
    label: np.ndarray
    spacing: tuple[float, float, float]
    patient: Patient


def write_phantom(
    out: Path,
    cases: int,
    seed: int = 0,
    size: str = "small",
    labels: str = "kits19",
    anatomy: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    jobs: int = 1,
    spacing: tuple[float, float, float] | None = None,
    tumors: str = "all",
) -> Path:
    """Write a phantom dataset.

    Parameters
    ----------
    out : Path
        Folder of the dataset; made where it is missing. Cases that are already there are kept.
    cases : int
        How many cases.
    seed : int
        Seed of the whole dataset.
    size : {"small", "full"}
        ``small``: about 64 voxels a side at 4.5 mm. ``full``: 512 x 512 in plane with the pixel
        sizes, slice distances and heights of KiTS.
    labels : {"kits19", "kits23"}
        Layout and labels. In ``kits19`` a cyst belongs to the kidney, as it does there.
    anatomy : Path, optional
        Folder of label maps (any dataset layout): the body is drawn around these real masks, one
        case for each mask in turn. ``size`` is then ignored.
    progress : callable, optional
        Called as ``progress(done, total)``.
    jobs : int
        Processes.
    spacing : tuple of float, optional
        With ``anatomy``: resample the masks to this (z, y, x) spacing in mm first.
    tumors : {"all", "large"}
        ``all``: with the volumes of KiTS19. ``large``: of its large ones, 89 to 310 ml.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    UsageError
        An option has no meaning.
    DataError
        ``out`` holds another dataset, or cannot be written.
    """
    out = Path(out)
    if cases < 1:
        raise UsageError(f"{cases} cases were asked for; a dataset has at least one.")
    if labels not in FOLDERS:
        raise UsageError(f"labels='{labels}' is not known; use kits19 or kits23.")
    if size not in ("small", "full"):
        raise UsageError(f"size='{size}' is not known; use small or full.")
    if spacing is not None and anatomy is None:
        raise UsageError("A spacing is only for --anatomy; a phantom's own is set by its size.")
    if tumors not in TUMOURS:
        raise UsageError(f"tumors='{tumors}' is not known; use all or large.")
    if tumors != "all" and anatomy is not None:
        raise UsageError("With --anatomy the tumours are those of the masks; leave --tumors out.")
    masks = masks_of(anatomy) if anatomy is not None else []
    if masks and cases > len(masks):
        raise UsageError(f"{cases} cases were asked for, but {anatomy} holds {len(masks)} masks.")
    description = _describe(seed, size, labels, anatomy, spacing, tumors)
    _claim(out, description)
    folder, table = FOLDERS[labels]
    tasks = [
        _Task(k, out / folder, seed, size, labels, masks[k] if masks else None, spacing, tumors)
        for k in range(cases)
    ]
    todo = [task for task in tasks if not task.folder.is_dir()]
    if progress is not None:
        progress(len(tasks) - len(todo), len(tasks))
    for count, _ in enumerate(in_processes(_write_case, todo, jobs), start=1):
        if progress is not None:
            progress(len(tasks) - len(todo) + count, len(tasks))
    write_json(out / folder / table, [_clinical(task) for task in tasks])
    return out


def render_case(
    index: int, seed: int = 0, size: str = "small", labels: str = "kits19", tumors: str = "all"
) -> Rendering:
    """Make one case of the phantom in memory.

    Parameters
    ----------
    index : int
        Number of the case.
    seed, size, labels, tumors
        As for :func:`write_phantom`.
    """
    patient, fields, frame = draw_case(index, seed, size, tumors)
    image, label = render(patient, fields, frame)
    _drop_fragments(label, frame.spacing)
    if labels == "kits19":
        label[label == 3] = 1
    return Rendering(image, label, frame.spacing, patient)


def draw_case(
    index: int, seed: int = 0, size: str = "small", tumors: str = "all"
) -> tuple[Patient, Fields, Frame]:
    """Draw one case without rendering it.

    Parameters
    ----------
    index, seed, size, tumors
        As for :func:`render_case`.

    Returns
    -------
    patient : Patient
        Tissues, organs and lesions, with their final sizes.
    fields : Fields
        The random fields of this patient.
    frame : Frame
        The voxels of the scan.
    """
    rng = np.random.default_rng([seed, index])
    patient = draw_patient(rng, tumors)
    fields = Fields.draw(patient.seed)
    settle(patient, fields)
    return patient, fields, _frame(patient, size, rng)


def _drop_fragments(label: np.ndarray, spacing: tuple[float, float, float]) -> None:
    """Unlabel pieces below 1 ml that walls have cut off a kidney or a mass; a reader would too."""
    from scipy.ndimage import label as components

    parts, count = components(label > 0)
    if count < 2:
        return
    millilitres = np.bincount(parts.reshape(-1)) * (spacing[0] * spacing[1] * spacing[2] / 1000)
    small = millilitres < 1.0
    small[0] = False
    label[small[parts]] = 0


# Measured on all 489 KiTS23 and 210 KiTS19 scans: slice distances in mm with their shares, and
# quantiles of the height of the scan and of the pixel size in mm.
SLICE_MM = {0.5: 0.10, 1.0: 0.12, 1.25: 0.02, 2.0: 0.04, 2.5: 0.09, 3.0: 0.18, 4.0: 0.02, 5.0: 0.43}
HEIGHT_MM = ((0.0, 150), (0.05, 185), (0.25, 272), (0.5, 414), (0.75, 487), (0.95, 664), (1.0, 700))
PIXEL_MM = ((0.0, 0.60), (0.05, 0.65), (0.25, 0.72), (0.5, 0.78), (0.75, 0.87), (1.0, 0.98))


def _frame(patient: Patient, size: str, rng: np.random.Generator) -> Frame:
    """Field of view of the scan; it always holds the kidneys and what grows on them."""
    body = patient.body
    middle_y = (body.front - body.back) / 2
    if size == "small":
        spacing = SMALL_SPACING
        height = float(rng.uniform(252.0, 300.0))
        across = 2 * body.half_width + float(rng.uniform(4.0, 24.0))
        low = float(rng.uniform(-142.0, -122.0))
    else:
        thick = float(rng.choice(list(SLICE_MM), p=list(SLICE_MM.values())))
        height = quantile(HEIGHT_MM, float(rng.random()))
        if thick < 0.8:  # the finest scans are the shortest
            height = min(height, float(rng.uniform(260.0, 440.0)))
        # Stout patients are scanned with a larger field of view.
        stout = (body.half_width - BODY_HALF_WIDTH) / BODY_HALF_WIDTH_SD
        pixel = quantile(PIXEL_MM, NormalDist().cdf(0.8 * stout + 0.6 * float(rng.normal())))
        spacing = (thick, pixel, pixel)
        across = 512 * pixel
        # From the domes of the diaphragm downwards; long scans begin in the chest.
        low = float(rng.uniform(135.0, 165.0)) + 0.6 * max(height - 450.0, 0.0) - height
    lowest, highest = patient.extent()
    bottom, top = lowest[0] - 6.0, highest[0] + 6.0
    low = min(max(low, top - height), bottom)
    height = max(height, top - low)
    count = int(np.ceil(height / spacing[0]))
    # Even in-plane sizes, as scanners give.
    side = 512 if size == "full" else 2 * int(np.ceil(across / spacing[2] / 2))
    start = -(side - 1) / 2 * spacing[2]
    return Frame((low, middle_y + start, start), spacing, (count, side, side))


@dataclass(frozen=True)
class _Task:
    """One case to write, in a form that another process understands."""

    index: int
    root: Path
    seed: int
    size: str
    labels: str
    mask: Path | None
    spacing: tuple[float, float, float] | None
    tumors: str

    @property
    def case(self) -> str:
        return f"case_{self.index:05d}"

    @property
    def folder(self) -> Path:
        return self.root / self.case


def _write_case(task: _Task) -> str:
    """Make a case and write it; its folder appears whole or not at all."""
    import nibabel

    if task.mask is not None:
        from kitsbench.data.phantom.on_masks import render_on_mask

        image, label, affine = render_on_mask(
            task.mask, task.seed, task.index, task.labels, task.spacing
        )
    else:
        made = render_case(task.index, task.seed, task.size, task.labels, task.tumors)
        # As KiTS stores them: slices first, from head to foot, front to back, right to left.
        image, label = made.image[::-1, ::-1, ::-1], made.label[::-1, ::-1, ::-1]
        affine = np.zeros((4, 4))
        affine[2, 0], affine[1, 1], affine[0, 2] = (-s for s in made.spacing)
        affine[3, 3] = 1.0
    task.root.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{task.case}.", dir=task.root))
    try:
        for name, array in (("imaging", image), ("segmentation", label)):
            nifti = nibabel.Nifti1Image(np.asfortranarray(array), None)
            nifti.header.set_sform(affine, code=2)
            nifti.header.set_zooms(np.sqrt((affine[:3, :3] ** 2).sum(0)))
            nifti.header.set_xyzt_units("mm")
            nifti.header["descrip"] = b"kitsbench phantom: synthetic"
            nibabel.save(nifti, temporary / f"{name}.nii.gz")
        temporary.chmod(0o755)
        os.replace(temporary, task.folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if task.folder.is_dir():  # another process was faster; its case is the same
            return task.case
        raise DataError(
            f"{task.folder} could not be written: {error.strerror or error}. "
            "Free some space or choose another folder; finished cases are kept."
        ) from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return task.case


def masks_of(anatomy: Path) -> list[Path]:
    """Label maps of a dataset folder, sorted by case."""
    from kitsbench.data.datasets.dataset import open_dataset

    dataset = open_dataset(anatomy, masks_only=True)
    return [case.label for case in dataset.cases if case.label is not None]


def _describe(
    seed: int,
    size: str,
    labels: str,
    anatomy: Path | None,
    spacing: tuple[float, float, float] | None,
    tumors: str,
) -> dict[str, Any]:
    note = NOTE if anatomy is None else NOTE_ANATOMY.format(name=Path(anatomy).resolve().name)
    return {
        "made_by": "kitsbench data phantom",
        "version": VERSION,
        "synthetic": True,
        "note": note,
        "labels": labels,
        "seed": seed,
        "size": size if anatomy is None else None,
        "anatomy": None if anatomy is None else Path(anatomy).resolve().name,
        "spacing": None if spacing is None else list(spacing),
        "tumors": tumors,
    }


def _claim(out: Path, description: dict[str, Any]) -> None:
    """Write the description, or see that the one that is there is the same."""
    path = out / DESCRIPTION
    try:
        if path.is_file():
            found = {"tumors": "all", **read_json(path)}  # older ones do not say
            other = [k for k in description if found.get(k) != description[k]]
            if other:
                told = ", ".join(f"{k}={found.get(k)!r} not {description[k]!r}" for k in other)
                raise DataError(
                    f"{out} already holds another phantom ({told}). "
                    "One folder holds one dataset: choose another folder."
                )
            return
        if out.is_dir() and any(out.iterdir()):
            raise DataError(
                f"{out} is not empty and holds no phantom. Nothing of yours is overwritten: "
                "choose an empty folder."
            )
        write_text(out / "README.md", f"# Phantom dataset\n\n{description['note']}\n")
        write_json(path, description)
    except OSError as error:
        raise DataError(
            f"{out} cannot be written: {error.strerror or error}. Choose a folder of your own."
        ) from error


def _clinical(task: _Task) -> dict[str, Any]:
    """The row of a case in the table that KiTS calls clinical data."""
    row: dict[str, Any] = {"case_id": task.case, "synthetic": True}
    if task.mask is not None:
        return {**row, "mask": task.mask.parent.name}
    patient = draw_patient(np.random.default_rng([task.seed, task.index]), task.tumors)
    tumours = [lesion for lesion in patient.lesions if lesion.kind == "tumor"]
    return {
        **row,
        "tumor_histologic_subtype": tumours[0].histology,
        "radiographic_size": round(tumours[0].radius / 5.0, 1),
        "tumors": len(tumours),
        "cysts": len(patient.lesions) - len(tumours),
        "kidneys": len(patient.kidneys),
    }
