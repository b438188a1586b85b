"""What a training run holds, and how it outlives the process: checkpoints and the ledger."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from kitsbench.devices.peaks import peak_memory, peak_reserved
from kitsbench.errors import telling
from kitsbench.recipe import Optimiser, Schedule
from kitsbench.training.checkpoints.checkpoint import (
    drop_damaged,
    latest_checkpoint,
    load_checkpoint,
)
from kitsbench.training.checkpoints.writer import CheckpointWriter
from kitsbench.training.curve import Curve, Reading
from kitsbench.training.failures import TrialFailure, is_interruption
from kitsbench.training.job import Job
from kitsbench.training.ledger import Ending, Ledger, Price, Reduction
from kitsbench.training.meters.clock import DeviceClock
from kitsbench.training.meters.energy import EnergyMeter
from kitsbench.training.optimisation.accumulation import Buffers
from kitsbench.training.optimisation.average import WeightAverage
from kitsbench.training.optimisation.optimisers import check_state
from kitsbench.training.optimisation.scaling import LossScale
from kitsbench.training.optimisation.stages import StageTracker
from kitsbench.training.own_step import OwnSteps
from kitsbench.training.parting import is_asked
from kitsbench.training.teams.distributed import Team, TeamClock

CHECKPOINTS = 600.0, 0.02  # seconds and share of the budget between two of them, by default
PARTING = 60.0  # seconds since the last one, after which who is told to end writes another


class RunState:
    """State of a training run.

    Attributes
    ----------
    late : bool
        Whether the last checkpoint is old.
    whole : bool
        Whether what has been done so far makes up a checkpoint, if buffers are put back.
    """

    job: Job
    team: Team
    network: nn.Module
    average: WeightAverage | None
    own: OwnSteps | None
    optimiser: torch.optim.Optimizer
    optimiser_state: Any
    scale: LossScale
    buffers: Buffers
    tracker: StageTracker
    rule: Optimiser
    schedule: Schedule
    ledger: Ledger
    curve: Curve
    price: Price
    evaluated: int
    waiting: Reading | None
    clock: DeviceClock | TeamClock
    energy: EnergyMeter
    writer: CheckpointWriter
    saved_at: float
    saved_share: float
    late: bool
    whole: bool

    def _resume(self) -> None:
        if self.team.leads:
            drop_damaged(self.job.folder)
        # Nobody may open a checkpoint that the first process is about to remove.
        self.team.wait()
        found = latest_checkpoint(self.job.folder)
        if found is None:
            return
        # The optimiser itself is made when its stage is entered; its state waits until then.
        model, self.optimiser_state, state = load_checkpoint(found)
        self.network.load_state_dict({k[6:]: v for k, v in model.items() if k[:6] == "model."})
        if self.average is not None:
            self.average.load({k[8:]: v for k, v in model.items() if k[:8] == "average."})
        if self.own is not None:
            self.own.kept.saved = {k[4:]: v for k, v in model.items() if k[:4] == "own."}
        self.tracker = StageTracker(**state["stage"])
        self.ledger = Ledger.from_dict(state["ledger"])
        self.ledger.resumed += 1
        self.curve, self.evaluated = Curve(state["curve"]), state["evaluated"]
        self.price = Price(**state["price"])
        self.scale = LossScale(self.job.device, self.job.precision, state.get("scale"))

    def _save(self) -> None:
        # No currency pays for writing to a disk: the meters stand still before it begins.
        self._settle()
        began = time.perf_counter()
        self._close_stage()
        if self.team.leads:
            self._write_checkpoint()
        # Whoever does not write waits here; inside a step the waiting would be charged.
        self.team.wait()
        # Counted from the end, or a slow disk would have nothing else to do.
        self.saved_at, self.saved_share = (
            time.perf_counter(),
            self.ledger.fraction(self.job.budget),
        )
        self.ledger.checkpoint_s += self.saved_at - began
        self.energy.start()

    def _write_checkpoint(self) -> None:
        model = {f"model.{k}": v for k, v in self.network.state_dict().items()}
        if self.average is not None:
            model |= {f"average.{k}": v for k, v in self.average.state.items()}
        if self.own is not None:
            model |= {f"own.{k}": v for k, v in self.own.kept.state().items()}
        state = {
            "stage": self.tracker.to_dict(),
            "ledger": self.ledger.to_dict(),
            "curve": list(self.curve.rows),  # it grows while this is written
            "evaluated": self.evaluated,
            "price": asdict(self.price),
            "scale": self.scale.state,
        }
        moved = self.optimiser.state_dict()
        check_state(self.rule, moved)
        self.writer.save(self.ledger.steps, model, moved, state)

    def _price_own_step(self) -> None:
        """Note what the last step of a plugin's own has spent; the next need not spend the same."""
        if self.own is None:
            return
        self.price.voxels, self.price.flops = self.own.voxels, float(self.own.meter.spent)
        if not self.price.flops and self.job.budget.unit == "flops":
            raise TrialFailure(
                "plugin error",
                "its training step has no FLOPs that can be counted; use a budget in time, steps "
                "or voxels.",
            )

    def _is_late(self) -> bool:
        """Whether the last checkpoint is old enough for another one, or this is the last chance."""
        if is_asked():
            return True
        every, passed = self.job.checkpoint_every, time.perf_counter() - self.saved_at
        if every is not None:
            return passed > every
        seconds, share = CHECKPOINTS
        spent = self.ledger.fraction(self.job.budget) - self.saved_share
        return passed > seconds and spent >= share

    def leave(self, error: BaseException) -> None:
        """Write down what would be lost if an error ends the training here, as far as it is safe.

        Who is told to end has seconds for it; what is half written then does not count.
        """
        # Not in the middle of a step, whose weights are half moved; and not together with others,
        # who may wait in the middle of theirs.
        late = time.perf_counter() - self.saved_at > PARTING
        if is_interruption(error) and self.whole and late and self.team.size == 1:
            with contextlib.suppress(Exception):
                self.buffers.put_back()  # a step that has begun is taken again from its beginning
                self._save()
        try:
            self.writer.wait()
        except Exception as worse:
            error.add_note(f"Its last checkpoint could not be written either: {telling(worse)}")

    def _settle(self) -> None:
        """Wait for the device and bring the ledger up to it; the meters stand still from here."""
        self._harvest()
        self.ledger.device_seconds = self.clock.exact()
        # A clock that has been made for a resumed run knows of no step yet.
        self.price.seconds = self.clock.last_step or self.price.seconds
        self.energy.stop()
        self.ledger.energy_joules = self.team.energy(self.energy.joules)
        self._note_peaks()

    def _note_peaks(self) -> None:
        """Write down the most memory that training has taken so far."""
        ledger, device = self.ledger, self.job.device
        ledger.peak_memory_bytes = max(ledger.peak_memory_bytes, peak_memory(device))
        ledger.peak_reserved_bytes = max(ledger.peak_reserved_bytes, peak_reserved(device))

    def _harvest(self) -> None:
        """Read the losses of the last step; stop if they are not finite."""
        reading, self.waiting = self.waiting, None
        if reading is not None:
            # Each has computed the loss of the whole batch, and rounding shall not part them.
            _, firsts = self.team.agree((), list((numbers := reading.numbers()).values()))
            self._note(reading, dict(zip(numbers, firsts, strict=True)))

    def _meet(self, reading: Reading | None) -> None:
        """Read the clock and the losses of a step, and whether the last checkpoint is old.

        In a team that is one exchange between the processes. The seconds are everybody's; losses
        and decisions are the first one's, since clocks and rounding differ.
        """
        numbers = {} if reading is None else reading.numbers()
        if isinstance(self.clock, TeamClock):
            sums, firsts = self.team.agree(
                self.clock.own(), [float(self._is_late()), *numbers.values()]
            )
            self.clock.tell(*sums)
            self.late = bool(firsts[0])
            numbers = dict(zip(numbers, firsts[1:], strict=True))
        else:
            self.late = self._is_late()
        self.ledger.device_seconds = self.clock.estimate()
        if reading is not None:
            self._note(reading, numbers)

    def _note(self, reading: Reading, numbers: dict[str, float]) -> None:
        self.ledger.skipped_steps += self.scale.left_out(numbers, reading.step)
        if self.tracker.observe(numbers, self.schedule, reading.progress):
            stage, factor = self.ledger.stages[-1].name, self.tracker.plateau["factor"]
            self.ledger.lr_reductions.append(Reduction(stage, reading.step, factor))
        self.curve.losses(reading, numbers, self.ledger.device_seconds)

    def _close_stage(self, by: Ending | None = None, because: str | None = None) -> None:
        """Write down what the current stage has spent so far, and why it ended if it did."""
        row = self.ledger.stages[-1]
        row.spend(self.ledger.steps, self.ledger.device_seconds)
        if self.own is not None:  # whose steps need not cost the same
            row.flops = self.ledger.flops - sum(one.flops for one in self.ledger.stages[:-1])
            row.flops_per_step = row.flops / row.steps if row.steps else self.price.flops
        if by is not None:
            row.ended_by, row.ended_because = by, because

    def spent(self) -> Ledger:
        """The ledger of a training that did not reach its end, asking no device and nobody else.

        Another process of the team may have failed, or waits in the middle of a step: to ask it
        would wait for ever, or hide the error that ended this one.
        """
        ledger = self.ledger
        ledger.device_seconds = max(ledger.device_seconds, self.clock.alone())
        with contextlib.suppress(RuntimeError):
            self._note_peaks()
        ledger.close(self.job.budget, self.price)
        self._close_stage()
        return ledger
