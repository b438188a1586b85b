"""Checks that a plugin trains and predicts by the very code that ``kitsbench run`` uses."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kitsbench.conformance.driven.road import CPU, job_of, recipe_of, steps_for, take_steps
from kitsbench.conformance.driven.subject import Subject
from kitsbench.conformance.driven.volumes import WINDOW
from kitsbench.conformance.outcome import Violation, looks_at
from kitsbench.inference.case import Trained, segment
from kitsbench.inference.sliding import Predictor
from kitsbench.training.checkpoints.checkpoint import latest_checkpoint, load_checkpoint
from kitsbench.training.ledger import Ledger
from kitsbench.training.loop import train
from kitsbench.training.networks.build import build_network
from kitsbench.training.networks.compiling import check_compiler

STOPPED_IN = 2  # the step in which the training ends that goes on afterwards
RELATIVE, ABSOLUTE = 1e-4, 1e-6  # by how much rounding may differ


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
