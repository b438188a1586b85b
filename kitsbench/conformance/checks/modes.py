"""What a network that has learned decides, in training mode and in evaluation mode."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from kitsbench.conformance.checks.behaviour import decodable
from kitsbench.conformance.driven.moved import moved
from kitsbench.conformance.driven.subject import Subject, batch
from kitsbench.conformance.outcome import Violation
from kitsbench.spec import Spec

TELLING = 0.4  # Dice in training mode from which on evaluation mode is compared
SHARE = 1 / 3  # of it, which evaluation reaches at least
# Passes in which running statistics settle; those of torch's layers do so in one. The last are for
# averages of weights, which are long, and are done where a pass still moves something.
PASSES = 1, 50, 3000
STILL = 1e-5  # by which share of itself a buffer may move


def check_evaluation(subject: Subject, network: nn.Module) -> None:
    """See that a network decides in evaluation mode what it has learned in training mode.

    On the scene that it has learned, and on one in which mirrored axes, and axes that have changed
    places, show; each label in each sample.

    Raises
    ------
    Violation
        It decides something else.
    """
    spec = subject.spec
    for lopsided in (False, True):
        inputs, labels = batch(spec, lopsided=lopsided)
        truth = on_primary(labels[spec.grids[0].name], spec)
        for passes in PASSES:
            _settle(network, inputs, passes)
            network.train()
            learned = _decided(subject, network, inputs, len(truth))
            network.eval()
            decided = _decided(subject, network, inputs, len(truth))
            trained, evaluated = (_scores(own, truth, spec) for own in (learned, decided))
            lost = [key for key, score in trained.items() if _is_lost(score, evaluated[key])]
            if not lost or (passes == PASSES[1] and not _moves(network, inputs)):
                break
        if lost:
            _, label = key = lost[0]
            raise Violation(
                f"in evaluation mode the decoded label '{label}' of a patch has Dice "
                f"{evaluated[key]:.2f}, in training mode {trained[key]:.2f}: let forward() give "
                "the same in both, but for what dropout and running statistics change.",
                at="forward",
            )
        _refuse_moved(learned, decided, truth)


def _refuse_moved(learned: Tensor, decided: Tensor, truth: Tensor) -> None:
    """See that what was learned lies where it was shown, and lies there in evaluation mode too."""
    if told := moved(learned, truth):
        raise Violation(
            f"what is decided of a patch lies {told}: give the outputs the axes (B, C, z, y, x) of "
            "the inputs, and targets() those of the labels.",
            at="forward",
        )
    if told := moved(decided, learned, shifts=True):
        raise Violation(
            f"what is decided in evaluation mode lies {told} where training mode has it: cut and "
            "pad alike in both.",
            at="forward",
        )


def _is_lost(trained: float, evaluated: float) -> bool:
    return trained >= TELLING and evaluated < SHARE * trained


def _settle(network: nn.Module, inputs: dict[str, Tensor], passes: int) -> None:
    """Make running statistics those of a batch, which they come to in a long training."""
    network.train()
    layers = [
        layer
        for layer in network.modules()
        if isinstance(layer, _NormBase) and layer.track_running_stats and layer.training
    ]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        # The mean over all calls of a layer, of which there may be several in a pass.
        layer.momentum = None if isinstance(layer, _BatchNorm) else 1.0
    with torch.no_grad():
        for _ in range(passes):
            network({name: values.clone() for name, values in inputs.items()})
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum


def _moves(network: nn.Module, inputs: dict[str, Tensor]) -> bool:
    """Whether a pass in training mode moves a buffer, beside those that count."""
    before = {n: b.clone() for n, b in network.named_buffers() if b.is_floating_point()}
    with torch.no_grad():
        network.train()({name: values.clone() for name, values in inputs.items()})
    after = dict(network.named_buffers())
    return any(not torch.allclose(own, after[name], STILL) for name, own in before.items())


def dice(subject: Subject, network: nn.Module, inputs: dict[str, Tensor], truth: Tensor) -> float:
    """Mean Dice over the labels that are present, in the mode in which the network is."""
    scores = label_dice(_decided(subject, network, inputs, len(truth)), truth, subject.spec)
    return sum(scores.values()) / max(len(scores), 1)


def _scores(decided: Tensor, truth: Tensor, spec: Spec) -> dict[tuple[int, str], float]:
    """Dice of each label in each sample."""
    return {
        (sample, label): score
        for sample, pair in enumerate(zip(decided, truth, strict=True))
        for label, score in label_dice(*pair, spec).items()
    }


def _decided(
    subject: Subject, network: nn.Module, inputs: dict[str, Tensor], samples: int
) -> Tensor:
    with torch.no_grad():
        outputs = network({name: values.clone() for name, values in inputs.items()})
    return torch.stack(
        [
            subject.architecture.decode(decodable(outputs, subject.spec, i), subject.spec)
            for i in range(samples)
        ]
    )


def label_dice(decided: Tensor, truth: Tensor, spec: Spec) -> dict[str, float]:
    """Dice of the labels that are present."""
    scores = {}
    for name, value in spec.labels:
        found, wanted = decided == value, truth == value
        if wanted.any():
            overlap = float((found & wanted).sum())
            scores[name] = 2 * overlap / float(found.sum() + wanted.sum())
    return scores


def on_primary(labels: Tensor, spec: Spec) -> Tensor:
    """Labels (B, z, y, x) of the first grid on the primary head's voxels."""
    head = spec.primary
    for axis, (edge, step) in enumerate(zip(head.shape, head.stride, strict=True), start=1):
        start = (labels.shape[axis] - edge * step) // 2
        chosen = torch.arange(edge) * step + start + step // 2
        labels = labels.index_select(axis, chosen)
    return labels
