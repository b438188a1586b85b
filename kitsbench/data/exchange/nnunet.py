"""Datasets and prepared stores in nnU-Net's raw format, so that nnU-Net sees the same cases."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kitsbench.data.datasets.dataset import Case, Dataset
from kitsbench.data.datasets.guess import check_guess
from kitsbench.data.preparation.store import PreparedStore
from kitsbench.data.preparation.volumes import check_content, check_pair
from kitsbench.data.splits.files import export_split
from kitsbench.data.splits.split import Split
from kitsbench.errors import DataError, UsageError
from kitsbench.files import read_json, write_atomic, write_json
from kitsbench.scans.findings import Refused
from kitsbench.scans.geometry import axes_of, spacing_of
from kitsbench.scans.grids import axes_onto
from kitsbench.scans.header import Header
from kitsbench.scans.label_names import IGNORED, LabelNames
from kitsbench.scans.nifti import read_header, read_image, read_label
from kitsbench.scans.streams import is_packed
from kitsbench.scans.writing import write_label

SPLITS, DESCRIPTION = "splits_final.json", "dataset.json"
_NAME = re.compile(r"Dataset\d{3}_.+")


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes
    ----------
    folder : Path
    cases : list of str
    excluded : dict of str to str
        Why each case that was left out was left out.
    """

    folder: Path
    cases: list[str]
    excluded: dict[str, str]


def export_nnunet(
    source: Dataset | PreparedStore,
    out: Path,
    split: Callable[[list[str]], Split] | None = None,
    link: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Exported:
    """Write ``imagesTr``, ``labelsTr``, ``dataset.json`` and ``splits_final.json``.

    The scans of a dataset are copied as they are, or linked, so that what nnU-Net predicts lies on
    the grid of the original mask; a file that nnU-Net would not read (one that is not compressed,
    has a fourth axis or a scaled mask) is written anew. A prepared store is written at its own
    spacing. An export that was stopped is continued.

    Parameters
    ----------
    source : Dataset or PreparedStore
    out : Path
        Folder named as nnU-Net wants it, such as ``nnUNet_raw/Dataset220_KiTS``.
    split : callable, optional
        Makes the split of the exported cases.
    link : bool
        Symbolic links instead of copies, where a file needs no change.
    progress : callable, optional
        Called as ``progress(done, total)``.

    Raises
    ------
    UsageError
        The folder's name is none that nnU-Net accepts, or it holds something else.
    DataError
        The labels are not 1, 2, 3, ..., the masks contradict a layout that was guessed, or no case
        can be used.
    """
    out = Path(out)
    if not _NAME.fullmatch(out.name):
        raise UsageError(
            f"'{out.name}' is no name for a dataset of nnU-Net; it is Dataset, three digits, an "
            "underscore and a name, such as Dataset220_KiTS."
        )
    labels = source.labels
    if sorted(labels.values()) != list(range(1, len(labels) + 1)):
        raise DataError(
            f"the labels {labels} cannot be exported: nnU-Net needs the values 1, 2, 3, ... "
            "without a gap."
        )
    description = _description(source)
    _claim(out, description)
    total = len(source.cases)
    done, excluded = [], dict(source.excluded)
    steps = _dataset(source, out, link) if isinstance(source, Dataset) else _store(source, out)
    for count, (case, reason) in enumerate(steps, start=1):
        if reason is None:
            done.append(case)
        else:
            excluded[case] = reason
        if progress is not None:
            progress(count, total)
    if isinstance(source, Dataset):
        check_guess(source, excluded)
    if not done:
        first = next(iter(excluded.items()), ("none", "there is none"))
        raise DataError(f"no case can be exported. The first: {first[0]}: {first[1]}")
    if split is not None:
        export_split(split(done), out / SPLITS)
    write_json(out / DESCRIPTION, {**description, "numTraining": len(done)})
    return Exported(out, done, excluded)


def _description(source: Dataset | PreparedStore) -> dict[str, Any]:
    """Content of ``dataset.json`` for nnU-Net version 2."""
    about = (
        {"name": source.name, "note": source.note, "synthetic": source.synthetic}
        if isinstance(source, Dataset)
        else source.manifest.dataset.model_dump(mode="json")
    )
    ordered = sorted(source.labels.items(), key=lambda item: item[1])
    if isinstance(source, Dataset) and source.names.ignores:
        ordered.append(("ignore", len(ordered) + 1))
    return {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **dict(ordered)},
        "numTraining": len(source.cases),
        "file_ending": ".nii.gz",
        # KiTS keeps slices first and axes reversed; only this reader turns them by the affine.
        "overwrite_image_reader_writer": "NibabelIOWithReorient",
        "name": about["name"],
        "description": about.get("note") or "",
        "synthetic": bool(about.get("synthetic")),
        "converted_by": "kitsbench",
        "source": source.fingerprint if isinstance(source, Dataset) else source.id,
    }


def _claim(out: Path, description: dict[str, Any]) -> None:
    """Begin or continue an export; a folder that holds anything else is left alone.

    Raises
    ------
    UsageError
        The folder holds files, and not those of an export of this source.
    """
    file = out / DESCRIPTION
    if out.is_dir() and any(out.iterdir()):
        try:
            found = read_json(file)
        except (OSError, ValueError):
            found = None
        if not isinstance(found, dict) or found.get("source") != description["source"]:
            raise UsageError(
                f"{out} holds something else already: give another folder, or remove it. Only an "
                "export of the same data is continued."
            )
    for folder in ("imagesTr", "labelsTr"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    write_json(file, description)


def _targets(out: Path, case: str) -> tuple[Path, Path]:
    return out / "imagesTr" / f"{case}_0000.nii.gz", out / "labelsTr" / f"{case}.nii.gz"


def _dataset(dataset: Dataset, out: Path, link: bool) -> Iterator[tuple[str, str | None]]:
    for case in dataset.cases:
        try:
            _export_case(case, dataset.names, _targets(out, case.id), link)
        except Refused as error:
            yield case.id, error.finding.what
            continue
        yield case.id, None


def _export_case(case: Case, names: LabelNames, targets: tuple[Path, Path], link: bool) -> None:
    if case.image is None or case.label is None:
        raise DataError(f"{case.id} has no image or no mask.")
    image, mask = read_header(case.image, case.id), read_header(case.label, case.id)
    check_pair(image, mask)
    if all(target.exists() for target in targets):
        return
    # All is read, whether it is written anew or copied: a damaged case is damaged in nnU-Net too.
    onto = axes_onto(mask, image.affine)
    label = read_label(mask, names, onto)
    check_content(mask, label, names)
    if names.ignores:  # which nnU-Net wants to be the next value
        label[label == IGNORED] = len(names.labels) + 1
    scan, _ = read_image(image)
    # What is written here is so in single precision, and nnU-Net turns image and mask each by its
    # own affine: at 45 degrees the last digits decide which axis is called which.
    axes = axes_of(image.affine.astype(np.float32))
    kept = _plain(image) and axes == image.axes
    if not targets[0].exists():
        if kept:
            _bring(case.image, targets[0], link)
        else:
            _write(targets[0], image.axes.from_zyx(scan), image.affine)
    if not targets[1].exists():
        # nnU-Net compares the spacings of image and mask more strictly than a scanner's rounding.
        alike = np.allclose(image.spacing, mask.spacing, rtol=1e-6)
        alike = alike and axes == image.axes == mask.axes == onto
        alike = alike and _plain(mask) and not names.on_disk
        if alike and mask.dtype.kind in "iu":
            _bring(case.label, targets[1], link)
        elif axes == image.axes:
            write_label(targets[1], image.axes.from_zyx(label), image.native())
        else:
            _write(targets[1], image.axes.from_zyx(label), image.affine)


def _plain(header: Header) -> bool:
    """Whether nnU-Net reads a file as it is."""
    return is_packed(header.path) and not header.scaled and not header.findings


def _bring(source: Path, target: Path, link: bool) -> None:
    if link:
        target.unlink(missing_ok=True)
        os.symlink(source.resolve(), target)
    else:
        write_atomic(target, lambda temporary: shutil.copyfile(source, temporary))


def _store(store: PreparedStore, out: Path) -> Iterator[tuple[str, str | None]]:
    for name in store.cases:
        case = store.case(name)
        image, label = _targets(out, name)
        # (z, y, x) to (x, y, z), the order that other tools expect of a file.
        affine = case.affine[:, [2, 1, 0, 3]]
        if not image.exists():
            _write(image, case.image.transpose(2, 1, 0), affine)
        if not label.exists():
            assert case.label is not None
            _write(label, case.label.transpose(2, 1, 0), affine)
        yield name, None


def _write(path: Path, voxels: np.ndarray, affine: np.ndarray) -> None:
    import nibabel

    nifti = nibabel.Nifti1Image(voxels, affine)
    nifti.header.set_zooms(spacing_of(affine))
    nifti.header["xyzt_units"] = 2
    write_atomic(path, lambda temporary: nibabel.save(nifti, temporary))
