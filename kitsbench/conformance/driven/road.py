"""Trainings and predictions by the very code that ``kitsbench run`` uses, only smaller.

What passes here is laid out, rehearsed, cast to half precision, accumulated, checkpointed, resumed
and tiled as any trial is.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kitsbench.configuration import files_of
from kitsbench.conformance.driven.subject import Subject
from kitsbench.conformance.driven.volumes import SPACING, WINDOW, Volumes
from kitsbench.named import is_named
from kitsbench.recipe import Recipe, Sampling
from kitsbench.spec import Spec
from kitsbench.training.budget import Budget
from kitsbench.training.job import Job
from kitsbench.training.ledger import Ledger
from kitsbench.training.loop import train
from kitsbench.training.recipes import MATCHED_CPU, at_size

CPU = torch.device("cpu")
BATCH = 2
FOREGROUND = Sampling("foreground", fraction=0.5)
FEWEST, MOST = 3, 12  # steps


def recipe_of(spec: Spec) -> Recipe:
    """The paper's recipe where there is one, else the shared one; for small patches."""
    paper = MATCHED_CPU if spec.paper is None else at_size(spec.paper, "tiny")[0]
    return replace(
        paper,
        patch=spec.grids[0].shape,
        spacing=SPACING,
        batch=BATCH,
        # A function of the author's is asked as in training. The other rules look for labels by the
        # names that a dataset gives them.
        sampling=paper.sampling if is_named(paper.sampling.rule) else FOREGROUND,
    )


def job_of(subject: Subject, spec: Spec, steps: int, folder: Path, **fields: Any) -> Job:
    """A training of some steps on volumes in memory; keyword arguments replace its fields."""
    derive = partial(subject.architecture.derive, spec=spec)
    stores = {grid.name: Volumes(spec, grid, derive) for grid in spec.grids}
    known: dict[str, Any] = {
        "architecture": subject.architecture,
        "spec": spec,
        "stores": stores,
        "cases": stores[spec.grids[0].name].cases,
        "recipe": replace(MATCHED_CPU, batch=BATCH, sampling=FOREGROUND),
        "window": WINDOW,
        "budget": Budget(steps, "steps"),
        "seed": 0,
        "fold": 0,
        "device": CPU,
        "precision": "float32",
        "folder": folder,
        "files": files_of(subject.architecture, subject.settings),
    }
    return Job(**{**known, **fields})


def take_steps(
    subject: Subject,
    spec: Spec,
    steps: int = 1,
    report: Callable[[float, Ledger], None] = lambda fraction, ledger: None,
    **fields: Any,
) -> nn.Module:
    """Train for some steps and return the network; the folder of its checkpoints is gone by then.

    Raises
    ------
    TrialFailure
        As any training.
    """
    with tempfile.TemporaryDirectory(prefix="kitsbench-check-") as folder:
        return train(job_of(subject, spec, steps, Path(folder), **fields), report).network


def steps_for(spec: Spec) -> int:
    """Steps after which each stage has been entered, if that is not too many."""
    least = min(stage.share for stage in spec.stages)
    return min(max(FEWEST, math.ceil(1 / least)), MOST)
