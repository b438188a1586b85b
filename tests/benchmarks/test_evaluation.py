"""How fast scoring is, against the usual way of doing it, on real masks in the same run.

``pytest -n0 -s tests/benchmarks/test_evaluation.py --benchmark-only --benchmark-disable-gc`` prints
the ratio to the peer with its spread; it is also in ``extra_info``.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import nibabel
import numpy as np
import pytest
from benchmarks.promises import note
from scipy.ndimage import distance_transform_edt

from kitsbench.evaluation import get_protocol, score_case
from kitsbench.evaluation.surface import CUBE, bounding_box, surface_areas
from kitsbench.scans.geometry import spacing_of
from kitsbench.scans.header import canonical
from kitsbench.scans.nifti import read_header, read_label

CASES = ["case_00002", "case_00014", "case_00064", "case_00160"]


@pytest.fixture(scope="module", params=CASES)
def masks(request, shared):
    """A real mask, and the same moved by two voxels with one stray voxel far away."""
    path = shared / "data" / "kits19-masks-full" / request.param / "segmentation.nii.gz"
    header = read_header(path)
    # Both as most tools hold them: (z, y, x) in C order.
    truth = np.ascontiguousarray(read_label(header))
    prediction = np.roll(truth, 2, axis=1)
    stray = prediction.copy()
    stray[2, 2, 2] = stray[-3, -3, -3] = 2
    return {"moved": prediction, "stray": stray}, truth, spacing_of(canonical(header)[0])


def mask_of(labels, region):
    """Mask of a region; comparisons, because numpy.isin is several times slower."""
    mask = labels == region.labels[0]
    for label in region.labels[1:]:
        mask |= labels == label
    return mask


def boolean_masks(prediction, truth, regions):
    """Dice, precision and recall from masks, region by region."""
    values = []
    for region in regions:
        p, t = mask_of(prediction, region), mask_of(truth, region)
        tp, fp, fn = (p & t).sum(), (p & ~t).sum(), (~p & t).sum()
        values += [2 * tp / (2 * tp + fp + fn), tp / (tp + fp), tp / (tp + fn)]
    return values


def distance_maps(prediction, truth, spacing, regions):
    """Surface Dice from distance maps over the box round both masks, as the organisers do it."""
    areas, values = surface_areas(spacing), []
    for region in regions:
        pair = [mask_of(m, region).view(np.uint8) for m in (prediction, truth)]
        box = bounding_box(pair[0] | pair[1])
        codes = []
        for mask in pair:
            padded = np.pad(mask[box], 1)
            code = np.zeros([n - 1 for n in padded.shape], np.uint8)
            for bit, (dz, dy, dx) in enumerate(CUBE):
                shape = code.shape
                part = padded[dz : dz + shape[0], dy : dy + shape[1], dx : dx + shape[2]]
                code |= part << np.uint8(bit)
            codes.append(code)
        near = total = 0.0
        for own, other in (codes, codes[::-1]):
            surface = (own != 0) & (own != 255)
            distances = distance_transform_edt((other == 0) | (other == 255), sampling=spacing)
            area = areas[own[surface]]
            near += area[distances[surface] <= region.tolerance_mm].sum()
            total += area.sum()
        values.append(near / total)
    return values


def monai_hd95(prediction, truth, spacing, regions):
    """HD95 by MONAI, region by region."""
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")
    torch.set_num_threads(1)
    values = []
    for region in regions:
        pair = (torch.from_numpy(mask_of(m, region))[None, None] for m in (prediction, truth))
        values.append(
            metrics.compute_hausdorff_distance(
                *pair, include_background=True, percentile=95, spacing=spacing
            ).item()
        )
    return values


def against(benchmark, key, ours, peer, rounds):
    """Run both in turn, so that whatever else the machine does meets both; return both results.

    The ratio is of processor seconds, round by round.
    """
    found, expected = benchmark.pedantic(ours, rounds=1), None
    times = {"ours": [], "peer": []}
    for _ in range(rounds):
        for name, function in (("ours", ours), ("peer", peer)):
            start = time.process_time()
            expected = function()
            times[name].append(time.process_time() - start)
    ratios = sorted(p / o for o, p in zip(times["ours"], times["peer"], strict=True))
    summary = {name: statistics.median(values) for name, values in times.items()}
    summary |= {"ratio": statistics.median(ratios), "lowest": ratios[0], "highest": ratios[-1]}
    note(key, ratios)
    benchmark.extra_info.update(summary)
    print(
        f"\n{benchmark.name}: {summary['ours']:.3f} s, peer {summary['peer']:.3f} s, "
        f"{summary['ratio']:.1f} times as fast ({ratios[0]:.1f} to {ratios[-1]:.1f})"
    )
    return found, expected


@pytest.mark.parametrize("protocol", ["kits19", "kits23"])
def test_volumetric_scores_against_boolean_masks(benchmark, masks, protocol):
    predictions, truth, spacing = masks
    prediction, regions = predictions["moved"], get_protocol(protocol).regions
    metrics = ["dice", "precision", "recall"]
    found, expected = against(
        benchmark,
        f"scores.volumes.{protocol}",
        lambda: score_case(prediction, truth, spacing, protocol, metrics),
        lambda: boolean_masks(prediction, truth, regions),
        rounds=5,
    )
    assert [row["value"] for row in found] == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["moved", "stray"])
def test_surface_dice_against_distance_maps(benchmark, masks, kind):
    predictions, truth, spacing = masks
    if kind == "stray" and truth.size > 2e7:
        pytest.skip("a distance map of the whole scan takes minutes")
    prediction, regions = predictions[kind], get_protocol("kits23").regions
    found, expected = against(
        benchmark,
        f"scores.surface.{kind}",
        lambda: score_case(prediction, truth, spacing, "kits23", ["surface_dice"]),
        lambda: distance_maps(prediction, truth, spacing, regions),
        rounds=5 if kind == "moved" else 2,
    )
    assert [row["value"] for row in found] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("kind", ["moved", "stray"])
@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
def test_hd95_against_monai(benchmark, masks, kind):
    predictions, truth, spacing = masks
    prediction, regions = predictions[kind], get_protocol("kits23").regions
    found, expected = against(
        benchmark,
        f"scores.hd95.{kind}",
        lambda: score_case(prediction, truth, spacing, "kits23", ["hd95_mm"]),
        lambda: monai_hd95(prediction, truth, spacing, regions),
        rounds=3,
    )
    assert [row["value"] for row in found] == pytest.approx(expected, rel=1e-4)


MEMORY = """
import sys
from pathlib import Path
from kitsbench.evaluation import METRICS, evaluate
from kitsbench.scans.nifti import read_header
import cc3d, nibabel, scipy.spatial

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

prediction, truth = map(Path, sys.argv[1:])
before = peak()
evaluate(prediction, truth, "kits23", metrics=list(METRICS))
voxels = 1
for size in read_header(truth).shape:
    voxels *= size
print((peak() - before) / (2 * voxels))
"""


@pytest.mark.parametrize("kind", ["moved", "stray"])
def test_memory_of_all_metrics(benchmark, masks, kind, tmp_path):
    """Peak of a process that scores one case, in units of its two label maps (a byte a voxel)."""
    predictions, truth, spacing = masks
    paths = []
    for name, labels in (("prediction", predictions[kind]), ("truth", truth)):
        paths.append(tmp_path / f"{name}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(labels.T, np.diag([*spacing[::-1], 1.0])), paths[-1])
    command = [sys.executable, "-c", MEMORY, *map(str, paths)]
    done = benchmark.pedantic(
        lambda: subprocess.run(command, capture_output=True, text=True, check=True), rounds=1
    )
    note(f"scores.memory.{kind}", [float(done.stdout)])
    benchmark.extra_info["label_maps"] = float(done.stdout)
    print(f"\n{benchmark.name}: {float(done.stdout):.2f} times the label maps")
