"""One step of training: everything that the device clock charges."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kitsbench.architecture import Progress
from kitsbench.data.augmentation import Augmenter
from kitsbench.data.patches import Batch
from kitsbench.training.curve import GRADIENT
from kitsbench.training.failures import plugin_code
from kitsbench.training.job import Job
from kitsbench.training.networks import check_outputs


def take_step(
    job: Job,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    parameters: Sequence[nn.Parameter],
    augment: Augmenter,
    batch: Batch,
    where: Progress,
) -> dict[str, Tensor | float]:
    """Augment a batch, go forward and backward, and move the weights.

    Parameters
    ----------
    job : Job
    network : nn.Module
    optimiser : Optimizer
        Its learning rates are those of this step.
    parameters : sequence of Parameter
        Those that train.
    augment : Augmenter
    batch : Batch
        As it comes from the loader.
    where : Progress
        For the loss.

    Returns
    -------
    dict of str to Tensor or float
        ``loss``, its components, and the norm of the gradient before it was clipped; nothing
        waits for the device.
    """
    inputs, labels = augment(batch.to(job.device))
    labels = job.team.gather(labels)
    with plugin_code("targets"):
        targets = job.architecture.targets(labels, job.spec)
    with torch.autocast(job.device.type, torch.bfloat16, job.precision == "bfloat16"):
        with plugin_code("forward"):
            outputs = job.team.gather(network(inputs))
        if where.step == 0:
            check_outputs(outputs, job.spec, job.recipe.batch)
        with plugin_code("loss"):
            loss, parts = job.architecture.loss(outputs, targets, where, job.spec)
    optimiser.zero_grad(set_to_none=True)
    with plugin_code("backward"):
        job.team.whole_loss(loss, outputs).backward()
    norm = clip_gradient(parameters, job.recipe.clip_gradient)
    optimiser.step()
    return {"loss": loss.detach(), **parts, GRADIENT: norm}


def clip_gradient(parameters: Sequence[nn.Parameter], largest: float | None) -> Tensor:
    """Shorten the gradient to a largest norm, if there is one; its norm before that."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if largest is not None:
        nn.utils.clip_grads_with_norm_(parameters, largest, norm)
    return norm
