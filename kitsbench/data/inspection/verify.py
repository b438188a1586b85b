"""Looking inside a dataset: every case is read once and everything wrong with it is listed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kitsbench.data.datasets.dataset import Case, Dataset, file_mark
from kitsbench.data.datasets.guess import contradicted
from kitsbench.data.inspection.phases import second_phase
from kitsbench.data.preparation.pool import in_processes
from kitsbench.data.preparation.volumes import check_content
from kitsbench.scans.findings import Finding, Refused
from kitsbench.scans.geometry import Axes, voxel_volume
from kitsbench.scans.grids import axes_onto, grid_findings
from kitsbench.scans.header import Header
from kitsbench.scans.label_names import LabelNames
from kitsbench.scans.nifti import read_header, read_image, read_label
from kitsbench.text import visible

DETACHED_MM = 10.0  # a mass this far from any kidney is worth a look


@dataclass
class Verification:
    """What :func:`verify` found.

    Attributes
    ----------
    dataset : Dataset
        The dataset.
    findings : list of Finding
        Errors and warnings, by case.
    """

    dataset: Dataset
    findings: list[Finding] = field(default_factory=list)

    @property
    def errors(self) -> list[Finding]:
        """Findings that set a case aside."""
        return [f for f in self.findings if f.severity == "error"]

    @property
    def usable(self) -> list[str]:
        """Cases without an error."""
        bad = {f.case for f in self.errors}
        return [case.id for case in self.dataset.cases if case.id not in bad]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "dataset": self.dataset.name,
            "root": visible(str(self.dataset.root)),
            "layout": self.dataset.layout,
            "labels": self.dataset.labels,
            "n_cases": len({c.id for c in self.dataset.cases} | set(self.dataset.excluded)),
            "n_usable": len(self.usable),
            "n_errors": len(self.errors),
            "n_warnings": len(self.findings) - len(self.errors),
            "findings": [f.to_dict() for f in self.findings],
        }


def verify(
    dataset: Dataset, jobs: int = 1, progress: Callable[[int, int], None] | None = None
) -> Verification:
    """Read every case of a dataset and list what is wrong with it.

    Parameters
    ----------
    dataset : Dataset
        What to look at; nothing in it is changed.
    jobs : int
        Processes; each holds one case.
    progress : callable, optional
        Called as ``progress(done, total)``.
    """
    findings = list(dataset.problems) + _twins(dataset)
    work = [(case, dataset.names) for case in dataset.cases]
    if progress is not None:
        progress(0, len(work))
    for done, found in enumerate(in_processes(_verify_case, work, jobs), start=1):
        findings += found
        if progress is not None:
            progress(done, len(work))
    layout = contradicted(dataset, {f.case: f.what for f in findings if f.severity == "error"})
    findings += [layout] if layout is not None else []
    return Verification(dataset, sorted(findings, key=lambda f: (f.case, f.severity)))


def _verify_case(task: tuple[Case, LabelNames]) -> list[Finding]:
    """Everything wrong with one case; a fault of the mask does not hide one of the image."""
    case, names = task
    findings: list[Finding] = []
    image = _attempt(findings, lambda: read_header(case.image or Path(), case.id))
    mask = _attempt(findings, lambda: read_header(case.label or Path(), case.id))
    for header in (image, mask):
        findings += header.findings if header is not None else []
    if image is not None and mask is not None:
        findings += grid_findings(image, mask)
    array = None
    if mask is not None:
        axes = mask.axes if image is None else axes_onto(mask, image.affine)
        array = _attempt(findings, lambda: read_label(mask, names, axes))
        if array is not None:
            _attempt(findings, lambda: check_content(mask, array, names))
            findings += _detached(mask, array, axes, names.labels)
    if image is not None:
        read = _attempt(findings, lambda: read_image(image))
        findings += read[1] if read is not None else []
        if read is not None and array is not None:
            findings += second_phase(image, read[0], array)
    return findings


def _attempt(findings: list[Finding], step: Callable[[], Any]) -> Any:
    try:
        return step()
    except Refused as error:
        findings.append(error.finding)
        return None


def _detached(
    header: Header, mask: np.ndarray, axes: Axes, labels: dict[str, int]
) -> list[Finding]:
    """Warn of a tumour that is farther than 10 mm from any kidney."""
    from scipy.ndimage import binary_dilation, distance_transform_edt, find_objects, label

    kidney, tumour = labels.get("kidney"), labels.get("tumor")
    if kidney is None or tumour is None or not (mask == tumour).any():
        return []
    box = find_objects((mask > 0).astype(np.uint8))[0]
    mask = mask[box]
    if not (mask == kidney).any():
        return []
    spacing = [header.spacing[k] for k in axes.order]
    masses = mask >= min(tumour, *(v for n, v in labels.items() if n != "kidney"))
    parts, count = label(masses & (mask != kidney))
    # Nearly every mass touches a kidney, and looking for that is cheap.
    around = binary_dilation(mask == kidney, np.ones((3, 3, 3), dtype=bool))
    if len(np.unique(parts[around & (parts > 0)])) == count:
        return []
    near = distance_transform_edt(mask != kidney, sampling=spacing) <= DETACHED_MM
    touching = set(np.unique(parts[near]).tolist())
    alone = [k for k in range(1, count + 1) if k not in touching]
    if not alone:
        return []
    millilitres = np.isin(parts, alone).sum() * voxel_volume(header.affine) / 1000
    return [
        Finding(
            header.case,
            str(header.path),
            f"{len(alone)} masses ({millilitres:.2g} ml) lie more than {DETACHED_MM:g} mm "
            "from any kidney",
            "A renal tumour grows from a kidney.",
            "Look at the case; a kidney that was removed or replaced explains it.",
            "warning",
        )
    ]


def _twins(dataset: Dataset) -> list[Finding]:
    """Warn of cases whose images are the same file: one patient counted twice."""
    seen: dict[str, str] = {}
    findings = []
    for case in dataset.cases:
        if case.image is None:
            continue
        mark = file_mark(case.image)
        if mark in seen:
            findings.append(
                Finding(
                    case.id,
                    str(case.image),
                    f"the image is the same as that of {seen[mark]}",
                    "Every case is another scan.",
                    "Remove one of the two: in two folds they leak, in one they count double.",
                    "warning",
                )
            )
        seen.setdefault(mark, case.id)
    return findings
