"""Blending tiles of a known network gives a known volume."""

from __future__ import annotations

from dataclasses import replace

import architectures
import numpy as np
import pytest
import torch
from torch import nn

from kitsbench.architecture import Architecture, Plain, Task, configure
from kitsbench.data.preparation.store import PreparedCase
from kitsbench.inference.case import Trained, segment
from kitsbench.inference.sliding import Predictor
from kitsbench.recipe import Inference

WINDOW = (-100.0, 100.0, 0.0, 0.01)
CPU = torch.device("cpu")


class Pointwise(nn.Module):
    """Logits that depend on each voxel alone: tiles cannot matter."""

    def forward(self, x):
        return torch.cat([torch.zeros_like(x), 3 * x, -2 * x], 1)


class PointwiseArchitecture(Architecture):
    title = "Pointwise"
    paper_patch = (8, 8, 8)

    def build(self, spec):
        return Plain(Pointwise())


def case_of(image, spacing=(2.0, 1.0, 1.0)):
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = *spacing, 1
    native = {
        "shape": list(image.shape),
        "affine": affine.tolist(),
        "spacing": list(spacing),
        "order": [0, 1, 2],
        "flipped": [False, False, False],
    }
    return PreparedCase("case", image.astype(np.int16), None, spacing, affine, native)


def predictor_of(architecture, patch, rule):
    spec = architecture.spec(configure(architecture), Task(patch=patch))
    network = architecture.build(spec).eval()
    return Predictor(network, spec, WINDOW, rule, CPU)


@pytest.mark.parametrize("shape", [(8, 8, 8), (19, 8, 30), (5, 6, 7), (9, 40, 3)])
@pytest.mark.parametrize("blend", ["gaussian", "uniform"])
@pytest.mark.parametrize("mirror", [(), (0, 2)])
def test_a_pointwise_network_is_reproduced_whatever_the_tiles(shape, blend, mirror):
    image = np.random.default_rng(1).integers(-200, 200, shape)
    rule = Inference(overlap=0.4, blend=blend, mirror=mirror)
    predictor = predictor_of(PointwiseArchitecture(), (8, 8, 8), rule)
    found = predictor.probabilities({"image": case_of(image)})["segmentation"]
    x = torch.from_numpy(np.clip(image, -100, 100) * 0.01).float()[None, None]
    expected = Pointwise()(x).softmax(1)[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_several_tiles_at_once_change_nothing():
    torch.manual_seed(0)
    image = np.random.default_rng(2).integers(-100, 100, (20, 20, 20))
    one = predictor_of(architectures.Smallest(), (16, 16, 16), Inference())
    four = replace(one, tiles=4)
    one = replace(one, tiles=1)
    volumes = {"image": case_of(image)}
    torch.testing.assert_close(
        one.probabilities(volumes)["segmentation"],
        four.probabilities(volumes)["segmentation"],
        atol=1e-5,
        rtol=1e-4,
    )


def test_outputs_smaller_than_inputs_cover_the_volume():
    torch.manual_seed(0)
    image = np.random.default_rng(3).integers(-100, 100, (21, 24, 19))
    predictor = predictor_of(architectures.Valid(), (16, 16, 16), Inference(overlap=0.0))
    found = predictor.probabilities({"image": case_of(image)})["segmentation"]
    assert tuple(found.shape[1:]) == image.shape
    torch.testing.assert_close(found.sum(0), torch.ones(image.shape), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "name", ["Smallest", "Valid", "Regions", "Boundary", "Presence", "TwoGrids", "Cleaned"]
)
def test_every_kind_of_head_gives_a_label_map(name):
    torch.manual_seed(0)
    architecture = getattr(architectures, name)()
    image = np.random.default_rng(4).integers(-100, 100, (18, 20, 22))
    predictor = predictor_of(architecture, (16, 16, 16), Inference(overlap=0.25))
    volumes = {}
    for grid in predictor.spec.grids:
        ratio = tuple(int(r) for r in grid.ratio)
        coarse = image[:: ratio[0], :: ratio[1], :: ratio[2]]
        case = case_of(coarse, tuple(s * r for s, r in zip((2.0, 1.0, 1.0), ratio, strict=True)))
        case.native.update(case_of(image).native)
        volumes[grid.name] = case
    trained = Trained(architecture, predictor.spec, (predictor,), ((architecture, predictor.spec),))
    labels = segment(trained, [volumes])
    assert labels.shape == image.shape
    assert labels.dtype == np.uint8
    assert set(np.unique(labels)) <= {0, 1, 2}


def test_postprocessing_sees_the_canonical_orientation():
    """However the file is stored, the hook gets z up, y to the front, x to the right."""

    class KeepsTheLowHalf(PointwiseArchitecture):
        def postprocess(self, labels, maps, spacing, spec):
            assert spacing == (2.0, 1.0, 1.0)
            cleaned = labels.clone()
            cleaned[labels.shape[0] // 2 :] = 0
            return cleaned

    architecture = KeepsTheLowHalf()
    predictor = predictor_of(architecture, (8, 8, 8), Inference())
    case = case_of(np.full((8, 8, 8), 100))
    # On disk: x first, z last and from head to foot.
    disk = np.zeros((4, 4))
    disk[0, 0], disk[1, 1], disk[2, 2], disk[3, 3] = 1, 1, -2, 1
    disk[2, 3] = 14
    case.native.update(
        affine=disk.tolist(),
        spacing=[1.0, 1.0, 2.0],
        order=[2, 1, 0],
        flipped=[True, False, False],
    )
    trained = Trained(architecture, predictor.spec, (predictor,), ((architecture, predictor.spec),))
    labels = segment(trained, [{"image": case}])
    assert labels[:, :, :4].max() == 0
    assert labels[:, :, 4:].min() == 1


def vote_of(labels_by_member, probabilities):
    """Vote of pointwise members with given probabilities of one voxel."""
    from kitsbench.inference.case import combine

    member = architectures.Smallest()
    spec = member.spec(configure(member), Task(patch=(16, 16, 16)))
    ensemble = architectures.Vote()
    vote_spec = ensemble.spec(configure(ensemble), Task(patch=(16, 16, 16)))
    trained = Trained(ensemble, vote_spec, (), [(member, spec)] * len(probabilities))
    found = [{spec.primary.name: torch.tensor(p).view(3, 1, 1, 1)} for p in probabilities]
    assert [int(torch.tensor(p).argmax()) for p in probabilities] == labels_by_member
    return int(combine(trained, found))


def test_a_vote_follows_the_majority_and_ties_follow_the_summed_probability():
    sure, unsure = [0.05, 0.05, 0.9], [0.45, 0.5, 0.05]
    assert vote_of([1, 1, 2], [unsure, unsure, sure]) == 1
    assert vote_of([1, 1, 2, 2, 0], [unsure, unsure, sure, sure, [0.9, 0.05, 0.05]]) == 2
    # The tie-break counts only the tied labels, however likely the third one is.
    a, b = [0.49, 0.51, 0.0], [0.48, 0.0, 0.52]
    assert vote_of([1, 2], [a, b]) == 2


def test_members_of_a_mean_may_have_spacings_of_their_own():
    """The fine member is undecided everywhere, so the coarse one says where the border lies."""
    architecture = PointwiseArchitecture()
    fine, coarse = (predictor_of(architecture, (8, 8, 8), Inference()) for _ in range(2))
    native = case_of(np.zeros((12, 16, 24)), (2.0, 1.0, 1.0))
    image = np.full((6, 8, 8), -100)
    image[..., 4:] = 100
    # Voxels of 4 x 2 x 3 mm that cover the same box, so their centres are shifted.
    case = case_of(image, (4.0, 2.0, 3.0))
    case.affine[:3, 3] = 1.0, 0.5, 1.0
    case.native.update(native.native)
    ensemble = architectures.Mean()
    spec = ensemble.spec(configure(ensemble), Task())
    for order in (1, -1):
        predictors = (fine, coarse)[::order]
        deciders = [(architecture, p.spec) for p in predictors]
        trained = Trained(ensemble, spec, predictors, deciders)
        labels = segment(trained, [{"image": c} for c in (native, case)[::order]])
        assert labels.shape == (12, 16, 24)
        assert (labels[..., :11] == 2).all()
        assert (labels[..., 13:] == 1).all()


@pytest.mark.parametrize("mirror", [(), (0,), (0, 1, 2)])
def test_a_network_may_change_what_it_is_given(mirror):
    """Each pass over a tile gets it as it was cut."""

    class Spoils(Pointwise):
        def forward(self, x):
            found = super().forward(x)
            x.fill_(7)
            return found

    architecture = PointwiseArchitecture()
    image = np.random.default_rng(5).integers(-100, 100, (9, 10, 11))
    plain = predictor_of(architecture, (8, 8, 8), Inference(mirror=mirror))
    spoiling = replace(plain, network=Plain(Spoils()))
    found, expected = (
        p.probabilities({"image": case_of(image)})["segmentation"] for p in (spoiling, plain)
    )
    assert torch.equal(found, expected)
