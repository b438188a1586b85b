"""Checks of a system that was trained elsewhere: it predicts label maps of any scan."""

from __future__ import annotations

import numpy as np
import torch

from kitsbench.configuration import SIZES, Setting, configure
from kitsbench.conformance.driven import surroundings
from kitsbench.conformance.driven.subject import Subject
from kitsbench.conformance.outcome import Violation
from kitsbench.errors import ContractError
from kitsbench.inference.systems import ask_system
from kitsbench.spec import Shape, Spec

Spacing = tuple[float, float, float]
USUAL: tuple[Shape, Spacing] = (24, 40, 36), (5.0, 4.0, 4.0)
ODD: tuple[tuple[Shape, Spacing], ...] = (
    ((7, 33, 41), (5.0, 0.8, 0.8)),
    ((40, 31, 29), (0.7, 3.0, 3.0)),
    ((1, 24, 24), (5.0, 1.0, 1.0)),
)
# HU: what lies around a scan, and metal; a scan of nothing but air has no spread to divide by.
PADDING, METAL, AIR = -3024.0, 3071.0, -1000.0
OTHER = 75.0  # HU that a scan is brighter than the usual ones
_CPU = torch.device("cpu")


def says_what_it_was_trained_on(subject: Subject) -> None:
    """Every dataset that it has seen is named, and it has no grids and no heads."""
    spec = subject.spec
    if not spec.trained_on or not all(text.strip() for text in spec.trained_on):
        raise Violation(
            "it does not say what it was trained on: set trained_on to the names of all datasets "
            'that it has seen, or to "unknown".'
        )
    if spec.grids or spec.heads or spec.members:
        raise Violation("its spec has grids, heads or members: a System has none, leave them out.")


def configurations_are_specs(subject: Subject) -> None:
    """Every size and every option of every key gives a spec of a system."""
    plugin = subject.architecture
    for size in plugin.sizes:
        if size not in SIZES:
            raise Violation(f"'{size}' in sizes is no size: use {', '.join(SIZES)}.")
    if "size" in plugin.keys:
        raise Violation("'size' is a key of every architecture: give yours another name.")
    variants: list[dict[str, Setting]] = [{"size": size} for size in SIZES]
    for name, key in plugin.keys.items():
        variants += [{name: option} for option in key.options or ()]
    for variant in variants:
        spec = subject.spec_for(None, configure(plugin, variant))
        if not isinstance(spec, Spec) or not spec.trained_on:
            listed = ",".join(f"{key}={value}" for key, value in variant.items())
            raise Violation(f"with {listed} it does not say what it was trained on.")


def predicts_a_label_map(subject: Subject) -> None:
    """predict() gives the labels of the task on the voxels of the scan."""
    _ask(subject, *USUAL)


def leaves_the_scan_alone(subject: Subject) -> None:
    """predict() changes neither the scan nor the process."""
    scan = _scan(*USUAL)
    given = torch.from_numpy(scan.copy())
    before = surroundings.state()
    subject.system.predict(given, USUAL[1], subject.spec, _CPU)
    drawn = ("NumPy's random generator", "Python's random generator", "torch's random generator")
    touched = [c for c in surroundings.changed(before, surroundings.state()) if c not in drawn]
    if touched:
        raise Violation(f"predict() changes {touched[0]}: put it back, it is the harness's.")
    if not np.array_equal(given.numpy(), scan):
        raise Violation("predict() changes the scan that it is given: work on a copy.")


def predicts_the_same_again(subject: Subject) -> None:
    """The same scan gives the same label map, whichever scans came before it, if any."""
    first, odd = _ask(subject, *USUAL), _ask(subject, *ODD[0])
    pairs = [(first, _ask(subject, *USUAL))]
    # What was fitted to the very first scan shows where that is another one, and what is kept for
    # all scans of a shape where another one of that shape comes first.
    subject.forget()
    _segmented(subject, _scan(*ODD[0]) + OTHER, ODD[0][1])
    pairs += [(odd, _ask(subject, *ODD[0])), (first, _ask(subject, *USUAL))]
    for one, other in (pair for pair in pairs if not np.array_equal(*pair)):
        share = float(np.mean(one != other))
        raise Violation(
            f"predict() gave another label map for the same scan ({share:.1%} of the voxels): keep "
            "no state between scans, and draw by the global generators, which are seeded."
        )


def takes_any_scan(subject: Subject) -> str:
    """Thick slices, long and flat scans, metal and padding are segmented, too; a hint for air."""
    for shape, spacing in ODD:
        try:
            _ask(subject, shape, spacing)
        except Violation as error:
            raise Violation(f"of a scan of {shape} voxels of {spacing} mm: {error}") from error
    odd = _scan(*USUAL)
    odd[:, :2], odd[8:10, 20:22, 18:20] = PADDING, METAL
    try:
        _segmented(subject, odd, USUAL[1])
    except Violation as error:
        raise Violation(f"of a scan with padding and metal: {error}") from error
    try:
        _segmented(subject, np.full_like(odd, AIR), USUAL[1])
    except Violation as error:
        return f"Of a scan of nothing but air: {error}"
    return ""


def _ask(subject: Subject, shape: Shape, spacing: Spacing) -> np.ndarray:
    return _segmented(subject, _scan(shape, spacing), spacing)


def _segmented(subject: Subject, image: np.ndarray, spacing: Spacing) -> np.ndarray:
    shape = image.shape
    system = subject.system  # what load() raises is told as such
    subject.files.next_stretch()
    try:
        return ask_system(system, subject.spec, image, spacing, _CPU, "check")[0]
    except ContractError as error:
        raise Violation(str(error)) from error
    except NotImplementedError as error:
        raise Violation(f"predict() is not implemented: {error}") from error
    except Exception as error:
        text = (str(error).strip().splitlines() or ["no message"])[0]
        raise Violation(
            f"predict() raised {type(error).__name__} ({text}) for a scan of {shape} voxels of "
            f"{spacing} mm: repair it."
        ) from error


def _scan(shape: Shape, spacing: Spacing) -> np.ndarray:
    """Two bright ellipsoids in a body of soft tissue, HU, (z, y, x), float32."""
    noise = np.random.default_rng(0).normal(0, 15, shape)
    axes = [
        (np.arange(edge) - (edge - 1) / 2) * step for edge, step in zip(shape, spacing, strict=True)
    ]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    reach = [max(edge * step / 2, 1e-3) for edge, step in zip(shape, spacing, strict=True)]
    body = (y / reach[1]) ** 2 + (x / reach[2]) ** 2 < 0.8
    image = np.where(body, 40.0, -1000.0)
    for side in (-0.4, 0.4):
        inside = (z / (0.6 * reach[0])) ** 2 + (y / (0.3 * reach[1])) ** 2
        image[inside + ((x / reach[2] - side) / 0.2) ** 2 < 1] = 180.0
    return np.rint(image + noise).astype(np.float32)
