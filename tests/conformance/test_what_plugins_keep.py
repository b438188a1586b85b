"""What hooks leave in a plugin is gone in another process, and the checks see to it."""

from __future__ import annotations

import copy
import functools
import itertools
import queue
import random
from collections import deque

import numpy as np
import pytest
import torch
from architectures import Smallest
from architectures.brought import Entropy, samples
from architectures.own_steps import OwnRecipe
from torch import nn

from kitsbench import conformance, registry
from kitsbench.conformance.driven.plugin_state import PluginState

HERE = "test_what_plugins_keep"


def outcome(kind, name):
    return next(c for c in conformance.checks(kind) if c.name == name).outcome()


class Frozen(OwnRecipe):
    """Agrees with the network as it was in the first step."""

    def kept(self, training):
        return training.keep("teacher", lambda: copy.deepcopy(training.network))

    def step(self, training, progress, spec):
        teacher = self.kept(training)

        def losses(inputs, labels):
            outputs = training.forward(inputs)
            with torch.no_grad():
                wanted = training.forward(inputs, teacher)["segmentation"]
            loss, parts = training.loss(outputs, labels)
            return loss + (outputs["segmentation"] - wanted).square().mean(), parts

        training.gradient(losses, training.inputs, training.labels)
        training.optimise()


class InItsClass(Frozen):
    teacher = None

    def kept(self, training):
        if self.teacher is None:
            type(self).teacher = copy.deepcopy(training.network)
        return self.teacher


KEPT = {}


class InItsModule(Frozen):
    def kept(self, training):
        return KEPT.setdefault("teacher", copy.deepcopy(training.network))


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        (InItsClass, "InItsClass.teacher"),
        (InItsModule, f"{HERE}.KEPT"),
    ],
)
def test_what_a_step_keeps_past_the_harness_is_found(kind, place):
    told = outcome(kind, "trains as run does").message
    assert "goes on from its checkpoint ends with other weights than one that is not" in told
    assert f"what is kept in {place} is gone in the process that goes on" in told
    assert "keep a module or tensor by training.keep(name, make)" in told
    assert f"See step() at {HERE}.py:" in told


def test_what_a_step_keeps_as_the_contract_has_it_passes():
    assert outcome(Frozen, "trains as run does").passed


class MadeInTheFirstStep(Frozen):
    teacher = None

    def kept(self, training):
        return self.teacher.eval()

    def step(self, training, progress, spec):
        if progress.step == 0:
            type(self).teacher = copy.deepcopy(training.network)
        super().step(training, progress, spec)


def test_a_training_that_fails_without_it_is_told_so():
    told = outcome(MadeInTheFirstStep, "trains as run does").message
    assert told.startswith("after a training was stopped, ")
    assert "step() raised AttributeError" in told
    assert f"in MadeInTheFirstStep.kept at {HERE}.py:" in told
    assert "what is kept in MadeInTheFirstStep.teacher is gone" in told


class CountsInItsLoss(OwnRecipe):
    """Warms up by a number of its own."""

    warm = itertools.count(1)

    def loss(self, outputs, targets, progress, spec):
        total, parts = super().loss(outputs, targets, progress, spec)
        return total * next(self.warm), parts


def test_a_count_of_the_class_is_found_too():
    told = outcome(CountsInItsLoss, "trains as run does").message
    assert "register what the network remembers as buffers, and take what changes in time" in told
    assert "What hooks have left in CountsInItsLoss.warm is gone as well." in told


class DecidesByWhatItSaw(Smallest):
    above = 2.0  # more than any probability, until it has trained

    def loss(self, outputs, targets, progress, spec):
        type(self).above = 0.3
        return super().loss(outputs, targets, progress, spec)

    def decode(self, probabilities, spec):
        return (probabilities["segmentation"][1] > self.above).to(torch.uint8)


class DecidesByWhatIsMissing(DecidesByWhatItSaw):
    above = None


def test_what_training_leaves_for_prediction_is_found():
    told = outcome(DecidesByWhatItSaw, "predicts as run does").message
    assert "depend on their arguments alone; what was kept in DecidesByWhatItSaw.above is g" in told
    told = outcome(DecidesByWhatIsMissing, "predicts as run does").message
    assert told.startswith("in another process than that of the training decode() raised TypeErr")
    assert "what was kept in DecidesByWhatIsMissing.above is gone there" in told


class MovesByTheFirstScan(Entropy):
    """Adapts every scan by what it has seen in the first."""

    by = None

    def adapt(self, adaptation, spec):
        if self.by is None:
            type(self).by = adaptation.tiles[0]["image"].mean()
        with torch.no_grad():
            next(adaptation.network.parameters()).add_(self.by)


def test_what_the_very_first_scan_or_step_decides_is_found():
    told = outcome(MovesByTheFirstScan, "adapts to each scan alone").message
    assert "adapt() makes two networks of one scan" in told
    first = {}

    def places(draw):
        by = first.setdefault("by", draw.random.uniform(0.1, 0.9))
        return [(name, np.multiply(draw.cases[name].shape, by)) for name in draw.names]

    told = outcome(samples(places), "batches repeat").message
    assert "gives two results for one seed and step" in told


class Own:
    def __init__(self):
        self.number, self.inside = 1, {"list": [1, 2]}


OWN, LISTED, QUEUE, NAMES = Own(), [deque([1])], queue.SimpleQueue(), {"a"}
NUMBERS, LAYER, TABLE = torch.zeros(3), nn.Linear(2, 2), np.arange(3.0)
DRAWN = random.Random(1), np.random.default_rng(2), torch.Generator().manual_seed(3)


@functools.lru_cache
def cached(number):
    return [number]


def remember(calls=[]):  # noqa: B006
    calls.append(1)


def held():
    """All that this module holds, in a form that can be compared."""
    drawn = DRAWN[0].getstate(), str(DRAWN[1].bit_generator.state), DRAWN[2].get_state().tolist()
    numbers = NUMBERS.tolist(), LAYER.weight.tolist(), TABLE.tolist()
    lists = OWN.number, str(OWN.inside), str(LISTED), sorted(NAMES), remember.__defaults__[0][:]
    return drawn, numbers, lists, cached.cache_info().currsize, vars(remember).copy()


def test_whatever_is_changed_is_put_back_in_place():
    cached.cache_clear()
    plugin = Frozen()
    state, before = PluginState(plugin), held()
    shared = OWN.inside["list"]
    KEPT["a"], OWN.number, OWN.other = 1, 7, 8
    shared.append(3)
    LISTED[0].appendleft(0)
    NAMES.add("b")
    NUMBERS.add_(1)
    with torch.no_grad():
        LAYER.weight.mul_(2)
    TABLE[0] = 5
    DRAWN[0].random(), DRAWN[1].random(), torch.rand(1, generator=DRAWN[2])
    cached(3)
    remember()
    remember.note = 1
    Frozen.extra, plugin.extra, globals()["NEW"] = 3, 3, 4
    QUEUE.put("of another's class, and so left alone")
    assert held() != before
    changed = state.put_back()
    assert held() == before
    assert OWN.inside["list"] is shared
    assert not hasattr(OWN, "other")
    assert not hasattr(plugin, "extra")
    assert "NEW" not in globals()
    assert QUEUE.get_nowait()
    names = {"KEPT", "OWN.number", "OWN.other", "LISTED", "NAMES", "NUMBERS", "TABLE", "DRAWN"}
    assert {f"{HERE}.{name}" for name in names} | {"Frozen.extra", "self.extra"} <= set(changed)
    assert state.put_back() == []


def test_modules_beside_a_plugins_file_are_put_back(tmp_path):
    (tmp_path / "memory_of_this_test.py").write_text("SEEN = []\n")
    file = tmp_path / "plugin.py"
    file.write_text(
        "import memory_of_this_test as memory\n"
        "from kitsbench.architecture import Architecture\n"
        "class Net(Architecture):\n"
        "    seen = memory.SEEN\n"
        "    def note(self):\n"
        "        memory.SEEN.append(1)\n"
        "        memory.LAST = 1\n"
    )
    plugin = registry.load(str(file)).architecture
    state = PluginState(plugin)
    plugin.note()
    names = {f"memory_of_this_test.{name}" for name in ("SEEN", "LAST")}
    assert set(state.put_back()) == names
    assert plugin.seen == []
