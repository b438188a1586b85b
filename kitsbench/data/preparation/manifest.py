"""What a prepared store says of itself: ``manifest.json``, and ``case.json`` of each case."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from kitsbench.files.documents import Document, Part
from kitsbench.scans.findings import Finding

Triple = tuple[float, float, float]
Indices = tuple[int, int, int]
Row = tuple[float, float, float, float]
Affine = tuple[Row, Row, Row, Row]


class Source(Part):
    """The dataset that was prepared."""

    name: str
    layout: str
    labels: dict[str, int]
    fingerprint: str
    synthetic: bool
    note: str


class Fingerprint(Part):
    """Figures over all cases.

    Attributes
    ----------
    median_spacing, median_shape : tuple of float
        (z, y, x) of the scans as they are on disk; mm and voxels.
    intensity : dict of str to dict
        As of :meth:`~kitsbench.data.preparation.store.PreparedStore.intensity`.
    """

    median_spacing: Triple
    median_shape: Triple
    intensity: dict[str, dict[str, int | float]]


class Manifest(Document):
    """A store that is finished.

    Attributes
    ----------
    id : str
        Hash of everything that made it.
    version : int
        Of the way in which scans are prepared.
    spacing : tuple of float
        (z, y, x) in mm of every case.
    excluded : dict of str to str
        Why each case that was set aside was set aside.
    """

    remedy: ClassVar[str] = "Delete it and run the same command again: prepared cases are kept."

    schema_version: Literal[1] = 1
    id: str
    version: int
    spacing: Triple
    dataset: Source
    cases: tuple[str, ...]
    excluded: dict[str, str]
    findings: tuple[Finding, ...]
    fingerprint: Fingerprint


class Native(Part):
    """Geometry of the file on disk, see :meth:`~kitsbench.scans.header.Header.native`."""

    shape: Indices
    affine: Affine
    spacing: Triple
    order: Indices
    flipped: tuple[bool, bool, bool]
    sform_code: int
    qform_code: int
    units: int


class CaseNote(Document):
    """A case that was prepared.

    Attributes
    ----------
    spacing, shape : tuple of float, tuple of int
        (z, y, x) of the prepared grid, mm and voxels.
    affine : tuple
        Rows of its matrix, see :class:`~kitsbench.data.preparation.store.PreparedCase`.
    voxels : dict of str to int
        Of each label.
    sha256 : dict of str to str
        Of the files of ``image``, ``label`` and ``foreground``.
    """

    remedy: ClassVar[str] = (
        "Delete the folder of this case and the store's manifest.json, and run the same command "
        "again: the other cases are kept."
    )

    schema_version: Literal[2] = 2
    case: str
    spacing: Triple
    shape: Indices
    affine: Affine
    native: Native
    voxels: dict[str, int]
    sha256: dict[Literal["image", "label", "foreground"], str] = Field(min_length=3)
    findings: tuple[Finding, ...]
