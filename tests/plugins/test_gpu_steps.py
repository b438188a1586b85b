"""No reference architecture makes the host wait for a GPU in a step, or mixes devices or types.

Nor does a loss lose precision where the logits have half of it.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest
import torch

from kitsbench import registry
from kitsbench.architecture import KITS21, Progress, Task, configure
from kitsbench.conformance.fake_gpu.waits import trace
from kitsbench.training.optimisation.stages import freeze, training_mode
from kitsbench.training.recipes import MATCHED_GPU, at_size
from kitsbench.training.step import clip_gradient

# Those of other distributions have tests of their own.
NAMES = [e.name for e in registry.discover() if e.distribution == "kitsbench-plugins"]
MATCHED = Task(KITS21, MATCHED_GPU.patch, MATCHED_GPU.spacing)


def networks_of(name):
    """Each network of an architecture with its configuration: itself, or the members."""
    architecture = registry.load(name).architecture
    config = configure(architecture, {"size": "tiny"})
    members = architecture.spec(config, MATCHED).members
    distinct = {(member.architecture, member.config): member for member in members}
    for member in distinct.values():  # folds and seeds change nothing of a step
        peer = registry.load(member.architecture).architecture
        yield peer, configure(peer, {"size": "tiny", **dict(member.config)})
    if not members:
        yield architecture, config


def spec_and_batch(architecture, config, recipe):
    if recipe == "matched":
        return architecture.spec(config, MATCHED), MATCHED_GPU.batch
    free = replace(MATCHED, patch=None, spacing=None)
    paper = architecture.spec(config, free).paper
    if paper is None:
        return None
    paper = at_size(replace(paper, patch=paper.patch or architecture.paper_patch), "tiny")[0]
    spacing = None if isinstance(paper.spacing, str) else paper.spacing
    return architecture.spec(
        config, replace(MATCHED, patch=paper.patch, spacing=spacing)
    ), paper.batch


@functools.cache
def found_in(kind, spec, batch):
    """Shared by an architecture and the ensembles that it is a member of."""
    return trace(kind(), spec, batch=batch, precision=torch.bfloat16)


@pytest.mark.parametrize("recipe", ["matched", "paper"])
@pytest.mark.parametrize("name", NAMES)
def test_no_step_waits_and_none_is_refused(name, recipe):
    for architecture, config in networks_of(name):
        asked = spec_and_batch(architecture, config, recipe)
        if asked is None:
            continue
        found = found_in(type(architecture), *asked)
        assert (found.waits, found.refusals, found.unseen) == ([], [], [])


def test_every_installed_architecture_is_among_them():
    assert {"unet3d", "nnunet_resenc", "smp_manet", "cascade_classifier", "msan_vote"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_targets_of_bytes_are_those_of_whole_numbers(name):
    for architecture, config in networks_of(name):
        spec = architecture.spec(config, replace(MATCHED, patch=(24, 24, 24), spacing=None))
        labels = labels_of(spec, 1)
        wide = architecture.targets(labels, spec)
        narrow = architecture.targets({k: v.to(torch.uint8) for k, v in labels.items()}, spec)
        assert {k: v.dtype for k, v in wide.items()} == {k: v.dtype for k, v in narrow.items()}
        assert all(torch.equal(target, narrow[head]) for head, target in wide.items())


def outputs_of(spec, batch, device="cpu"):
    """Logits of all heads, at random."""
    generator = torch.Generator(device).manual_seed(0)
    shapes = {
        head.name: (len(head.channels), *(() if head.kind == "scalar" else head.shape))
        for head in spec.heads
    }
    return {
        name: 4 * torch.randn(batch, *shape, generator=generator, device=device)
        for name, shape in shapes.items()
    }


def labels_of(spec, batch, device="cpu"):
    generator = torch.Generator(device).manual_seed(1)
    return {
        grid.name: torch.randint(0, 4, (batch, *grid.shape), generator=generator, device=device)
        for grid in spec.grids
    }


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_a_loss_of_half_precision_logits_is_that_of_the_same_numbers(name, dtype):
    for architecture, config in networks_of(name):
        spec = architecture.spec(config, replace(MATCHED, patch=(48, 48, 48), spacing=None))
        targets = architecture.targets(labels_of(spec, 1), spec)
        half = {head: logits.to(dtype) for head, logits in outputs_of(spec, 1).items()}
        whole = {head: logits.float() for head, logits in half.items()}
        where = Progress(spec.stages[-1].name, 0.5, 0.5, 1)
        expected, _ = architecture.loss(whole, targets, where, spec)
        with torch.autocast("cpu", dtype):
            found, parts = architecture.loss(half, targets, where, spec)
        assert found.dtype == torch.float32
        assert found.item() == pytest.approx(expected.item(), rel=1e-6)
        assert all(torch.isfinite(torch.as_tensor(part)) for part in parts.values())


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
def test_torch_finds_no_wait_either_on_a_card(name):
    """In its own mode of debugging, in which whatever waits raises."""
    device = torch.device("cuda", torch.cuda.device_count() - 1)
    torch.cuda.set_device(device)
    for architecture, config in networks_of(name):
        spec, batch = spec_and_batch(architecture, config, "matched")
        network = architecture.build(spec).to(device)
        images = {g.name: torch.randn(batch, 1, *g.shape, device=device) for g in spec.grids}
        labels = labels_of(spec, batch, device)

        def step(stage, network=network, images=images, labels=labels, spec=spec, at=architecture):
            targets = at.targets(labels, spec)
            with torch.autocast("cuda", torch.bfloat16):
                outputs = network(images)
                loss, _ = at.loss(outputs, targets, Progress(stage.name, 0.5, 0.5, 1), spec)
            loss.backward()
            clip_gradient([p for p in network.parameters() if p.requires_grad], 12.0)

        for stage in spec.stages:
            freeze(network, stage)
            training_mode(network)
            step(stage)
            torch.cuda.set_sync_debug_mode("error")
            try:
                step(stage)
            finally:
                torch.cuda.set_sync_debug_mode("default")
