"""A training step of a plugin's own, over the harness's batch, clock, precision and checks.

The hook ``step`` says in which order what is done: twice forward and backward, a teacher, mixed
samples. Whatever it asks for is done here, so it is charged, counted, repeated in smaller parts
where memory runs out, and found in the checkpoint, as the harness's own step is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kitsbench.architecture import has_own_step
from kitsbench.data.batches.augmentation import Augmenter
from kitsbench.data.batches.patches import Batch, generator
from kitsbench.data.batches.prepared import Prepared
from kitsbench.devices.parts import timed
from kitsbench.devices.precision import autocast
from kitsbench.errors import shorten
from kitsbench.recipe import SHARED
from kitsbench.spec import Progress
from kitsbench.training.curve import GRADIENT
from kitsbench.training.failures import (
    TrialFailure,
    can_be_smaller,
    is_out_of_memory,
    memory_trouble,
    plugin_code,
)
from kitsbench.training.job import Job, StepSetting
from kitsbench.training.kept import Kept, Made, Undo
from kitsbench.training.meters.flops import FlopMeter
from kitsbench.training.networks.build import check_outputs
from kitsbench.training.step import (
    checked_loss,
    clip_gradient,
    mean_of_parts,
    move,
    with_total,
)
from kitsbench.training.teams.shared_step import SharedStep

Losses = Callable[..., tuple[Tensor, Mapping[str, Tensor | float]]]


def own_steps(job: Job | StepSetting, network: nn.Module) -> OwnSteps | None:
    """How a plugin takes the steps of a training; None where the harness does.

    Under the shared recipe the harness always does: what is compared is the network.

    Raises
    ------
    TrialFailure
        Several processes train together.
    """
    if job.recipe.name == SHARED or not has_own_step(job.architecture):
        return None
    if job.team.size > 1:
        raise TrialFailure(
            "plugin error",
            "it has a training step of its own, which one process takes: train each trial on one "
            "device (--world-size 1).",
        )
    return OwnSteps(job, network)


class OwnSteps:
    """What a plugin's own steps need beyond one of them.

    Parameters
    ----------
    job : Job or StepSetting
    network : nn.Module

    Attributes
    ----------
    kept : Kept
    meter : FlopMeter
        FLOPs of the step that was taken last.
    voxels : float
        Voxels of the first grid that went through a network in it.
    """

    def __init__(self, job: Job | StepSetting, network: nn.Module):
        self.job, self.network = job, network
        self.kept, self.meter, self.voxels = Kept(job.device), FlopMeter(), 0.0

    def enter_stage(self) -> None:
        """Count anew: other weights train, so a backward pass costs something else."""
        self.meter = FlopMeter()

    def undo(self) -> Undo:
        """Keeps all that a step may change before the optimiser does."""
        return Undo(self.network, self.kept)

    def take(
        self,
        job: Job | StepSetting,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        parameters: Sequence[nn.Parameter],
        augment: Augmenter,
        batch: Batch | Prepared,
        where: Progress,
        parts: int = 1,
        scaler: torch.amp.GradScaler | None = None,
        rehearsal: bool = False,
        shared: SharedStep | None = None,
    ) -> dict[str, Tensor | float]:
        """Take a step; in place of :func:`kitsbench.training.step.take_step`, with its arguments.

        ``shared`` is among them for that alone, and not looked at: by :func:`own_steps` one process
        takes such a step, and shares it with nobody.
        """
        with timed("transfer"):
            here = batch.to(job.device)
        with timed("augmentation"):
            on_device = augment(here)
        return self.go(model, optimiser, parameters, *on_device, where, parts, scaler, rehearsal)

    def go(
        self,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        parameters: Sequence[nn.Parameter],
        inputs: dict[str, Tensor],
        labels: dict[str, Tensor],
        where: Progress,
        parts: int = 1,
        scaler: torch.amp.GradScaler | None = None,
        rehearsal: bool = False,
    ) -> dict[str, Tensor | float]:
        """Take a step with a batch that is augmented and on the device."""
        with timed("optimiser"):
            optimiser.zero_grad(set_to_none=True)
        self.meter.reset()
        step = OwnStep(self, model, optimiser, parameters, inputs, labels, where, parts, scaler)
        step.rehearsal = rehearsal
        try:
            with timed("own step"), plugin_code("step"):
                self.job.architecture.step(step, where, self.job.spec)
        except Exception as error:
            if step.norm is None or not can_be_smaller(error):
                raise
            # The weights have moved, so the step cannot be taken again.
            raise TrialFailure("out-of-memory", memory_trouble(error)) from error
        self.voxels = float(step.voxels)
        return step.values()


class OwnStep:
    """What the hook ``step`` is given, see :class:`kitsbench.architecture.Training`."""

    def __init__(
        self,
        steps: OwnSteps,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        parameters: Sequence[nn.Parameter],
        inputs: dict[str, Tensor],
        labels: dict[str, Tensor],
        where: Progress,
        parts: int,
        scaler: torch.amp.GradScaler | None,
    ):
        self.network = steps.network
        self.parameters: Sequence[nn.Parameter] = tuple(parameters)
        self.inputs, self.labels = inputs, labels
        # A word of its own among those of the generator: what it draws ties nothing else.
        self.random: np.random.Generator = generator(steps.job.seed, 6, where.step)
        self.rehearsal, self.voxels, self.norm = False, 0, None  # type: bool, int, Tensor | None
        self._steps, self._job, self._model, self._where = steps, steps.job, model, where
        self._optimiser, self._parts, self._scaler = optimiser, parts, scaler
        self._passes: list[Any] = []
        self._gradients = 0
        self._found: dict[str, Tensor | float] = {}

    def forward(
        self, inputs: Mapping[str, Tensor], network: nn.Module | None = None
    ) -> dict[str, Tensor]:
        """Logits by head, in the precision of the trial."""
        first = inputs[self._job.spec.grids[0].name]
        samples = first.shape[0]
        self.voxels += samples * math.prod(first.shape[2:])
        key = self._name(network), samples, torch.is_grad_enabled()
        self._passes.append(key)
        # What is counted runs as it is: the counter cannot look into compiled code.
        known = key[0] is not None and self._steps.meter.knows(key)
        student = self._model if known else self.network
        chosen = student if network is None or network is self.network else network
        device, precision = self._job.device, self._job.precision
        with timed("forward"), autocast(device, precision), plugin_code("forward"):
            outputs: dict[str, Tensor] = self._steps.meter.run(
                key if key[0] is not None else None, lambda: chosen(inputs)
            )
        if self._where.step == 0 and key[0] == "network":
            check_outputs(outputs, self._job.spec, samples)
        return outputs

    def loss(
        self, outputs: Mapping[str, Tensor], labels: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Tensor | float]]:
        """The loss and its parts, by the hooks ``targets`` and ``loss``."""
        architecture, spec = self._job.architecture, self._job.spec
        with timed("targets"), plugin_code("targets"):
            targets = architecture.targets(labels, spec)
        device, precision = self._job.device, self._job.precision
        with timed("loss"), autocast(device, precision), plugin_code("loss"):
            return checked_loss(architecture.loss(outputs, targets, self._where, spec))

    def gradient(
        self,
        losses: Losses | None = None,
        *batches: Tensor | Mapping[str, Tensor],
        add: bool = False,
    ) -> None:
        """Put the gradient of the mean of ``losses`` over the parts of a batch into ``.grad``."""
        if self.norm is not None:
            raise TrialFailure("plugin error", "step() asked for a gradient after optimise().")
        given = batches or (self.inputs, self.labels)
        work = losses or (lambda inputs, labels: self.loss(self.forward(inputs), labels))
        sizes = sorted({len(values) for one in given for values in _tensors(one)})
        parts = self._parts
        if len(sizes) != 1 or sizes[0] % parts:
            raise TrialFailure(
                "plugin error",
                f"step() asked for the gradient of batches of {', '.join(map(str, sizes))} "
                f"samples in {parts} part(s): all must have as many, and a number that can be "
                "divided.",
            )
        self._gradients += 1
        before = [p.grad for p in self.parameters] if add else [None] * len(self.parameters)
        if not add or self._scaler is not None:
            for parameter in self.parameters:
                parameter.grad = None
        share = sizes[0] // parts
        # As in the harness's own step: the mean over equal parts is the mean over the batch.
        found = [
            self._part(work, [_cut(one, slice(k, k + share)) for one in given])
            for k in range(0, sizes[0], share)
        ]
        if self._scaler is not None:
            self._scale(self._scaler, 1)
            for parameter, own in zip(self.parameters, before, strict=True):
                if own is not None:
                    parameter.grad = own if parameter.grad is None else parameter.grad.add_(own)
        if not self._found:
            self._found = mean_of_parts(found)

    def _part(self, losses: Losses, given: list[Any]) -> dict[str, Tensor | float]:
        """Add the gradient of one part; a function of its own, so that nothing of it is held."""
        self._passes = []
        loss, components = checked_loss(losses(*given))
        if not loss.requires_grad:
            raise TrialFailure("plugin error", "step() gave gradient() a loss without a gradient.")
        whole = loss / self._parts
        whole = whole if self._scaler is None else self._scaler.scale(whole)
        # Two gradients of one step may have other losses after the same passes. Work of passes
        # through networks that are not known is like no other.
        known = all(one[0] for one in self._passes)
        key = ("backward", self._gradients, *self._passes) if known else None
        with timed("backward"), plugin_code("backward"):
            self._steps.meter.run(key, whole.backward)
        return with_total(loss, components)

    def optimise(self) -> None:
        """Clip the gradient and move the weights; once in a step."""
        if self.norm is not None:
            raise TrialFailure("plugin error", "step() called optimise() twice: a step is one.")
        if not any(parameter.grad is not None for parameter in self.parameters):
            raise TrialFailure("plugin error", "step() called optimise() without a gradient.")
        if not (self._gradients and self.voxels):
            # A budget of voxels or FLOPs would never end, and one of time would be told wrongly.
            raise TrialFailure(
                "plugin error",
                "step() trained past the counters: nothing that it computed was counted. Make the "
                "gradient by training.gradient(), and run networks by training.forward() in it.",
            )
        largest, scaler = self._job.recipe.clip_gradient, self._scaler
        try:
            with timed("optimiser"):
                if scaler is not None and not self.rehearsal:
                    # Scaled again, by a power of two and so exactly: torch looks for what
                    # overflowed where it takes the scale away.
                    self._scale(scaler, -1)
                    scaler.unscale_(self._optimiser)
                self.norm = clip_gradient(self.parameters, largest)
                if not self.rehearsal:
                    move(self._optimiser, scaler)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise TrialFailure("out-of-memory", memory_trouble(error)) from error

    def keep(self, name: str, make: Callable[[], Made]) -> Made:
        """What is kept under a name from one step to the next, made when it is first asked for."""
        with plugin_code("step"):
            return self._steps.kept.get(name, make)

    @torch.no_grad()
    def _scale(self, scaler: torch.amp.GradScaler, direction: int) -> None:
        """Take the scale of the loss from the gradients (1), or multiply them by it (-1)."""
        scale = scaler._scale
        assert scale is not None
        by = scale.double().reciprocal().float() if direction > 0 else scale
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        if gradients:
            torch._foreach_mul_(gradients, by)

    def _name(self, network: nn.Module | None) -> str | None:
        """What a network is known by: the trained one, or one that is kept."""
        if network is None or network is self.network:
            return "network"
        made = self._steps.kept.made
        return next((f"kept {name}" for name, own in made.items() if own is network), None)

    def values(self) -> dict[str, Tensor | float]:
        """Losses of the first gradient, at the weights from which the step began, and the norm.

        Raises
        ------
        TrialFailure
            The step has not been taken.
        """
        if self.norm is None:
            raise TrialFailure(
                "plugin error",
                "step() ended without training.optimise(): a step moves the weights once.",
            )
        return {**self._found, GRADIENT: self.norm}


def _tensors(batch: object) -> list[Tensor]:
    values = list(batch.values()) if isinstance(batch, Mapping) else [batch]
    found = [value for value in values if isinstance(value, Tensor) and value.ndim]
    if not values or len(found) < len(values):
        raise TrialFailure(
            "plugin error",
            shorten(
                f"step() gave gradient() a {type(batch).__name__}: give tensors, or dicts of "
                "tensors, whose first axis counts the samples."
            ),
        )
    return found


def _cut(batch: Any, part: slice) -> Any:
    if isinstance(batch, Mapping):
        return {name: values[part] for name, values in batch.items()}
    return batch[part]
