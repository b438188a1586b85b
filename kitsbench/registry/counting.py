"""How many parameters an architecture has, at its paper's task unless another is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from kitsbench.configuration import Setting, configure
from kitsbench.registry.plugins import load
from kitsbench.spec import Task

if TYPE_CHECKING:
    from kitsbench.architecture import Architecture


def paper_task(architecture: Architecture) -> Task:
    """The task of the paper: its labels and its patch, None where the configuration chooses it."""
    return Task(labels=architecture.paper_labels, patch=architecture.paper_patch)


def count_parameters(
    architecture: Architecture,
    settings: Mapping[str, Setting] | None = None,
    task: Task | None = None,
) -> int:
    """Number of parameters, counted without their values; an ensemble's members add up.

    Parameters
    ----------
    architecture : Architecture
    settings : mapping, optional
        Configuration keys that differ from the defaults.
    task : Task, optional
        The paper's unless given.
    """
    # Late: who only lists plugins needs no torch.
    from kitsbench.registry.weightless import build_weightless

    task = task or paper_task(architecture)
    config = configure(architecture, settings)
    spec = architecture.spec(config, task)
    if spec.members:
        # Members that differ by fold or seed alone are one network, counted once.
        kinds = Counter((member.architecture, member.config) for member in spec.members)
        return sum(
            number
            * count_parameters(load(name).architecture, {"size": config["size"], **dict(own)}, task)
            for (name, own), number in kinds.items()
        )
    network = build_weightless(architecture, spec)
    return sum(parameter.numel() for parameter in network.parameters())
