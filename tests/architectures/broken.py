"""Architectures with one fault each."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import time
import warnings
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from architectures import PATCH, Presence, Shared, Smallest, Staged, unit
from kitsbench import default_hooks
from kitsbench.architecture import Plain, SizeRule, Stage, softmax_spec


class Faulty(nn.Module):
    """The smallest network, whose output passes a function."""

    def __init__(self, classes, change, **modules):
        super().__init__()
        self.body = nn.Sequential(unit(1, 8), nn.Conv3d(8, classes, 1))
        self.change = change
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, images):
        return self.change(self, self.body(images))


class _Changed(Smallest):
    def build(self, spec):
        return Plain(Faulty(spec.classes, type(self).change, **self.modules(spec)))

    def modules(self, spec):
        return {}

    @staticmethod
    def change(network, logits):
        return logits


class RaisesInForward(_Changed):
    @staticmethod
    def change(network, logits):
        raise ValueError("forward is broken")


class RaisesInBuild(Smallest):
    def build(self, spec):
        raise ZeroDivisionError("build is broken")


class GivesNan(_Changed):
    @staticmethod
    def change(network, logits):
        return logits / 0 * 0


class GivesNanLater(_Changed):
    """Finite for its first calls in training, then not."""

    @staticmethod
    def change(network, logits):
        network.calls = getattr(network, "calls", 0) + network.training
        return logits * (float("nan") if network.calls > 5 else 1)


class EatsMemory(_Changed):
    """Asks for more memory than any machine has."""

    @staticmethod
    def change(network, logits):
        return logits + torch.ones(1 << 50, device=logits.device)[0]


class TakesThreeGibibytes(_Changed):
    """Asks for more than a modest limit, but for no more than machines have."""

    @staticmethod
    def change(network, logits):
        return logits + torch.zeros(3 << 28, device=logits.device)[0]


class EatsMemoryInTheFirst(_Changed):
    """Asks for more memory than there is in the first of several processes that train."""

    rank = 0

    @classmethod
    def change(cls, network, logits):
        if torch.distributed.is_initialized() and torch.distributed.get_rank() == cls.rank:
            return logits + torch.ones(1 << 50, device=logits.device)[0]
        return logits


class EatsMemoryInTheSecond(EatsMemoryInTheFirst):
    rank = 1


class NeverEnds(_Changed):
    @staticmethod
    def change(network, logits):
        time.sleep(3600)


class KillsItself(_Changed):
    @staticmethod
    def change(network, logits):
        os.kill(os.getpid(), signal.SIGKILL)


class GivesProbabilities(_Changed):
    @staticmethod
    def change(network, logits):
        return logits.softmax(1)


class UnusedParameter(_Changed):
    def modules(self, spec):
        return {"unused": nn.Linear(2, 2)}


class WrongShape(_Changed):
    @staticmethod
    def change(network, logits):
        return logits[..., :-1]


class BareTensor(Smallest):
    def build(self, spec):
        return Faulty(spec.classes, lambda network, logits: logits).body


class RandomInEvaluation(_Changed):
    @staticmethod
    def change(network, logits):
        return logits + torch.rand_like(logits)


class NormalisesOverTheBatch(_Changed):
    @staticmethod
    def change(network, logits):
        return logits - logits.mean((0, 2, 3, 4), keepdim=True)


class ForgetsState(_Changed):
    """Scales by the largest value it has seen in training, which is no buffer."""

    @staticmethod
    def change(network, logits):
        if network.training:
            network.seen = float(logits.detach().abs().max()) if not logits.is_meta else 1.0
        return logits * (1 + getattr(network, "seen", 0.0))


class SeedsTheGenerator(Smallest):
    def build(self, spec):
        torch.manual_seed(42)
        return super().build(spec)


class DrawsFromNumpy(Smallest):
    def build(self, spec):
        network = super().build(spec)
        with torch.no_grad():
            scale = float(np.random.rand())  # noqa: NPY002
            next(network.parameters()).mul_(scale)
        return network


class SetsThreads(_Changed):
    @staticmethod
    def change(network, logits):
        torch.set_num_threads(torch.get_num_threads() + 1)
        return logits


class SetsEnvironment(Smallest):
    def build(self, spec):
        os.environ["OMP_NUM_THREADS"] = "7"
        return super().build(spec)


class SeedsPython(_Changed):
    @staticmethod
    def change(network, logits):
        random.seed(0)
        return logits


class FiltersWarnings(Smallest):
    def build(self, spec):
        warnings.filterwarnings("ignore", message="this and that")
        return super().build(spec)


class CallsHome(_Changed):
    @staticmethod
    def change(network, logits):
        with contextlib.suppress(OSError):
            socket.create_connection(("192.0.2.1", 80), timeout=0.01)
        return logits


class OverflowsInHalf(_Changed):
    @staticmethod
    def change(network, logits):
        big = torch.finfo(torch.bfloat16).max
        return logits + (big * 2 if logits.dtype == torch.bfloat16 else 0)


class TwoPrimaryHeads(Smallest):
    def spec(self, config, task):
        spec = super().spec(config, task)
        return replace(spec, heads=(spec.primary, replace(spec.primary, name="second")))


class UnknownLabel(Smallest):
    def spec(self, config, task):
        spec = super().spec(config, task)
        return replace(spec, heads=(replace(spec.primary, channels=((0,), (1,), (9,))),))


class ForgetsConfig(Smallest):
    def spec(self, config, task):
        return replace(super().spec(config, task), config=())


class UnstableSpec(Smallest):
    def spec(self, config, task):
        return replace(super().spec(config, task), notes=(str(time.perf_counter_ns()),))


class NotAdmissible(Smallest):
    def spec(self, config, task):
        spec = softmax_spec(config, task, SizeRule(), PATCH)
        return replace(spec, size_rule=SizeRule(multiple=(5, 5, 5)))


class SharesDoNotAddUp(Smallest):
    def spec(self, config, task):
        return replace(super().spec(config, task), stages=(Stage("a", 0.5), Stage("b", 0.4)))


class PatternMatchesNothing(Smallest):
    def spec(self, config, task):
        return replace(super().spec(config, task), stages=(Stage(train=("encoder.*",)),))


class WaitsForNothing(Staged):
    def spec(self, config, task):
        spec = super().spec(config, task)
        first = replace(spec.stages[0], until=("rough.recall", 0.9))
        return replace(spec, stages=(first, spec.stages[1]))


class OptionDoesNotBuild(Smallest):
    sizes = {"tiny": {"depth": 3}}  # noqa: RUF012


class WrongTarget(Presence):
    def targets(self, labels, spec):
        return {**super().targets(labels, spec), "presence": torch.full((2, 1), 2.0)}


class NoTargetForAHead(Presence):
    def targets(self, labels, spec):
        return {"segmentation": default_hooks.target(labels["image"], spec.primary)}


class ChangesLabels(Smallest):
    def targets(self, labels, spec):
        labels["image"].clamp_(max=1)
        return super().targets(labels, spec)


class LossWithoutSmoothing(Smallest):
    def loss(self, outputs, targets, progress, spec):
        chosen = outputs["segmentation"].softmax(1)[:, 1]
        hit = targets["segmentation"] == 1
        return 1 - chosen[hit].sum() / hit.sum(), {}


class GraphInParts(Smallest):
    def loss(self, outputs, targets, progress, spec):
        total, _ = super().loss(outputs, targets, progress, spec)
        return total, {"total": total}


class LossIsNoPair(Smallest):
    def loss(self, outputs, targets, progress, spec):
        return super().loss(outputs, targets, progress, spec)[0]


class DecodesByNeighbours(Smallest):
    def decode(self, probabilities, spec):
        values = probabilities["segmentation"]
        smooth = nn.functional.avg_pool3d(values, 3, 1, padding=1)
        return super().decode({"segmentation": smooth}, spec)


class DecodesToFloat(Smallest):
    def decode(self, probabilities, spec):
        return super().decode(probabilities, spec).float()


class GivesUnknownLabel(Smallest):
    def decode(self, probabilities, spec):
        return super().decode(probabilities, spec) + 1


class CleansInPlace(Smallest):
    def postprocess(self, labels, maps, spacing, spec):
        return labels.zero_()


class CropsAtTheEnd(Smallest):
    def postprocess(self, labels, maps, spacing, spec):
        return labels[1:]


class NeverLearns(Smallest):
    """Its channels are in another order in the loss than in decode."""

    def targets(self, labels, spec):
        target = super().targets(labels, spec)["segmentation"]
        return {"segmentation": (target + 1) % spec.classes}


class UnusedHead(Presence):
    def build(self, spec):
        return Shared(replace(spec, heads=spec.heads[:1]))


class WithoutPrimaryInEvaluation(Shared):
    def forward(self, inputs):
        outputs = super().forward(inputs)
        return outputs if self.training else {"presence": outputs["presence"]}


class LosesTheHeadThatIsDecoded(Presence):
    """Evaluation may leave out auxiliary heads, not this one."""

    def build(self, spec):
        return WithoutPrimaryInEvaluation(spec)


class KeepsATensorOnTheCPU(Smallest):
    """A weight that nobody moves to the device of the logits."""

    WEIGHT = torch.ones(3)

    def loss(self, outputs, targets, progress, spec):
        total, parts = super().loss(outputs, targets, progress, spec)
        return total + 0 * (outputs["segmentation"].mean((0, 2, 3, 4)) * self.WEIGHT).sum(), parts
