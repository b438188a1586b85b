"""Prepared volumes on disk. Reading them needs numpy and pydantic, and nothing else."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from kitsbench.data.preparation.manifest import CaseNote, Manifest
from kitsbench.errors import DataError
from kitsbench.files import file_digest

MANIFEST = "manifest.json"
FILES = {"image": "image.npy", "label": "label.npy", "foreground": "foreground.npz"}
HU_LOW = -1024
HU_BINS = 4096  # one per HU from -1024 to 3071


@dataclass
class PreparedCase:
    """One case on the prepared grid.

    Attributes
    ----------
    id : str
        The case.
    image : ndarray of int16 (z, y, x)
        HU, memory-mapped when read from a store. z to the head, y to the front, x to the
        patient's right.
    label : ndarray of uint8 (z, y, x) or None
        Label map; None for a scan without one.
    spacing : tuple of float
        (z, y, x) in mm.
    affine : ndarray (4, 4)
        Maps (iz, iy, ix, 1) of the prepared grid to world (x, y, z, 1) in mm, RAS+.
    native : dict
        Geometry of the file on disk: ``shape``, ``affine``, ``spacing`` (axes as on disk),
        ``order`` and ``flipped`` (how those become z, y, x), header codes.
    foreground : dict of int to ndarray of int32 (n, 3)
        Voxels (z, y, x) of every label that is present, for sampling; at most 100 000 a label,
        drawn evenly.
    voxels : dict of int to int
        How many voxels every label has, where that is known.
    channels : dict of str to ndarray (z, y, x)
        Further images (int16) and functions of the scan (float32), where a network asks for them.
    numbers : dict of str to ndarray of float32
        The inputs that are functions of the scan.
    """

    id: str
    image: np.ndarray
    label: np.ndarray | None
    spacing: tuple[float, float, float]
    affine: np.ndarray
    native: dict[str, Any]
    foreground: dict[int, np.ndarray] = field(default_factory=dict)
    voxels: dict[int, int] = field(default_factory=dict)
    channels: dict[str, np.ndarray] = field(default_factory=dict)
    numbers: dict[str, np.ndarray] = field(default_factory=dict)

    def count(self, value: int) -> int:
        """How many voxels a label has; counted where nobody has said it, as of no store."""
        if not self.voxels and self.label is not None:
            counts = np.bincount(np.asarray(self.label).ravel(), minlength=256)
            self.voxels = {int(own): int(counts[own]) for own in np.flatnonzero(counts)}
        return self.voxels[value]


class PreparedStore:
    """A folder of prepared cases of one dataset at one spacing.

    Parameters
    ----------
    folder : Path
        The folder with ``manifest.json``.
    manifest : Manifest
        Its content.
    """

    def __init__(self, folder: Path, manifest: Manifest):
        self.folder = Path(folder)
        self.manifest = manifest

    @classmethod
    def open(cls, folder: Path) -> PreparedStore:
        """Open a finished store.

        Raises
        ------
        DataError
            There is none, its preparation was never finished, or the manifest is damaged.
        """
        path = Path(folder) / MANIFEST
        if not path.is_file():
            raise DataError(
                f"{folder} holds no finished preparation ({MANIFEST} is missing). "
                "Run `kitsbench data prepare` again: finished cases are kept."
            )
        return cls(Path(folder), Manifest.read(path))

    @property
    def id(self) -> str:
        """Hash of everything that made the store."""
        return self.manifest.id

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Spacing (z, y, x) in mm of every case, or the median where they differ."""
        return self.manifest.spacing

    @property
    def labels(self) -> dict[str, int]:
        """Label values by name."""
        return dict(self.manifest.dataset.labels)

    @property
    def dataset_fingerprint(self) -> str:
        """Fingerprint of the dataset that was prepared."""
        return self.manifest.dataset.fingerprint

    @property
    def cases(self) -> list[str]:
        """Ids of the prepared cases, sorted."""
        return list(self.manifest.cases)

    @property
    def excluded(self) -> dict[str, str]:
        """Why each case that was set aside was set aside."""
        return dict(self.manifest.excluded)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Median native spacing and shape, and HU statistics, over all cases."""
        return self.manifest.fingerprint.model_dump(mode="json")

    def case(self, case: str) -> PreparedCase:
        """Open a case; its voxels are memory-mapped.

        Raises
        ------
        DataError
            The store has no such case, or its files are damaged.
        """
        if case not in self.manifest.cases:
            why = self.excluded.get(case)
            told = f" It was set aside: {why}." if why else ""
            raise DataError(f"{self.folder.name} has no case '{case}'.{told}")
        folder = self.folder / "cases" / case
        about = CaseNote.read(folder / "case.json")
        foreground = {
            int(name.removeprefix("label_")): array
            for name, array in _arrays(folder).items()
            if name.startswith("label_")
        }
        return PreparedCase(
            id=case,
            image=_voxels(folder / "image.npy"),
            label=_voxels(folder / "label.npy"),
            spacing=about.spacing if self._differs(about.spacing) else self.spacing,
            affine=np.array(about.affine),
            native=about.native.model_dump(mode="json"),
            foreground=foreground,
            voxels={self.labels[name]: count for name, count in about.voxels.items()},
        )

    def _differs(self, spacing: tuple[float, float, float]) -> bool:
        """Whether a case has other voxels than most: its own, or larger ones to fit as a whole."""
        # Else an axis that agrees with the spacing to 0.1 % was kept.
        pairs = zip(spacing, self.spacing, strict=True)
        return any(abs(own / usual - 1) > 1.5e-3 for own, usual in pairs)

    def verify(self, cases: Iterable[str], beat: Callable[[], None] = lambda: None) -> None:
        """Compare the files of some cases with the checksums that were written with them.

        Each file is read once a process, however often it is asked for, unless it has changed.

        Parameters
        ----------
        cases : iterable of str
        beat : callable
            Called after each case.

        Raises
        ------
        DataError
            A file is missing or was changed since it was prepared.
        """
        for case in cases:
            folder = self.folder / "cases" / case
            for name, wanted in CaseNote.read(folder / "case.json").sha256.items():
                check_sum(folder / FILES[name], wanted, "case.json", CaseNote.remedy)
            beat()

    def intensity(self, cases: Iterable[str] | None = None) -> dict[str, dict[str, float]]:
        """HU statistics per label name and of the whole foreground, over some cases.

        Parameters
        ----------
        cases : iterable of str, optional
            For example the training cases of a fold; all by default.

        Returns
        -------
        dict
            ``{"kidney": {...}, ..., "foreground": {...}}`` with ``mean``, ``sd``, ``p0.5``,
            ``p50`` and ``p99.5`` in HU and ``voxels``. A label without voxels is left out.
        """
        names = {value: name for name, value in self.labels.items()}
        total = {value: np.zeros(HU_BINS, dtype=np.int64) for value in names}
        for case in self.cases if cases is None else cases:
            place = self.folder / "cases" / case
            arrays = _arrays(place)
            for value in names:
                counts = arrays.get(f"histogram_{value}")
                if counts is None:
                    continue
                if counts.shape != (HU_BINS,) or counts.dtype.kind not in "iu":
                    raise DataError(
                        f"{place / FILES['foreground']} was changed since it was prepared: a "
                        f"histogram has {counts.size} bins of {HU_BINS}.\n{CaseNote.remedy}"
                    )
                total[value] += counts
        result = {names[v]: _describe(h) for v, h in total.items() if h.any()}
        everything = sum(total.values())
        if isinstance(everything, np.ndarray) and everything.any():
            result["foreground"] = _describe(everything)
        return result


def check_sum(file: Path, wanted: str | None, noted: str, remedy: str) -> None:
    """See that a file is as it was when its SHA-256 was noted.

    Parameters
    ----------
    file : Path
    wanted : str or None
        What was noted; None where nothing was.
    noted : str
        Name of the file that holds it.
    remedy : str

    Raises
    ------
    DataError
        It is not, or cannot be read.
    """
    try:
        stat = file.stat()
        found = _checksum(file, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}.\n{remedy}") from error
    if found != wanted:
        raise DataError(
            f"{file} was changed since it was prepared: its checksum is not the one in {noted}."
            f"\n{remedy}"
        )


@cache
def _checksum(file: Path, inode: int, size: int, changed: int) -> str:
    """Hash of a file as it is now; the numbers tell whether that is known."""
    return file_digest(file)


def _voxels(file: Path) -> np.ndarray:
    """An array, memory-mapped."""
    try:
        return np.load(file, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{file} is damaged: {error}.\n{CaseNote.remedy}") from error


def _arrays(folder: Path) -> dict[str, np.ndarray]:
    """Positions and histograms of a case's labels."""
    file = folder / "foreground.npz"
    try:
        # Opened here, because numpy leaves a file open that turns out to be no archive.
        with open(file, "rb") as opened, np.load(opened) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(f"{file} is damaged: {error}.\n{CaseNote.remedy}") from error


def _describe(histogram: np.ndarray) -> dict[str, float]:
    """Statistics of a histogram with one bin a HU."""
    hu = np.arange(HU_BINS, dtype=np.float64) + HU_LOW
    count = int(histogram.sum())
    mean = float((hu * histogram).sum() / count)
    variance = float(((hu - mean) ** 2 * histogram).sum() / count)
    reached = np.cumsum(histogram)
    result = {"mean": mean, "sd": variance**0.5, "voxels": count}
    for percent in (0.5, 50, 99.5):
        result[f"p{percent}"] = float(hu[int(np.searchsorted(reached, percent / 100 * count))])
    return result
