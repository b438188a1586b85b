"""Prediction of whole scans equals a reference that is written as plainly as it can be."""

from __future__ import annotations

from dataclasses import replace

import architectures
import numpy as np
import pytest
import torch
from inference import reference
from inference.reference import affine_of, predictor_of, volumes_of

from kitsbench.architecture import Task, configure
from kitsbench.inference import case as case_module
from kitsbench.inference import outside
from kitsbench.inference.case import Trained, label_map, predict, segment
from kitsbench.inference.native import slabs
from kitsbench.recipe import Inference

# Labels are compared where the reference is not torn between two: in float32 by less than its
# rounding; in bfloat16 by less than two units of the last of its eight places, which is by what a
# network rounds otherwise when several tiles are computed at once.
TIE = {"float32": 1e-5, "bfloat16": 2**-6}


@pytest.fixture(autouse=True)
def nearest_beyond(monkeypatch):
    """Scans here reach beyond their volumes, and their nearest voxels count there.

    That what was cut off is background is the subject of test_outside.py.
    """
    monkeypatch.setattr(outside, "REACH", np.inf)


def trained_of(architecture, *predictors, deciders=None, spec=None):
    deciders = deciders or [(architecture, p.spec) for p in predictors]
    return Trained(architecture, spec or predictors[0].spec, predictors, deciders)


@pytest.mark.parametrize(
    ("name", "shape", "rule"),
    [
        ("Smallest", (19, 23, 30), Inference()),
        ("Smallest", (7, 5, 9), Inference()),  # smaller than a tile
        ("Smallest", (9, 33, 4), Inference(overlap=0.3, blend="uniform")),
        ("Smallest", (17, 18, 19), Inference(overlap=0.25, mirror=(0, 1, 2))),
        ("Valid", (13, 20, 16), Inference(overlap=0.1)),
        ("Presence", (18, 16, 20), Inference(overlap=0.25, mirror=(1,))),  # a scalar head
        ("DeepSupervision", (18, 17, 21), Inference(overlap=0.4)),  # heads of strides 2 and 4
        ("TwoGrids", (18, 21, 25), Inference(overlap=0.3, mirror=(2,))),
        ("Cascade", (18, 13, 17), Inference(overlap=0.3)),  # a head on the second grid
        ("Regions", (16, 17, 18), Inference(sigma=0.25)),
    ],
)
def test_probabilities(name, shape, rule):
    predictor = predictor_of(getattr(architectures, name)(), rule, tiles=5)
    volumes = volumes_of(predictor.spec, shape)
    found = predictor.probabilities(volumes)
    expected = reference.probabilities(predictor, volumes)
    assert found.keys() == expected.keys()
    for head, values in expected.items():
        assert found[head].dtype == torch.float32
        np.testing.assert_allclose(found[head].numpy(), values, atol=1e-6, rtol=0)


def decided(found, tie):
    """Labels of a softmax head, and which of them are no ties."""
    low, high = np.sort(found, 0)[-2:]
    return found.argmax(0), high - low > tie


NATIVE = ((21, 26, 19), affine_of((1.71, 0.69, 1.33), (0.41, -0.17, 0.11)))
SHEARED = ((21, 26, 19), affine_of((1.71, 0.69, 1.33), (0.41, -0.17, 0.11), shear=0.2))


@pytest.mark.parametrize("native", [None, NATIVE, SHEARED], ids=["same", "scaled", "sheared"])
@pytest.mark.parametrize("decide", ["native", "prepared"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("device", [False, True])
def test_labels(native, decide, precision, device, monkeypatch):
    if device:  # decided as where that is a device: in slabs, before the host's part begins
        monkeypatch.setattr(case_module, "HOST", torch.device("meta"))
        monkeypatch.setattr(slabs, "__defaults__", (1500,))
    architecture = architectures.Smallest()
    rule = Inference(overlap=0.3, decide=decide)
    predictor = predictor_of(architecture, rule, precision=precision, tiles=3)
    volumes = volumes_of(predictor.spec, (20, 17, 22), native)
    case = volumes["image"]
    shape, affine = native or (case.image.shape, case.affine)
    trained = trained_of(architecture, predictor)
    predicted = predict(trained, [volumes])
    assert (predicted.labels is not None) == device
    found = label_map(trained, predicted)
    values = reference.probabilities(predictor, volumes)["segmentation"]
    where = reference.nearest_place(case.affine, affine, shape)
    if decide == "native":
        values = reference.on_native(values, case.affine, affine, shape)
        labels, sure = decided(values, TIE[precision])
    else:
        near = np.clip(np.rint(where), 0, np.array(case.image.shape)[:, None, None, None] - 1)
        pick = tuple(near.astype(int))
        labels, sure = (part[pick] for part in decided(values, TIE[precision]))
        # Half between two voxels either is the nearest.
        sure &= (np.abs(where - np.floor(where) - 0.5) > 1e-9).all(0)
    assert found.dtype == np.uint8
    assert sure.mean() > (0.9 if precision == "float32" else 0.5)
    assert len(np.unique(labels[sure])) > 1
    np.testing.assert_array_equal(found[sure], labels[sure])


@pytest.mark.parametrize("combine", ["mean", "vote"])
def test_ensembles(combine):
    """Of three members at two spacings; each sure of every voxel, so that a vote is one."""
    member = architectures.Smallest()
    predictors = [predictor_of(member, Inference(overlap=o), tiles=2) for o in (0.2, 0.5, 0.35)]
    for seed, predictor in enumerate(predictors):
        torch.manual_seed(seed)
        for weights in predictor.network.parameters():
            torch.nn.init.normal_(weights)
    plugin = architectures.Mean() if combine == "mean" else architectures.Vote()
    spec = plugin.spec(configure(plugin), Task())
    trained = trained_of(
        plugin, *predictors, deciders=[(member, p.spec) for p in predictors], spec=spec
    )
    shapes = ((18, 17, 20), (18, 17, 20), (11, 19, 16))
    scans = [volumes_of(p.spec, n, NATIVE) for p, n in zip(predictors, shapes, strict=True)]
    scans[2]["image"].affine[:] = affine_of((2.5, 0.9, 1.2))
    found = segment(trained, scans)
    shape, affine = NATIVE
    each = [
        reference.on_native(
            reference.probabilities(p, v)["segmentation"], v["image"].affine, affine, shape
        )
        for p, v in zip(predictors, scans, strict=True)
    ]
    if combine == "mean":
        labels, sure = decided(np.mean(each, 0), 1e-5)
    else:
        pairs = [decided(one, 1e-5) for one in each]
        votes = sum(np.stack([labels == k for k in range(3)]) for labels, _ in pairs)
        labels, _ = decided(votes + np.sum(each, 0) / 100, 0)  # ties: the larger sum
        sure = np.all([own for _, own in pairs], 0)
    assert sure.mean() > 0.9
    np.testing.assert_array_equal(found[sure], labels[sure])


@pytest.mark.parametrize("device", [False, True])
def test_a_case_with_maps_of_other_heads(device, monkeypatch):
    """Decided on the host, and as where that is a device, in slabs."""
    if device:
        monkeypatch.setattr(case_module, "HOST", torch.device("meta"))
        monkeypatch.setattr(slabs, "__defaults__", (2000,))
    architecture = architectures.Cascade()
    predictor = predictor_of(architecture, Inference(overlap=0.3), every_head=False)
    predictor = replace(predictor, tiles=4)
    for weights in predictor.network.parameters():
        torch.nn.init.normal_(weights)
    volumes = volumes_of(predictor.spec, (18, 20, 22), NATIVE)
    trained = trained_of(architecture, predictor)
    found = predict(trained, [volumes])
    assert (found.labels is not None) == device
    whole = label_map(trained, found)
    values = reference.probabilities(predictor, volumes)
    heads = {h.name: volumes[h.grid].affine for h in predictor.heads}
    maps = {n: reference.on_native(v, heads[n], NATIVE[1], NATIVE[0]) for n, v in values.items()}
    tensors = {n: torch.from_numpy(v) for n, v in maps.items()}
    labels = architecture.decode(tensors, predictor.spec)
    expected = architecture.postprocess(labels, tensors, (2.0, 1.0, 1.0), predictor.spec)
    # A coarse voxel at the border of the mask may tip, and the mask with it.
    assert (whole == expected.numpy()).mean() > 0.999
    assert whole.any()
