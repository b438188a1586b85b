"""Where memory runs out, less is done at once, and the result stays the same."""

from __future__ import annotations

import architectures
import numpy as np
import pytest
import torch
from inference.reference import predictor_of, volumes_of
from torch import nn

from kitsbench.errors import ContractError
from kitsbench.inference.memory import HOST, ways
from kitsbench.inference.sliding import MeanPredictor, NonFiniteOutput
from kitsbench.recipe import Inference
from kitsbench.training.failures import is_out_of_memory

RULE = Inference(overlap=0.3)


class Narrow(nn.Module):
    """A network that has room for so many tiles, and notes how many it was given."""

    def __init__(self, network, room, error):
        super().__init__()
        self.network, self.room, self.error, self.seen = network, room, error, []

    def forward(self, inputs):
        count = len(next(iter(inputs.values())))
        self.seen.append(count)
        if count > self.room:
            raise self.error
        return self.network(inputs)


def narrow(room, error, tiles=8):
    predictor = predictor_of(
        architectures.Smallest(), RULE, tiles=tiles, exhausted=is_out_of_memory
    )
    object.__setattr__(predictor, "network", Narrow(predictor.network, room, error))
    return predictor


OUT = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.00 GiB.")
IN_WORDS = RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED")


def test_the_ways_of_a_device_end_with_one_tile_and_sums_on_the_host():
    cuda = torch.device("cuda")
    assert list(ways(5, cuda)) == [(n, home) for home in (cuda, HOST) for n in (5, 2, 1)]
    assert list(ways(2, HOST)) == [(2, HOST), (1, HOST)]


@pytest.mark.parametrize("error", [OUT, IN_WORDS, MemoryError()])
def test_fewer_tiles_a_pass_give_the_same(error):
    plenty = predictor_of(architectures.Smallest(), RULE, tiles=8)
    volumes = volumes_of(plenty.spec, (20, 33, 30))
    little = narrow(3, error)
    found, expected = (p.probabilities(volumes)["segmentation"] for p in (little, plenty))
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-6)
    seen = little.network.seen
    assert seen[0] > 4 >= seen[1] > 3 > max(seen[2:])


def test_memory_that_is_too_small_for_one_tile_is_said():
    little = narrow(0, OUT)
    with pytest.raises(torch.OutOfMemoryError):
        little.probabilities(volumes_of(little.spec, (20, 33, 30)))
    assert little.network.seen[-1] == 1


@pytest.mark.parametrize("error", [ValueError("no"), RuntimeError("shapes differ")])
def test_any_other_error_is_raised_at_once(error):
    little = narrow(0, error)
    with pytest.raises(type(error)):
        little.probabilities(volumes_of(little.spec, (20, 33, 30)))
    assert len(little.network.seen) == 1


def test_what_is_not_finite_is_no_lack_of_memory():
    predictor = predictor_of(architectures.Smallest(), RULE, tiles=4)
    with torch.no_grad():
        next(predictor.network.parameters()).fill_(float("nan"))
    ticks = []
    object.__setattr__(predictor, "tick", lambda: ticks.append(1))
    with pytest.raises(NonFiniteOutput):
        predictor.probabilities(volumes_of(predictor.spec, (16, 16, 17)))
    assert ticks == [1]


def test_a_mean_is_that_of_its_networks():
    predictors = [predictor_of(architectures.Smallest(), Inference(overlap=o)) for o in (0.2, 0.6)]
    volumes = volumes_of(predictors[0].spec, (20, 17, 30))
    each = [p.probabilities(volumes)["segmentation"] for p in predictors]
    found = MeanPredictor(predictors).probabilities(volumes)["segmentation"]
    np.testing.assert_array_equal(found.numpy(), ((each[0] + each[1]) / 2).numpy())


def test_a_hook_that_wants_the_host_decides_there(monkeypatch):
    """What it raises on the device is not its fault; what it raises on the host is."""
    from inference.test_against_reference import trained_of

    from kitsbench.inference import case as case_module
    from kitsbench.inference.case import label_map, predict

    monkeypatch.setattr(case_module, "HOST", torch.device("meta"))  # so that the CPU is a device
    calls = []

    class WantsTheHost(architectures.Smallest):
        def decode(self, probabilities, spec):
            calls.append(1)
            if len(calls) == 1:
                raise TypeError("can't convert cuda:0 device type tensor to numpy.")
            return super().decode(probabilities, spec)

    architecture = WantsTheHost()
    predictor = predictor_of(architecture, RULE)
    volumes = volumes_of(predictor.spec, (16, 16, 17))
    trained = trained_of(architecture, predictor)
    found = predict(trained, [volumes])
    assert found.labels is None
    expected = trained_of(architectures.Smallest(), predictor)
    np.testing.assert_array_equal(
        label_map(trained, found), label_map(expected, predict(expected, [volumes]))
    )

    class DecidesNothing(architectures.Smallest):
        def decode(self, probabilities, spec):
            return None

    trained = trained_of(DecidesNothing(), predictor)
    found = predict(trained, [volumes])
    with pytest.raises(ContractError, match=r"decode\(\) returned a NoneType"):
        label_map(trained, found)
