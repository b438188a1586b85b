"""Whole scans by kitsbench and by MONAI's sliding window, with one network, in turn.

``pytest tests/benchmarks/test_sliding_window.py -n0 --benchmark-only -s`` takes both from the
prepared volume in the host's memory to the label map there: upload, tiles, weighted sums on the
device, decision, download. Tiles, overlap, blending, tiles a pass and precision are equal. On a GPU
MONAI's side runs the network twice: with the instance norms of kitsbench, so that nothing but the
sliding differs, and with those of torch, which are what its users have. Beside the ratio it prints
the peak memory of both. Without a GPU a small scan shows that it works.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from benchmarks.interleaved import measure_in_turn
from torch import nn
from torch.nn import functional

from kitsbench.architecture import Task, configure
from kitsbench.data.preparation.store import PreparedCase
from kitsbench.devices.norms import InstanceNorm3d
from kitsbench.devices.precision import autocast, best_precision
from kitsbench.devices.use import use_device
from kitsbench.inference.case import Trained, segment
from kitsbench.inference.sliding import Predictor
from kitsbench.inference.tiles import tiles_at_once
from kitsbench.recipe import Inference
from kitsbench.registry import load
from kitsbench.training.networks.build import build_network

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
NATIVE = (512, 512, 300) if CUDA else (80, 80, 48)
PATCH = (128, 128, 128) if CUDA else (32, 32, 32)
WINDOW = (-100.0, 300.0, 100.0, 0.01)
SIGMA = 0.125


def case_of(shape: tuple[int, int, int]) -> PreparedCase:
    """A scan of noise with ``NATIVE`` voxels on disk, x first, prepared to some shape (z, y, x)."""
    rng = np.random.default_rng(0)
    image = rng.integers(-200, 400, shape, dtype=np.int16)
    spacing = [n / m for n, m in zip(NATIVE[::-1], shape, strict=True)]
    affine, disk = np.eye(4), np.eye(4)
    affine[:3, :3] = np.diag(spacing)[::-1]
    affine[:3, 3] = [(s - 1) / 2 for s in spacing[::-1]]  # both cover the same box
    native = {
        "shape": list(NATIVE),
        "affine": disk.tolist(),
        "spacing": [1.0, 1.0, 1.0],
        "order": [2, 1, 0],
        "flipped": [False, False, False],
    }
    return PreparedCase("noise", image, None, tuple(spacing), affine, native)


def with_torch_norms(network: nn.Module) -> nn.Module:
    """A copy whose instance norms run in torch's kernels; any device."""
    found = copy.deepcopy(network)
    for module in found.modules():
        if type(module) is InstanceNorm3d:
            module.__class__ = nn.InstanceNorm3d
    return found


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("architecture", ["nnunet_plain", "residual_unet"])
@pytest.mark.parametrize("grid", ["coarse", "native"])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last_3d"] if CUDA else [None])
@pytest.mark.parametrize("norms", ["kitsbench", "torch"] if CUDA else ["torch"])
def test_a_scan_beside_monai(benchmark, norms, layout, grid, architecture):
    """Prepared at coarser voxels, whose probabilities are brought back to the scan's, or as is."""
    inferers = pytest.importorskip("monai.inferers")
    if architecture.startswith("nnunet"):
        pytest.importorskip("dynamic_network_architectures")
    plugin = load(architecture).architecture
    size = "paper" if CUDA else "tiny"
    spec = plugin.spec(configure(plugin, {"size": size}), Task(patch=PATCH))
    use_device(DEVICE)
    network = build_network(plugin, spec, 0, 0, DEVICE, layout).eval()
    theirs = with_torch_norms(network) if norms == "torch" else network
    precision, tiles = best_precision(DEVICE), tiles_at_once(spec, DEVICE)
    shape = NATIVE[::-1]
    if grid == "coarse":
        shape = (256, 320, 320) if CUDA else (40, 56, 56)
    case = case_of(shape)
    rule = Inference(overlap=0.5, sigma=SIGMA)
    predictor = Predictor(network, spec, WINDOW, rule, DEVICE, precision, tiles)
    trained = Trained(plugin, spec, (predictor,), ((plugin, spec),))
    head = spec.primary.name
    slide = inferers.SlidingWindowInferer(
        spec.grids[0].shape, tiles, 0.5, "gaussian", SIGMA, sw_device=DEVICE, device=DEVICE
    )

    def ours() -> np.ndarray:
        return segment(trained, [{"image": case}])

    @torch.inference_mode()
    def peer() -> np.ndarray:
        low, high, shift, scale = WINDOW
        image = torch.from_numpy(case.image)[None, None].to(DEVICE).float()
        image.clamp_(low, high).sub_(shift).mul_(scale)
        with autocast(DEVICE, precision):
            logits = slide(image, lambda tile: theirs({"image": tile})[head].float())
        del image
        if shape != NATIVE[::-1]:
            logits = functional.interpolate(logits, size=NATIVE[::-1], mode="trilinear")
        labels = logits[0].argmax(0).to(torch.uint8).permute(2, 1, 0)
        return labels.cpu().numpy()

    peaks, agree = {}, {}
    for name, work in (("ours", ours), ("MONAI", peer)):
        agree[name] = work()  # the search for the fastest convolutions takes memory of its own
        if CUDA:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            work()
            peaks[name] = torch.cuda.max_memory_allocated() / 2**20
    # MONAI averages logits, and kitsbench probabilities; on noise they agree where one is sure.
    assert agree["ours"].shape == agree["MONAI"].shape == NATIVE
    same = float((agree["ours"] == agree["MONAI"]).mean())
    assert same > 0.3
    rounds = 5 if CUDA else 3
    # The promise is that of the harder comparison, where only the sliding differs.
    strict = not CUDA or (layout != "contiguous" and norms == "kitsbench")
    key = f"window.{DEVICE.type}.{grid}.{architecture}" if strict else ""
    ratio = measure_in_turn(benchmark, ours, peer, "MONAI", torch.get_num_threads(), rounds, key)
    benchmark.extra_info |= {"ratio": ratio, "peak_mib": peaks, "same_labels": same}
    told = ", ".join(f"{name} {peak:.0f} MiB" for name, peak in peaks.items()) or "not on a CPU"
    print(
        f"{architecture}, {grid} grid, {tiles} tiles a pass, MONAI's side with {norms}'s norms: "
        f"peak memory {told}; {same:.1%} equal"
    )
