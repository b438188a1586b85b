"""Predicting whole scans of the sizes that KiTS has, and the parts of it.

The scan is drawn and not read: predicted, decided, cleaned, scored and written as in a run, by the
same functions. What is scored is not what the network says, which has learned nothing here, but
drawn anatomy against the same two voxels away: surfaces of noise would take far longer.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kitsbench.architecture import Architecture
from kitsbench.channels import CT
from kitsbench.data.preparation.store import PreparedCase, PreparedStore
from kitsbench.devices.parts import OTHER, timed, watched
from kitsbench.devices.peaks import peak_memory, reset_peaks
from kitsbench.devices.use import use_device
from kitsbench.errors import KitsbenchError
from kitsbench.evaluation import score_case
from kitsbench.evaluation.protocols import for_labels
from kitsbench.inference.case import Trained, label_map, predict
from kitsbench.inference.sliding import NonFiniteOutput, Predictor
from kitsbench.inference.tiles import tile_corners, tiles_at_once
from kitsbench.profiling.apart import measured_apart
from kitsbench.profiling.company import Company, is_busy
from kitsbench.profiling.job import ProfileJob
from kitsbench.profiling.repeat import finish
from kitsbench.profiling.step import TrainingStep
from kitsbench.registry import load
from kitsbench.scans.geometry import Axes, fitting_spacing, resampled_grid, spacing_of
from kitsbench.scans.writing import write_label
from kitsbench.spec import Spec
from kitsbench.training.failures import TrialFailure
from kitsbench.training.networks.sizes import size_rule_is_told

Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class ScanSize:
    """How large a scan is: voxels and mm, both (z, y, x)."""

    shape: Shape
    spacing: Spacing


SIZES = {
    "median": ScanSize((104, 512, 512), (3.0, 0.78, 0.78)),
    "largest": ScanSize((1059, 512, 512), (0.5, 0.78, 0.78)),
}
"""The median scan of KiTS23 (104 slices 3 mm apart, 27 million voxels), and one as large as its
largest (278 million voxels), with the median pixel and slices 0.5 mm apart, as a twentieth of KiTS
has them."""

PARTS = (
    "tiling",
    "network",
    "blending",
    "resampling",
    "decision",
    "post-processing",
    "scoring",
    "writing",
)
"""Of predicting a scan, in its order."""


@dataclass(frozen=True)
class ScanJob:
    """A network, and the scan that it predicts.

    Parameters
    ----------
    profile : ProfileJob
    size : str
        What the scan's size is called, as in :data:`SIZES`.
    scan : ScanSize
    protocol : str
        By which it is scored.
    """

    profile: ProfileJob
    size: str
    scan: ScanSize
    protocol: str

    @property
    def name(self) -> str:
        """Name in tables."""
        return self.profile.name


def profile_scan(job: ScanJob, timeout: float = 3600.0) -> dict[str, Any]:
    """Measure, in a process of its own, whose peak of memory is that of the scan.

    Where the machine was busy it is measured once more, and the calmer of the two is kept.

    Returns
    -------
    dict
        ``size``; ``shape`` and ``spacing`` of the scan; ``prepared``, its shape as the network is
        shown it; ``tiles``; ``seconds`` of the scan; ``parts``, {part: seconds};
        ``peak_memory_bytes``; ``company`` and ``busy``.

    Raises
    ------
    KitsbenchError
        The measurement failed; the message says why.
    """
    found = measured_apart(measure_scan, job, timeout)
    if not (found["busy"] and job.profile.again):
        return found
    second = measured_apart(measure_scan, job, timeout)
    return min((found, second), key=lambda one: (one["busy"], float(one["company"]["during"])))


def measure_scan(job: ScanJob) -> dict[str, Any]:
    """Measure in this process; see :func:`profile_scan`."""
    own = job.profile
    device = torch.device(own.device)
    use_device(device, own.threads)
    architecture = load(own.location).architecture
    try:
        with size_rule_is_told(architecture, own.spec):
            return _measured(job, architecture, device)
    except (TrialFailure, NonFiniteOutput) as failure:
        raise KitsbenchError(str(failure)) from failure


def _measured(job: ScanJob, architecture: Architecture, device: torch.device) -> dict[str, Any]:
    own, spec = job.profile, job.profile.spec
    if spec.inputs or any(grid.channels != CT for grid in spec.grids):
        raise KitsbenchError(
            "it is shown more of a scan than the CT, and scans are drawn here: predict some with "
            "`kitsbench predict` instead."
        )
    spacings = {grid: PreparedStore.open(folder).spacing for grid, folder in own.stores.items()}
    trained = _trained(job, architecture, device)
    # What the first pass loads and searches for is not the scan's.
    small = ScanSize(spec.grids[0].shape, spacings[spec.grids[0].name])
    _segment(trained, _volumes(small, spec, spacings))
    volumes = _volumes(job.scan, spec, spacings)
    truth, labels = _anatomy(job.scan, spec)
    first = volumes[spec.grids[0].name]
    corners = tile_corners(first.image.shape, spec.reach, own.recipe.inference.overlap)
    company = Company(device, own.looks)
    finish(device)
    reset_peaks(device)
    with tempfile.TemporaryDirectory() as folder, watched(device) as clock:
        clock.lap()
        _segment(trained, volumes)
        with timed("scoring"):
            rule = for_labels(job.protocol, dict(spec.labels))
            affine = np.asarray(first.native["affine"])
            score_case(labels, truth, job.scan.spacing, rule, affine=affine)
        with timed("writing"):
            write_label(Path(folder) / "label.nii.gz", labels, first.native)
        finish(device)
        clock.lap()
        (lap,) = clock.laps()
    shares = company.leave()
    order = dict.fromkeys([*PARTS, *lap, OTHER])
    return {
        "size": job.size,
        "shape": job.scan.shape,
        "spacing": job.scan.spacing,
        "prepared": tuple(first.image.shape),
        "tiles": len(corners),
        "seconds": sum(lap.values()),
        "parts": {name: lap.get(name, 0.0) for name in order},
        "peak_memory_bytes": peak_memory(device),
        "company": shares,
        "busy": is_busy(shares),
    }


def _segment(trained: Trained, volumes: dict[str, PreparedCase]) -> np.ndarray:
    """Segment as a run does with a held-out case."""
    return label_map(trained, predict(trained, [volumes]))


def _trained(job: ScanJob, architecture: Architecture, device: torch.device) -> Trained:
    """The network behind tiling, activations and mirroring, as that of a trial is."""
    own = job.profile
    network = TrainingStep(own, architecture, device).network.eval()
    predictor = Predictor(
        network,
        own.spec,
        own.window,
        own.recipe.inference,
        device,
        own.precision,
        tiles=tiles_at_once(own.spec, device),
    )
    return Trained(architecture, own.spec, (predictor,), ((architecture, own.spec),))


def _affine(spacing: Spacing) -> np.ndarray:
    """Of an array (z, y, x), z to the head, y to the front, x to the patient's right."""
    z, y, x = spacing
    return np.array([[0, 0, x, 0], [0, y, 0, 0], [z, 0, 0, 0], [0, 0, 0, 1.0]])


def _volumes(scan: ScanSize, spec: Spec, spacings: dict[str, Spacing]) -> dict[str, PreparedCase]:
    """A scan as each grid shows it: noise of the HU that soft tissue has."""
    native_affine, axes = _affine(scan.spacing), Axes((0, 1, 2), (False, False, False))
    native = {
        "shape": list(scan.shape),
        "affine": native_affine.tolist(),
        "spacing": list(scan.spacing),
        "order": list(axes.order),
        "flipped": list(axes.flipped),
        "sform_code": 1,
        "qform_code": 0,
        "units": 2,
    }
    found: dict[str, PreparedCase] = {}
    made: dict[Spacing, PreparedCase] = {}
    for grid in spec.grids:
        spacing = spacings[grid.name]
        if spec.fit is not None:
            spacing = fitting_spacing(native_affine, scan.shape, spacing, spec.fit)
        if spacing not in made:
            affine, shape = resampled_grid(native_affine, scan.shape, spacing)
            voxels = np.random.default_rng(0).integers(-50, 150, shape, np.int16)
            made[spacing] = PreparedCase("drawn", voxels, None, spacing_of(affine), affine, native)
        found[grid.name] = made[spacing]
    return found


def _anatomy(scan: ScanSize, spec: Spec) -> tuple[np.ndarray, np.ndarray]:
    """A true label map of two kidneys with a lesion of each further label, and a predicted one."""
    truth = np.zeros(scan.shape, np.uint8)
    size = np.array(scan.shape) * scan.spacing  # mm
    (_, first), *others = spec.labels
    # About 200 ml each, 149 mm apart, as the medians of KiTS23 have it.
    middles = [size * (0.5, 0.5, 0.5) + (0, 0, side * 74.5) for side in (-1, 1)]
    for middle in middles:
        _ball(truth, scan, middle, (55.0, 30.0, 29.0), first)
    for number, (_, value) in enumerate(others):
        middle = middles[number % 2] + (20.0, 0.0, 0.0)
        _ball(truth, scan, middle, (19.5, 19.5, 19.5) if number == 0 else (10.0, 10.0, 10.0), value)
    return truth, np.roll(truth, 2, axis=2)


def _ball(
    labels: np.ndarray, scan: ScanSize, middle: np.ndarray, radii: Spacing, value: int
) -> None:
    """Fill an ellipsoid, given in mm, as far as it lies inside."""
    box, parts = [], []
    for size, step, at, radius in zip(scan.shape, scan.spacing, middle, radii, strict=True):
        low = max(int((at - radius) / step), 0)
        high = min(int((at + radius) / step) + 2, size)
        box.append(slice(low, max(high, low)))
        parts.append(((np.arange(low, max(high, low)) * step - at) / radius) ** 2)
    inside = parts[0][:, None, None] + parts[1][:, None] + parts[2] <= 1
    labels[tuple(box)][inside] = value
