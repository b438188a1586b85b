"""Training steps of a plugin's own: the reference plugins of the hook ``step``."""

from __future__ import annotations

import copy

import torch

from architectures import PATCH, Smallest
from kitsbench.architecture import SizeRule, softmax_spec
from kitsbench.recipe import Optimiser, Recipe, Sampling, Schedule

RECIPE = Recipe(
    "own",
    patch=PATCH,
    batch=4,
    sampling=Sampling("mixture", weights=(("tumor", 0.5), ("background", 0.5))),
    optimiser=Optimiser("sgd", lr=0.05, momentum=0.9),
    schedule=Schedule("cosine"),
)


class OwnRecipe(Smallest):
    """Trains by a recipe of its own, in the harness's steps."""

    def spec(self, config, task):
        return softmax_spec(config, task, SizeRule(), PATCH, paper=RECIPE)


class SameStep(OwnRecipe):
    """The harness's step, spelled out."""

    def step(self, training, progress, spec):
        training.gradient()
        training.optimise()


class SharpnessAware(OwnRecipe):
    """Foret et al. 2021: the gradient where the loss is largest nearby moves the weights."""

    def step(self, training, progress, spec):
        training.gradient()
        moved = [p for p in training.parameters if p.grad is not None]
        before = [p.detach().clone() for p in moved]
        norm = torch.stack([p.grad.norm() for p in moved]).norm()
        with torch.no_grad():
            for p in moved:
                p.add_(p.grad * (0.05 / (norm + 1e-12)))
        training.gradient()
        with torch.no_grad():
            for p, old in zip(moved, before, strict=True):
                p.copy_(old)
        training.optimise()


class MeanTeacher(OwnRecipe):
    """Tarvainen and Valpola 2017: agrees with the average of its past, which sees other noise."""

    def step(self, training, progress, spec):
        teacher = training.keep("teacher", lambda: copy.deepcopy(training.network))
        noisy = {name: x + 0.1 * torch.randn_like(x) for name, x in training.inputs.items()}

        def losses(inputs, others, labels):
            outputs = training.forward(inputs)
            with torch.no_grad():
                wanted = training.forward(others, teacher)["segmentation"].softmax(1)
            loss, parts = training.loss(outputs, labels)
            agreement = (outputs["segmentation"].softmax(1) - wanted).square().mean()
            return loss + progress.fraction * agreement, {**parts, "agreement": agreement.detach()}

        training.gradient(losses, training.inputs, noisy, training.labels)
        training.optimise()
        with torch.no_grad():
            for own, new in zip(teacher.parameters(), training.network.parameters(), strict=True):
                own.lerp_(new, 0.01)


class CutMix(OwnRecipe):
    """Yun et al. 2019: a box of each sample shows the sample before it."""

    def step(self, training, progress, spec):
        edges = [int(edge * training.random.beta(1, 1) ** (1 / 3)) for edge in PATCH]
        starts = [training.random.integers(0, n - e + 1) for n, e in zip(PATCH, edges, strict=True)]
        box = tuple(slice(s, s + e) for s, e in zip(starts, edges, strict=True))
        inputs = {name: _mixed(x, box) for name, x in training.inputs.items()}
        labels = {name: _mixed(y, box) for name, y in training.labels.items()}
        training.gradient(None, inputs, labels)
        training.optimise()


def _mixed(values, box):
    mixed = values.clone()
    mixed[(..., *box)] = values.roll(1, 0)[(..., *box)]
    return mixed
