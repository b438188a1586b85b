"""The device half of the augmentation, which runs on no CPU: exact, and never waiting.

On a machine without a GPU its formulas run on CPU tensors, and its operations on fake CUDA tensors.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter1d
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kitsbench.architecture import Grid
from kitsbench.data.batches import intensity
from kitsbench.data.batches.augmentation import Augmenter, needed_margin
from kitsbench.data.batches.intensity import blur_weights, filtered, nearest_voxels
from kitsbench.data.batches.patches import Batch, source_shape
from kitsbench.data.batches.warping import (
    Geometry,
    Motion,
    bspline_weights,
    mesh_of,
    rotation_matrix,
)
from kitsbench.recipe import TRANSFORMS, Transform

aten = torch.ops.aten
WINDOW = (-150.5, 250.0, 50.0, 0.01)
SPACING = (2.0, 1.0, 1.5)
GRIDS = (Grid("image", (16, 22, 20)), Grid("coarse", (10, 11, 12), ratio=(2.0, 2.0, 2.0)))
PARAMETERS = {
    "translation": (("mm", (6.0, 5.0, 4.0)),),
    "elastic": (("spacing_mm", (12.0, 9.0, 11.0)), ("magnitude_mm", (2.0, 1.5, 1.0))),
    "noise": (("sd", (0.1, 0.1)),),
}
EVERY = tuple(Transform(name, 0.6, PARAMETERS.get(name, ())) for name in sorted(TRANSFORMS))
# Words that change what happens on the device, or which tables it is given.
OTHER = (
    Transform(
        "elastic", 0.8, (*PARAMETERS["elastic"], ("smoothness", (0.6, 1.6)), ("voxels", True))
    ),
    Transform("rotation", 1.0, (("voxels", True),), together=True),
    Transform("scale", 1.0, (("coordinates", True), ("halves", True), ("axes", (1, 2)))),
    Transform("blur", 1.0, (("isotropic", False),)),
    Transform("shift", 1.0, (("of_sd", True),)),
    Transform("low_resolution", 1.0, (("axes", (1, 2)),)),
)
RECIPES = {
    **{t.name: (Transform(t.name, 1.0, t.parameters),) for t in EVERY},
    "every": EVERY,
    "other": OTHER,
}


def smooth_batch(transforms, step=0, offset=0.0) -> Batch:
    """Smooth images in HU, so that a position that is off by little changes little."""
    images, labels, offsets = {}, {}, {}
    source = torch.Generator().manual_seed(step)
    for grid in GRIDS:
        shape = tuple(int(n) for n in source_shape(grid.shape, needed_margin(transforms)))
        coarse = torch.randn(2, 1, 5, 5, 5, generator=source) * 150
        image = F.interpolate(coarse, size=shape, mode="trilinear")
        images[grid.name] = image.to(torch.int16)
        labels[grid.name] = (image[:, 0] > 0).byte() + (image[:, 0] > 100).byte()
        offsets[grid.name] = torch.full((2, 3), offset if grid.name == "coarse" else 0.0)
    return Batch(images, labels, offsets, ("a", "b"), step)


def augmenter(transforms) -> Augmenter:
    return Augmenter(GRIDS, SPACING, transforms, WINDOW, seed=2)


def assert_same(one, other, noise=False) -> None:
    """Images within 2e-4, labels but for ties."""
    for name, image in one[0].items():
        if not noise:
            torch.testing.assert_close(image.cpu(), other[0][name].cpu(), atol=2e-4, rtol=0)
        assert (one[1][name].cpu() == other[1][name].cpu()).double().mean() > 0.9995


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_it_gives_the_numbers_of_a_cpu(name):
    augment = augmenter(RECIPES[name])
    for step in range(4):
        ready = augment.prepare(smooth_batch(RECIPES[name], step, offset=0.25 * (step % 2)))
        assert_same(augment.apply(ready), augment.apply(ready.for_device()))


# --- reduced precision ----------------------------------------------------------------------


class Tf32(TorchDispatchMode):
    """Matrix products and convolutions whose operands have 10 bits of mantissa."""

    PRODUCTS = (aten.mm, aten.bmm, aten.addmm, aten.baddbmm, aten.mv, aten.dot, aten.convolution)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in self.PRODUCTS:
            args = tuple(self.rounded(a) if isinstance(a, torch.Tensor) else a for a in args)
        return func(*args, **(kwargs or {}))

    @staticmethod
    def rounded(tensor):
        if tensor.dtype != torch.float32:
            return tensor
        bits = tensor.contiguous().view(torch.int32)
        return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


def exact_positions(motion, mesh, grid, source, offset):
    """Positions by their definition, in double precision, (3, z, y, x)."""
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(grid.shape, SPACING, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"))
    weights = [
        bspline_weights((axis + extent / 2) * elements / extent, int(elements))
        for axis, extent, elements in zip(axes, *mesh, strict=True)
    ]
    points = points + np.einsum("cijk,zi,yj,xk->czyx", motion.control, *weights, optimize=True)
    mm = np.einsum("ab,bzyx->azyx", motion.matrix, points) + motion.shift[:, None, None, None]
    middle = (np.array(source) - 1) / 2 + offset
    where = mm / np.array(SPACING)[:, None, None, None] + middle[:, None, None, None]
    axes = [axis + 1 for axis in range(3) if motion.flips[axis]]
    return np.flip(where, axes)


@pytest.mark.parametrize("strength", [0.0, 3.0])
def test_positions_do_not_depend_on_the_precision_of_products(strength):
    rng = np.random.default_rng(4)
    grid, source = Grid("image", (64, 48, 56)), (103, 81, 90)
    mesh = mesh_of([grid], SPACING, (20.0, 13.0, 16.0))
    control = rng.normal(size=(3, *(mesh[1] + 3))) * strength
    motion = Motion(
        rotation_matrix(rng.uniform(-1, 1, 3)), rng.normal(size=3), (True, False, True), control
    )
    path = Geometry(grid, SPACING, mesh).path(motion, source, np.zeros(3))
    expected = exact_positions(motion, mesh, grid, source, np.zeros(3))
    with Tf32():
        # The emulation is seen: a product as it was made before is off by far more.
        left = torch.from_numpy(
            np.random.default_rng(0).uniform(50, 100, (4, 4)).astype(np.float32)
        )
        assert (left @ torch.ones(4, 1) - left.double().sum(1, keepdim=True)).abs().max() > 1e-2
        on_cpu = path.positions().numpy()
        unit = path.on_device().grid().numpy()
    np.testing.assert_allclose(on_cpu, expected, atol=1e-3)
    edges, start = np.array(path.box.shape), np.array(path.box.start)
    voxels = (np.moveaxis(unit[..., ::-1], -1, 0) + 1) * edges[:, None, None, None] / 2 - 0.5
    np.testing.assert_allclose(voxels + start[:, None, None, None], expected, atol=1e-3)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_no_transform_depends_on_the_precision_of_products(name):
    augment = augmenter(RECIPES[name])
    ready = augment.prepare(smooth_batch(RECIPES[name], 1))
    for batch in (ready, ready.for_device()):
        plain = augment.apply(batch)
        with Tf32():
            reduced = augment.apply(batch)
        assert torch.equal(plain[0]["image"], reduced[0]["image"])
        assert torch.equal(plain[1]["image"], reduced[1]["image"])


def reference(augment, batch, sample):
    """Elastic deformation, blur and low resolution by their definition, in double precision."""
    low, high, shift, scale = WINDOW
    drawn, grid = augment.draw(batch.step, sample), GRIDS[0]
    image = batch.images["image"][sample].double().clamp(low, high) - low
    source = image.shape[1:]
    where = exact_positions(drawn.motion, augment.mesh, grid, source, np.zeros(3))
    edges = np.array(source)[:, None, None, None]
    unit = torch.from_numpy(((where * 2 + 1) / edges - 1)[::-1].transpose(1, 2, 3, 0).copy())[None]
    outside = {"padding_mode": "zeros", "align_corners": False}
    moved = F.grid_sample(image[None], unit, **outside)[0, 0].numpy() + low
    marks = batch.labels["image"][sample].double()[None, None]
    nearest = F.grid_sample(marks, unit, mode="nearest", **outside)[0, 0]
    values = (moved - shift) * scale
    for change in drawn.changes:
        for axis, length in enumerate(values.shape):
            if change.transform.name == "blur":
                values = gaussian_filter1d(values, change.value, axis)
                continue
            small = max(1, round(length * change.value))
            down = np.take(values, (2 * np.arange(small) + 1) * length // (2 * small), axis)
            place = (np.arange(length) + 0.5) * small / length - 0.5
            up = [
                np.interp(place, np.arange(small), row)
                for row in np.moveaxis(down, axis, -1).reshape(-1, small)
            ]
            shape = np.moveaxis(down, axis, -1).shape[:2]
            values = np.moveaxis(np.reshape(up, (*shape, length)), -1, axis)
    return torch.from_numpy(values), nearest


def test_what_it_computes_agrees_with_double_precision():
    bend = Transform("elastic", 1.0, PARAMETERS["elastic"])
    recipe = (
        bend,
        *(Transform(name, 0.5) for name in ("mirror", "rotation", "blur", "low_resolution")),
    )
    augment = augmenter(recipe)
    for step in range(4):
        batch = smooth_batch(recipe, step)
        ready = augment.prepare(batch)
        for images, labels in (augment.apply(ready), augment.apply(ready.for_device())):
            for sample in range(2):
                values, marks = reference(augment, batch, sample)
                found = images["image"][sample, 0].double()
                torch.testing.assert_close(found, values, atol=2e-4, rtol=0)
                assert (labels["image"][sample] == marks).double().mean() > 0.9995


@pytest.mark.parametrize("length", [1, 3, 20])
@pytest.mark.parametrize("sigma", [0.2, 0.8, 2.0])
def test_a_filter_is_the_product_with_its_matrix(length, sigma):
    rng = np.random.default_rng(0)
    for axis in range(3):
        shape = [5, 4, 6]
        shape[axis] = length
        x = rng.normal(size=shape)
        found = filtered(torch.from_numpy(x), axis, blur_weights(sigma)).numpy()
        np.testing.assert_allclose(found, gaussian_filter1d(x, sigma, axis), atol=1e-12)


def test_nearest_voxels_are_exact_also_on_an_edge():
    for length in range(1, 80):
        for zoom in (0.2, 0.5, 2 / 3, 0.75, 0.9, 1.0):
            small = max(1, round(length * zoom))
            expected = [(2 * k + 1) * length // (2 * small) for k in range(small)]
            assert nearest_voxels(length, zoom, torch.device("cpu")).tolist() == expected


# --- waits ----------------------------------------------------------------------------------


class Waits(TorchDispatchMode):
    """Counts what makes a host wait for a CUDA device, and what travels between them."""

    ASKING = (aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.item, aten.bincount)

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        kinds = {tensor.device.type for tensor in tensors if tensor.ndim}
        if func.overloadpacket in self.ASKING and "cuda" in kinds:
            self.found[str(func)] += 1
        target = kwargs.get("device")
        if target is not None and func.overloadpacket is aten._to_copy:
            kinds = kinds | {torch.device(target).type}
        if len(kinds) > 1:
            self.found[f"between devices: {func}"] += 1
        if func.overloadpacket in (aten.index, aten.index_put, aten.index_put_) and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        ):
            self.found[f"boolean index: {func}"] += 1
        return func(*args, **kwargs)


@pytest.fixture
def no_generator(monkeypatch):
    """Noise without a generator, since one of CUDA's cannot be made without a device."""
    monkeypatch.setattr(intensity, "generator_of", lambda device, seed: None)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_the_host_waits_for_nothing_on_fake_cuda_tensors(name, no_generator):
    augment = augmenter(RECIPES[name])
    ready = augment.prepare(smooth_batch(RECIPES[name], 1, offset=0.5)).for_device()
    with FakeTensorMode():
        there = ready.map(lambda t: torch.empty(t.shape, dtype=t.dtype, device="cuda"))
        with Waits() as waits:
            inputs, labels = augment.apply(there)
    assert not waits.found
    for grid in GRIDS:
        assert inputs[grid.name].shape == (2, 1, *grid.shape)
        assert {inputs[grid.name].device.type, labels[grid.name].device.type} == {"cuda"}
        assert (inputs[grid.name].dtype, labels[grid.name].dtype) == (torch.float32, torch.int64)


def test_waits_are_seen_on_fake_cuda_tensors():
    with FakeTensorMode(), Waits() as waits:
        there = torch.empty(3, 3, device="cuda")
        there.to("cpu")
        torch.empty(3).to("cuda")
        there.copy_(torch.empty(3, 3))
    assert sum(waits.found.values()) == 3


# --- on a device ----------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_cuda_device_gives_the_numbers_of_a_cpu(name):
    device, augment = torch.device("cuda"), augmenter(RECIPES[name])
    for step in range(4):
        ready = augment.prepare(smooth_batch(RECIPES[name], step, offset=0.25 * (step % 2)))
        # The generators of noise differ by device.
        noise = any(t.name == "noise" for t in RECIPES[name])
        assert_same(augment.apply(ready), augment.apply(ready.to(device)), noise)


@pytest.mark.gpu
def test_noise_on_a_cuda_device_has_its_sd_and_its_seed():
    device, augment = torch.device("cuda"), augmenter(RECIPES["noise"])
    batch = smooth_batch(RECIPES["noise"])
    plain = augmenter(()).apply(augmenter(()).prepare(batch).to(device))[0]["image"]
    noisy, again = (augment(augment.prepare(batch).to(device))[0]["image"] for _ in range(2))
    assert torch.equal(noisy, again)
    assert float((noisy - plain).std()) == pytest.approx(0.1, rel=0.05)
    assert not torch.equal(*(noisy - plain))  # each sample has its own


@pytest.mark.gpu
@pytest.mark.parametrize("name", sorted(RECIPES))
def test_the_host_waits_for_nothing_on_a_cuda_device(name):
    device, augment = torch.device("cuda"), augmenter(RECIPES[name])
    ready = augment.prepare(smooth_batch(RECIPES[name], 1, offset=0.5)).to(device)
    augment.apply(ready)  # kernels are loaded
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        augment.apply(ready)
    finally:
        torch.cuda.set_sync_debug_mode("default")
