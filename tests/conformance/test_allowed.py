"""What the contract allows is not blamed."""

from __future__ import annotations

import queue
from dataclasses import replace
from typing import ClassVar

import torch
from architectures import PATCH, DeepSupervision, Pyramid, Smallest, broken, unit
from architectures.own_steps import RECIPE, OwnRecipe, SameStep
from torch import nn

from kitsbench import conformance
from kitsbench.architecture import Plain, SizeRule, Stage, softmax_spec
from kitsbench.configuration import Key
from kitsbench.conformance.checks.patches import scarce
from kitsbench.recipe import Sampling


def outcomes(kind, *names):
    """Those of some checks, or of all but the last, which takes longest."""
    checks = conformance.checks(kind)[:-1]
    return {c.name: c.outcome() for c in checks if not names or c.name in names}


def assert_kept(kind, hints=None, names=()):
    found = outcomes(kind, *names)
    assert [outcome for outcome in found.values() if not outcome.passed] == []
    assert {name: o.message for name, o in found.items() if o.message} == (hints or {})


class HeadsInTrainingOnly(DeepSupervision):
    """Deep supervision as MONAI's DynUNet and MedNeXt have it."""

    def build(self, spec):
        return _OnlyInTraining(spec.classes)


class _OnlyInTraining(Pyramid):
    def forward(self, inputs):
        outputs = super().forward(inputs)
        return outputs if self.training else {"segmentation": outputs["segmentation"]}


# Those that look at what evaluation gives.
EVALUATING = (
    "builds",
    "shapes",
    "gives logits",
    "evaluation is deterministic",
    "state round trips",
    "hooks keep no state",
    "leaves the process alone",
    "trains as run does",
    "predicts as run does",
    "ready for a gpu",
)


def test_auxiliary_heads_that_evaluation_leaves_out():
    assert_kept(HeadsInTrainingOnly, names=EVALUATING)


class Frozen(Smallest):
    """One layer is trained by no stage, and one by no loss."""

    def spec(self, config, task):
        stages = (Stage(train=("network.*.0.*", "network.*unused*")),)
        return replace(super().spec(config, task), stages=stages)

    def build(self, spec):
        return Plain(broken.Faulty(spec.classes, lambda n, logits: logits, unused=nn.Linear(2, 2)))


def test_parameters_that_never_learn_are_named_in_a_hint():
    found = outcomes(Frozen, "every parameter learns")["every parameter learns"]
    assert found.passed
    assert found.message == (
        "2 parameters are trained by no stage: network.body.1.weight, network.body.1.bias. "
        "2 parameters get no gradient in any stage: network.unused.weight, network.unused.bias."
    )


class BatchNormAtTheBottom(Smallest):
    """With the smallest patch its batch norm sees one value of each sample."""

    def spec(self, config, task):
        return softmax_spec(config, task, SizeRule(multiple=(8, 8, 8)), (16, 16, 16))

    def build(self, spec):
        return Plain(broken.Halving(spec.classes, norm=nn.BatchNorm3d))


class BatchNormOverOneVoxel(BatchNormAtTheBottom):
    """Halves its smallest patch, which is that of the checks, to a single voxel."""

    def spec(self, config, task):
        return softmax_spec(config, task, SizeRule(multiple=(16, 16, 16)), (16, 16, 16))

    def build(self, spec):
        steps = ((2, 2, 2),) * 4
        return Plain(broken.Halving(spec.classes, steps, norm=nn.BatchNorm3d))


class PooledBatchNorm(Smallest):
    """Batch norm over the mean of each sample, which cannot be trained sample by sample."""

    def build(self, spec):
        return Plain(_Pooled(spec.classes))


class _Pooled(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.first, self.norm = unit(1, 8), nn.BatchNorm3d(8)
        self.last = nn.Conv3d(8, classes, 1)

    def forward(self, images):
        features = self.first(images)
        return self.last(features + self.norm(features.mean((2, 3, 4), keepdim=True)))


def test_batch_norm_over_one_value_a_sample():
    assert_kept(BatchNormAtTheBottom, names=("shapes", "takes every patch"))
    short = "gives logits", "finite in bfloat16", "forward repeats", "leaves the process alone"
    assert_kept(BatchNormOverOneVoxel, names=("builds", "shapes", *short))
    hint = outcomes(PooledBatchNorm, "takes every patch")["takes every patch"]
    assert hint.passed
    assert "can be trained in batches and not as single samples" in hint.message


class ReadsANumberWhileItIsBuilt(Smallest):
    """As timm's and MONAI's transformers do for the rates of stochastic depth."""

    keys = {"channels": Key(4, low=2, high=8)}  # noqa: RUF012

    def build(self, spec):
        rates = [rate.item() for rate in torch.linspace(0, 0.1, 3)]
        channels = spec["channels"]
        layers = [nn.Conv3d(1, channels, 3, padding=1), nn.Dropout(rates[1]), nn.ReLU()]
        return Plain(nn.Sequential(*layers, nn.Conv3d(channels, spec.classes, 1)))


def test_constructors_that_read_numbers():
    assert_kept(ReadsANumberWhileItIsBuilt)


class NormalisesSmallPatches(Smallest):
    """States no size rule, and takes every patch but those of a single voxel."""

    def build(self, spec):
        layers = [nn.Conv3d(1, 8, 3, padding=1), nn.InstanceNorm3d(8), nn.ReLU()]
        return Plain(nn.Sequential(*layers, nn.Conv3d(8, spec.classes, 1)))


def test_patches_too_small_for_anybody_are_a_hint_where_no_rule_is_stated():
    found = outcomes(NormalisesSmallPatches, "takes every patch")["takes every patch"]
    assert found.passed
    assert found.message == (
        "It does not take a patch of 1x1x1; it seems to need at least 2 voxels an edge: "
        "SizeRule(minimum=(2, 2, 2))."
    )


class CouplesSamples(NormalisesSmallPatches):
    """Needs a second sample, which shows where memory is short."""

    def loss(self, outputs, targets, progress, spec):
        total, parts = super().loss(outputs, targets, progress, spec)
        return total + outputs["segmentation"][1].square().mean(), parts


def test_what_needs_a_batch_is_found_where_the_smallest_patch_is_not_taken():
    found = outcomes(CouplesSamples, "takes every patch")["takes every patch"]
    assert not found.passed
    half = scarce()["precision"]  # float32 where the processor is wrong in bfloat16
    assert f"with a patch of 16x16x16, sample by sample and in {half}, training by the" in (
        found.message
    )


class RefusesOneLabel(Smallest):
    def spec(self, config, task):
        from kitsbench.errors import ContractError

        if len(task.labels) < 2:
            raise ContractError("its cascade needs an organ and a tumour")
        return super().spec(config, task)


def test_labels_that_a_plugin_refuses_in_words_are_a_hint():
    found = outcomes(RefusesOneLabel, "other labels work")["other labels work"]
    assert found.passed
    assert "refuses a task of 1 label: its cascade needs an organ and a tumour." in found.message


def test_a_number_that_is_read_in_a_loss_is_a_hint_with_its_line():
    found = outcomes(broken.ReadsANumberInLoss, "ready for a gpu")["ready for a gpu"]
    assert found.passed
    assert "loss() makes the host wait for a GPU: `.item()` at architectures/broken.py:" in (
        found.message
    )


class NamesAPartLoss(Smallest):
    def loss(self, outputs, targets, progress, spec):
        total, _ = super().loss(outputs, targets, progress, spec)
        return total, {"loss": float("nan") if progress.step else 0.0}


def test_a_part_that_is_named_as_the_whole_loss_is_a_hint():
    found = outcomes(NamesAPartLoss, "loss is finite")["loss is finite"]
    assert found.passed
    assert found.message.startswith("Part 'loss' is not written down")


class SamplesItself(OwnRecipe):
    """Its patches lie where a function of its own puts them."""

    # Of a class that the checks do not look into, and so do not put back.
    asked: ClassVar[queue.SimpleQueue] = queue.SimpleQueue()

    def spec(self, config, task):
        recipe = replace(RECIPE, sampling=Sampling("plugin:middles"))
        return replace(super().spec(config, task), paper=recipe)

    @staticmethod
    def middles(draw):
        SamplesItself.asked.put(draw.step)
        return [(name, [edge / 2 for edge in draw.cases[name].shape]) for name in draw.names]


class SamplesNothing(SamplesItself):
    @staticmethod
    def middles(draw):
        return []


def test_a_sampler_of_ones_own_is_asked():
    name = "trains as run does"
    assert_kept(SamplesItself, names=(name,))
    asked = SamplesItself.asked
    assert {asked.get_nowait() for _ in range(asked.qsize())} >= {0, 1, 2}
    found = outcomes(SamplesNothing, name)[name]
    assert not found.passed
    assert "the sampler plugin:middles gave 0 centres for a batch of 2" in found.message


class Halved(Smallest):
    """Gives one voxel for eight, and may say so."""

    stride = (2, 2, 2)

    def spec(self, config, task):
        plain = softmax_spec(config, task, SizeRule((2, 2, 2)), PATCH)
        shape = tuple(edge // 2 for edge in plain.grids[0].shape)
        return replace(plain, heads=(replace(plain.primary, shape=shape, stride=self.stride),))

    def build(self, spec):
        return Plain(nn.Sequential(unit(1, 8, stride=2), nn.Conv3d(8, spec.classes, 1)))


class HalvedUnsaid(Halved):
    def spec(self, config, task):
        return softmax_spec(config, task, SizeRule((2, 2, 2)), PATCH)


class HalvedInShapeAlone(Halved):
    stride = (1, 1, 1)


def test_a_primary_head_that_is_coarser_than_its_grid():
    assert_kept(Halved, names=("sizes are admissible", *EVALUATING))
    told = outcomes(HalvedUnsaid, "builds")["builds"].message
    assert "It has one voxel for 2x2x2 of those: enlarge it in the network, or give the" in told
    assert "head shape=(8, 8, 8) and stride=(2, 2, 2)" in told
    name = "sizes are admissible"
    told = outcomes(HalvedInShapeAlone, name)[name].message
    assert "or its stride where the output is coarser than the input" in told


class StepWithoutARecipe(Smallest):
    def step(self, training, progress, spec):
        training.gradient()
        training.optimise()


class StepWithARecipe(StepWithoutARecipe):
    def spec(self, config, task):
        return SameStep().spec(config, task)


def test_a_step_that_no_recipe_takes_is_a_hint():
    name = "trains as run does"
    found = outcomes(StepWithoutARecipe, name)[name]
    assert found.passed
    assert found.message.startswith("step() is never taken: the shared recipe leaves it out")
    assert not outcomes(StepWithARecipe, name)[name].message
