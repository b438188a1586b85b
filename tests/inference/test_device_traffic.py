"""What prediction on a CUDA device copies and waits for, traced on tensors without content."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from inference.reference import affine_of, case_of
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kitsbench.architecture import Architecture, Plain, Task, configure
from kitsbench.inference.native import native_labels
from kitsbench.inference.sliding import Predictor
from kitsbench.recipe import Inference

CUDA = torch.device("cuda")
WINDOW = (-100.0, 300.0, 100.0, 0.01)
aten = torch.ops.aten


class Traffic(TorchDispatchMode):
    """Counts bytes between host and device, and what makes the host wait for the device."""

    def __init__(self):
        super().__init__()
        self.up, self.down, self.waits = 0, 0, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [a for a in tree_leaves((args, kwargs)) if isinstance(a, torch.Tensor)]
        there = any(t.device.type == "cuda" for t in tensors)
        # In inference mode some calls arrive here before they are taken apart.
        kind = func.overloadpacket
        if kind in (aten._local_scalar_dense, aten.item, aten.is_nonzero) and there:
            self.waits.append("item")
            return True
        if kind in (aten.nonzero, aten.masked_select) and there:
            self.waits.append(str(func))
        found = func(*args, **kwargs)
        if kind in (aten.to, aten._to_copy):
            self._moved(args[0], found, kwargs.get("non_blocking"))
        if kind is aten.copy_:
            self._moved(args[1], args[0], len(args) > 2 and args[2])
        return found

    def _moved(self, source, target, eager):
        if source.device.type == target.device.type:
            return
        size = source.numel() * source.element_size()
        if target.device.type == "cuda":
            self.up += size
        else:
            self.down += size
            if not eager:
                self.waits.append("copy")


class OneLayer(Architecture):
    title = "One layer"

    def build(self, spec):
        return Plain(nn.Conv3d(1, spec.classes, 3, padding=1))


def predictor_of(rule, shape, tiles=4):
    architecture = OneLayer()
    spec = architecture.spec(configure(architecture), Task(patch=shape))
    with torch.device(CUDA):
        network = architecture.build(spec).eval()
    return architecture, Predictor(network, spec, WINDOW, rule, CUDA, tiles=tiles)


@pytest.fixture
def traffic(monkeypatch):
    """Tensors without content; nothing of the device is there, nor asked for."""
    with FakeTensorMode(allow_non_fake_inputs=True), Traffic() as found:
        yield found


def test_a_scan_of_54_tiles_moves_a_quarter_of_a_gigabyte(traffic):
    ticks = []
    architecture, predictor = predictor_of(Inference(), (128, 128, 128))
    object.__setattr__(predictor, "tick", lambda: ticks.append(len(traffic.waits)))
    shape, native = (256, 256, 448), (300, 512, 512)
    # Two millimetres, as the default recipe has; the image holds nothing that was ever touched.
    spacing = (1.76, 1.5, 0.86)
    affine = affine_of(spacing)
    case = case_of(
        np.zeros(shape, np.int16), affine, spacing, (native, affine_of((1.5, 0.75, 0.75)))
    )
    found = predictor.probabilities({"image": case})
    assert found["segmentation"].device.type == "cuda"
    assert found["segmentation"].shape == (3, *shape)
    assert (len(ticks), ticks[-1], len(traffic.waits)) == (14, 0, 1)
    to_native = affine_of((1.5, 0.75, 0.75))
    labels = native_labels(
        [found],
        [{"segmentation": affine}],
        to_native,
        native,
        lambda members: architecture.decode(members[0], predictor.spec),
    )
    labels.cpu()
    assert labels.dtype == torch.uint8
    assert traffic.down == np.prod(native)
    assert traffic.up + traffic.down <= 0.25e9


@pytest.mark.parametrize("mirror", [(), (0, 1, 2)])
def test_no_tile_makes_the_host_wait(traffic, mirror):
    """Whatever is averaged: asked once at the end is whether all was finite."""
    _, predictor = predictor_of(Inference(mirror=mirror), (16, 16, 16), tiles=2)
    case = case_of(np.zeros((30, 20, 18), np.int16), affine_of((2.0, 2.0, 2.0)))
    found = predictor.probabilities({"image": case})
    assert traffic.waits == ["item"]
    weights = 4 * 16**3
    assert (traffic.up, traffic.down) == (2 * 30 * 20 * 18 + weights, 0)
    assert found["segmentation"].dtype == torch.float32


def test_sums_on_the_host_take_probabilities_there(traffic):
    """Where they fit nowhere else."""
    _, predictor = predictor_of(Inference(), (16, 16, 16), tiles=2)
    case = case_of(np.zeros((30, 20, 18), np.int16), affine_of((2.0, 2.0, 2.0)))
    shape = case.image.shape
    empty = torch.zeros

    def zeros(*size, device=None, **options):
        if device is not None and device.type == "cuda" and size[1:] == shape:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return empty(*size, device=device, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "zeros", zeros)
        found = predictor.probabilities({"image": case})
    assert found["segmentation"].device.type == "cpu"
    tiles = 3 * 2 * 2
    # The values of a pass are waited for while the next is computed.
    assert traffic.down == tiles * 4 * 3 * 16**3
