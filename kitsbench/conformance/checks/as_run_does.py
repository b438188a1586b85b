"""Checks that a plugin trains and predicts by the very code that ``kitsbench run`` uses."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kitsbench.architecture import has_own_step
from kitsbench.conformance.driven.plugin_state import told
from kitsbench.conformance.driven.road import CPU, job_of, recipe_of, steps_for, take_steps
from kitsbench.conformance.driven.subject import Subject
from kitsbench.conformance.driven.volumes import WINDOW
from kitsbench.conformance.outcome import Place, Violation, looks_at
from kitsbench.conformance.telling import explain
from kitsbench.inference.case import Trained, segment
from kitsbench.inference.sliding import Predictor
from kitsbench.training.checkpoints.checkpoint import latest_checkpoint, load_checkpoint
from kitsbench.training.failures import TrialFailure
from kitsbench.training.job import Job
from kitsbench.training.ledger import Ledger
from kitsbench.training.loop import train
from kitsbench.training.networks.build import build_network
from kitsbench.training.networks.compiling import check_compiler

STOPPED_IN = 2  # the step in which the training ends that goes on afterwards
RELATIVE, ABSOLUTE = 1e-4, 1e-6  # by how much rounding may differ


class _Stop(Exception):
    """Ends a training as a machine that goes down does."""


@looks_at("class")
def trains_as_run_does(subject: Subject) -> str | None:
    """Steps of each stage; stopped and gone on with from a checkpoint, they give the same.

    Each half finds the plugin as another process would: what hooks have left in it is gone.
    """
    spec = subject.spec
    steps, recipe = steps_for(spec), recipe_of(spec)
    with tempfile.TemporaryDirectory(prefix="kitsbench-check-") as made:

        def job(name: str) -> Job:
            every = {} if name == "whole" else {"checkpoint_every": 0.0}
            return job_of(subject, spec, steps, Path(made) / name, recipe=recipe, **every)

        subject.forget()
        whole = train(job("whole")).network
        _stopped(subject, job("halved"))
        left = subject.forget()
        found = _difference(whole, _gone_on(subject, job("halved"), left))
        if found is None:
            return _step_that_nobody_takes(subject)
        subject.forget()
        repeats = _difference(whole, train(job("again")).network) is None
        # Which of the two it is that is lost: what lies in the plugin, or in the network.
        remembered = bool(left) and repeats and _is_remembered(subject, job, whole)
    if not repeats:
        raise Violation(
            f"two trainings of one seed end with different weights, e.g. '{found}': draw random "
            "numbers from torch's global generator, which is seeded for each step, and keep no "
            "state outside the network."
        )
    said = (
        "a training that is stopped and goes on from its checkpoint ends with other weights than "
        f"one that is not, e.g. '{found}'"
    )
    if remembered:
        raise Violation(f"{said}: {_remedy(subject, left)}.", at=_keeper(subject))
    gone = f" What hooks have left in {told(left)} is gone as well." if left else ""
    raise Violation(
        f"{said}: register what the network remembers as buffers, and take what changes in time "
        f"from progress.{gone}"
    )


def _step_that_nobody_takes(subject: Subject) -> str | None:
    """A hint where the plugin has a step and no recipe by which it would be taken."""
    if subject.spec.paper is not None or not has_own_step(subject.architecture):
        return None
    return (
        "step() is never taken: the shared recipe leaves it out, and the spec names no other. Give "
        "spec() a recipe of its own as `paper`, for --recipe paper."
    )


def _stopped(subject: Subject, job: Job) -> None:
    """Begin a training in a plugin that was just imported, and leave it."""
    subject.forget()

    def stop(fraction: float, ledger: Ledger) -> None:
        if ledger.steps == STOPPED_IN:
            raise _Stop

    with suppress(_Stop):
        train(job, stop)


def _gone_on(subject: Subject, job: Job, left: list[str]) -> nn.Module:
    """Go on with a training that was stopped, in a plugin that has lost what was left in it."""
    try:
        return train(job).network
    except TrialFailure as failure:
        if not left:
            raise
        said = explain.failure(failure, subject).rstrip(".")
        raise Violation(
            f"after a training was stopped, {said}; {_remedy(subject, left)}.", at=""
        ) from failure


def _is_remembered(subject: Subject, job: Callable[[str], Job], whole: nn.Module) -> bool:
    """Whether a training that goes on in the same process ends as one that is not stopped."""
    _stopped(subject, job("in one process"))
    return _difference(whole, train(job("in one process")).network) is None


def _keeper(subject: Subject) -> Place:
    """The hook that most likely has kept something."""
    return "step" if subject.spec.paper and has_own_step(subject.architecture) else "class"


def _remedy(subject: Subject, left: list[str]) -> str:
    """What was kept in the plugin, and where it belongs."""
    place = (
        "keep a module or tensor by training.keep(name, make)"
        if _keeper(subject) == "step"
        else "register what the network remembers as buffers"
    )
    return (
        f"what is kept in {told(left)} is gone in the process that goes on, since only the "
        f"checkpoint is there: {place}, and take what changes in time from progress"
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
    volumes = {name: store.case(job.cases[0]) for name, store in job.stores.items()}

    def predicted(network: nn.Module) -> tuple[dict[str, Tensor], np.ndarray]:
        predictor = Predictor(network, spec, WINDOW, recipe.inference, CPU)
        trained = Trained(subject.architecture, spec, (predictor,), ((subject.architecture, spec),))
        return predictor.probabilities(volumes), segment(trained, [volumes])

    first = predicted(network)
    # Another process predicts, in which only the weights are as they were.
    left = subject.forget()
    prefix = "average." if recipe.average is not None else "model."
    # Another seed: what is not in the checkpoint is not as it was.
    fresh = build_network(subject.architecture, spec, 1, 1, CPU)
    fresh.load_state_dict(
        {name.removeprefix(prefix): v for name, v in model.items() if name.startswith(prefix)}
    )
    try:
        second = predicted(fresh.eval())
    except Exception as error:
        if not left:
            raise
        said = explain.failure(error, subject).rstrip(".")
        raise Violation(
            f"in another process than that of the training {said}; what was kept in {told(left)} "
            "is gone there, since only the weights are.",
            at="",
        ) from error
    for name, values in first[0].items():
        if not _close(values, second[0][name]):
            raise Violation(
                f"head '{name}' of a whole volume differs once the weights have been saved, and "
                "loaded into a network that was built anew: register what the network remembers as "
                "parameters or buffers."
            )
    if not np.array_equal(first[1], second[1]):
        gone = f"; what was kept in {told(left)} is gone in another process" if left else ""
        raise Violation(
            "decode() and postprocess() give two label maps for the same probabilities: let them "
            f"depend on their arguments alone{gone}.",
            at="decode",
        )


@looks_at("forward")
def compiles(subject: Subject) -> None:
    """A step goes through ``torch.compile``; asked for by ``kitsbench check --compile``."""
    check_compiler("cpu")
    take_steps(subject, subject.spec, compile=True)
