"""Folders of scans as users have them: which cases are there, and which cannot be used.

Opening a dataset lists files and reads no voxels; :mod:`kitsbench.data.inspection.verify` looks
inside.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kitsbench.data.datasets.case_files import file_fault, is_there
from kitsbench.data.datasets.layouts import (
    LABELS,
    LAYOUTS,
    MASKS,
    channel_names,
    further_channels,
    listed_cases,
    locate,
    scan,
)
from kitsbench.errors import DataError
from kitsbench.files import digest, read_json
from kitsbench.scans.findings import Finding
from kitsbench.scans.label_names import DESCRIPTION, LabelNames, read_label_names
from kitsbench.scans.names import folded
from kitsbench.text import visible

if TYPE_CHECKING:
    from kitsbench.data.datasets.voxels import Voxels

__all__ = ["Case", "Dataset", "Finding", "open_dataset"]


@dataclass(frozen=True)
class Case:
    """One patient's files.

    Attributes
    ----------
    id : str
        Name of the case, unique in its dataset.
    image : Path or None
        The scan; None where only masks are asked for.
    label : Path or None
        The label map; None for a case without one.
    more : tuple of (int, Path)
        Further images of the case, by their number in nnU-Net's layout.
    """

    id: str
    image: Path | None
    label: Path | None
    more: tuple[tuple[int, Path], ...] = ()


@dataclass
class Dataset:
    """A folder of cases.

    Attributes
    ----------
    name : str
        Name of the folder.
    root : Path
        The folder that holds the cases.
    layout : str
        ``kits19``, ``kits21``, ``kits23`` or ``nnunet``.
    labels : dict of str to int
        Label values by name, as they are here: see :mod:`kitsbench.scans.label_names`.
    cases : list of Case
        Usable cases, sorted by id.
    problems : list of Finding
        Cases that were set aside, and remarks.
    synthetic : bool
        Whether the images were simulated.
    note : str
        What a report must say about the data.
    on_disk : dict of int to int
        What each value in its masks is here; empty where they hold the values of ``labels``.
    guessed : bool
        Whether the layout was found out rather than named.
    channels : dict of str to int
        Numbers of the channels that it names, in nnU-Net's layout.
    """

    name: str
    root: Path
    layout: str
    labels: dict[str, int]
    cases: list[Case]
    problems: list[Finding] = field(default_factory=list)
    synthetic: bool = False
    note: str = ""
    on_disk: dict[int, int] = field(default_factory=dict)
    guessed: bool = False
    channels: dict[str, int] = field(default_factory=dict)

    @property
    def names(self) -> LabelNames:
        """Its labels with the values that its masks have for them, for whoever reads a mask."""
        return LabelNames(self.labels, self.on_disk)

    @property
    def excluded(self) -> dict[str, str]:
        """Why each case that was set aside was set aside."""
        return {p.case: p.what for p in self.problems if p.severity == "error" and p.case}

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the labels and of every usable case's bytes; paths play no role.

        Of large compressed files the ends are read, which hold gzip's checksum of the whole
        content; everything else is read in full.
        """
        cases = []
        for case in self.cases:
            files = [file_mark(f) if f is not None else None for f in (case.image, case.label)]
            cases.append([case.id, *files])
        content: dict[str, Any] = {"labels": self.labels, "cases": cases}
        if self.on_disk:  # other voxels become of the same files
            content["on_disk"] = [list(pair) for pair in sorted(self.on_disk.items())]
        return digest(content)

    def voxels(self) -> Voxels:
        """Voxel sizes (z, y, x) in mm and shapes of the images, from the headers.

        Raises
        ------
        DataError
            No image has a readable header.
        """
        from kitsbench.data.datasets.voxels import Voxels
        from kitsbench.scans.findings import Refused
        from kitsbench.scans.nifti import read_header

        spacings, shapes = [], []
        for case in self.cases:
            try:
                header = read_header(case.image or case.label or self.root, case.id)
            except Refused:
                continue  # preparation reports it
            z, y, x = header.axes.order
            spacings.append((header.spacing[z], header.spacing[y], header.spacing[x]))
            shapes.append((header.shape[z], header.shape[y], header.shape[x]))
        if not spacings:
            raise DataError(f"No image of {self.name} has a readable header; see `data verify`.")
        return Voxels(tuple(spacings), tuple(shapes))

    def channel_number(self, name: str) -> int:
        """Number of a channel in nnU-Net's layout, by its name or as its number.

        Raises
        ------
        DataError
            The dataset has no such channel.
        """
        present = {0} | {number for case in self.cases for number, _ in case.more}
        alike = {folded(own): number for own, number in reversed(self.channels.items())}
        number = self.channels.get(name, alike.get(folded(name)))
        if number is None and name.isdecimal():
            number = int(name)
        if number in present:
            return int(number)
        told = {n: f"{n:04d}" for n in sorted(present)}
        told |= {n: f"{own} ({n:04d})" for own, n in self.channels.items() if n in present}
        lacks = "names no file" if name in self.channels else "has no channel"
        raise DataError(
            f"{self.name} {lacks} '{name}': its images are {', '.join(told.values())}. Channels "
            "are files CASE_0000, CASE_0001, ... in imagesTr with their names in dataset.json "
            "(channel_names), as nnU-Net has them."
        )

    def of_channel(self, number: int) -> Dataset:
        """Return the same dataset with one of the further images of each case as its image.

        A case without that image is set aside.
        """
        if number == 0:
            return self
        cases, problems = [], list(self.problems)
        for case in self.cases:
            image = dict(case.more).get(number)
            if image is not None:
                cases.append(replace(case, image=image))
                continue
            problems.append(
                Finding(
                    case.id,
                    str(case.image),
                    f"missing channel {number:04d}",
                    "A network that sees several channels needs all of them of every case.",
                    f"Add {case.id}_{number:04d}.nii.gz, or remove the case.",
                )
            )
        return replace(self, cases=cases, problems=problems)

    def select(self, ids: list[str]) -> Dataset:
        """Return the same dataset with these cases only.

        Raises
        ------
        DataError
            A case is not there.
        """
        known = {case.id: case for case in self.cases}
        missing = [i for i in ids if i not in known]
        if missing:
            raise DataError(f"{self.name} has no usable case {', '.join(missing[:5])}.")
        return replace(self, cases=[known[i] for i in sorted(ids)])


def open_dataset(
    path: Path | str,
    layout: str | None = None,
    masks_only: bool = False,
    allow_empty: bool = False,
) -> Dataset:
    """Open a folder of scans.

    Parameters
    ----------
    path : Path
        The dataset, its folder of cases, or a folder around it.
    layout : str, optional
        ``kits19``, ``kits21``, ``kits23`` or ``nnunet``; found out where it is not given.
        ``kits21:AND``, ``kits21:MAJ`` and ``kits21:OR`` choose among the masks of KiTS21 (what all
        annotators saw, most, or any of them); ``kits21`` takes the majority.
    masks_only : bool
        List label maps whether or not there are images.
    allow_empty : bool
        Return a dataset without cases instead of refusing it, so that its problems can be listed.

    Returns
    -------
    Dataset
        With bad cases set aside in ``problems``.

    Raises
    ------
    DataError
        The folder is missing, cannot be read, or holds no usable case.
    """
    path = Path(path)
    if layout is not None and layout not in LAYOUTS:
        raise DataError(f"layout='{layout}' is not known; use one of {', '.join(LAYOUTS)}.")
    found, root = locate(path, layout)
    cases: list[Case] = []
    problems: list[Finding] = []
    for folder, images, masks in scan(root, found):
        name, image, label = visible(folder), images[0], masks[0]
        finding = file_fault(name, images, masks, masks_only)
        if finding is not None:
            problems.append(finding)
            if finding.severity == "error":
                continue
        cases.append(
            Case(name, image if is_there(image) else None, label if is_there(label) else None)
        )
    cases, twice = _without_duplicates(cases)
    problems += twice
    further = further_channels(root) if found == "nnunet" else {}
    further = {visible(case): images for case, images in further.items()}
    cases = [replace(c, more=tuple(sorted(further.get(c.id, {}).items()))) for c in cases]
    problems += (
        [*_unused_channels(further), *_unlike_list(root, cases)] if found == "nnunet" else []
    )
    description = _description(root)
    names = _names(root, found.partition(":")[0], description)
    if not cases and not allow_empty:
        reason = f" The first was set aside: {problems[0]}" if problems else ""
        raise DataError(f"{path} ({found} layout) holds no usable case.{reason}")
    family, _, aggregation = found.partition(":")
    notes = [str(description.get("note", ""))]
    if aggregation not in ("", "MAJ"):
        notes.append(f"The masks are {MASKS[found]} of KiTS21, not its majority masks.")
    if names.on_disk:
        here = LabelNames(names.labels).told()
        notes.append(f"The values of its masks ({names.told()}) were mapped by name to {here}.")
    return Dataset(
        name=visible(_name(root, family)),
        root=root,
        layout=family,
        labels=names.labels,
        cases=sorted(cases, key=lambda case: case.id),
        problems=problems,
        synthetic=bool(description.get("synthetic", False)),
        note=" ".join(note for note in notes if note),
        on_disk=names.on_disk,
        guessed=layout is None and not description and family != "nnunet",
        channels=channel_names(root) if family == "nnunet" else {},
    )


def _unused_channels(further: dict[str, dict[int, Path]]) -> list[Finding]:
    """Say that only networks that name a further channel are shown it."""
    images = [image for case in further.values() for image in case.values()]
    if not images:
        return []
    return [
        Finding(
            "",
            str(images[0]),
            f"{len(images)} images are further channels",
            "Architectures see one channel, CT, unless their spec names others.",
            "The channel _0000 is the CT; check that it is the one you mean.",
            "warning",
        )
    ]


def _unlike_list(root: Path, cases: list[Case]) -> list[Finding]:
    """Say where the list of ``dataset.json`` and the files beside it differ."""
    listed = {folded(name): name for name in listed_cases(root)}
    if not listed:
        return []
    usable = {folded(case.id): case.id for case in cases}
    absent = [name for key, name in listed.items() if key not in usable]
    unlisted = [name for key, name in usable.items() if key not in listed]
    return [
        Finding(
            "",
            str(root / "dataset.json"),
            f"{what.format(len(names))} (the first: {names[0]})",
            "The list of the training cases and the files say the same.",
            "The files are used; restore what is lost, or correct the list.",
            "warning",
        )
        for names, what in (
            (absent, f"{{}} of {len(listed)} listed training cases cannot be used"),
            (unlisted, "{} cases are not in its list of training cases"),
        )
        if names
    ]


def _without_duplicates(cases: list[Case]) -> tuple[list[Case], list[Finding]]:
    """Set aside cases whose ids differ in capitals or in the coding of a letter only."""
    seen: dict[str, Case] = {}
    findings = []
    for case in sorted(cases, key=lambda case: case.id):
        first = seen.setdefault(folded(case.id), case)
        if first is case:
            continue
        findings.append(
            Finding(
                case.id,
                str(case.label or case.image),
                f"the case id is that of {first.id} ({first.label or first.image}) up to capitals "
                "or accents",
                "Case ids are unique, also where file names ignore capitals.",
                "Rename one of the two, or remove it if it is a copy.",
            )
        )
    return list(seen.values()), findings


def file_mark(path: Path, edge: int = 1 << 20) -> str:
    """Hash of a file's content for the fingerprint of a dataset.

    Parameters
    ----------
    path : Path
        The file.
    edge : int
        Bytes read at either end of a compressed file that is larger than four times this.
    """
    import hashlib

    size = path.stat().st_size
    hasher = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        start = file.read(edge)
        hasher.update(start)
        if start[:2] == b"\x1f\x8b" and size > 4 * edge:
            file.seek(size - edge)
        while block := file.read(1 << 20):
            hasher.update(block)
    return hasher.hexdigest()[:32]


def _description(root: Path) -> dict[str, Any]:
    """What the maker of a synthetic dataset wrote down beside it."""
    for folder in (root, root.parent):
        path = folder / "phantom.json"
        if path.is_file():
            try:
                value = read_json(path)
            except (OSError, ValueError):
                continue
            if isinstance(value, dict):
                return value
    return {}


def _name(root: Path, layout: str) -> str:
    folder = root.resolve()
    if layout != "nnunet" and folder.name in ("data", "dataset"):
        folder = folder.parent
    return folder.name


def _names(root: Path, layout: str, description: dict[str, Any]) -> LabelNames:
    if layout == "nnunet":
        return read_label_names(root / DESCRIPTION)
    if description.get("labels") in LABELS:
        return LabelNames(dict(LABELS[description["labels"]]))
    return LabelNames(dict(LABELS[layout]))
