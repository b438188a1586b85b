"""The training loop: one network, one budget, everything else a function of progress."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from kitsbench.architecture import Stage
from kitsbench.data.batches.augmentation import Augmenter
from kitsbench.data.batches.prepared import Prepared
from kitsbench.data.batches.source import training_source
from kitsbench.data.batches.upload import feed
from kitsbench.devices.layout import layout_of
from kitsbench.devices.peaks import peak_memory, reset_peaks
from kitsbench.devices.use import use_device
from kitsbench.spec import Progress
from kitsbench.training.checkpoints.writer import CheckpointWriter
from kitsbench.training.curve import Curve, Reading
from kitsbench.training.failures import TrialFailure, plugin_code
from kitsbench.training.job import Job, Outcome
from kitsbench.training.ledger import Ledger, Price, StageRow
from kitsbench.training.meters.energy import EnergyMeter
from kitsbench.training.networks.build import build_network, seed_everything
from kitsbench.training.networks.compiling import Graphs, compiled
from kitsbench.training.networks.initial import Initialiser
from kitsbench.training.networks.layouts import layout_for
from kitsbench.training.networks.meta import count_step
from kitsbench.training.networks.rehearsal import is_rehearsed, rehearse
from kitsbench.training.networks.sizes import size_rule_is_told
from kitsbench.training.optimisation.accumulation import (
    Buffers,
    parts_within,
    saved_bytes,
    take_in_parts,
)
from kitsbench.training.optimisation.average import WeightAverage
from kitsbench.training.optimisation.optimisers import (
    leave_training,
    load_optimiser,
    make_optimiser,
    results_in_place,
    set_rate,
)
from kitsbench.training.optimisation.scaling import LossScale
from kitsbench.training.optimisation.stages import StageTracker, freeze, rules_of, training_mode
from kitsbench.training.own_step import own_steps
from kitsbench.training.parting import leave, leaving_between_steps
from kitsbench.training.run_state import RunState
from kitsbench.training.step import take_step
from kitsbench.training.teams.distributed import team_clock
from kitsbench.training.teams.shared_step import SharedStep, parts_alone

EVALUATE_AT = (0.25, 0.5, 0.75)  # progress at which the held-out cases are scored for the curve
SETTLING = 3  # steps of a stage after which its peak memory has been seen

CutShort = Callable[[BaseException, Ledger, list[dict[str, Any]]], None]


def train(
    job: Job,
    report: Callable[[float, Ledger], None] = lambda fraction, ledger: None,
    evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
    cut_short: CutShort = lambda error, ledger, curve: None,
    begun: Callable[[Curve], None] = lambda curve: None,
) -> Outcome:
    """Train until the budget is spent, or go on where a checkpoint left off.

    Parameters
    ----------
    job : Job
    report : callable
        Called after each step with progress and ledger.
    evaluate : callable, optional
        Scores the network at fixed fractions of the budget; not charged.
    cut_short : callable
        Called with the error, what was spent and the curve's rows where training ends early.
    begun : callable
        Called before the first step with the curve, which grows from then on.

    Raises
    ------
    TrialFailure
        Non-finite loss, or an error in a plugin's hook.
    """
    use_device(job.device)
    made: list[_Run] = []
    with size_rule_is_told(
        job.architecture, job.spec, lambda: not any(r.ledger.steps for r in made)
    ):
        made.append(run := _Run(job, report, evaluate))
        try:
            begun(run.curve)
            return run.finish()
        # Ctrl-C and a termination count too: what was spent until then belongs into the audit.
        except BaseException as error:
            try:
                cut_short(error, run.spent(), run.curve.rows)
            finally:
                run.leave(error)
            raise


class _Run(RunState):
    """A training run; :meth:`finish` is the loop."""

    def __init__(self, job: Job, report: Any, evaluate: Any):
        self.job, self.report, self.evaluate = job, report, evaluate
        self.team = job.team
        layout, chosen_in = layout_for(job)
        initial = Initialiser(job)
        # Every process draws the same weights from (seed, fold), so none has to send them.
        self.network = self.team.synchronise(
            build_network(
                job.architecture, job.spec, job.seed, job.fold, job.device, layout, initial
            )
        )
        self.own = own_steps(job, self.network)
        self.source = training_source(
            job.stores,
            job.cases,
            job.spec,
            job.recipe,
            job.window,
            job.seed,
            self.team.samples(job.recipe.batch),
            job.architecture,
        )
        spacing = next(iter(job.stores.values())).spacing
        self.augment = Augmenter(
            job.spec.grids, spacing, job.recipe.augmentation, job.window, job.seed
        )
        self.price = Price(float(math.prod(job.spec.grids[0].shape) * job.recipe.batch))
        self.tracker, self.curve = StageTracker(), Curve()
        self.ledger = Ledger(initial=initial.found)
        self.average = None
        # Before a checkpoint is read, which holds the average as well.
        if job.recipe.average is not None:
            self.average = WeightAverage(self.network, job.recipe.average)
        self.evaluated = 0
        self.waiting = None
        # On CUDA alone: on a CPU the clock is the wall's, which a thread beside it would slow down.
        self.writer = CheckpointWriter(job.folder, aside=job.device.type == "cuda")
        self.saved_at, self.saved_share = time.perf_counter(), 0.0
        self.late = self.whole = False
        self.optimiser_state = None
        self.scale = LossScale(job.device, job.precision)
        self._resume()
        self.ledger.layout = layout_of(self.network)
        self.ledger.warm_up_s += chosen_in
        if not self.ledger.steps:  # else they are those of the checkpoint, bit for bit
            self._fit_memory()
        # The meters go on from the ledger, so they come after what has read it.
        self.clock = team_clock(job.device, self.ledger.device_seconds, self.team)
        self.energy = EnergyMeter(job.device, self.team.share(self.ledger.energy_joules))
        self._enter_stage()

    # --- stages -----------------------------------------------------------------------------

    def _enter_stage(self) -> None:
        stage = self.job.spec.stages[self.tracker.index]
        rule, self.schedule = rules_of(stage, self.job.recipe)
        self.rule = rule
        self.parameters = freeze(self.network, stage, rule)
        # A stage has an optimiser of its own: averages of gradients of another loss, or of weights
        # that did not train, would misguide its first steps.
        self.optimiser = make_optimiser(rule, self.parameters, self.network, self.job.architecture)
        # A checkpoint's state fits the stage in which it was written, and no later one.
        if self.optimiser_state is not None:
            load_optimiser(self.optimiser, self.optimiser_state)
            self.optimiser_state = None
        # After the parameters were frozen, since frozen normalisation layers are found by them.
        training_mode(self.network)
        self.shared = SharedStep(self.team, self.network, self.parameters)
        self.model: nn.Module = self.network
        self.graphs: Graphs | None = None
        # What a step of a plugin's own costs is counted in a rehearsal.
        self.cold = is_rehearsed(self.job.device) or self.own is not None
        # Other weights train, so another amount of memory is needed.
        self.settling = SETTLING
        if self.own is not None:
            self.own.enter_stage()
        self.buffers = Buffers(self.network) if self.own is None else self.own.undo()
        self.optimiser.register_step_pre_hook(self._weights_move)
        self.price.flops = self._count_flops(stage)
        stages = self.ledger.stages
        # A stage that goes on from a checkpoint has its row already.
        if len(stages) <= self.tracker.index:
            trained = sum(p.numel() for p in self.parameters)
            stages.append(
                StageRow(
                    name=stage.name,
                    from_step=self.ledger.steps,
                    from_seconds=self.ledger.device_seconds,
                    from_fraction=self.tracker.begun,
                    steps=0,
                    device_seconds=0.0,
                    flops=0.0,
                    flops_per_step=self.price.flops,
                    optimiser=rule.name,
                    lr=rule.lr,
                    schedule=self.schedule.rule,
                    trained_parameters=trained,
                    frozen_parameters=sum(p.numel() for p in self.network.parameters()) - trained,
                    ended_by=None,
                    ended_because=None,
                )
            )

    def _weights_move(self, *_: Any) -> None:
        self.whole = False  # from here until the next step, whatever ends the training

    def _count_flops(self, stage: Stage) -> float:
        job = self.job
        if self.own is not None:
            return 0.0  # until it is rehearsed
        flops = count_step(job.architecture, job.spec, stage, job.recipe.batch, self.rule)
        if not flops and job.budget.unit == "flops":
            raise TrialFailure(
                "plugin error",
                "its FLOPs cannot be counted, since it does not run without values, for which "
                ".item() asks in a forward pass; use a budget in time, steps or voxels.",
            )
        return float(flops or 0)

    def _leave_stage_if_over(self, progress: float) -> None:
        stages = self.job.spec.stages
        # All processes come to the same answer, as they must: to ask the clock, every one is
        # needed. The averages are of the first one's losses, the progress is of everybody's sum.
        while (why := self.tracker.is_over(progress, stages)) is not None:
            self._harvest()  # the last step's losses belong to the stage that ends
            self.ledger.device_seconds = self.clock.exact()
            self._close_stage(*why)
            leave_training(self.optimiser)
            self.tracker.next(progress)
            self._enter_stage()

    # --- the loop ---------------------------------------------------------------------------

    def finish(self) -> Outcome:
        job, ledger = self.job, self.ledger
        began, already = time.perf_counter(), ledger.wall_s
        self.saved_at, self.saved_share = began, ledger.fraction(job.budget)
        if self._is_spent() and ledger.stages[-1].ended_by is not None:
            return self._outcome()  # a finished training was read back as it is
        self.energy.start()
        reset_peaks(job.device)  # what came before is not training
        # A batch depends on (seed, step) alone, so to resume is to begin counting at another step.
        batches = feed(self.source, self.augment, job.device, ledger.steps)
        # Whatever ends training, the loader's threads end with it.
        with contextlib.closing(batches), leaving_between_steps():
            # Where the last run was told to end while it was scored.
            self._evaluate_if_due(self.saved_share)
            while not self._is_spent():
                progress = ledger.fraction(job.budget)
                self._leave_stage_if_over(progress)
                self.buffers.drop()
                self.whole = True
                waited = time.perf_counter()
                batch = next(batches)
                ledger.loader_wait_s += time.perf_counter() - waited
                self._make_ready(batch, progress)
                self._step(batch, progress)
                ledger.wall_s = already + time.perf_counter() - began
                self.report(ledger.fraction(job.budget), ledger)
                self._evaluate_if_due(ledger.fraction(job.budget))
                self.writer.check()
                if self.late:
                    self._save()
                    leave()
        self._settle()
        progress = ledger.fraction(job.budget)
        rate = self._learning_rate(self.tracker.fraction(progress, job.spec.stages))
        # Where the schedule has arrived; the last step began a little before.
        self.curve.record(ledger.steps, progress, ledger.device_seconds, "lr", "lr", rate)
        ledger.peak_memory_bytes = int(self.team.largest(ledger.peak_memory_bytes))
        ledger.peak_reserved_bytes = int(self.team.largest(ledger.peak_reserved_bytes))
        # In this order: the last checkpoint holds the closed ledger and a last stage that has
        # ended. By that a resumed run knows that nothing is left to train.
        leave_training(self.optimiser)
        ledger.close(job.budget, self.price)
        self._close_stage("budget", "the budget was spent")
        self._save()
        began = time.perf_counter()
        self.writer.wait()
        ledger.checkpoint_s += time.perf_counter() - began
        return self._outcome()

    def _outcome(self) -> Outcome:
        if self.average is not None:
            self.network.load_state_dict(self.average.state)
        self.network.eval()
        return Outcome(self.network, self.ledger, self.curve.rows)

    def _is_spent(self) -> bool:
        """Whether the budget is spent; on CUDA the exact time is asked for only near the end."""
        budget, ledger = self.job.budget, self.ledger
        ledger.device_seconds = self.clock.estimate()
        # The device is one step behind at most, since the losses of the step before were read. So
        # what is exact matters within two steps of the end, and waiting costs nothing before.
        if budget.unit == "seconds" and (
            # Nothing is known yet about how long a step takes.
            not self.clock.last_step
            or ledger.device_seconds + 2 * self.clock.last_step >= budget.amount
        ):
            ledger.device_seconds = self.clock.exact()
        return ledger.spent(budget.unit) >= budget.amount

    def _learning_rate(self, within: float) -> float:
        """Learning rate at a share of the current stage."""
        done = self.ledger.steps - self.ledger.stages[-1].from_step
        factor = self.schedule.at(within, done)
        return self.rule.lr * factor * self.tracker.plateau.get("factor", 1.0)

    def _step(self, batch: Prepared, progress: float) -> None:
        job, ledger = self.job, self.ledger
        where = self._where(progress)
        # Set anew in each step as a function of progress. A scheduler that counts steps would have
        # to know their number, which a budget in time does not tell beforehand.
        lr = self._learning_rate(where.stage_fraction)
        set_rate(self.optimiser, lr)
        # The batch was waited for outside: loading is not charged, what becomes of it here is.
        self.clock.start()
        values = self._take(batch, where)
        self._price_own_step()
        self.whole = False  # also where a step was left out, in which no weight has moved
        if self.graphs is not None:
            ledger.compiled = self.graphs.check()
        if self.average is not None:
            self.average.update(self.network, ledger.steps)
        self.clock.stop()
        ledger.steps += 1
        ledger.patches += job.recipe.batch
        ledger.voxels += self.price.voxels
        ledger.flops += self.price.flops
        # A loss that is not finite is blamed on the cases of the whole batch, as in one process.
        if self.team.size > 1:
            batch = replace(batch, cases=self.source.cases_of(batch.step))
        reading = Reading(batch, progress, lr, values, self.scale.scaler is not None)
        # A device tells the step before only now: it has this one to go on with. On a CPU the
        # numbers are there already, and a bad loss need not cost another step.
        due, self.waiting = (reading, None) if job.device.type == "cpu" else (self.waiting, reading)
        self._meet(due)

    def _make_ready(self, batch: Prepared, progress: float) -> None:
        """Rehearse a stage's first step; then the compiler may begin, for which the budget pays."""
        job = self.job
        if self.cold:
            self.cold = self.whole = False
            self._note_peaks()  # before the search for convolutions, whose memory no step takes
            take = partial(self._take, batch, self._where(progress), rehearsal=True)
            undo = None if self.own is None else self.own.undo()
            self.ledger.warm_up_s += rehearse(take, self.network, job.device, self.energy, undo)
            self._price_own_step()
            self.buffers.drop()
            self.whole = True
        if job.compile and self.graphs is None:
            self.model, self.graphs = compiled(self.model)

    def _where(self, progress: float) -> Progress:
        """Where training stands, for the loss of a step."""
        stages = self.job.spec.stages
        within = self.tracker.fraction(progress, stages)
        return Progress(stages[self.tracker.index].name, within, progress, self.ledger.steps)

    def _take(
        self, batch: Prepared, where: Progress, rehearsal: bool = False
    ) -> dict[str, Tensor | float]:
        """Take the step, in more parts where memory runs out."""
        job, ledger, model = self.job, self.ledger, self.model

        def take(parts: int, shared: SharedStep = self.shared) -> dict[str, Tensor | float]:
            # Dropout draws from here, so that it too depends on (seed, step) alone.
            others = (self.team.rank,) if self.team.rank else ()  # other samples, other masks
            seed_everything(job.seed, 5, ledger.steps, *others)
            step = take_step if self.own is None else self.own.take
            return step(
                job,
                model,
                self.optimiser,
                self.parameters,
                self.augment,
                batch,
                where,
                parts,
                self.scale.scaler,
                rehearsal,
                shared,
            )

        # One process may have begun what several go on with: each has a part of the batch.
        own, size = len(batch.cases), self.team.size
        wanted = -(-ledger.accumulation // size)
        begun = next(parts for parts in range(wanted, own + 1) if own % parts == 0)
        first = begun
        if rehearsal and self.shared.waits:
            first = parts_alone(self.shared, take, self.network, self.buffers, own, begun)
        values, parts = take_in_parts(take, self.network, self.buffers, own, first)
        if parts > begun:
            ledger.accumulation = parts * size
        # A later try that fails clears the device's counter, so it is read before.
        if self.settling and not rehearsal:
            self.settling -= 1
            self._note_peaks()
        return values

    def _fit_memory(self) -> None:
        """On a CPU, where memory that is gone ends the process, choose the parts beforehand."""
        job = self.job
        if job.max_memory is None or job.device.type != "cpu" or self.team.size > 1:
            return
        weights = sum(p.numel() * p.element_size() for p in self.network.parameters())
        with plugin_code("forward"):
            sample = saved_bytes(self.network, job.spec, job.device)
        parts = parts_within(job.max_memory, job.recipe.batch, sample, weights)
        self.ledger.accumulation = max(self.ledger.accumulation, parts)

    def _evaluate_if_due(self, progress: float) -> None:
        due = sum(progress >= at for at in EVALUATE_AT)
        if self.evaluate is None or due <= self.evaluated:
            return
        ledger = self.ledger
        self._settle()
        began = time.perf_counter()
        reset_peaks(self.job.device)
        self.network.eval()
        # Not the network as training calls it: a compiled one would compile again for this mode.
        self.buffers.drop()
        self.whole = True  # it may take longer than many steps
        with results_in_place(self.optimiser, self.parameters):
            scores = self.evaluate(self.network) if self.team.leads else {}
        self.whole = False
        # A long step may pass several marks at once; they are served by one evaluation.
        self.evaluated = due
        for name, value in scores.items():
            self.curve.record(ledger.steps, progress, ledger.device_seconds, "score", name, value)
        training_mode(self.network)
        peak = peak_memory(self.job.device)
        ledger.inference_peak_memory_bytes = max(ledger.inference_peak_memory_bytes, peak)
        reset_peaks(self.job.device)
        self.team.wait()
        ledger.evaluation_s += time.perf_counter() - began
        self.energy.start()
