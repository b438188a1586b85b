"""Trainings and predictions by the very code that ``kitsbench run`` uses, only smaller.

What passes here is laid out, rehearsed, cast to half precision, accumulated, checkpointed, resumed
and tiled as any trial is.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kitsbench.configuration import files_of
from kitsbench.conformance.outcome import Violation, looks_at
from kitsbench.conformance.subject import Subject
from kitsbench.conformance.volumes import SPACING, WINDOW, Volumes
from kitsbench.inference.case import Trained, segment
from kitsbench.inference.sliding import Predictor
from kitsbench.named import is_named
from kitsbench.recipe import Recipe, Sampling
from kitsbench.spec import Spec
from kitsbench.training.budget import Budget
from kitsbench.training.checkpoints.checkpoint import latest_checkpoint, load_checkpoint
from kitsbench.training.job import Job
from kitsbench.training.ledger import Ledger
from kitsbench.training.loop import train
from kitsbench.training.networks.build import build_network
from kitsbench.training.networks.compiling import check_compiler
from kitsbench.training.recipes import MATCHED_CPU, at_size

CPU = torch.device("cpu")
BATCH = 2
FOREGROUND = Sampling("foreground", fraction=0.5)
FEWEST, MOST = 3, 12  # steps
STOPPED_IN = 2  # the step in which the training ends that goes on afterwards
RELATIVE, ABSOLUTE = 1e-4, 1e-6  # by how much rounding may differ


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


class _Stop(Exception):
    """Ends a training as a machine that goes down does."""


@looks_at("class")
def trains_as_run_does(subject: Subject) -> None:
    """Steps of each stage; stopped and gone on with from a checkpoint, they give the same."""
    spec = subject.spec
    steps, recipe = steps_for(spec), recipe_of(spec)
    with tempfile.TemporaryDirectory(prefix="kitsbench-check-") as made:
        folder = Path(made)
        whole = train(job_of(subject, spec, steps, folder / "whole", recipe=recipe)).network
        halved = job_of(
            subject, spec, steps, folder / "halved", recipe=recipe, checkpoint_every=0.0
        )

        def stop(fraction: float, ledger: Ledger) -> None:
            if ledger.steps == STOPPED_IN and not ledger.resumed:
                raise _Stop

        with suppress(_Stop):
            train(halved, stop)
        found = _difference(whole, train(halved).network)
        if found is None:
            return
        again = train(job_of(subject, spec, steps, folder / "again", recipe=recipe)).network
    if _difference(whole, again) is not None:
        raise Violation(
            f"two trainings of one seed end with different weights, e.g. '{found}': draw random "
            "numbers from torch's global generator, which is seeded for each step, and keep no "
            "state outside the network."
        )
    raise Violation(
        f"a training that is stopped and goes on from its checkpoint ends with other weights than "
        f"one that is not, e.g. '{found}': register what the network remembers as buffers, and "
        "take what changes in time from progress."
    )


def _difference(one: nn.Module, other: nn.Module) -> str | None:
    """Name of a weight or buffer that differs by more than rounding does."""
    states = one.state_dict(), other.state_dict()
    for name, value in states[0].items():
        if not _close(value, states[1][name]):
            return name
    return None


def _close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one.float(), other.float(), RELATIVE, ABSOLUTE, equal_nan=True)


@looks_at("forward")
def predicts_as_run_does(subject: Subject) -> None:
    """Whole volumes by tiles; from weights that were saved, by a network built anew, the same."""
    spec = subject.spec
    recipe = recipe_of(spec)
    with tempfile.TemporaryDirectory(prefix="kitsbench-check-") as made:
        job = job_of(subject, spec, 1, Path(made), recipe=recipe)
        network = train(job).network
        saved = latest_checkpoint(job.folder)
        assert saved is not None
        model = load_checkpoint(saved)[0]
    prefix = "average." if recipe.average is not None else "model."
    # Another seed: what is not in the checkpoint is not as it was.
    fresh = build_network(subject.architecture, spec, 1, 1, CPU)
    fresh.load_state_dict(
        {name.removeprefix(prefix): v for name, v in model.items() if name.startswith(prefix)}
    )
    volumes = {name: store.case(job.cases[0]) for name, store in job.stores.items()}
    maps = []
    for own in (network, fresh.eval()):
        predictor = Predictor(own, spec, WINDOW, recipe.inference, CPU)
        trained = Trained(subject.architecture, spec, (predictor,), ((subject.architecture, spec),))
        maps.append((predictor.probabilities(volumes), segment(trained, [volumes])))
    for name, values in maps[0][0].items():
        if not _close(values, maps[1][0][name]):
            raise Violation(
                f"head '{name}' of a whole volume differs once the weights have been saved, and "
                "loaded into a network that was built anew: register what the network remembers as "
                "parameters or buffers."
            )
    if not np.array_equal(maps[0][1], maps[1][1]):
        raise Violation(
            "decode() and postprocess() give two label maps for the same probabilities: let them "
            "depend on their arguments alone.",
            at="decode",
        )


@looks_at("forward")
def compiles(subject: Subject) -> None:
    """A step goes through ``torch.compile``; asked for by ``kitsbench check --compile``."""
    check_compiler("cpu")
    take_steps(subject, subject.spec, compile=True)
