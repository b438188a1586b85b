"""Where a plugin makes the host wait for a GPU, or mixes devices, found without a GPU.

A step of training is done on fake CUDA tensors: they have shapes, types and devices and compute
nothing. The device is ahead of the host in a step that goes well; it runs dry where the host must
wait for a number, for a shape that depends on numbers, or for a copy.

In: an architecture and a spec. Out: the waits of a step after the first, and what a GPU refuses.
"""

from __future__ import annotations

import logging
import re
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, nn

from kitsbench.architecture import Architecture, has_own_step
from kitsbench.conformance.driven.subject import Subject
from kitsbench.conformance.fake_gpu.gradient import (
    activations_can_be_computed_again,
    backward,
    backward_by_walking,
    replaced,
)
from kitsbench.conformance.fake_gpu.moving import mode, move
from kitsbench.conformance.fake_gpu.watching import (
    NoAnswer,
    Wait,
    Watch,
    device,
    forget,
    synchronising_is_seen,
)
from kitsbench.conformance.outcome import Violation, looks_at
from kitsbench.recipe import Stage
from kitsbench.registry.weightless import build_weightless
from kitsbench.spec import Progress, Spec
from kitsbench.training import own_step
from kitsbench.training.failures import Suspected, TrialFailure
from kitsbench.training.job import StepSetting
from kitsbench.training.optimisation.stages import freeze, training_mode
from kitsbench.training.own_step import OwnSteps
from kitsbench.training.recipes import MATCHED_GPU
from kitsbench.training.step import checked_loss, clip_gradient

LARGEST_NORM = 12.0
TOLD = 3  # waits, in a message

# What fake tensors cannot do, though others can: part of the message, of the line, and what it is.
READS_THAT_FAIL = (
    (".numpy()", "", ".numpy()"),
    ("FakeTensor.__format__", "", "an f-string"),
    ("NVIDIA", "tensor(", "torch.tensor()"),
)

T = TypeVar("T")


@dataclass
class Trace:
    """What steps of training on fake CUDA tensors have shown.

    Attributes
    ----------
    waits : list of Wait
        Where the host waits for the device after the first step of a stage.
    refusals : list of str
        What raises on a GPU though not on a CPU: tensors on two devices, or of types that do not
        go together.
    unseen : list of str
        What could not be followed, and why.
    """

    waits: list[Wait] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)


@looks_at("class")
def ready_for_a_gpu(subject: Subject) -> str:
    """Nothing mixes devices or types on a GPU; where the host would wait for it, say so.

    Waiting is slow, not wrong, and the budget of whoever waits pays for it: so it is a hint.
    """
    found = trace(subject.architecture, subject.spec)
    if found.refusals:
        raise Violation(
            f"{found.refusals[0]}: make tensors on the device and of the type of the inputs.", at=""
        )
    told = [f"{wait}." for wait in found.waits[:TOLD]]
    more = len(found.waits) - TOLD
    told += [f"And {more} more place{'s' * (more > 1)}."] if more > 0 else []
    told += [f"Not traced on fake CUDA tensors: {what}." for what in found.unseen[:1]]
    return " ".join(told)


def trace(
    architecture: Architecture,
    spec: Spec,
    *,
    batch: int = 2,
    precision: torch.dtype | None = torch.bfloat16,
) -> Trace:
    """Do a step of each stage, and a decision, on fake CUDA tensors.

    A hook in which the host waits is called twice, and what counts is the second time.

    Parameters
    ----------
    architecture : Architecture
    spec : Spec
        Of a network, not of an ensemble; patches of any size cost the same.
    batch : int
    precision : torch.dtype, optional
        Of automatic mixed precision; None leaves it off.
    """
    # Without initial values it is built much faster. But what the network keeps beside parameters
    # and buffers, and may forget to move to the device, shows in the ordinary way only.
    try:
        found = _traced(architecture, spec, batch, precision, weightless=True)
        if found.refusals or found.unseen:
            found = _traced(architecture, spec, batch, precision, weightless=False)
    finally:
        forget(architecture)
    return found


def _traced(
    architecture: Architecture,
    spec: Spec,
    batch: int,
    precision: torch.dtype | None,
    weightless: bool,
) -> Trace:
    found, watch = Trace(), Watch(architecture)
    network = build_weightless(architecture, spec) if weightless else architecture.build(spec)
    with (
        warnings.catch_warnings(),
        _silence(),
        mode(),
        watch,
        synchronising_is_seen(watch),
        activations_can_be_computed_again(),
    ):
        warnings.simplefilter("ignore")  # of a driver that is not there
        _Tracer(architecture, spec, watch, found, precision).follow(network, batch)
    found.waits = watch.waits
    return found


class _Stop(Exception):
    """What follows needs what did not come out."""


@dataclass
class _Tracer:
    architecture: Architecture
    spec: Spec
    watch: Watch
    found: Trace
    precision: torch.dtype | None

    def follow(self, network: nn.Module, batch: int) -> None:
        """All stages, then the decision."""
        try:
            self._call("build()", lambda: move(network))
        except _Stop:
            return
        self.watch.counting = True
        for stage in self.spec.stages:
            with suppress(_Stop):
                self._train(network, stage, batch)
        with suppress(_Stop):
            self._decide()

    def _train(self, network: nn.Module, stage: Stage, batch: int) -> None:
        """As the harness does it, on images and labels that are on the device already."""
        architecture, spec = self.architecture, self.spec
        parameters = freeze(network, stage)
        training_mode(network)
        where = Progress(stage.name, 0.5, 0.5, 1)
        images = {n: torch.zeros(s, device=device()) for n, s in spec.input_shapes(batch).items()}
        labels = {
            g.name: torch.zeros(batch, *g.shape, dtype=torch.int64, device=device())
            for g in spec.grids
        }
        network.zero_grad(set_to_none=True)
        targets = self._call("targets()", lambda: architecture.targets(labels, spec))
        with _autocast(self.precision):
            outputs = self._call("forward()", lambda: network(images))
            answer = self._call("loss()", lambda: architecture.loss(outputs, targets, where, spec))
        loss = checked_loss(answer)[0]
        self._call("backward()", lambda: backward(loss))
        self._call("clipping", lambda: clip_gradient(parameters, LARGEST_NORM))
        if has_own_step(architecture):
            network.zero_grad(set_to_none=True)
            self._own_step(network, parameters, images, labels, where)

    def _own_step(
        self,
        network: nn.Module,
        parameters: list[nn.Parameter],
        images: dict[str, Tensor],
        labels: dict[str, Tensor],
        where: Progress,
    ) -> None:
        """A step of the plugin's own, which recipes other than the shared one train by."""
        recipe = self.spec.paper or MATCHED_GPU
        # What it asks of the setting is the precision, which is set here, and whose random numbers
        # to put back, which these tensors have none of: so not the device, which would be asked.
        setting = StepSetting(
            self.architecture, self.spec, recipe, 0, torch.device("cpu"), "float32"
        )
        steps = OwnSteps(setting, network)
        optimiser = torch.optim.SGD(parameters, lr=0.0)

        def precision(*_: object) -> AbstractContextManager[None]:
            return _autocast(self.precision)

        def take() -> None:
            # Forward and loss have the precision of the run; what else the plugin does has not.
            with replaced(own_step, "autocast", precision), backward_by_walking():
                steps.go(network, optimiser, parameters, images, labels, where)

        waits = self.watch.waits
        known = len(waits)
        self._call("step()", take)
        # Hooks that it calls have been looked at.
        told = {wait.place for wait in waits[:known]}
        waits[known:] = [wait for wait in waits[known:] if wait.place not in told]

    def _decide(self) -> None:
        """Labels from probabilities, as inference on a GPU does it."""
        maps = {
            head.name: torch.zeros(len(head.channels), *self.spec.primary.shape, device=device())
            for head in self.spec.heads
            if head.role == "primary" or head.at_inference
        }
        self._call("decode()", lambda: self.architecture.decode(maps, self.spec))

    def _call(self, hook: str, function: Callable[[], T]) -> T:
        """Call a hook, and where the host waits again: what it waited for may be kept by then."""
        self.watch.hook = hook
        waits = self.watch.waits
        known = len(waits)
        for _ in range(2):
            del waits[known:]
            noted = self.watch.noted
            try:
                answer = function()
            except Exception as error:
                failure: Exception | None = error
                # After an answer that was made up anything may happen.
                if self.watch.noted == noted and not isinstance(error, NoAnswer):
                    self._explain(hook, error)
                    break
            else:
                failure = None
            if len(waits) == known:
                break
        if failure is not None:
            raise _Stop from failure
        return answer

    def _explain(self, hook: str, error: Exception) -> None:
        """File an error under what it says about the plugin, or about this way of looking."""
        while isinstance(error, (Suspected, TrialFailure)) and isinstance(
            error.__cause__, Exception
        ):
            error = error.__cause__  # which has the line
        stack = [(f.filename, f.lineno or 0) for f in traceback.extract_tb(error.__traceback__)]
        place, line = self.watch.line_of(stack[::-1])
        where = f" at {place}" if place else ""
        text = (str(error).strip().splitlines() or ["no message"])[0]
        for sign, hint, what in READS_THAT_FAIL:
            if sign in text and hint in line:
                self.watch.waits.append(Wait(hook, what, "keep it a tensor", place))
                return
        if _is_refused(error, text):
            found, told = self.found.refusals, f"{hook} fails on a GPU{where} ({text})"
        else:
            found, told = self.found.unseen, f"{hook}{where}: {type(error).__name__} ({text})"
        if told not in found:
            found.append(told)


def _is_refused(error: Exception, text: str) -> bool:
    """Whether a GPU would refuse it too."""
    if type(error).__name__ == "FakeTensorDeviceMismatchError":
        return True
    devices = re.search(r"(two|different) (different )?devices|same device", text)
    types = re.search(r"same dtype|dtypes match|scalar type|should be the same", text)
    return bool(devices or types)


@contextmanager
def _silence() -> Iterator[None]:
    """Torch logs the errors of fake tensors, which are told here."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


@contextmanager
def _autocast(dtype: torch.dtype | None) -> Iterator[None]:
    """Automatic mixed precision of CUDA, where torch.autocast would find no driver."""
    if dtype is None:
        yield
        return
    before = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", dtype)
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()
        torch.set_autocast_enabled("cuda", before[0])
        torch.set_autocast_dtype("cuda", before[1])
