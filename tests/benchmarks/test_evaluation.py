"""How fast scoring is, against the usual way of doing it, on real masks in the same run.

``pytest tests/benchmarks/test_evaluation.py --benchmark-only --benchmark-disable-gc`` prints the
time of each; the ratio to the peer is in ``extra_info`` and on the terminal with ``-s``.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from kitsbench.evaluation import get_protocol, score_case
from kitsbench.evaluation.label_files import read_header, read_labels
from kitsbench.evaluation.surface import CUBE, bounding_box, surface_areas

CASES = ["case_00002", "case_00014", "case_00064", "case_00160"]


@pytest.fixture(scope="module", params=CASES)
def masks(request, shared):
    """A real mask, and the same moved by two voxels with one stray voxel far away."""
    path = shared / "data" / "kits19-masks-full" / request.param / "segmentation.nii.gz"
    header = read_header(path)
    # Both as most tools hold them: (z, y, x) in C order.
    truth = np.ascontiguousarray(read_labels(header))
    prediction = np.roll(truth, 2, axis=1)
    stray = prediction.copy()
    stray[2, 2, 2] = stray[-3, -3, -3] = 2
    return {"moved": prediction, "stray": stray}, truth, header.spacing


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


def against(benchmark, ours, peer, rounds):
    """Time ours by the fixture and the peer beside it; note the ratio; return both results."""
    found = benchmark.pedantic(ours, rounds=rounds, warmup_rounds=1)
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        expected = peer()
        times.append(time.perf_counter() - start)
    benchmark.extra_info["peer_s"] = min(times)
    benchmark.extra_info["peer_to_ours"] = min(times) / benchmark.stats.stats.min
    print(
        f"\n{benchmark.name}: {benchmark.stats.stats.min:.3f} s, peer {min(times):.3f} s, "
        f"{benchmark.extra_info['peer_to_ours']:.1f} times as fast"
    )
    return found, expected


@pytest.mark.parametrize("protocol", ["kits19", "kits23"])
def test_volumetric_scores_against_boolean_masks(benchmark, masks, protocol):
    predictions, truth, spacing = masks
    prediction, regions = predictions["moved"], get_protocol(protocol).regions
    metrics = ["dice", "precision", "recall"]
    found, expected = against(
        benchmark,
        lambda: score_case(prediction, truth, spacing, protocol, metrics),
        lambda: boolean_masks(prediction, truth, regions),
        rounds=3,
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
        lambda: score_case(prediction, truth, spacing, "kits23", ["surface_dice"]),
        lambda: distance_maps(prediction, truth, spacing, regions),
        rounds=1,
    )
    assert [row["value"] for row in found] == pytest.approx(expected, abs=1e-12)
