"""What a recipe and test time bring along: weights, samplers, transforms, adaptation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from architectures import Smallest
from architectures.own_steps import RECIPE, OwnRecipe
from kitsbench.recipe import Optimiser, Recipe, Sampling, Transform, Value


class Entropy(OwnRecipe):
    """Wang et al. 2021 (Tent): scales and shifts of norm layers by the entropy of what they give.

    Statistics are those of training, since a scan is predicted tile by tile.
    """

    steps = 4

    def adapt(self, adaptation, spec):
        chosen = [
            own
            for layer in adaptation.network.modules()
            if isinstance(layer, torch.nn.BatchNorm3d)
            for own in (layer.weight, layer.bias)
        ]
        optimiser = torch.optim.Adam(chosen, lr=1e-2)
        for place in adaptation.random.permutation(len(adaptation.tiles))[: self.steps]:
            logits = adaptation.forward(adaptation.tiles[place])[spec.primary.name].float()
            entropy = -(logits.softmax(1) * logits.log_softmax(1)).sum(1).mean()
            optimiser.zero_grad()
            entropy.backward()
            optimiser.step()


class ScheduleFree(torch.optim.Optimizer):
    """Defazio et al. 2024, without momentum or warm-up: it trains by y and gives x.

    The network holds y in training and x in evaluation, between which ``train`` and ``eval`` move.
    """

    def __init__(self, params, lr=0.1, beta=0.9):
        super().__init__(params, {"lr": lr, "beta": beta, "training": False, "count": 0})

    def eval(self):
        self._go(False, lambda beta: 1 - 1 / beta)

    def train(self):
        self._go(True, lambda beta: 1 - beta)

    def _go(self, training, weight):
        for group in self.param_groups:
            if group["training"] != training:
                group["training"] = training
                for own in (p for p in group["params"] if p in self.state):
                    own.lerp_(self.state[own]["z"], weight(group["beta"]))

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            if not group["training"]:
                raise RuntimeError("the optimiser is not in training mode")
            group["count"] += 1
            share, beta = 1 / group["count"], group["beta"]
            for own in (p for p in group["params"] if p.grad is not None):
                state = self.state[own]
                z = state.setdefault("z", own.clone())
                x = own.lerp(z, 1 - 1 / beta)
                z.sub_(own.grad, alpha=group["lr"])
                own.copy_(x.lerp(z, share).lerp(z, 1 - beta))


class FreeOfSchedule(OwnRecipe):
    """Trained by an optimiser of two modes."""

    Free = ScheduleFree

    def spec(self, config, task):
        rule = Optimiser("plugin:Free", lr=0.05)
        return replace(super().spec(config, task), paper=replace(RECIPE, optimiser=rule))


def with_recipe(**fields: Value | Sampling | tuple[Transform, ...]) -> type:
    """A plugin whose recipe has other parts."""
    recipe: Recipe = replace(RECIPE, **fields)

    class Own(OwnRecipe):
        def spec(self, config, task):
            return replace(super().spec(config, task), paper=recipe)

    return Own


def transforms(function) -> type:
    """A plugin with a transform of its own, seldom applied."""
    own = with_recipe(augmentation=(Transform("plugin:change", 0.1),))
    own.change = staticmethod(function)
    return own


def samples(function) -> type:
    """A plugin with a sampler of its own."""
    own = with_recipe(sampling=Sampling("plugin:places"))
    own.places = staticmethod(function)
    return own


def noisy(draw):
    """A transform that adds what a function draws for an image."""

    def change(images, labels, spacing, rng):
        return {name: x + draw(x.shape, rng) for name, x in images.items()}, labels

    return change


KEPT = np.random.default_rng()  # of nobody's seed


class Weighs(Smallest):
    """Its hook ``weights`` is that of the class."""

    def weights(self, network, files, spec):
        return type(self).give(network)


def weighs(function) -> type:
    """A plugin with other initial weights."""
    return type("Own", (Weighs,), {"give": staticmethod(function)})
