"""No reference architecture makes the host wait for a GPU in a step, or mixes devices or types."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest
import torch

from kitsbench import registry
from kitsbench.architecture import KITS21, Task, configure
from kitsbench.conformance.waits import trace
from kitsbench.training.recipes import MATCHED_GPU, at_size

NAMES = [entry.name for entry in registry.discover()]
MATCHED = Task(KITS21, MATCHED_GPU.patch, MATCHED_GPU.spacing)


def networks_of(name):
    """Each network of an architecture with its configuration: itself, or the members."""
    architecture = registry.load(name).architecture
    config = configure(architecture, {"size": "tiny"})
    members = architecture.spec(config, MATCHED).members
    for member in members:
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
        generator = torch.Generator().manual_seed(0)
        labels = {
            grid.name: torch.randint(0, 4, (1, *grid.shape), generator=generator)
            for grid in spec.grids
        }
        wide = architecture.targets(labels, spec)
        narrow = architecture.targets({k: v.to(torch.uint8) for k, v in labels.items()}, spec)
        assert {k: v.dtype for k, v in wide.items()} == {k: v.dtype for k, v in narrow.items()}
        assert all(torch.equal(target, narrow[head]) for head, target in wide.items())
