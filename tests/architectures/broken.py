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
from kitsbench.architecture import Channel, Key, Plain, SizeRule, Stage, softmax_spec


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


class GivesProbabilitiesInEvaluation(_Changed):
    @staticmethod
    def change(network, logits):
        return logits if network.training else logits.softmax(1)


class GivesSigmoidOfExclusiveClasses(_Changed):
    @staticmethod
    def change(network, logits):
        return logits.sigmoid()


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


class CleansByHalves(Smallest):
    """Goes through every second voxel, so that odd edges lose one."""

    def postprocess(self, labels, maps, spacing, spec):
        coarse = nn.functional.max_pool3d(labels[None].float(), 2)
        return nn.functional.interpolate(coarse[None], scale_factor=2)[0, 0].to(torch.uint8)


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


class Halving(nn.Module):
    """Pools three times and goes up again by skip connections, so that edges are multiples of 8."""

    def __init__(self, classes, steps=((2, 2, 2),) * 3, norm=nn.Identity):
        super().__init__()
        self.first = nn.Conv3d(1, 4, 3, padding=1)
        self.down = nn.ModuleList(nn.Conv3d(4, 4, step, step) for step in steps)
        self.up = nn.ModuleList(nn.ConvTranspose3d(4, 4, step, step) for step in steps[::-1])
        self.norm, self.last = norm(4), nn.Conv3d(4, classes, 1)

    def forward(self, images):
        features, kept = self.first(images), []
        for down in self.down:
            kept.append(features)
            features = down(features).relu()
        features = self.norm(features)
        for up in self.up:
            features = up(features).relu() + kept.pop()
        return self.last(features)


class StatesNoSizeRule(Smallest):
    """Needs multiples of 8 and says nothing."""

    def build(self, spec):
        return Plain(Halving(spec.classes))


class StatesNoLargeSizeRule(Smallest):
    """Needs multiples of 32, so that it does not run with the smallest patch of the checks."""

    def build(self, spec):
        return Plain(Halving(spec.classes, steps=((2, 2, 2),) * 5))


class StatesHalfOfItsSizeRule(StatesNoSizeRule):
    def spec(self, config, task):
        return softmax_spec(config, task, SizeRule(multiple=(4, 4, 4)), PATCH)


class PoolsWithinSlices(Smallest):
    def build(self, spec):
        return Plain(Halving(spec.classes, steps=((1, 2, 2),) * 2))


class StatesNoMinimum(Smallest):
    """At its smallest patch an instance norm sees a single voxel."""

    def spec(self, config, task):
        return softmax_spec(config, task, SizeRule(multiple=(8, 8, 8)), PATCH)

    def build(self, spec):
        return Plain(Halving(spec.classes, norm=nn.InstanceNorm3d))


class StatesTooLargeAMaximum(_Changed):
    """Takes edges of up to 48, of which most that are tried are taken."""

    def spec(self, config, task):
        return softmax_spec(config, task, SizeRule((8, 8, 8), maximum=(64, 64, 64)), PATCH)

    @staticmethod
    def change(network, logits):
        if max(logits.shape[2:]) > 48:
            raise ValueError("too few position embeddings")
        return logits


class StatesNoShrink(Smallest):
    """Convolutions without padding cut four voxels."""

    def build(self, spec):
        return Plain(nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), nn.Conv3d(4, spec.classes, 3)))


class ReturnsAList(_Changed):
    """As published networks with deep supervision do."""

    @staticmethod
    def change(network, logits):
        return [logits, logits[..., ::2, ::2, ::2]]


class ReturnsATuple(Smallest):
    def build(self, spec):
        network = Shared(spec)
        network.forward = lambda inputs: tuple(Shared.forward(network, inputs).values())
        return network


class ReturnsNothing(_Changed):
    @staticmethod
    def change(network, logits):
        network.kept = logits


class ThreeClassesAlways(Smallest):
    """As many channels as its paper's task has labels."""

    def build(self, spec):
        return Plain(nn.Conv3d(1, 3, 3, padding=1))


class ForgetsTheBackground(Smallest):
    def build(self, spec):
        return Plain(nn.Conv3d(1, len(spec.labels), 3, padding=1))


class AsksForAHeadThatIsNotThere(Smallest):
    def loss(self, outputs, targets, progress, spec):
        return outputs["scale1"].mean(), {}


class CountsCallsInLoss(Smallest):
    """A weight that grows with each call, where it could follow progress."""

    calls = 0

    def loss(self, outputs, targets, progress, spec):
        self.calls += 1
        total, parts = super().loss(outputs, targets, progress, spec)
        return total * (1 + self.calls / 10), parts


class KeepsAGenerator(Smallest):
    """Draws from a generator of its own, so that what is drawn depends on who drew before."""

    generator = random.Random(0)

    def targets(self, labels, spec):
        shift = self.generator.randrange(1, 4)
        return {n: t.roll(shift, 1) for n, t in super().targets(labels, spec).items()}


class DropsByAGenerator(_Changed):
    def modules(self, spec):
        return {"seeds": _Seeds()}

    @staticmethod
    def change(network, logits):
        if not network.training:
            return logits
        return logits + torch.randn(logits.shape, generator=network.seeds.generator)


class _Seeds(nn.Module):
    def __init__(self):
        super().__init__()
        self.generator = torch.Generator().manual_seed(0)

    def __deepcopy__(self, memo):
        return _Seeds()


class SeedsInTraining(_Changed):
    @staticmethod
    def change(network, logits):
        if network.training:
            torch.manual_seed(3)
            return logits + torch.rand_like(logits)
        return logits


class CountsSteps(_Changed):
    """Warms up by a number of its own, which no checkpoint keeps."""

    @staticmethod
    def change(network, logits):
        network.steps = getattr(network, "steps", 0) + network.training
        return logits * (1 + network.steps)


class KeepsAnExtraState(_Changed):
    def modules(self, spec):
        return {"extra": _Extra()}


class _Extra(nn.Module):
    def get_extra_state(self):
        return {"steps": 3}

    def set_extra_state(self, state):
        pass


class DividesByItsNorm(Smallest):
    """The square root of nothing has an infinite slope."""

    def loss(self, outputs, targets, progress, spec):
        total, parts = super().loss(outputs, targets, progress, spec)
        zeros = outputs["segmentation"] * 0
        return total + zeros.square().sum().sqrt(), parts


class EndsTooLate(Smallest):
    """A key allows what the network cannot do."""

    keys = {"depth": Key(2, low=1, high=9)}  # noqa: RUF012

    def build(self, spec):
        if spec["depth"] > 4:
            raise IndexError("list index out of range")
        return super().build(spec)


class EndsTooLateForLargePatches(Smallest):
    """Lists fewer levels than a large patch lets its depth ask for."""

    keys = {"depth": Key(2, low=1, high=5)}  # noqa: RUF012

    def build(self, spec):
        halvings = min(spec["depth"], min(spec.grids[0].shape).bit_length() - 2)
        _ = (8, 16, 32, 64)[halvings - 1]
        return super().build(spec)


class RefusesSingleSamples(_Changed):
    """Fails where gradients are accumulated over single samples in half precision."""

    @staticmethod
    def change(network, logits):
        if network.training and len(logits) == 1:
            raise ValueError("a batch of one")
        return logits


class ReadsANumberInLoss(Smallest):
    def loss(self, outputs, targets, progress, spec):
        total, parts = super().loss(outputs, targets, progress, spec)
        return total, {"total": total.item(), **parts}


class DerivesByChance(Smallest):
    """A channel that is another one each time."""

    def spec(self, config, task):
        spec = super().spec(config, task)
        shown = (Channel(), Channel("noise", "function"))
        return replace(spec, grids=(replace(spec.grids[0], channels=shown),))

    def build(self, spec):
        return Plain(nn.Conv3d(2, spec.classes, 3, padding=1))

    def derive(self, name, scan, spec):
        return np.random.rand(*scan.shape).astype(np.float32)  # noqa: NPY002


class ExchangesClassesInEvaluation(_Changed):
    @staticmethod
    def change(network, logits):
        return logits if network.training else logits.flip(1)


class MirrorsInEvaluation(_Changed):
    """Of the axis along which the scenes that are learned are alike on both sides."""

    @staticmethod
    def change(network, logits):
        return logits if network.training else logits.flip(2)


class ExchangesAxesInEvaluation(_Changed):
    @staticmethod
    def change(network, logits):
        return logits if network.training else logits.transpose(2, 4)


class ChangesItsInput(Smallest):
    """Takes the mean off in place, and so less each time."""

    def build(self, spec):
        return Plain(_TakesTheMeanOff(spec.classes))


class _TakesTheMeanOff(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.body = nn.Sequential(unit(1, 8), nn.Conv3d(8, classes, 1))

    def forward(self, images):
        images -= images.mean()
        return self.body(images)


class ChangesTargetsInLoss(Smallest):
    def loss(self, outputs, targets, progress, spec):
        targets["segmentation"][:, :2] = 0
        return super().loss(outputs, targets, progress, spec)


class ChangesProbabilities(Smallest):
    def decode(self, probabilities, spec):
        probabilities["segmentation"][0] *= 0.5
        return super().decode(probabilities, spec)


class ChangesMapsAtTheEnd(Presence):
    """Takes a head along to the end, and turns it over there."""

    def spec(self, config, task):
        spec = super().spec(config, task)
        return replace(spec, heads=(replace(spec.primary, at_inference=True), spec.heads[1]))

    def postprocess(self, labels, maps, spacing, spec):
        maps["segmentation"].neg_()
        return labels


class MeasuresTheFirstScan(DerivesByChance):
    """A channel that is taken from the mean of whichever scan was the first."""

    mean = None

    def derive(self, name, scan, spec):
        if self.mean is None:
            self.mean = scan.ct.mean()
        return ((scan.ct - self.mean) / 1000).astype(np.float32)


class WeighsByTheFirstBatch(Smallest):
    """A loss with a weight from whichever labels were the first."""

    weight = None

    def loss(self, outputs, targets, progress, spec):
        if self.weight is None:
            type(self).weight = float(outputs["segmentation"].detach().std())
        total, parts = super().loss(outputs, targets, progress, spec)
        return total * self.weight, parts


class DecodesByTheLargest(Smallest):
    """Compares each class with its largest value in the volume, or in whichever piece comes."""

    def decode(self, probabilities, spec):
        values = probabilities["segmentation"]
        return super().decode({"segmentation": values / values.amax((1, 2, 3), True)}, spec)
