"""A scan with everything that may be laid over it: read, and turned to one grid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from kitsbench.experiments.stored_trial import StoredTrial
from kitsbench.scans.findings import Refused
from kitsbench.scans.formats import Scan, open_scan
from kitsbench.scans.grids import axes_onto, grid_findings
from kitsbench.scans.header import Header, canonical
from kitsbench.scans.label_names import LabelNames
from kitsbench.scans.names import nifti_stem
from kitsbench.scans.nifti import read_header, read_label


@dataclass(frozen=True)
class ViewedCase:
    """A scan and the files that may be laid over it. Nothing is read before it is asked for.

    Attributes
    ----------
    name : str
    image : Path
        In any format that :func:`~kitsbench.scans.formats.open_scan` reads.
    names : LabelNames
        Which values its label maps hold.
    truth : Path or None
    predictions : dict of str to Path
        Label maps by the names of their makers.
    maps : dict of (str, str) to Path
        What networks show of their inside, by architecture and name of the map.
    scores : dict of str to float
        Of the predictions by the endpoint, as far as there are any.
    showcase : bool
        Whether it was chosen before any result was known.
    """

    name: str
    image: Path
    names: LabelNames
    truth: Path | None = None
    predictions: Mapping[str, Path] = field(default_factory=dict)
    maps: Mapping[tuple[str, str], Path] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    showcase: bool = False

    @cached_property
    def scan(self) -> Scan:
        """The scan, with its geometry known."""
        return open_scan(self.image, self.name)

    def grid(self) -> tuple[np.ndarray, tuple[int, int, int]]:
        """Affine and shape of everything that is read here: world mm from (iz, iy, ix, 1)."""
        return canonical(self.scan.header)

    def read_image(self) -> np.ndarray:
        """HU as int16 (z, y, x)."""
        return self.scan.read()[0]

    def read_truth(self) -> np.ndarray | None:
        """Labels of the truth as uint8 (z, y, x)."""
        return None if self.truth is None else self._laid(self.truth, "mask")

    def read_prediction(self, maker: str) -> np.ndarray:
        """Labels of a prediction as uint8 (z, y, x)."""
        return self._laid(self.predictions[maker], "prediction")

    def read_map(self, key: tuple[str, str]) -> np.ndarray:
        """A map as uint8 (z, y, x), from 0, where it is smallest, to 255."""
        return labels_on(self.maps[key], self.scan.header, "map", None)

    def check(self, file: Path, role: str) -> None:
        """See that a file lies on the voxels of the scan, by its header.

        Raises
        ------
        Refused
            It does not.
        """
        header = self.scan.header
        if found := grid_findings(header, read_header(file, self.name), role):
            raise Refused(found[0])

    def _laid(self, file: Path, role: str) -> np.ndarray:
        return labels_on(file, self.scan.header, role, self.names)


def labels_on(file: Path, scan: Header, role: str, names: LabelNames | None) -> np.ndarray:
    """Labels of a file as (z, y, x) on the voxels of a scan.

    Parameters
    ----------
    file : Path
    scan : Header
    role : str
        What to call the file in messages.
    names : LabelNames or None
        Values that it may hold; None for any.

    Raises
    ------
    Refused
        It lies on another grid, is damaged, or holds other values.
    """
    header = read_header(file, scan.case)
    if found := grid_findings(scan, header, role):
        raise Refused(found[0])
    return read_label(header, names, axes_onto(header, scan.affine))


def prediction_file(trials: Iterable[StoredTrial], maker: str, case: str) -> Path | None:
    """The label map of the first seed that kept one."""
    for trial in sorted(trials, key=lambda trial: trial.seed):
        file = trial.folder.predictions / f"{case}.nii.gz"
        if trial.name == maker and trial.state == "finished" and file.is_file():
            return file
    return None


def kept_maps(trials: Iterable[StoredTrial], maker: str, case: str) -> dict[str, Path]:
    """{map: file} of the first seed that kept some."""
    for trial in sorted(trials, key=lambda trial: trial.seed):
        if trial.name != maker or trial.state != "finished":
            continue
        found = {file: nifti_stem(file.name) for file in (trial.folder.maps / case).glob("*")}
        named = {name: file for file, name in sorted(found.items()) if name is not None}
        if named:
            return named
    return {}
