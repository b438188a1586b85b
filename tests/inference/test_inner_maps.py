"""What a network shows of its inside, blended over a scan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from architectures.seeing import Attentive
from torch import nn

from kitsbench.architecture import Map, Task, configure
from kitsbench.data.preparation.store import PreparedCase
from kitsbench.errors import ContractError
from kitsbench.inference.maps import inner_maps
from kitsbench.inference.sliding import Predictor
from kitsbench.recipe import Inference

WINDOW = (-1000.0, 1000.0, 0.0, 1.0)


class Means(nn.Module):
    """Shows the mean of every block of 2 x 2 x 2 voxels."""

    def __init__(self, give):
        super().__init__()
        self.give = give

    def forward(self, inputs):
        image = inputs["image"]
        found = {"segmentation": torch.cat([image] * 3, 1)}
        return {**found, **self.give(nn.functional.avg_pool3d(image, 2))}


def maps_of(image, give):
    architecture = Attentive()
    spec = architecture.spec(configure(architecture), Task(patch=(8, 8, 8)))
    # A file whose axes are x, y, z.
    affine = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    native = {
        "shape": list(image.shape[::-1]),
        "affine": np.eye(4).tolist(),
        "spacing": [1.0, 1.0, 1.0],
        "order": [2, 1, 0],
        "flipped": [False, False, False],
    }
    case = PreparedCase("case", image.astype(np.int16), None, (1.0, 1.0, 1.0), affine, native)
    cpu = torch.device("cpu")
    rule = Inference(overlap=0.5, blend="uniform")
    predictor = Predictor(Means(give).eval(), spec, WINDOW, rule, cpu)
    return inner_maps(predictor, {"image": case})


def test_a_coarse_map_lies_where_the_scan_does():
    blocks = np.random.default_rng(0).integers(0, 500, (6, 8, 4))
    image = blocks.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    found = maps_of(image, lambda means: {"attention": means})["attention"]
    expected = np.rint((image - image.min()) * 255 / np.ptp(image)).T
    assert found.dtype == np.uint8
    # Tiles begin on every voxel, and those between two blocks see a mean of both.
    assert (np.abs(found - expected) < 2).mean() > 0.5
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.9


@pytest.mark.parametrize(
    ("give", "message"),
    [
        (lambda means: {}, "gave the map 'attention' as None"),
        (lambda means: {"attention": means[:, :, 1:]}, r"as \(1, 1, 3, 4, 4\)"),
        (lambda means: {"attention": means / 0}, "NaN or infinite"),
    ],
)
def test_a_map_that_is_not_what_the_spec_says_is_told(give, message):
    with pytest.raises(ContractError, match=message):
        maps_of(np.arange(8**3).reshape(8, 8, 8), give)


def test_maps_are_a_part_of_the_spec_only_where_there_are_some():
    architecture = Attentive()
    spec = architecture.spec(configure(architecture), Task(patch=(8, 8, 8)))
    assert spec.maps == (Map("attention", (4, 4, 4), stride=(2, 2, 2)),)
    assert "maps" not in replace(spec, maps=()).to_dict()
