"""Every metric on random label volumes, against MONAI and against the plain definition."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from kitsbench.evaluation import Protocol, Region, get_protocol, score_case
from kitsbench.evaluation.surface import offsets_within, surface_areas

METRICS = [
    "dice",
    "precision",
    "recall",
    "surface_dice",
    "hd95_mm",
    "hd95_pooled_mm",
    "assd_mm",
    "volume_error_ml",
]
pytestmark = pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
SETTINGS = settings(max_examples=60)

spacings = st.tuples(*[st.floats(0.3, 6.0, allow_nan=False) for _ in range(3)])


@st.composite
def volumes(draw):
    """Two label maps of one shape: blocks up to the border, with stray voxels, or nothing else."""
    shape = draw(st.tuples(*[st.integers(1, 8) for _ in range(3)]))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    grain = draw(st.integers(1, 3))
    density = draw(st.sampled_from([0.0, 0.1, 0.5, 0.9]))

    def blocks():
        coarse = random.integers(1, 4, [-(-n // grain) for n in shape])
        coarse[random.random(coarse.shape) > density] = 0
        fine = coarse.repeat(grain, 0).repeat(grain, 1).repeat(grain, 2)
        return fine[: shape[0], : shape[1], : shape[2]].astype(np.uint8)

    truth, other = blocks(), blocks()
    mixture = random.random(shape) < draw(st.sampled_from([0.0, 0.2, 1.0]))
    maps = [np.where(mixture, other, truth), truth]
    margins = draw(st.tuples(*[st.sampled_from([0, 0, 1, 6]) for _ in range(3)]))
    maps = [np.pad(labels, [(0, n) for n in margins]) for labels in maps]
    for labels in maps:  # islands, most of them far away
        for _ in range(draw(st.integers(0, 2))):
            labels[tuple(random.integers(0, labels.shape))] = random.integers(1, 4)
    return tuple(maps)


def plain_surface(mask):
    """Voxels with a face neighbour outside, one voxel at a time."""
    padded = np.pad(mask, 1)
    steps = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
    return [
        voxel
        for voxel in np.argwhere(mask)
        if not all(padded[tuple(voxel + 1 + np.array(step))] for step in steps)
    ]


def plain_elements(mask, spacing):
    """Corner points whose eight voxels differ, with their areas, one point at a time."""
    padded, areas = np.pad(mask, 1), surface_areas(spacing)
    cube = list(product((0, 1), repeat=3))
    corners = {(z + a, y + b, x + c) for z, y, x in np.argwhere(mask) for a, b, c in cube}
    points, weights = [], []
    for z, y, x in sorted(corners):
        corner = (z, y, x)
        around = [padded[z + a, y + b, x + c] for a, b, c in cube]
        if any(around) and not all(around):
            points.append(corner)
            weights.append(areas[sum(bool(v) << bit for bit, v in enumerate(around))])
    return np.array(points), np.array(weights)


def plain_scores(prediction, truth, spacing, region):
    """The definitions, written without any thought of speed."""
    p, t = np.isin(prediction, region.labels), np.isin(truth, region.labels)
    diagonal = np.sqrt(sum((n * s) ** 2 for n, s in zip(t.shape, spacing, strict=True)))
    scores = {"volume_error_ml": (p.sum() - float(t.sum())) * np.prod(spacing) / 1000}
    if not p.any() and not t.any():
        return (
            scores
            | dict.fromkeys(["dice", "surface_dice"], 1.0)
            | {"precision": None, "recall": None}
            | {"hd95_mm": 0.0, "hd95_pooled_mm": 0.0, "assd_mm": 0.0}
        )
    scores["dice"] = 2 * (p & t).sum() / (p.sum() + t.sum())
    scores["precision"] = (p & t).sum() / p.sum() if p.any() else 0.0
    scores["recall"] = (p & t).sum() / t.sum() if t.any() else None
    if not p.any() or not t.any():
        missed = dict.fromkeys(["hd95_mm", "hd95_pooled_mm", "assd_mm"], diagonal)
        return scores | {"surface_dice": 0.0} | missed
    apart = cdist(np.array(plain_surface(p)) * spacing, np.array(plain_surface(t)) * spacing)
    there, back = apart.min(axis=1), apart.min(axis=0)
    scores["hd95_mm"] = max(np.percentile(there, 95), np.percentile(back, 95))
    scores["hd95_pooled_mm"] = np.percentile(np.concatenate([there, back]), 95)
    scores["assd_mm"] = (there.sum() + back.sum()) / (there.size + back.size)
    (p_points, p_areas), (t_points, t_areas) = (
        plain_elements(p, spacing),
        plain_elements(t, spacing),
    )
    # Whole steps times the spacing: a difference of two coordinates in mm would be rounded, and
    # a tolerance of exactly one voxel missed.
    steps = p_points[:, None] - t_points[None]
    near = np.sqrt(((steps * spacing) ** 2).sum(axis=-1)) <= region.tolerance_mm
    within = p_areas[near.any(axis=1)].sum() + t_areas[near.any(axis=0)].sum()
    scores["surface_dice"] = within / (p_areas.sum() + t_areas.sum())
    return scores


@SETTINGS
@given(volumes(), spacings, st.sampled_from(["kits19", "kits23", "labels"]))
def test_every_metric_equals_its_plain_definition(maps, spacing, name):
    prediction, truth = maps
    protocol = get_protocol(name)
    rows = score_case(prediction, truth, spacing, protocol, METRICS)
    found = {(row["region"], row["metric"]): row["value"] for row in rows}
    for region in protocol.regions:
        for metric, expected in plain_scores(prediction, truth, spacing, region).items():
            value = found[region.name, metric]
            if expected is None:
                assert value is None
            else:
                assert value == pytest.approx(expected, rel=1e-12, abs=1e-12), (region, metric)


ONE = Region("all", (1, 2, 3))


def score_one_region(maps, spacing, metrics, region=ONE):
    protocol = Protocol("one", "One region", (region,), ("dice",))
    rows = score_case(*maps, spacing, protocol, metrics)
    return {row["metric"]: row["value"] for row in rows}


@SETTINGS
@given(volumes(), spacings, st.floats(0.5, 4.0))
def test_dice_hd95_and_surface_dice_equal_monai(maps, spacing, tolerance):
    torch = pytest.importorskip("torch")
    monai = pytest.importorskip("monai.metrics")
    prediction, truth = (array > 0 for array in maps)
    if not (prediction.any() and truth.any()):
        return  # MONAI has other rules for empty masks
    # In single precision, MONAI cannot tell a tolerance from a step of the same length.
    assume(len({len(offsets_within(tolerance * f, spacing)) for f in (1 - 1e-5, 1 + 1e-5)}) == 1)
    p, t = (torch.from_numpy(np.ascontiguousarray(m))[None, None] for m in (prediction, truth))
    found = score_one_region(
        maps,
        spacing,
        ["dice", "surface_dice", "hd95_mm", "assd_mm"],
        Region("all", (1, 2, 3), tolerance),
    )
    # MONAI takes its percentile in single precision, where the place between two distances is
    # rounded; its own distances with the percentile in double precision have no such error.
    _, distances, _ = monai.utils.get_edge_surface_distance(
        p[0, 0], t[0, 0], spacing=spacing, symmetric=True
    )
    directed = [float(np.percentile(d.double().numpy(), 95)) for d in distances]
    expected = {
        "dice": monai.compute_dice(p, t),
        "surface_dice": monai.compute_surface_dice(
            p.float(),
            t.float(),
            [tolerance],
            include_background=True,
            spacing=spacing,
            use_subvoxels=True,
        ),
        "hd95_mm": max(directed),
        "assd_mm": monai.compute_average_surface_distance(
            p, t, include_background=True, symmetric=True, spacing=spacing
        ),
    }
    for metric, reference in expected.items():
        assert found[metric] == pytest.approx(float(reference), rel=1e-6, abs=1e-6), metric
    rounded = monai.compute_hausdorff_distance(
        p, t, include_background=True, percentile=95, spacing=spacing
    )
    assert found["hd95_mm"] == pytest.approx(float(rounded), rel=2e-5)


@SETTINGS
@given(volumes(), spacings)
def test_volumetric_scores_pooled_hd95_and_assd_equal_medpy(maps, spacing):
    medpy = pytest.importorskip("medpy.metric.binary")
    p, t = (array > 0 for array in maps)
    if not (p.any() and t.any()):
        return  # MedPy raises or returns NaN
    expected = {
        "dice": medpy.dc(p, t),
        "precision": medpy.precision(p, t),
        "recall": medpy.recall(p, t),
        "hd95_pooled_mm": medpy.hd95(p, t, voxelspacing=spacing),
        "assd_mm": medpy.assd(p, t, voxelspacing=spacing),
    }
    found = score_one_region(maps, spacing, list(expected))
    for metric, reference in expected.items():
        assert found[metric] == pytest.approx(float(reference), rel=1e-9, abs=1e-9), metric


@given(spacings)
def test_areas_of_surface_elements_equal_monais_table(spacing):
    pytest.importorskip("torch")
    utils = pytest.importorskip("monai.metrics.utils")
    table, kernel = utils.create_table_neighbour_code_to_surface_area(spacing)
    weights = kernel.reshape(-1).tolist()  # MONAI's bit of each of the eight voxels, in C order
    areas = surface_areas(spacing)
    for code in range(256):
        other = sum(int(w) for bit, w in enumerate(weights) if code >> bit & 1)
        assert areas[code] == pytest.approx(float(table[other]), rel=1e-5)


@SETTINGS
@given(volumes(), spacings, st.permutations([0, 1, 2]), st.tuples(*[st.booleans()] * 3))
def test_turning_both_volumes_changes_nothing(maps, spacing, order, flips):
    turned = [
        array.transpose(order)[tuple(slice(None, None, -1 if f else 1) for f in flips)]
        for array in maps
    ]
    rows = score_case(*maps, spacing, "kits23", METRICS)
    for row, other in zip(
        rows, score_case(*turned, [spacing[i] for i in order], "kits23", METRICS), strict=True
    ):
        assert row["status"] == other["status"]
        assert other["value"] == (
            None if row["value"] is None else pytest.approx(row["value"], rel=1e-12, abs=1e-12)
        )


@SETTINGS
@given(volumes(), spacings)
def test_swapping_prediction_and_truth_swaps_precision_and_recall(maps, spacing):
    prediction, truth = maps
    forth = {
        (r["region"], r["metric"]): r
        for r in score_case(prediction, truth, spacing, "kits23", METRICS)
    }
    back = {
        (r["region"], r["metric"]): r
        for r in score_case(truth, prediction, spacing, "kits23", METRICS)
    }
    twin = {"precision": "recall", "recall": "precision"}
    for (region, metric), row in forth.items():
        if row["status"] != "ok":
            continue
        sign = -1 if metric == "volume_error_ml" else 1
        other = back[region, twin.get(metric, metric)]["value"]
        assert sign * other == pytest.approx(row["value"], rel=1e-12, abs=1e-12)
