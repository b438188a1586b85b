"""One step of training: everything that the device clock charges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from kitsbench.data.batches.augmentation import Augmenter
from kitsbench.data.batches.patches import Batch
from kitsbench.data.batches.prepared import Prepared
from kitsbench.devices.parts import timed
from kitsbench.devices.precision import autocast
from kitsbench.spec import Progress
from kitsbench.training.curve import GRADIENT
from kitsbench.training.failures import (
    Suspected,
    TrialFailure,
    is_out_of_memory,
    memory_trouble,
    plugin_code,
)
from kitsbench.training.job import Job, StepSetting
from kitsbench.training.networks.build import check_outputs
from kitsbench.training.teams.distributed import SOLO
from kitsbench.training.teams.shared_step import SharedStep


def take_step(
    job: Job | StepSetting,
    network: nn.Module,
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
    """Augment a batch, go forward and backward, and move the weights.

    Parameters
    ----------
    job : Job or StepSetting
    network : nn.Module
    optimiser : Optimizer
        Its learning rates are those of this step.
    parameters : sequence of Parameter
        Those that train.
    augment : Augmenter
    batch : Batch or Prepared
        As it comes from the loader.
    where : Progress
        For the loss.
    parts : int
        Equal parts of the batch that go through the network one after the other; the gradient is
        the mean of theirs.
    scaler : GradScaler, optional
        In float16: the loss is scaled by it, and a step whose gradient is not finite is left out.
    rehearsal : bool
        Do everything but move the weights.
    shared : SharedStep, optional
        How several processes take it together, each with its part of the batch.

    Returns
    -------
    dict of str to Tensor or float
        ``loss``, its components, and the norm of the gradient before it was clipped; nothing
        waits for the device.

    Raises
    ------
    TrialFailure
        A hook of the plugin raised, or memory ran out while the weights moved. Where it runs out
        before that, the error is passed on and the step can be taken again.
    """
    shared = shared or SharedStep(SOLO, network, parameters)
    drawn: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []

    def draw(part: slice) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        if not drawn:
            # Here and not in the loader: the augmentation is work that the device does for the
            # method, so the clock that runs around this function charges it, and what the copy to
            # the device takes longer than the step before.
            with timed("transfer"):
                here = batch.to(job.device)
            with timed("augmentation"):
                drawn.append(augment(here))
            with timed("optimiser"):
                optimiser.zero_grad(set_to_none=True)
        inputs, labels = drawn[0]
        return (
            {name: values[part] for name, values in inputs.items()},
            {name: values[part] for name, values in labels.items()},
        )

    share = len(batch.cases) // parts
    # Equal parts, so that the mean of their means is the mean over the batch. A loss that couples
    # samples, and batch normalisation, see one part at a time; so the ledger tells how many.
    found = [
        _take_part(job, network, shared, partial(draw, slice(k, k + share)), where, parts, scaler)
        for k in range(0, len(batch.cases), share)
    ]
    shared.sum_gradients()
    try:
        with timed("optimiser"):
            # The norm is that of the gradient, and what is clipped is the gradient, whatever the
            # scale.
            if scaler is not None and not rehearsal:
                scaler.unscale_(optimiser)
            # It stays on the device. Whether it is finite is read with the losses, a step later:
            # weights that a bad gradient has moved are lost with the trial, which ends there.
            norm = clip_gradient(parameters, job.recipe.clip_gradient)
            if not rehearsal:
                move(optimiser, scaler)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        # Some weights may have moved already, so the step cannot be taken again.
        raise TrialFailure("out-of-memory", memory_trouble(error)) from error
    return {**mean_of_parts(found), GRADIENT: norm}


def mean_of_parts(found: Sequence[Mapping[str, Tensor | float]]) -> dict[str, Tensor | float]:
    """Means of losses over the parts of a batch, each over those parts that have it."""
    mean: dict[str, Tensor | float] = {}
    for name in dict.fromkeys(name for one in found for name in one):
        own = [one[name] for one in found if name in one]
        mean[name] = sum(own) / len(own)
    return mean


def move(optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler | None) -> None:
    """Move the weights.

    Raises
    ------
    TrialFailure
        The optimiser raised; memory that ran out is passed on.
    """
    try:
        with plugin_code("optimiser"):
            if scaler is None:
                optimiser.step()
                return
            scaler.step(optimiser)  # not where a gradient is infinite: the scale was too large
            scaler.update()
    except Suspected as error:  # no step that has moved weights can be taken again
        raise TrialFailure(error.reason, str(error)) from error


def _take_part(
    job: Job | StepSetting,
    network: nn.Module,
    shared: SharedStep,
    draw: Callable[[], tuple[dict[str, Tensor], dict[str, Tensor]]],
    where: Progress,
    parts: int,
    scaler: torch.amp.GradScaler | None,
) -> dict[str, Tensor | float]:
    """Add the gradient of one of the parts of a batch; its loss and components.

    A function of its own, so that nothing of a part is held while the next one is taken.
    """
    with shared.stretch():
        inputs, labels = draw()
        targets = _targets(job, labels) if shared.alone else None
        outputs = _forward(job, network, inputs, where)
        # Labels are sent as bytes, in which they lie on the disk.
        sent = None if shared.alone else (shared.pack(labels, torch.uint8), shared.pack(outputs))
    if sent is not None:
        shared.exchange(*sent)
    with shared.stretch():
        # Every process computes the loss of the whole batch, which may couple samples as it likes.
        if sent is not None:
            labels, outputs = shared.unpack(sent[0], labels), shared.unpack(sent[1], outputs)
            targets = _targets(job, labels)
        return _backward(job, outputs, targets, where, parts, scaler)


def _targets(job: Job | StepSetting, labels: dict[str, Tensor]) -> Any:
    # Outside of autocast: targets are data, and are not rounded to the precision of the network.
    with timed("targets"), plugin_code("targets"):
        return job.architecture.targets(labels, job.spec)


def _forward(
    job: Job | StepSetting, network: nn.Module, inputs: dict[str, Tensor], where: Progress
) -> dict[str, Tensor]:
    with timed("forward"), autocast(job.device, job.precision), plugin_code("forward"):
        outputs: dict[str, Tensor] = network(inputs)
    # Shapes do not change later on, and a resumed run has been looked at.
    if where.step == 0:
        check_outputs(outputs, job.spec, len(next(iter(inputs.values()))))
    return outputs


def _backward(
    job: Job | StepSetting,
    outputs: dict[str, Tensor],
    targets: Any,
    where: Progress,
    parts: int,
    scaler: torch.amp.GradScaler | None,
) -> dict[str, Tensor | float]:
    with timed("loss"), autocast(job.device, job.precision), plugin_code("loss"):
        loss, components = checked_loss(job.architecture.loss(outputs, targets, where, job.spec))
    with timed("backward"), plugin_code("backward"):
        whole = loss / parts
        (whole if scaler is None else scaler.scale(whole)).backward()
    return with_total(loss, components)


def with_total(loss: Tensor, components: Mapping[str, Tensor | float]) -> dict[str, Tensor | float]:
    """What is written down of a loss: ``loss`` is what was minimised, whatever its parts are."""
    others = {name: value for name, value in components.items() if name != "loss"}
    return {"loss": loss.detach(), **others}


def checked_loss(answer: Any) -> tuple[Tensor, dict[str, Tensor | float]]:
    """What a hook ``loss`` returned, if it is a number to minimise and its parts by name.

    Raises
    ------
    TrialFailure
        It is something else.
    """
    fits = isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], Mapping)
    if not fits or not isinstance(answer[0], Tensor) or answer[0].numel() != 1:
        raise TrialFailure(
            "plugin error", "loss() returned no pair (scalar tensor, {part: value})."
        )
    loss, components = answer
    for name, value in components.items():
        number = isinstance(value, (int, float)) or (
            isinstance(value, Tensor) and value.numel() == 1
        )
        if not isinstance(name, str) or not number:
            raise TrialFailure(
                "plugin error", f"loss() returned the part {name!r:.60}, which is no number."
            )
    return loss, dict(components)


def clip_gradient(parameters: Sequence[nn.Parameter], largest: float | None) -> Tensor:
    """Shorten the gradient to a largest norm, if there is one; its norm before that."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if largest is not None:
        nn.utils.clip_grads_with_norm_(parameters, largest, norm)
    return norm
