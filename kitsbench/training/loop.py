"""The training loop: one network, one budget, everything else a function of progress."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from kitsbench.architecture import Architecture, Progress, Spec
from kitsbench.data.augmentation import Augmenter, needed_margin
from kitsbench.data.patches import Batch, PatchSource, generator
from kitsbench.data.store import PreparedStore
from kitsbench.recipe import Recipe
from kitsbench.training.budget import Budget, Ledger
from kitsbench.training.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from kitsbench.training.clock import DeviceClock
from kitsbench.training.failures import TrialFailure, plugin_code
from kitsbench.training.meta import count_cost
from kitsbench.training.stages import (
    StageTracker,
    freeze,
    make_optimiser,
    rules_of,
    training_mode,
)

CURVE_POINTS = 400  # loss rows kept over a whole run
EVALUATE_AT = (0.25, 0.5, 0.75)  # progress at which the held-out cases are scored for the curve


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
    precision : {"float32", "bfloat16"}
    folder : Path
        Where checkpoints go.
    checkpoint_every : float
        Seconds of wall time between checkpoints.
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
    checkpoint_every: float = 60.0


@dataclass
class Outcome:
    """A trained network, its ledger, and the curve (rows of ``curve.parquet``)."""

    network: nn.Module
    ledger: Ledger
    curve: list[dict[str, Any]] = field(default_factory=list)


def seed_everything(*key: int) -> None:
    """Seed torch's generators by a counter; networks draw weights and dropout from them."""
    torch.manual_seed(int(generator(*key).integers(2**62)))


def build_network(
    architecture: Architecture, spec: Spec, seed: int, fold: int, device: torch.device
) -> nn.Module:
    """Build on a device, with initial weights that depend on (seed, fold) alone."""
    seed_everything(seed, 4, fold)
    with plugin_code("build"):
        network = architecture.build(spec)
    return lay_out(network.to(device), spec, device)


def lay_out(network: nn.Module, spec: Spec, device: torch.device) -> nn.Module:
    """Lay weights out channels-last, unless the network's code cannot cope with it.

    Convolutions on a CPU and on tensor cores are faster that way; code that calls ``view`` on a
    feature map fails. Tried on one patch, since the meta device does not show it.
    """
    network = network.to(memory_format=torch.channels_last_3d)
    try:
        with torch.no_grad():
            network.eval()
            network({g.name: torch.zeros(1, 1, *g.shape, device=device) for g in spec.grids})
    except Exception:
        network = network.to(memory_format=torch.contiguous_format)
    return network.train()


def train(
    job: Job,
    report: Callable[[float, Ledger], None] = lambda fraction, ledger: None,
    evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
) -> Outcome:
    """Train until the budget is spent, or go on where a checkpoint left off.

    Parameters
    ----------
    job : Job
    report : callable
        Called after each step with progress and ledger.
    evaluate : callable, optional
        Scores the network at fixed fractions of the budget; not charged.

    Raises
    ------
    TrialFailure
        Non-finite loss, or an error in a plugin's hook.
    """
    return _Run(job, report, evaluate).finish()


class _Run:
    """State of a training run; :meth:`finish` is the loop."""

    def __init__(self, job: Job, report: Any, evaluate: Any):
        self.job, self.report, self.evaluate = job, report, evaluate
        self.network = build_network(job.architecture, job.spec, job.seed, job.fold, job.device)
        margin = needed_margin(job.recipe.augmentation)
        self.source = PatchSource(
            job.stores, job.cases, job.spec, job.recipe, job.seed, margin, math.floor(job.window[0])
        )
        spacing = next(iter(job.stores.values())).spacing
        self.augment = Augmenter(
            job.spec.grids, spacing, job.recipe.augmentation, job.window, job.seed
        )
        cost = count_cost(job.architecture, job.spec)
        self.flops_per_step = (cost.flops_step or 0) * job.recipe.batch
        self.voxels_per_step = math.prod(job.spec.grids[0].shape) * job.recipe.batch
        self.tracker, self.ledger = StageTracker(), Ledger()
        self.curve: list[dict[str, Any]] = []
        self.average: dict[str, Tensor] | None = None
        self.evaluated = 0
        self.waiting: tuple[Batch, dict[str, Tensor], float] | None = None
        self.optimiser_state: Any = None
        self._resume()
        self.clock = DeviceClock(job.device, self.ledger.device_seconds)
        self._enter_stage()

    # --- checkpoints ------------------------------------------------------------------------

    def _resume(self) -> None:
        found = latest_checkpoint(self.job.folder)
        if found is None:
            if self.job.recipe.average is not None:
                self.average = {k: v.clone() for k, v in self.network.state_dict().items()}
            return
        model, self.optimiser_state, state = load_checkpoint(found)
        self.network.load_state_dict({k[6:]: v for k, v in model.items() if k[:6] == "model."})
        averaged = {k[8:]: v for k, v in model.items() if k[:8] == "average."}
        self.average = {k: v.to(self.job.device) for k, v in averaged.items()} or None
        self.tracker = StageTracker(**state["stage"])
        self.ledger = Ledger(**state["ledger"])
        self.ledger.resumed += 1
        self.curve, self.evaluated = state["curve"], state["evaluated"]

    def _save(self) -> None:
        began = time.perf_counter()
        self._harvest()
        self.ledger.device_seconds = self.clock.exact()
        self._close_stage()
        model = {f"model.{k}": v for k, v in self.network.state_dict().items()}
        model |= {f"average.{k}": v for k, v in (self.average or {}).items()}
        state = {
            "stage": self.tracker.to_dict(),
            "ledger": self.ledger.to_dict(),
            "curve": self.curve,
            "evaluated": self.evaluated,
        }
        save_checkpoint(
            self.job.folder, self.ledger.steps, model, self.optimiser.state_dict(), state
        )
        self.saved_at = time.perf_counter()
        self.ledger.checkpoint_s += self.saved_at - began

    # --- stages -----------------------------------------------------------------------------

    def _enter_stage(self) -> None:
        stage = self.job.spec.stages[self.tracker.index]
        self.parameters = freeze(self.network, stage)
        rule, self.schedule = rules_of(stage, self.job.recipe)
        self.base_lr = rule.lr
        self.optimiser = make_optimiser(rule, self.parameters)
        if self.optimiser_state is not None:
            self.optimiser.load_state_dict(self.optimiser_state)
            self.optimiser_state = None
        training_mode(self.network)
        stages = self.ledger.stages
        if len(stages) <= self.tracker.index:
            trained = sum(p.numel() for p in self.parameters)
            stages.append(
                {
                    "name": stage.name,
                    "from_step": self.ledger.steps,
                    "from_seconds": self.ledger.device_seconds,
                    "from_fraction": self.tracker.begun,
                    "steps": 0,
                    "device_seconds": 0.0,
                    "optimiser": rule.name,
                    "lr": rule.lr,
                    "schedule": self.schedule.rule,
                    "trained_parameters": trained,
                    "frozen_parameters": sum(p.numel() for p in self.network.parameters())
                    - trained,
                    "ended_by": None,
                    "ended_because": None,
                }
            )

    def _leave_stage_if_over(self, progress: float) -> None:
        stages = self.job.spec.stages
        while (why := self.tracker.is_over(progress, stages)) is not None:
            self._harvest()  # the last step's losses belong to the stage that ends
            self.ledger.device_seconds = self.clock.exact()
            self._close_stage(*why)
            self.tracker.next(progress)
            self._enter_stage()

    def _close_stage(self, by: str | None = None, because: str | None = None) -> None:
        """Write down what the current stage has spent so far, and why it ended if it did."""
        row = self.ledger.stages[-1]
        row["steps"] = self.ledger.steps - row["from_step"]
        row["device_seconds"] = self.ledger.device_seconds - row["from_seconds"]
        if by is not None:
            row["ended_by"], row["ended_because"] = by, because

    # --- the loop ---------------------------------------------------------------------------

    def finish(self) -> Outcome:
        job, ledger = self.job, self.ledger
        began, already = time.perf_counter(), ledger.wall_s
        self.saved_at = began
        batches = self.source.stream(ledger.steps, pin=job.device.type == "cuda")
        with contextlib.closing(batches):  # type: ignore[type-var]
            while not self._is_spent():
                progress = ledger.fraction(job.budget)
                self._leave_stage_if_over(progress)
                waited = time.perf_counter()
                batch = next(batches)
                ledger.loader_wait_s += time.perf_counter() - waited
                self._step(batch, progress)
                ledger.wall_s = already + time.perf_counter() - began
                self.report(ledger.fraction(job.budget), ledger)
                self._evaluate_if_due(ledger.fraction(job.budget))
                if time.perf_counter() - self.saved_at > job.checkpoint_every:
                    self._save()
        self._harvest()
        ledger.device_seconds = self.clock.exact()
        ledger.peak_memory_bytes = max(ledger.peak_memory_bytes, peak_memory(job.device))
        if self.clock.last_step:  # else a finished training was read back as it is
            ledger.close(job.budget, self.clock.last_step)
        if ledger.stages[-1]["ended_by"] is None:
            self._close_stage("budget", "the budget was spent")
        self._save()
        if self.average is not None:
            self.network.load_state_dict(self.average)
        self.network.eval()
        return Outcome(self.network, ledger, self.curve)

    def _is_spent(self) -> bool:
        """Whether the budget is spent; on CUDA the exact time is asked for only near the end."""
        budget, ledger = self.job.budget, self.ledger
        ledger.device_seconds = self.clock.estimate()
        if budget.unit == "seconds" and (
            ledger.device_seconds + 2 * self.clock.last_step >= budget.amount
        ):
            ledger.device_seconds = self.clock.exact()
        return ledger.spent(budget.unit) >= budget.amount

    def _step(self, batch: Batch, progress: float) -> None:
        job, ledger = self.job, self.ledger
        stage = job.spec.stages[self.tracker.index]
        within = self.tracker.fraction(progress, job.spec.stages)
        factor = self.schedule.at(within) * self.tracker.plateau.get("factor", 1.0)
        for group in self.optimiser.param_groups:
            group["lr"] = self.base_lr * factor
        # Dropout draws from here, so that it too depends on (seed, step) alone.
        seed_everything(job.seed, 5, ledger.steps)
        where = Progress(stage.name, within, progress, ledger.steps)
        self.clock.start()
        inputs, labels = self.augment(batch.to(job.device))
        with plugin_code("targets"):
            targets = job.architecture.targets(labels, job.spec)
        with torch.autocast(job.device.type, torch.bfloat16, job.precision == "bfloat16"):
            with plugin_code("forward"):
                outputs = self.network(inputs)
            if ledger.steps == 0:
                check_outputs(outputs, job.spec, job.recipe.batch)
            with plugin_code("loss"):
                loss, parts = job.architecture.loss(outputs, targets, where, job.spec)
        self.optimiser.zero_grad(set_to_none=True)
        with plugin_code("backward"):
            loss.backward()
        if job.recipe.clip_gradient is not None:
            nn.utils.clip_grad_norm_(self.parameters, job.recipe.clip_gradient)
        self.optimiser.step()
        if self.average is not None:
            self._update_average()
        self.clock.stop()
        ledger.device_seconds = self.clock.estimate()
        ledger.steps += 1
        ledger.patches += job.recipe.batch
        ledger.voxels += self.voxels_per_step
        ledger.flops += self.flops_per_step
        # The step before is read only now: the device has this one to go on with.
        self._harvest()
        values = {"loss": loss.detach(), **{k: torch.as_tensor(v) for k, v in parts.items()}}
        self.waiting = (batch, values, progress)
        if job.device.type == "cpu":
            self._harvest()

    def _update_average(self) -> None:
        decay = float(self.job.recipe.average or 0)
        # Early on a long memory would keep the initial weights alive.
        decay = min(decay, (1 + self.ledger.steps) / (10 + self.ledger.steps))
        for name, value in self.network.state_dict().items():
            kept = self.average[name]  # type: ignore[index]
            if kept.is_floating_point():
                kept.lerp_(value.detach(), 1 - decay)
            else:
                kept.copy_(value)

    def _harvest(self) -> None:
        """Read the losses of the last step; stop if they are not finite."""
        if self.waiting is None:
            return
        batch, values, progress = self.waiting
        self.waiting = None
        numbers = {name: float(value) for name, value in values.items()}
        for name, value in numbers.items():
            if not math.isfinite(value):
                raise TrialFailure(
                    "non-finite loss",
                    f"{name} was {value} at step {batch.step} "
                    f"(cases {', '.join(sorted(set(batch.cases)))}).",
                )
        if self.tracker.observe(numbers, self.schedule, progress):
            stage, factor = self.ledger.stages[-1]["name"], self.tracker.plateau["factor"]
            reduction = {"stage": stage, "step": batch.step, "factor": factor}
            self.ledger.lr_reductions.append(reduction)
        seen = sum(row["kind"] == "lr" for row in self.curve)
        if progress * CURVE_POINTS < seen - 1:
            return
        lr = float(self.optimiser.param_groups[0]["lr"])
        for kind, name, value in (
            *(("loss", name, value) for name, value in numbers.items()),
            ("lr", "lr", lr),
        ):
            self._record(batch.step, progress, kind, name, value)

    def _record(self, step: int, fraction: float, kind: str, name: str, value: float) -> None:
        self.curve.append(
            {
                "step": step,
                "fraction": fraction,
                "device_seconds": self.ledger.device_seconds,
                "kind": kind,
                "name": name,
                "value": value,
            }
        )

    def _evaluate_if_due(self, progress: float) -> None:
        if self.evaluate is None:
            return
        due = sum(progress >= at for at in EVALUATE_AT)
        if due <= self.evaluated:
            return
        self.evaluated = due
        self.ledger.device_seconds = self.clock.exact()
        began = time.perf_counter()
        self.network.eval()
        for name, value in self.evaluate(self.network).items():
            self._record(self.ledger.steps, progress, "score", name, value)
        training_mode(self.network)
        self.ledger.evaluation_s += time.perf_counter() - began


def check_outputs(outputs: Mapping[str, Tensor], spec: Spec, batch: int) -> None:
    """Compare a network's outputs with the heads that its spec declares.

    Raises
    ------
    TrialFailure
        A head is missing or has another shape.
    """
    for head in spec.heads:
        wanted = (batch, len(head.channels), *(() if head.kind == "scalar" else head.shape))
        if head.name not in outputs:
            raise TrialFailure("plugin error", f"forward() returned no head '{head.name}'.")
        if tuple(outputs[head.name].shape) != wanted:
            raise TrialFailure(
                "plugin error",
                f"forward() returned head '{head.name}' of shape "
                f"{tuple(outputs[head.name].shape)}; its spec says {wanted}.",
            )


def peak_memory(device: torch.device) -> int:
    """Largest memory so far in bytes: the allocator's on CUDA, resident on the CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        return int(psutil.Process().memory_info().peak_wset)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
