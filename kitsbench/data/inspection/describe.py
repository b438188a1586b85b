"""A dataset or a prepared store in numbers: geometry, volumes and intensities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from kitsbench.data.datasets.dataset import Case, Dataset
from kitsbench.data.datasets.guess import check_guess
from kitsbench.data.inspection.published import HU_QUANTILES, QUANTILES
from kitsbench.data.preparation.pool import in_processes
from kitsbench.data.preparation.store import HU_BINS, HU_LOW, PreparedStore
from kitsbench.data.preparation.volumes import check_pair
from kitsbench.scans.findings import Refused
from kitsbench.scans.geometry import orientation_name, voxel_volume
from kitsbench.scans.grids import axes_onto
from kitsbench.scans.label_names import LabelNames
from kitsbench.scans.nifti import read_header, read_image, read_label
from kitsbench.text import visible


@dataclass(frozen=True)
class CaseFigures:
    """The figures of one case.

    Attributes
    ----------
    case : str
        Its id.
    orientation : str
        Such as ``IPL``: where the axes on disk run to.
    spacing, shape : tuple
        (z, y, x), mm and voxels.
    volume_ml : dict of str to float
        By label.
    histogram : dict of str to ndarray
        Voxels of each label per HU from -1024 to 3071, if images were read.
    """

    case: str
    orientation: str
    spacing: tuple[float, float, float]
    shape: tuple[int, int, int]
    volume_ml: dict[str, float]
    histogram: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Figures:
    """The figures of a dataset.

    Attributes
    ----------
    dataset : Dataset
        The dataset.
    cases : list of CaseFigures
        Of the cases that can be read.
    excluded : dict of str to str
        Why others cannot.
    """

    dataset: Dataset
    cases: list[CaseFigures]
    excluded: dict[str, str]

    def pooled(self, label: str) -> np.ndarray:
        """Voxels of a label per HU, all cases together."""
        found = [c.histogram[label] for c in self.cases if label in c.histogram]
        return np.sum(found, axis=0) if found else np.zeros(HU_BINS, dtype=np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: lengths (z, y, x) in mm, volumes in ml, quantiles by percent."""
        dataset, cases = self.dataset, self.cases
        found: dict[str, Any] = {
            "name": dataset.name,
            "root": visible(str(dataset.root)),
            "layout": dataset.layout,
            "labels": dataset.labels,
            "synthetic": dataset.synthetic,
            "note": dataset.note,
            "fingerprint": dataset.fingerprint,
            "n_cases": len(cases),
            "n_excluded": len(self.excluded),
            "n_images": sum(case.image is not None for case in dataset.cases),
            "excluded": self.excluded,
            "orientations": sorted({case.orientation for case in cases}),
            "spacing_mm": _quantiles([case.spacing for case in cases]),
            "shape": _quantiles([case.shape for case in cases]),
            "volume_ml": {
                name: {
                    "n_cases": sum(c.volume_ml.get(name, 0) > 0 for c in cases),
                    **_quantiles([v for c in cases if (v := c.volume_ml.get(name, 0)) > 0]),
                }
                for name in dataset.labels
            },
        }
        if any(case.histogram for case in cases):
            found["hu"] = {name: self._intensity(name) for name in dataset.labels}
        return found

    def _intensity(self, label: str) -> dict[str, Any]:
        """HU of a label, over all voxels and over cases."""
        counts = [h for c in self.cases if (h := c.histogram.get(label)) is not None and h.any()]
        if not counts:
            return {}
        mean, sd, quantiles = moments(np.sum(counts, axis=0))
        single = [moments(one) for one in counts]
        middle = HU_QUANTILES.index(50)
        return {
            "n_cases": len(counts),
            "mean": round(mean, 2),
            "sd": round(sd, 2),
            **{f"p{q:g}": v for q, v in zip(HU_QUANTILES, quantiles, strict=True)},
            "case_median": _quantiles([s[2][middle] for s in single]),
            "within_sd": _quantiles([s[1] for s in single]),
        }


def measure(
    dataset: Dataset,
    intensities: bool = False,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Figures:
    """Measure every case of a dataset.

    Parameters
    ----------
    dataset : Dataset
        Headers of all images and all masks are read.
    intensities : bool
        Read the images too, for the HU of every label.
    jobs : int
        Processes; each holds one case.
    progress : callable, optional
        Called as ``progress(done, total)``.

    Raises
    ------
    DataError
        The masks contradict a layout that was guessed.
    """
    cases, excluded = [], dict(dataset.excluded)
    work = [(case, dataset.names, intensities) for case in dataset.cases]
    if progress is not None:
        progress(0, len(work))
    for done, found in enumerate(in_processes(_measure_case, work, jobs), start=1):
        if isinstance(found, CaseFigures):
            cases.append(found)
        else:
            excluded[found[0]] = found[1]
        if progress is not None:
            progress(done, len(work))
    check_guess(dataset, excluded)
    return Figures(dataset, cases, excluded)


def describe_store(store: PreparedStore) -> dict[str, Any]:
    """Describe a prepared store."""
    return {
        "id": store.id,
        "folder": str(store.folder),
        "spacing_mm": list(store.spacing),
        "dataset": store.manifest.dataset.model_dump(mode="json"),
        "n_cases": len(store.cases),
        "excluded": store.excluded,
        "fingerprint": store.fingerprint,
    }


def moments(counts: np.ndarray) -> tuple[float, float, list[float]]:
    """Mean, SD and quantiles (``HU_QUANTILES``) of a histogram with one bin per HU."""
    values = np.arange(HU_LOW, HU_LOW + HU_BINS, dtype=np.float64)
    total = counts.sum()
    mean = float((counts * values).sum() / total)
    sd = float(np.sqrt((counts * (values - mean) ** 2).sum() / total))
    reached = np.cumsum(counts)
    places = [int(np.searchsorted(reached, q / 100 * total)) for q in HU_QUANTILES]
    return mean, sd, [float(values[min(p, HU_BINS - 1)]) for p in places]


def count_labels(label: np.ndarray) -> np.ndarray:
    """Voxels of each value 0 to 255 of a label map (uint8, any axes)."""
    # Slice by slice: bincount makes its input eight bytes wide.
    return np.sum([np.bincount(plane.reshape(-1), minlength=256) for plane in label], axis=0)


def _measure_case(
    work: tuple[Case, LabelNames, bool],
) -> CaseFigures | tuple[str, str]:
    """Figures of a case, or its id and why there are none."""
    case, names, intensities = work
    labels = names.labels
    path = case.image or case.label
    assert path is not None
    try:
        header = read_header(path, case.id)
        mask, volumes, histogram = None, {}, {}
        if case.label is not None:
            mask_header = read_header(case.label, case.id)
            mask = read_label(mask_header, names, axes_onto(mask_header, header.affine))
            counts = count_labels(mask)
            voxel = voxel_volume(mask_header.affine) / 1000.0
            volumes = {name: float(counts[value] * voxel) for name, value in labels.items()}
        if intensities and mask is not None and case.image is not None:
            check_pair(header, mask_header)
            histogram = _histograms(read_image(header)[0], mask, labels)
    except Refused as error:
        return case.id, error.finding.what
    z, y, x = header.axes.order
    return CaseFigures(
        case.id,
        orientation_name(header.affine),
        (header.spacing[z], header.spacing[y], header.spacing[x]),
        (header.shape[z], header.shape[y], header.shape[x]),
        volumes,
        histogram,
    )


def _histograms(
    image: np.ndarray, mask: np.ndarray, labels: dict[str, int]
) -> dict[str, np.ndarray]:
    """Voxels of each label per HU; slice by slice, so that no copy of the case is made."""
    found = {name: np.zeros(HU_BINS, dtype=np.int64) for name in labels}
    for hu, values in zip(image, mask, strict=True):
        if not values.any():
            continue
        for name, value in labels.items():
            bins = hu[values == value].astype(np.int32) - HU_LOW
            found[name] += np.bincount(bins, minlength=HU_BINS)
    return found


def _quantiles(values: list[Any]) -> dict[str, Any]:
    if not values:
        return {}
    found = np.percentile(np.asarray(values, dtype=float), QUANTILES, axis=0)
    return {f"p{q}": np.round(v, 4).tolist() for q, v in zip(QUANTILES, found, strict=True)}


def rows(figures: Figures) -> list[dict[str, Any]]:
    """One flat row a case, for a table."""
    found = []
    for case in figures.cases:
        plain = asdict(case)
        row: dict[str, Any] = {"case": case.case, "orientation": case.orientation}
        for key in ("spacing", "shape"):
            row |= {f"{key}_{axis}": plain[key][k] for k, axis in enumerate("zyx")}
        for name in figures.dataset.labels:
            row[f"{name}_ml"] = case.volume_ml.get(name)
            counts = case.histogram.get(name)
            if counts is not None and counts.sum() > 0:
                mean, sd, quantiles = moments(counts)
                row |= {
                    f"{name}_hu_mean": round(mean, 2),
                    f"{name}_hu_sd": round(sd, 2),
                    f"{name}_hu_median": quantiles[HU_QUANTILES.index(50)],
                }
        found.append(row)
    return found
