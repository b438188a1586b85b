"""On a card: whole scans against a plain reference, with plenty of memory and with little."""

from __future__ import annotations

import copy
from dataclasses import replace

import architectures
import numpy as np
import pytest
import torch
from inference import reference
from inference.reference import affine_of, case_of, predictor_of, volumes_of
from torch import nn

from kitsbench.architecture import Architecture, Plain, Task, configure
from kitsbench.devices.precision import best_precision
from kitsbench.inference.case import Trained, label_map, predict, segment
from kitsbench.inference.pipeline import one_by_one
from kitsbench.inference.sliding import Predictor
from kitsbench.recipe import Inference
from kitsbench.training.failures import is_out_of_memory

pytestmark = pytest.mark.gpu

NATIVE = (512, 512, 300)
PREPARED = (256, 320, 320)
EDGE = 128
WINDOW = (-100.0, 300.0, 100.0, 0.01)
TIE = {"float32": 1e-4, "bfloat16": 2**-6, "float16": 2**-9}
MIB = 2**20


@pytest.fixture
def device():
    """The card, with float32 as it is written, and one kernel for a convolution, not the quickest.

    Kernels that are chosen by time or by the memory that is free round in different ways.
    """
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark
    cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark = False, True, False
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    yield torch.device("cuda")
    cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark = before
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def on_card(predictor, device, **fields):
    """The same predictor there; the one of the CPU stays."""
    network = copy.deepcopy(predictor.network).to(device)
    return replace(predictor, network=network, device=device, **fields)


@pytest.mark.parametrize(
    ("name", "shape", "rule"),
    [
        ("Smallest", (19, 23, 30), Inference(mirror=(0, 2))),
        ("Smallest", (7, 5, 9), Inference()),
        ("DeepSupervision", (18, 17, 21), Inference(overlap=0.4)),
        ("Presence", (18, 16, 20), Inference(overlap=0.25)),
        ("Cascade", (18, 13, 17), Inference(overlap=0.3)),
    ],
)
def test_probabilities_equal_the_plain_reference(device, name, shape, rule):
    predictor = predictor_of(getattr(architectures, name)(), rule, tiles=5)
    volumes = volumes_of(predictor.spec, shape)
    found = on_card(predictor, device).probabilities(volumes)
    for head, values in reference.probabilities(predictor, volumes).items():
        assert found[head].is_cuda
        np.testing.assert_allclose(found[head].cpu().numpy(), values, atol=2e-6, rtol=0)


class Wide(nn.Module):
    """A few layers, so that a pass needs memory of its own."""

    def __init__(self, classes):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(1, 16, 3, padding=1),
            nn.InstanceNorm3d(16, affine=True),
            nn.LeakyReLU(),
            nn.Conv3d(16, classes, 3, padding=1),
        )

    def forward(self, image):
        return self.layers(image)


class WideArchitecture(Architecture):
    title = "Wide"

    def build(self, spec):
        return Plain(Wide(spec.classes))


def scan():
    """512 x 512 x 300 voxels on disk, x first; prepared to about two thirds along x and y."""
    rng = np.random.default_rng(0)
    shape = PREPARED
    image = rng.integers(-200, 400, tuple(n // 8 for n in shape)).repeat(8, 0).repeat(8, 1)
    image = image.repeat(8, 2) + rng.integers(-40, 40, shape)
    spacing = tuple(n / m for n, m in zip(NATIVE[::-1], shape, strict=True))
    affine = affine_of(spacing, [(s - 1) / 2 for s in spacing])  # both cover one box
    case = case_of(image, affine, spacing, (NATIVE, np.eye(4)))
    case.native.update(order=[2, 1, 0], spacing=[1.0, 1.0, 1.0])
    return case


def wide(device, tiles=4, **fields):
    torch.manual_seed(0)
    architecture = WideArchitecture()
    spec = architecture.spec(configure(architecture), Task(patch=(EDGE,) * 3))
    network = architecture.build(spec).eval().to(device)
    with torch.no_grad():
        for weights in network.parameters():
            if weights.dim() > 1:
                weights.mul_(3)
    predictor = Predictor(network, spec, WINDOW, Inference(), device, tiles=tiles, **fields)
    return Trained(architecture, spec, (predictor,), ((architecture, spec),))


@torch.inference_mode()
def plain(trained, case):
    """Labels and how sure they are: tile by tile, sums in float64, all of it on the host."""
    (predictor,) = trained.predictors
    low, high, shift, scale = predictor.window
    image = torch.from_numpy(np.clip(case.image, low, high).astype(np.float32))
    image = (image - shift) * scale
    edge, kernel = EDGE, torch.from_numpy(reference.gaussian((EDGE,) * 3, 0.125))
    total, weights = torch.zeros(3, *image.shape, dtype=torch.float64), torch.zeros(image.shape)
    weights = weights.double()
    for z in reference.starts_of(image.shape[0], edge, 0.5):
        for y in reference.starts_of(image.shape[1], edge, 0.5):
            for x in reference.starts_of(image.shape[2], edge, 0.5):
                box = (slice(z, z + edge), slice(y, y + edge), slice(x, x + edge))
                tile = image[box][None, None].to(predictor.device)
                kind = getattr(torch, predictor.precision)
                with torch.autocast("cuda", kind, enabled=kind is not torch.float32):
                    logits = predictor.network({"image": tile})["segmentation"]
                found = logits[0].double().softmax(0).cpu()
                total[(slice(None), *box)] += found * kernel
                weights[box] += kernel
    total /= weights
    # One axis after the other, so that it takes seconds; linearly, at the border the last voxel.
    to_prepared = np.linalg.inv(case.affine)
    for axis, size in enumerate(NATIVE[::-1]):
        column = 2 - axis
        place = to_prepared[axis, column] * np.arange(size) + to_prepared[axis, 3]
        place = np.clip(place, 0, total.shape[axis + 1] - 1)
        low_ = np.minimum(np.floor(place).astype(int), total.shape[axis + 1] - 2)
        part = torch.from_numpy(place - low_).view([-1 if k == axis else 1 for k in range(3)])
        below = total.index_select(axis + 1, torch.from_numpy(low_))
        above = total.index_select(axis + 1, torch.from_numpy(low_ + 1))
        total = below.add_(above.sub_(below).mul_(part))
    best = total.topk(2, 0).values
    labels = total.argmax(0).permute(2, 1, 0)
    return labels.numpy(), (best[0] - best[1]).permute(2, 1, 0).numpy()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("half", [False, True])
def test_a_whole_scan_equals_the_plain_reference(device, half):
    """But for ties, which rounding decides."""
    precision = best_precision(device) if half else "float32"
    trained, case = wide(device, precision=precision), scan()
    found = segment(trained, [{"image": case}])
    labels, margin = plain(trained, case)
    sure = margin > TIE[precision]
    assert found.shape == NATIVE
    assert sure.mean() > 0.8
    assert len(np.unique(labels[sure])) > 1
    np.testing.assert_array_equal(found[sure], labels[sure])


@pytest.mark.timeout(600)
def test_little_memory_takes_longer_and_gives_the_same(device):
    """By fewer tiles, and by sums on the host; in float32 to a millionth."""
    case = scan()
    plenty = wide(device, 8, exhausted=is_out_of_memory)
    (predictor,) = plenty.predictors
    expected = predictor.probabilities({"image": case})["segmentation"].cpu()
    needed = torch.cuda.max_memory_allocated()
    total = torch.cuda.get_device_properties(device).total_memory
    sums = 4 * 4 * case.image.size
    homes = set()
    # Enough for fewer tiles; then too little for sums and a pass of one tile together.
    for room in (0.7 * needed, sums + 200 * MIB):
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(min(room / total, 1.0))
        found = predictor.probabilities({"image": case})["segmentation"]
        homes.add(found.device.type)
        assert float((found.cpu() - expected).abs().max()) <= 1e-6
        del found
    assert homes == {"cuda", "cpu"}
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.timeout(600)
def test_overlapping_stages_give_what_one_after_the_other_do(device):
    trained = wide(device, precision=best_precision(device))
    cases = [case_of(np.roll(scan().image, k * 40, 0)[:160], scan().affine) for k in range(4)]

    def both(overlap):
        return list(
            one_by_one(
                cases,
                lambda case: [{"image": case}],
                lambda case, volumes: predict(trained, volumes),
                lambda case, found: label_map(trained, found),
                overlap,
            )
        )

    for one, other in zip(both(False), both(True), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_scan_takes_little_more_than_its_sums(device):
    """Sums, weights and image, and what passes need; nothing of it twice."""
    trained, case = wide(device, 1), scan()
    torch.cuda.reset_peak_memory_stats()
    segment(trained, [{"image": case}])
    voxels = case.image.size
    passes = EDGE**3 * 4 * 16 * 6
    assert torch.cuda.max_memory_allocated() < voxels * (4 * 4 + 2) + passes + 600 * MIB
