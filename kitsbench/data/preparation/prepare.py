"""Datasets to prepared volumes: once for every dataset and spacing, restartable."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kitsbench.data.datasets.dataset import Case, Dataset
from kitsbench.data.datasets.guess import check_guess
from kitsbench.data.preparation.manifest import CaseNote, Manifest
from kitsbench.data.preparation.pool import in_processes
from kitsbench.data.preparation.store import (
    FILES,
    HU_BINS,
    HU_LOW,
    MANIFEST,
    PreparedCase,
    PreparedStore,
)
from kitsbench.data.preparation.volumes import PLAIN, How, check_spacing, load_case
from kitsbench.errors import DataError
from kitsbench.files import digest, file_digest, plain
from kitsbench.preparation import Preparation
from kitsbench.scans.findings import Finding, Refused
from kitsbench.scans.label_names import LabelNames

Triple = tuple[float, float, float]
VERSION = 2  # of the preparation: raised whenever the same files give other arrays
MOST_POSITIONS = 100_000  # foreground voxels kept per label


@dataclass(frozen=True)
class _Job:
    case: Case
    folder: Path
    spacing: Triple
    names: LabelNames
    how: How
    ct: Path | None


def store_id(
    dataset: Dataset, spacing: Triple, how: How = PLAIN, cut_by: Dataset | None = None
) -> str:
    """Hash of everything that makes a prepared store: dataset, spacing, way of preparing."""
    content: dict[str, Any] = {
        "dataset": dataset.fingerprint,
        "spacing": [round(float(s), 6) for s in spacing],
        "version": VERSION,
    }
    if how.fit is not None:
        content["fit"] = list(how.fit)
    if how.own:
        content["own"] = True
    if how.preparation != Preparation():
        content["preparation"] = plain(how.preparation)
        if cut_by is not None and how.preparation.crop_above is not None:
            content["cut_by"] = cut_by.fingerprint
    return digest(content)


def prepare(
    dataset: Dataset,
    spacing: Triple,
    out: Path,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
    strict: bool = False,
    how: How = PLAIN,
    cut_by: Dataset | None = None,
) -> PreparedStore:
    """Prepare every case of a dataset.

    A finished store is opened and nothing is done; an unfinished one is continued.

    Parameters
    ----------
    dataset : Dataset
        What to prepare.
    spacing : tuple of float
        (z, y, x) in mm, or in each scan's own voxels where ``how`` says so.
    out : Path
        The store is ``out/<id>``.
    jobs : int
        Processes; each holds one case.
    progress : callable, optional
        Called as ``progress(done, total)``.
    strict : bool
        Refuse a dataset of which any case had to be set aside.
    how : How
    cut_by : Dataset, optional
        That of the CTs, where ``dataset`` has another channel of the same scans.

    Returns
    -------
    PreparedStore

    Raises
    ------
    DataError
        The disk is full, no case is usable, ``strict`` and a case is not, the masks mark voxels to
        be ignored, or they contradict a layout that was guessed.
    UsageError
        The spacing is no spacing.
    """
    check_spacing(spacing, how.own)
    if dataset.names.ignores:
        raise DataError(
            f"{dataset.name} has voxels labelled 'ignore', and no loss here leaves them out.\n"
            "Label them or remove the label from dataset.json; `kitsbench evaluate` honours it."
        )
    folder = Path(out) / store_id(dataset, spacing, how, cut_by)
    if not (folder / MANIFEST).is_file():
        try:
            _fill(dataset, spacing, folder, jobs, progress, how, cut_by)
        except OSError as error:
            raise _storage_error(folder, error) from error
    elif progress is not None:
        progress(len(dataset.cases), len(dataset.cases))
    store = PreparedStore.open(folder)
    excluded = {**dataset.excluded, **store.excluded}
    if strict and excluded:
        case, reason = next(iter(excluded.items()))
        raise DataError(
            f"{len(excluded)} cases of {dataset.name} cannot be used; the first: {case}: {reason}. "
            "Repair or remove them, or leave --strict out to go on without them."
        )
    return store


def _storage_error(folder: Path, error: OSError) -> DataError:
    # numpy tells of an array that was written in part by a sentence, without a number.
    short = error.errno is None and "requested" in str(error)
    if short or error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DataError(
            f"the disk is full or a quota is reached: {folder} is not finished. Free some space "
            "and run it again; finished cases are kept."
        )
    return DataError(
        f"{folder} could not be written: {error.strerror or error}. "
        "Choose another folder or change its permissions; finished cases are kept."
    )


def _fill(
    dataset: Dataset,
    spacing: Triple,
    folder: Path,
    jobs: int,
    progress: Callable[[int, int], None] | None,
    how: How,
    cut_by: Dataset | None,
) -> None:
    cases = folder / "cases"
    cases.mkdir(parents=True, exist_ok=True)
    _sweep(cases)
    cts = {case.id: case.image for case in cut_by.cases} if cut_by is not None else {}
    work = [
        _Job(case, cases / case.id, spacing, dataset.names, how, cts.get(case.id))
        for case in dataset.cases
    ]
    todo = [job for job in work if not _is_prepared(job.folder)]
    findings: list[Finding] = []
    done = len(work) - len(todo)
    if progress is not None:
        progress(done, len(work))
    for found in in_processes(_prepare_case, todo, jobs):
        findings += found
        done += 1
        if progress is not None:
            progress(done, len(work))
    _finish(dataset, None if how.own else spacing, folder, findings)


def _is_prepared(folder: Path) -> bool:
    """Whether a case is there; one that an earlier kitsbench left, or half of one, is removed."""
    if not folder.exists():
        return False
    try:
        CaseNote.read(folder / "case.json")
    except DataError:
        shutil.rmtree(folder)
        return False
    return True


def _finish(
    dataset: Dataset,
    spacing: Triple | None,
    folder: Path,
    findings: list[Finding],
) -> None:
    """Write the manifest, which makes the store complete; without a spacing, with the median."""
    findings = list(dataset.problems) + findings
    excluded = {f.case: f.what for f in findings if f.severity == "error" and f.case}
    check_guess(dataset, excluded)
    usable = [c.id for c in dataset.cases if c.id not in excluded]
    if not usable:
        raise DataError(f"no case of {dataset.name} can be used. The first: {findings[0]}")
    notes = [CaseNote.read(folder / "cases" / case / "case.json") for case in usable]
    for note in notes:
        findings += note.findings
    manifest = Manifest.of_plain(
        {
            "id": folder.name,
            "version": VERSION,
            "spacing": [float(s) for s in spacing or np.median([n.spacing for n in notes], axis=0)],
            "dataset": {
                "name": dataset.name,
                "layout": dataset.layout,
                "labels": dataset.labels,
                "fingerprint": dataset.fingerprint,
                "synthetic": dataset.synthetic,
                "note": dataset.note,
            },
            "cases": usable,
            "excluded": excluded,
            "findings": [f.to_dict() for f in findings],
            "fingerprint": {
                "median_spacing": np.median([_zyx(n, "spacing") for n in notes], axis=0).tolist(),
                "median_shape": np.median([_zyx(n, "shape") for n in notes], axis=0).tolist(),
                "intensity": {},
            },
        }
    )
    # The store counts for itself, and is there once it has a manifest.
    intensity = PreparedStore(folder, manifest).intensity()
    fingerprint = manifest.fingerprint.model_copy(update={"intensity": intensity})
    manifest.model_copy(update={"fingerprint": fingerprint}).write(folder / MANIFEST)


def _zyx(note: CaseNote, key: str) -> list[float]:
    values = getattr(note.native, key)
    return [values[k] for k in note.native.order]


def _prepare_case(job: _Job) -> list[Finding]:
    """Prepare and write one case; return why not, if it cannot be used."""
    assert job.case.image is not None
    try:
        loaded = load_case(
            job.case.id,
            job.case.image,
            job.case.label,
            job.spacing,
            job.names,
            job.how,
            job.ct,
        )
    except Refused as error:
        return [error.finding]
    case = loaded.case
    assert case.label is not None
    arrays: dict[str, Any] = _foreground(case, job.names.labels)
    temporary = Path(tempfile.mkdtemp(prefix=_prefix(), dir=job.folder.parent))
    try:
        np.save(temporary / "image.npy", case.image)
        np.save(temporary / "label.npy", case.label)
        np.savez(temporary / "foreground.npz", **arrays)
        about = {
            "case": case.id,
            "spacing": list(case.spacing),
            "shape": list(case.image.shape),
            "affine": case.affine.tolist(),
            "native": case.native,
            "voxels": {
                name: int(arrays[f"histogram_{value}"].sum())
                for name, value in job.names.labels.items()
            },
            "sha256": {name: file_digest(temporary / file) for name, file in FILES.items()},
            "findings": [f.to_dict() for f in loaded.findings],
        }
        CaseNote.of_plain(about).write(temporary / "case.json")
        temporary.chmod(0o755)
        try:
            os.replace(temporary, job.folder)
        except OSError:
            # Another process was faster; what it wrote is the same.
            if not (job.folder / "case.json").is_file():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return []


def _foreground(case: PreparedCase, labels: dict[str, int]) -> dict[str, np.ndarray]:
    """Positions of every label that is present, and the histogram of its HU."""
    arrays: dict[str, np.ndarray] = {}
    assert case.label is not None
    flat, hu = case.label.reshape(-1), case.image.reshape(-1)
    found = np.flatnonzero(flat)
    values = flat[found]
    for value in labels.values():
        index = found[values == value]
        bins = np.clip(hu[index].astype(np.int32) - HU_LOW, 0, HU_BINS - 1)
        arrays[f"histogram_{value}"] = np.bincount(bins, minlength=HU_BINS).astype(np.int64)
        if not len(index):
            continue
        if len(index) > MOST_POSITIONS:
            rng = np.random.default_rng(value)
            index = index[np.sort(rng.choice(len(index), MOST_POSITIONS, replace=False))]
        positions = np.stack(np.unravel_index(index, case.label.shape), axis=1)
        arrays[f"label_{value}"] = positions.astype(np.int32)
    return arrays


def _prefix() -> str:
    return f".{socket.gethostname()}.{os.getpid()}."


def _sweep(folder: Path) -> None:
    """Remove what killed processes of this host left behind."""
    for entry in folder.glob(f".{socket.gethostname()}.*"):
        owner = entry.name.removeprefix(f".{socket.gethostname()}.").split(".")[0]
        try:
            os.kill(int(owner), 0)
        except (ProcessLookupError, ValueError):
            shutil.rmtree(entry, ignore_errors=True)
        except PermissionError:
            continue  # alive, and somebody else's
