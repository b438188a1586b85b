"""Checks of the network: shapes, logits, weights, determinism, and what it leaves alone."""

from __future__ import annotations

import io

import torch
from torch import Tensor, nn

from kitsbench.conformance.checks import patches
from kitsbench.conformance.driven import surroundings
from kitsbench.conformance.driven.opened import files_read
from kitsbench.conformance.driven.source import folder_of
from kitsbench.conformance.driven.subject import SMALL, Subject, batch, outputs_of
from kitsbench.conformance.outcome import Violation, looks_at
from kitsbench.conformance.telling import explain
from kitsbench.spec import Head, Progress, Shape, Spec
from kitsbench.training.networks.build import without_values

LOWEST = -2.5  # what the lower end of the window becomes in the checks' volumes
EMPTY = "a patch of one value, as of air or of padding"


@looks_at("build")
def builds(subject: Subject) -> str:
    """build() gives a module with parameters on the CPU, which runs on a batch of two.

    A hint where it reads a file of its own.
    """
    with files_read((), folder_of(subject.architecture)) as read:
        network = subject.network()
    if not isinstance(network, nn.Module):
        raise Violation(f"build() returned a {type(network).__name__}: return a torch module.")
    if (told := without_values(network)) is not None:
        raise Violation(told)
    strays = [name for name, p in network.named_parameters() if p.device.type != "cpu"]
    if strays:
        raise Violation(
            f"parameter '{strays[0]}' was put on a device by build(): leave the device to the "
            "harness."
        )
    if not any(True for _ in network.parameters()):
        raise Violation("the network has no parameters: register its layers as submodules.")
    try:
        with torch.no_grad():
            outputs_of(network, batch(subject.spec)[0], subject.spec)
    except Violation as violation:
        # What is no tensor, or not called as it should be, is so with every patch.
        sizes = " of shape " in str(violation)
        rule = patches.missing_rule(subject, subject.spec) if sizes else None
        if rule is None:
            raise
        raise Violation(f"{str(violation).rstrip('.')}; {rule}.", at=violation.at) from violation
    except Exception as error:
        rule = patches.missing_rule(subject, subject.spec)
        if rule is None:
            raise
        said = explain.failure(error, subject).removesuffix(": repair it.")
        raise Violation(f"{said}: {rule}.", at="") from error
    if not read:
        return ""
    return (
        f"build() reads {read[0]}, whose content is no part of what a trial is. Weights belong "
        "into the hook weights(), in a file that a key made by Key.file() names; settings into "
        "keys, or into a Python module beside the plugin, which counts."
    )


@looks_at("forward")
def shapes(subject: Subject) -> None:
    """Outputs are finite and shaped as the spec says, in both modes; anisotropic, batch 1.

    Finite for air and for padding too, where all voxels have one value.
    """
    anisotropic: Shape = (SMALL[0], SMALL[1] * 3 // 2, SMALL[2] * 2)
    # One sample only for evaluation: batch normalisation over a single value cannot be trained,
    # and no training asks for it.
    for patch, size, modes in (
        (subject.task.patch or SMALL, 2, (True, False)),
        (anisotropic, 1, (False,)),
    ):
        spec = subject.spec_for(patch)
        network = subject.network(spec)
        for training in modes:
            network.train(training)
            usual = batch(spec, size)[0]
            for kind, inputs in (("ordinary inputs", usual), (EMPTY, _one_value(usual))):
                with torch.no_grad():
                    outputs = outputs_of(network, inputs, spec)
                for name, value in outputs.items():
                    if not value.is_floating_point():
                        raise Violation(
                            f"head '{name}' gives {value.dtype}: return the logits as they are, "
                            "in floating point, and leave decisions to decode()."
                        )
                    if not torch.isfinite(value).all():
                        raise Violation(
                            f"head '{name}' is not finite for {kind}: look for a division or a "
                            "logarithm without a small constant."
                        )


def _one_value(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Grids of air, which is the lower end of the window; numbers beside them stay."""
    return {n: torch.full_like(v, LOWEST) if v.ndim == 5 else v for n, v in inputs.items()}


@looks_at("forward")
def gives_logits(subject: Subject) -> None:
    """The outputs are logits in both modes: the harness applies softmax and sigmoid."""
    spec = subject.spec
    found: dict[tuple[bool, str], list[Tensor]] = {}
    for seed in range(4):
        network = subject.network(seed=seed)
        inputs = {name: 3 * values for name, values in batch(spec, seed=seed)[0].items()}
        for training in (True, False):
            with torch.no_grad():
                outputs = network.train(training)(inputs)
            for head in (head for head in spec.heads if training or head.name in outputs):
                found.setdefault((training, head.name), []).append(outputs[head.name].float())
    kinds = {head.name: head.kind for head in spec.heads}
    for (training, name), values in found.items():
        given = torch.cat(values)
        # Logits of a network that has not learned may all lie in [0, 1] by running statistics, so
        # in evaluation mode only what an activation alone gives is taken for one.
        told = training or (
            _is_whole(given)
            if kinds[name] == "softmax"
            else torch.allclose(given, torch.cat(found[True, name]).sigmoid(), atol=1e-3)
        )
        if told and _are_probabilities(given, kinds[name]):
            mode = "" if training else " in evaluation mode"
            raise Violation(
                f"head '{name}' gives probabilities{mode} (all values lie in [0, 1]): return the "
                "logits and leave the activation to the harness."
            )


def _is_whole(values: Tensor) -> bool:
    """Whether the channels add up to one in each voxel."""
    total = values.sum(1)
    return torch.allclose(total, torch.ones_like(total), atol=1e-3)


def _are_probabilities(values: Tensor, kind: str) -> bool:
    """Whether an activation was applied to a head's outputs, channel axis 1."""
    if not ((values >= 0).all() and (values <= 1).all()):
        return False
    if kind != "softmax":
        return bool(values.any())  # a last layer that begins with zeros gives them
    # Sigmoid is wrong there too. What ends in ReLU has zeros, which neither of them gives.
    inside = bool((values > 0).all() and (values < 1).all())
    return inside or _is_whole(values)


@looks_at("build")
def weights_follow_the_seed(subject: Subject) -> None:
    """Equal seeds give equal weights, different seeds different ones."""
    first, again, other = (subject.network(seed=s).state_dict() for s in (0, 0, 1))
    differing = [name for name in first if not torch.equal(first[name], again[name])]
    if differing:
        raise Violation(
            f"'{differing[0]}' differs between two builds with one seed: draw initial weights "
            "from torch's global generator only."
        )
    if all(torch.equal(first[name], other[name]) for name in first):
        raise Violation(
            "the initial weights do not depend on the seed: build() must not seed a generator."
        )


@looks_at("forward")
def state_round_trips(subject: Subject) -> None:
    """The state dict carries everything that evaluation needs."""
    source, target = subject.network(seed=0), subject.network(seed=1)
    for name, value in source.state_dict().items():
        if not isinstance(value, Tensor):
            raise Violation(
                f"the state dict holds '{name}', a {type(value).__name__}: a checkpoint keeps "
                "tensors only, so register what the network remembers as buffers."
            )
    inputs = batch(subject.spec)[0]
    with torch.no_grad():
        source.train()(inputs)  # moves running statistics
    stored = io.BytesIO()
    torch.save(source.state_dict(), stored)
    stored.seek(0)
    try:
        target.load_state_dict(torch.load(stored, weights_only=True))
    except Exception as error:
        raise Violation(
            f"the state dict does not load ({_first_line(error)}): it may hold tensors only."
        ) from error
    for name, value in _evaluated(source, inputs).items():
        if not torch.equal(value, _evaluated(target, inputs)[name]):
            raise Violation(
                f"head '{name}' differs after saving and loading the state dict: register what "
                "the network remembers as parameters or buffers."
            )


@looks_at("forward")
def evaluation_is_deterministic(subject: Subject) -> None:
    """In evaluation mode a sample's output depends on that sample and the weights alone."""
    network, inputs = subject.network(), batch(subject.spec)[0]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    first, second = _evaluated(network, inputs), _evaluated(network, inputs)
    alone = _evaluated(network, {name: image[:1] for name, image in inputs.items()})
    for name, value in first.items():
        if not torch.equal(value, second[name]):
            raise Violation(
                f"head '{name}' differs between two calls in evaluation mode: switch dropout and "
                "other noise off by self.training."
            )
        if not torch.allclose(value[:1], alone[name], rtol=1e-3, atol=1e-4):
            raise Violation(
                f"head '{name}' of a sample depends on the rest of its batch in evaluation mode: "
                "normalise with running statistics or sample by sample."
            )
    for name, own in network.state_dict().items():
        if not torch.equal(own.nan_to_num(), before[name].nan_to_num()):
            raise Violation(
                f"forward() changes '{name}' in evaluation mode, so a scan would be predicted by "
                "what came before it: change weights and buffers in training mode alone."
            )
    # What is fitted to the very first patch shows where another one comes first.
    anew = subject.network()
    _evaluated(anew, batch(subject.spec, seed=1)[0])
    for name, value in _evaluated(anew, inputs).items():
        if not torch.equal(value, first[name]):
            raise Violation(
                f"head '{name}' depends in evaluation mode on what was predicted before: keep "
                "nothing of a patch beside the outputs."
            )


@looks_at("class")
def leaves_the_process_alone(subject: Subject) -> None:
    """No hook changes global state or uses the network."""
    inputs, labels = batch(subject.spec)
    with surroundings.preserved():
        # Not of evaluation, in which heads may be left out that the loss wants.
        trained = _in_training(subject.network(), inputs)

    def call_hooks(network: nn.Module) -> None:
        architecture, spec = subject.architecture, subject.spec
        targets = architecture.targets(labels, spec)
        architecture.loss(trained, targets, Progress(spec.stages[0].name), spec)
        architecture.decode(decodable(_evaluated(network, inputs), spec, 0), spec)

    with surroundings.preserved():
        call_hooks(subject.network())  # torch imports some of its parts at their first use
    torch.manual_seed(0)
    with surroundings.without_network() as asked:
        before = surroundings.state()
        network = subject.architecture.build(subject.spec)
        drawn = surroundings.state()
        call_hooks(network)
        after = surroundings.state()
    # Drawing initial weights is the one thing that build() may do to a generator.
    differing = [n for n in surroundings.changed(before, drawn) if n != "torch's random generator"]
    differing += surroundings.changed(drawn, after)
    if asked:
        raise Violation(f"the network was asked for {asked[0]}: a plugin must work without it.")
    if differing:
        raise Violation(
            f"the plugin changes {differing[0]} of the process: leave it to the harness."
        )


def _in_training(network: nn.Module, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Outputs in training mode, which may draw from torch's generator and may not seed it."""
    states = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        with torch.no_grad():
            outputs = dict(network.train()(inputs))
        states.append((before, torch.get_rng_state()))
    (first, drawn), (_, again) = states
    if torch.equal(drawn, again) and not torch.equal(first, drawn):
        raise Violation(
            "in training mode the network seeds torch's random generator: leave it to the harness, "
            "which seeds it for each step.",
            at="forward",
        )
    return outputs


@looks_at("forward")
def finite_in_bfloat16(subject: Subject) -> str | None:
    """Outputs stay finite under automatic mixed precision; a hint where they do not in float16."""
    network, spec = subject.network(), subject.spec
    for dtype in (torch.bfloat16, torch.float16):
        with torch.no_grad(), torch.autocast("cpu", dtype):
            # Two samples, or batch normalisation may see a single value a channel.
            outputs = outputs_of(network, batch(spec)[0], spec)
        for name, value in outputs.items():
            if torch.isfinite(value.float()).all():
                continue
            if dtype == torch.float16:  # it ends at 65504, where bfloat16 goes as far as float32
                return (
                    f"Head '{name}' is not finite in float16, in which GPUs of compute capability "
                    "7.x train: keep sums and products of large numbers in float32."
                )
            raise Violation(
                f"head '{name}' is not finite in bfloat16: keep sums and exponentials in float32."
            )
    return None


def _evaluated(network: nn.Module, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    network.eval()
    with torch.no_grad():
        return dict(network(inputs))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def probabilities_of(logits: Tensor, kind: str) -> Tensor:
    """What the harness makes of a head's logits, channel axis 1."""
    return logits.float().softmax(1) if kind == "softmax" else logits.float().sigmoid()


def decodable(outputs: dict[str, Tensor], spec: Spec, sample: int) -> dict[str, Tensor]:
    """Probabilities (C, z, y, x) that decode() gets, all on the primary head's voxels."""
    shape = spec.primary.shape
    found = {}
    for head in spec.heads:
        if head.role == "primary" or head.at_inference:
            values = probabilities_of(outputs[head.name], head.kind)[sample]
            if head.kind == "scalar":
                values = values[:, None, None, None].expand(-1, *shape)
            elif tuple(values.shape[1:]) != shape or head.grid != spec.primary.grid:
                values = _on_the_primary_voxels(values, head, spec)
            found[head.name] = values
    return found


def _on_the_primary_voxels(values: Tensor, head: Head, spec: Spec) -> Tensor:
    """Resample (C, z, y, x) about the common centre; outside is zero."""
    ratios = {grid.name: grid.ratio for grid in spec.grids}
    for axis, edge in enumerate(spec.primary.shape, start=1):
        step = ratios[head.grid][axis - 1] * head.stride[axis - 1] / spec.primary.stride[axis - 1]
        have = values.shape[axis]
        place = (torch.arange(edge) - (edge - 1) / 2) / step + (have - 1) / 2
        index = place.round().long()
        inside = (index >= 0) & (index < have)
        shape = [-1 if a == axis else 1 for a in range(4)]
        values = values.index_select(axis, index.clamp(0, have - 1)) * inside.reshape(shape)
    return values
