"""What a member predicted is used again by its ensembles, bit for bit, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import architectures
import numpy as np
import pytest
import torch

from kitsbench.architecture import Task, configure
from kitsbench.data.preparation.store import PreparedCase
from kitsbench.experiments.trial.remembered import RememberingPredictor
from kitsbench.inference.sliding import Predictor
from kitsbench.inference.tiles import tiles_at_once
from kitsbench.recipe import Inference

CPU = torch.device("cpu")


@pytest.fixture
def volumes():
    image = np.random.default_rng(0).integers(-100, 200, (12, 16, 12)).astype(np.int16)
    return {"image": PreparedCase("one", image, None, (2.0, 2.0, 2.0), np.eye(4), {})}


@pytest.fixture
def passes():
    """Grows with each forward pass."""
    return []


@pytest.fixture
def predictor(passes):
    plugin = architectures.Smallest()
    spec = plugin.spec(configure(plugin), Task(patch=(8, 8, 8)))
    torch.manual_seed(0)
    network = plugin.build(spec).eval()
    window = (-100.0, 200.0, 50.0, 0.01)
    return Predictor(
        network, spec, window, Inference(), CPU, tick=lambda: passes.append(1), tiles=8
    )


def _same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_scan_is_predicted_once(predictor, volumes, passes, tmp_path):
    first = RememberingPredictor(predictor, tmp_path, "a", room=10**6)
    (grid,) = [grid.name for grid in predictor.spec.grids]
    volumes = {grid: volumes["image"]}
    found, before = first.probabilities(volumes), len(passes)
    again = RememberingPredictor(predictor, tmp_path, "a").probabilities(volumes)
    assert _same(again, found)
    assert _same(again, predictor.probabilities(volumes))
    assert before > 1
    # To read shows that something goes on, once; the plain predictor above ran anew.
    assert len(passes) == 2 * before + 1


@pytest.mark.parametrize("spoil", ["other weights", "damaged", "no room"])
def test_what_is_anothers_or_damaged_is_predicted_again(
    predictor, volumes, passes, tmp_path, spoil
):
    (grid,) = [grid.name for grid in predictor.spec.grids]
    volumes = {grid: volumes["image"]}
    room = 10 if spoil == "no room" else 10**6
    found = RememberingPredictor(predictor, tmp_path, "a", room).probabilities(volumes)
    (before, files) = len(passes), list(tmp_path.iterdir())
    assert len(files) == (spoil != "no room")
    if spoil == "damaged":
        files[0].write_bytes(files[0].read_bytes()[:-100])
    made_by = "b" if spoil == "other weights" else "a"
    again = RememberingPredictor(predictor, tmp_path, made_by).probabilities(volumes)
    assert _same(again, found)
    assert len(passes) == 2 * before


@pytest.mark.parametrize(("edge", "tiles"), [(16, 8), (32, 8), (48, 2), (128, 2)])
def test_tiles_at_once_follow_from_the_patch_alone(predictor, edge, tiles):
    grids = tuple(replace(grid, shape=(edge,) * 3) for grid in predictor.spec.grids)
    assert tiles_at_once(replace(predictor.spec, grids=grids), CPU) == tiles


@pytest.mark.parametrize(
    ("edge", "gibibytes", "tiles"),
    [(128, 80, 4), (128, 16, 4), (128, 8, 2), (128, 2, 1), (192, 80, 1), (32, 80, 32)],
)
def test_a_gpu_takes_tiles_by_its_memory_whatever_is_free_of_it(
    predictor, monkeypatch, edge, gibibytes, tiles
):
    card = SimpleNamespace(total_memory=gibibytes * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    grids = tuple(replace(grid, shape=(edge,) * 3) for grid in predictor.spec.grids)
    assert tiles_at_once(replace(predictor.spec, grids=grids), torch.device("cuda:1")) == tiles
