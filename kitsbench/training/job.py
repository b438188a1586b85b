"""What a training run is given, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kitsbench.architecture import Architecture
from kitsbench.data.preparation.store import PreparedStore
from kitsbench.recipe import Recipe
from kitsbench.spec import Spec
from kitsbench.training.budget import Budget
from kitsbench.training.ledger import Ledger
from kitsbench.training.teams.distributed import SOLO, Team


@dataclass(frozen=True)
class Job:
    """What is trained, on what, for how long.

    Parameters
    ----------
    architecture, spec : Architecture, Spec
    stores : mapping of str to PreparedStore
        {grid: prepared volumes at its spacing}.
    cases : sequence of str
        Training cases.
    recipe : Recipe
    window : (float, float, float, float)
        Resolved intensity rule.
    budget : Budget
    seed, fold : int
    device : torch.device
    precision : {"float32", "bfloat16", "float16"}
    folder : Path
        Where checkpoints go.
    checkpoint_every : float or None
        Seconds of wall time between checkpoints. None: ten minutes, or a fiftieth of the budget
        where that takes longer.
    compile : bool
        Train through ``torch.compile``, whose time the budget pays for.
    max_memory : int or None
        Bytes that the process may take; batches go through the network in parts that fit.
    team : Team
        The processes that train together.
    source : str
        Hash of the plugin's source, with its packages' versions.
    layouts : Path or None
        Where the choices of a layout are kept.
    files : mapping of str to Path
        Where the files lie that keys of the configuration name.
    """

    architecture: Architecture
    spec: Spec
    stores: Mapping[str, PreparedStore]
    cases: Sequence[str]
    recipe: Recipe
    window: tuple[float, float, float, float]
    budget: Budget
    seed: int
    fold: int
    device: torch.device
    precision: str
    folder: Path
    checkpoint_every: float | None = None
    compile: bool = False
    max_memory: int | None = None
    team: Team = SOLO
    source: str = ""
    layouts: Path | None = None
    files: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class StepSetting:
    """What a step has to know of a training, in the words of its job.

    Attributes
    ----------
    architecture, spec, recipe, seed, device, precision, team
        As of :class:`Job`.
    """

    architecture: Architecture
    spec: Spec
    recipe: Recipe
    seed: int
    device: torch.device
    precision: str
    team: Team = SOLO


@dataclass
class Outcome:
    """A trained network, its ledger, and the curve (rows of ``curve.parquet``)."""

    network: nn.Module
    ledger: Ledger
    curve: list[dict[str, Any]] = field(default_factory=list)
