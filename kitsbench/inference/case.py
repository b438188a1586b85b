"""The label map of one scan: networks, combination, decision, post-processing."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kitsbench.architecture import Architecture
from kitsbench.data.preparation.store import PreparedCase
from kitsbench.default_hooks import region_order
from kitsbench.devices.parts import timed
from kitsbench.devices.peaks import peak_memory
from kitsbench.errors import ContractError
from kitsbench.inference.landing import fetch
from kitsbench.inference.memory import HOST, release
from kitsbench.inference.native import maps_on_native, native_labels, nearest_native, slabs
from kitsbench.inference.outside import with_background
from kitsbench.inference.sliding import Predicts, beside, gather, to_host
from kitsbench.scans.geometry import Axes
from kitsbench.spec import Spec

Volumes = Mapping[str, PreparedCase]


@dataclass(frozen=True)
class Trained:
    """An architecture with a trained network behind it, or an ensemble of such.

    Parameters
    ----------
    architecture, spec : Architecture, Spec
        Who decides and cleans the label map.
    predictors : sequence
        One; for an ensemble one a member. A :class:`~kitsbench.inference.sliding.Predictor`, or
        what predicts as that does.
    deciders : sequence of (Architecture, Spec)
        Who each predictor belongs to.
    """

    architecture: Architecture
    spec: Spec
    predictors: Sequence[Predicts]
    deciders: Sequence[tuple[Architecture, Spec]]


@dataclass(frozen=True)
class Predicted:
    """What the networks say of one scan, as far as the device has worked on it.

    Attributes
    ----------
    native : mapping
        Geometry of the scan on disk.
    affines : sequence of dict
        {head: affine of the grid that its probabilities lie on}, for each predictor.
    probabilities : sequence of dict
        {head: (C, z, y, x)} of each predictor, on the CPU; empty where labels are decided.
    labels : Tensor or None
        Label values, uint8, on the CPU: on the prepared grid where the rule decides there, else on
        the scan's own voxels. None where they are not decided yet.
    maps : dict of str to Tensor
        What the hook ``postprocess`` wants to see on the scan's own voxels, where labels are
        decided.
    """

    native: Mapping[str, Any]
    affines: Sequence[dict[str, np.ndarray]]
    probabilities: Sequence[dict[str, Tensor]] = ()
    labels: Tensor | None = None
    maps: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def affine(self) -> np.ndarray:
        """Of the scan, for its axes as they are on disk."""
        return np.asarray(self.native["affine"], dtype=float)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the scan on disk."""
        return tuple(self.native["shape"])


def segment(trained: Trained, volumes: Sequence[Volumes]) -> np.ndarray:
    """Segment one scan.

    Parameters
    ----------
    trained : Trained
    volumes : sequence of mapping
        For each predictor {grid: the scan prepared at that grid's spacing}.

    Returns
    -------
    ndarray
        Label values, uint8, on the scan's own voxels in the file's axis order.
    """
    return label_map(trained, predict(trained, volumes))


def predict(trained: Trained, volumes: Sequence[Volumes]) -> Predicted:
    """The part of :func:`segment` that the device does.

    Where the probabilities lie on a device, labels are decided there too: they are a byte a voxel,
    and probabilities are many.
    """
    found: list[dict[str, Tensor]] = []
    for predictor, own in zip(trained.predictors, volumes, strict=True):
        found.append(beside(found, predictor, own))
    gather(found)
    affines = [
        {head.name: v[head.grid].affine for head in p.heads}
        for p, v in zip(trained.predictors, volumes, strict=True)
    ]
    open_ = Predicted(next(iter(volumes[0].values())).native, affines, found)
    device = next(iter(found[0].values())).device
    if device == HOST:
        return open_
    peak = peak_memory(device)
    with contextlib.suppress(Exception), timed("resampling"):
        return _decided(trained, open_)
    # Whatever went wrong there is done again on the host, whose error counts: memory that ran out,
    # or a hook that wants tensors of the host.
    release(device, peak)
    for member in found:
        to_host(member)
    return open_


def label_map(trained: Trained, predicted: Predicted) -> np.ndarray:
    """The part of :func:`segment` that the host does; result as there."""
    with timed("resampling"):
        done = predicted if predicted.labels is not None else _decided(trained, predicted)
    assert done.labels is not None
    if _decides_prepared(trained):
        grid = done.affines[0][trained.spec.primary.name]
        with timed("resampling"):
            to_prepared = np.linalg.inv(grid) @ done.affine
            labels = nearest_native(done.labels, to_prepared, done.shape)
    else:
        labels = done.labels.numpy()
    if not _cleans(trained):
        return labels
    turn = Axes(tuple(done.native["order"]), tuple(done.native["flipped"]))
    z, y, x = (float(done.native["spacing"][k]) for k in turn.order)
    with timed("post-processing"):
        return _postprocess(trained, labels, done.maps, turn, (z, y, x))


def _decides_prepared(trained: Trained) -> bool:
    """Whether labels are decided on the prepared grid, and not on the scan's own voxels."""
    return len(trained.predictors) == 1 and trained.predictors[0].rule.decide == "prepared"


def _cleans(trained: Trained) -> bool:
    return type(trained.architecture).postprocess is not Architecture.postprocess


def _decided(trained: Trained, predicted: Predicted) -> Predicted:
    """Labels instead of probabilities, decided where these lie; the labels are on the CPU."""
    affine, shape = predicted.affine, predicted.shape
    found, affines = [], []
    for own, grids, predictor in zip(
        predicted.probabilities, predicted.affines, trained.predictors, strict=True
    ):
        values, places = with_background(own, grids, predictor.heads, affine, shape)
        found.append(values)
        affines.append(places)
    if _decides_prepared(trained):
        labels = _decide_prepared(trained, found[0])
    else:
        labels = native_labels(found, affines, affine, shape, lambda own: combine(trained, own))
    maps: dict[str, Tensor] = {}
    if _cleans(trained):
        wanted = {
            head.name: found[0][head.name]
            for head in trained.predictors[0].heads
            if head.at_inference and head.kind != "scalar"
        }
        maps = maps_on_native(wanted, affines[0], affine, shape)
    return replace(predicted, affines=affines, probabilities=(), labels=fetch(labels), maps=maps)


def _decide_prepared(trained: Trained, found: Mapping[str, Tensor]) -> Tensor:
    """Labels on the grid of the primary head; in slabs where memory is a device's."""
    shapes = {tuple(v.shape[1:]) for v in found.values()} - {(1, 1, 1)}
    primary = found[trained.spec.primary.name]
    if primary.device == HOST or len(shapes) != 1:
        return decided_by(trained.architecture, trained.spec, found)
    labels = torch.empty(primary.shape[1:], dtype=torch.uint8, device=primary.device)
    for first, last in slabs(labels.shape):
        piece = {n: v if v.shape[1:] == (1, 1, 1) else v[:, first:last] for n, v in found.items()}
        labels[first:last] = decided_by(trained.architecture, trained.spec, piece)
    return labels


def combine(trained: Trained, found: list[dict[str, Tensor]]) -> Tensor:
    """Decide labels from the probabilities of one network or of an ensemble's members.

    Raises
    ------
    ContractError
        The members of a mean have different heads.
    """
    if not trained.spec.members:
        return decided_by(trained.architecture, trained.spec, found[0])
    if trained.spec.combine == "vote":
        return _vote(trained, found)
    architecture, spec = trained.deciders[0]
    shapes = [{name: values.shape[0] for name, values in member.items()} for member in found]
    if any(shape != shapes[0] for shape in shapes):
        raise ContractError(
            "an ensemble's mean wants members with the same heads and channels; "
            "use combine='vote' for others."
        )
    mean = {name: sum(member[name] for member in found) / len(found) for name in found[0]}
    return decided_by(architecture, spec, mean)  # type: ignore[arg-type]


def decided_by(architecture: Architecture, spec: Spec, found: Mapping[str, Tensor]) -> Tensor:
    """Label values, uint8, that an architecture decides from its probabilities.

    Raises
    ------
    ContractError
        What it returned is no label map of the task.
    """
    shape = tuple(found[spec.primary.name].shape[1:])
    own = dict(found)  # from which the hook may take something out
    with timed("decision"):
        return checked_labels("decode", architecture.decode(own, spec), spec, shape)


def checked_labels(hook: str, labels: object, spec: Spec, shape: tuple[int, ...]) -> Tensor:
    """A copy of the label map that a hook returned, as uint8, if it is one of the task.

    Raises
    ------
    ContractError
        It is no tensor of whole numbers of that shape, or holds a label that does not exist.
    """
    if not isinstance(labels, Tensor):
        raise ContractError(f"{hook}() returned a {type(labels).__name__}: return a tensor, uint8.")
    if tuple(labels.shape) != shape:
        turned = sorted(labels.shape) == sorted(shape)
        remedy = "return its axes in the order (z, y, x)" if turned else "return a label a voxel"
        raise ContractError(
            f"{hook}() returned shape {tuple(labels.shape)} for {shape} voxels: {remedy}."
        )
    if labels.dtype.is_floating_point or labels.dtype.is_complex:
        raise ContractError(
            f"{hook}() returned {labels.dtype}{_first_odd(labels)}: label values are uint8. "
            "Decide a label a voxel, as by argmax, and convert it."
        )
    known = [0, *(value for _, value in spec.labels)]
    if labels.numel() and labels.dtype != torch.uint8:
        low, high = (int(edge) for edge in labels.aminmax())
        if low < 0 or high > 255:
            raise ContractError(
                f"{hook}() returned label {low if low < 0 else high}, and the task has {known}: "
                "map labels of your own to these."
            )
    # A copy: the plugin may keep what it returned, and change it afterwards.
    copied = labels.to(torch.uint8, copy=True)
    # One question for all labels, since to ask a GPU is to wait for it.
    fine = copied == 0
    for value in known[1:]:
        fine |= copied == value
    if not fine.all():
        raise ContractError(
            f"{hook}() returned label {int(copied[~fine].min())}, which does not exist: the task "
            f"has {known}. Map labels of your own to these, and all others to 0."
        )
    return copied


def _first_odd(labels: Tensor) -> str:
    """What is no label among numbers that are not whole by their type, in words."""
    if labels.dtype.is_complex or not labels.numel():
        return ""
    if not bool(torch.isfinite(labels).all()):
        return " with values that are not finite"
    odd = labels[labels != labels.round()]
    return f" with values such as {float(odd[0]):.4g}" if odd.numel() else ""


def _vote(trained: Trained, found: list[dict[str, Tensor]]) -> Tensor:
    """Majority a voxel; ties go to the larger summed probability among the tied labels."""
    values = [0, *(value for _, value in trained.spec.labels)]
    votes: Tensor | None = None
    support: Tensor | None = None
    for (architecture, spec), member in zip(trained.deciders, found, strict=True):
        decided = decided_by(architecture, spec, member)
        mine = torch.stack([decided == value for value in values]).to(torch.int16)
        mass = label_probabilities(member, spec, values)
        votes = mine if votes is None else votes + mine
        support = mass if support is None else support + mass
    assert votes is not None
    assert support is not None
    tied = votes == votes.amax(0, keepdim=True)
    best = torch.where(tied, support, torch.full_like(support, -1)).argmax(0)
    return torch.tensor(values, device=best.device)[best].to(torch.uint8)


def label_probabilities(found: Mapping[str, Tensor], spec: Spec, values: Sequence[int]) -> Tensor:
    """Probability of each label value, (len(values), z, y, x), from the primary head."""
    head = spec.primary
    channels = found[head.name]
    if head.kind == "softmax":
        where = {values[0]: i for i, values in enumerate(head.channels)}
    else:
        where = {label: i for i, label in enumerate(region_order(head))}
    background = channels[where[0]] if 0 in where else 1 - channels.amax(0)
    nothing = torch.zeros_like(background)
    return torch.stack(
        [background if v == 0 else channels[where[v]] if v in where else nothing for v in values]
    )


def _postprocess(
    trained: Trained,
    labels: np.ndarray,
    maps: Mapping[str, Tensor],
    turn: Axes,
    spacing: tuple[float, float, float],
) -> np.ndarray:
    """Clean the label map in the orientation that the contract promises: (z, y, x) of RAS."""
    view = torch.from_numpy(np.ascontiguousarray(turn.to_zyx(labels)))
    turned = {
        name: torch.stack([torch.from_numpy(turn.to_zyx(c.numpy()).copy()) for c in values])
        for name, values in maps.items()
    }
    cleaned = trained.architecture.postprocess(view, turned, spacing, trained.spec)
    whole = checked_labels("postprocess", cleaned, trained.spec, tuple(view.shape))
    return np.ascontiguousarray(turn.from_zyx(whole.numpy()))
