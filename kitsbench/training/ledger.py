"""What a training run did spend, in every currency and stage by stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from kitsbench.devices.layout import Layout
from kitsbench.training.budget import Budget

Ending = Literal["share", "until", "budget"]


@dataclass
class Price:
    """What one step spends in each currency; FLOPs follow the stage, seconds the clock.

    Attributes
    ----------
    voxels, flops : float
        Of the whole batch.
    seconds : float
        On the device, of the last step that was measured.
    """

    voxels: float
    flops: float = 0.0
    seconds: float = 0.0

    def of(self, unit: str) -> float:
        """The price in a budget's unit."""
        return {
            "seconds": self.seconds,
            "steps": 1.0,
            "voxels": self.voxels,
            "flops": self.flops,
        }[unit]


@dataclass
class StageRow:
    """One stage that was entered.

    Attributes
    ----------
    name : str
    from_step, from_seconds, from_fraction : int, float, float
        Where it began: steps, device seconds and share of the budget spent before it.
    steps, device_seconds, flops : int, float, float
        What it spent so far.
    flops_per_step : float
        Of the whole batch, forward and backward.
    optimiser, lr, schedule : str, float, str
        By what it trained; the rate is that of its beginning.
    trained_parameters, frozen_parameters : int
    ended_by : {"share", "until", "budget"} or None
        None while it lasts.
    ended_because : str or None
        The same in words.
    """

    name: str
    from_step: int
    from_seconds: float
    from_fraction: float
    steps: int
    device_seconds: float
    flops: float
    flops_per_step: float
    optimiser: str
    lr: float
    schedule: str
    trained_parameters: int
    frozen_parameters: int
    ended_by: Ending | None
    ended_because: str | None

    def spend(self, steps: int, device_seconds: float) -> None:
        """Bring it up to what the whole run has spent.

        Parameters
        ----------
        steps : int
        device_seconds : float
            Of the run since its beginning.
        """
        self.steps = steps - self.from_step
        self.flops = self.steps * self.flops_per_step
        self.device_seconds = device_seconds - self.from_seconds


@dataclass
class Reduction:
    """A plateau rule lowered the learning rate.

    Attributes
    ----------
    stage, step : str, int
        Where.
    factor : float
        On the stage's learning rate, from there on.
    """

    stage: str
    step: int
    factor: float


@dataclass
class InitialWeights:
    """What training began with instead of what ``build`` drew; counted in tensors.

    Attributes
    ----------
    files : list of str
        Keys that named a file.
    loaded : int
    share : float
        Of all numbers of the network, in [0, 1].
    missing, unexpected, misshapen : list of str
        The first names of the network's tensors that were not loaded, and of given ones that it
        does not have, or has in another shape.
    n_missing, n_unexpected, n_misshapen : int
        How many.
    """

    files: list[str]
    loaded: int
    share: float
    missing: list[str]
    n_missing: int
    unexpected: list[str]
    n_unexpected: int
    misshapen: list[str]
    n_misshapen: int


@dataclass
class Ledger:
    """What a training run spent, in every currency.

    Attributes
    ----------
    device_seconds : float
        Time of transfer, augmentation, forward, backward and optimiser step on the device;
        evaluation, checkpoints and logging are not in it.
    steps, patches : int
        Optimiser steps and patches seen.
    voxels, flops : float
        Input voxels of the first grid, and floating-point operations of forward and backward.
    budget_spent_fraction : float
        Spent over budget; not cut off at 1.
    overshoot_steps, overshoot_seconds : float
        What was spent beyond the budget, as a share of the last step and in device seconds.
    peak_memory_bytes : int
        Largest memory of training: the device allocator's figure on CUDA, resident memory of the
        process on the CPU. Tries for which memory ran out are not in it.
    peak_reserved_bytes : int
        The same with what the allocator held for later, so what a CUDA device must have free.
    inference_peak_memory_bytes : int
        Largest memory while scans were predicted and scored. On a CPU it is never below that of
        training, since the peak of a process cannot be reset.
    energy_joules : float or None
        Of the device during training. None where the device does not report it.
    loader_wait_s, evaluation_s, checkpoint_s, prediction_s, wall_s : float
        Time that the budget does not count.
    resumed : int
        Times that it went on from a checkpoint.
    accumulation : int
        Parts into which batches were divided, because memory did not hold more; they went through
        the network one after the other, on several devices as many at a time as there are.
    compiled : bool
        Whether compiled parts of the network have run.
    layout : {"contiguous", "channels_last_3d"} or None
        How weights lay in memory; None where nothing trained.
    warm_up_s : float
        Time of the choice of a layout and of rehearsals on a GPU; no budget counts it.
    skipped_steps : int
        Steps in float16 that moved no weight, because the scaled gradient overflowed.
    patches_per_s : float
        Over the device seconds.
    stages : list of StageRow
        Each stage that was entered.
    lr_reductions : list of Reduction
        Each time that a plateau rule lowered the learning rate.
    initial : InitialWeights or None
        None where the network began with what ``build`` drew.
    inference_s, inference_cases : float or None, int or None
        Seconds that predicting took by itself, and of how many scans; of what was trained
        elsewhere.
    adaptation_s, adaptation_cases : float or None, int or None
        Seconds of prediction in which a network was adapted to scans, and to how many.
    """

    device_seconds: float = 0.0
    steps: int = 0
    patches: int = 0
    voxels: float = 0.0
    flops: float = 0.0
    budget_spent_fraction: float = 0.0
    overshoot_steps: float = 0.0
    overshoot_seconds: float = 0.0
    peak_memory_bytes: int = 0
    peak_reserved_bytes: int = 0
    inference_peak_memory_bytes: int = 0
    energy_joules: float | None = None
    loader_wait_s: float = 0.0
    evaluation_s: float = 0.0
    checkpoint_s: float = 0.0
    prediction_s: float = 0.0
    wall_s: float = 0.0
    resumed: int = 0
    accumulation: int = 1
    compiled: bool = False
    layout: Layout | None = None
    warm_up_s: float = 0.0
    skipped_steps: int = 0
    patches_per_s: float = 0.0
    stages: list[StageRow] = field(default_factory=list)
    lr_reductions: list[Reduction] = field(default_factory=list)
    initial: InitialWeights | None = None
    inference_s: float | None = None
    inference_cases: int | None = None
    adaptation_s: float | None = None
    adaptation_cases: int | None = None

    def spent(self, unit: str) -> float:
        """Amount spent in a budget's unit."""
        return {
            "seconds": self.device_seconds,
            "steps": float(self.steps),
            "voxels": self.voxels,
            "flops": self.flops,
        }[unit]

    def fraction(self, budget: Budget) -> float:
        """Progress: spent over budget, at most 1."""
        return min(self.spent(budget.unit) / budget.amount, 1.0)

    def close(self, budget: Budget, last: Price) -> None:
        """Fill in what follows from the rest, when training has ended.

        Parameters
        ----------
        budget : Budget
        last : Price
            What the last step spent; that step went over the budget, if any did.
        """
        spent, step = self.spent(budget.unit), last.of(budget.unit)
        self.budget_spent_fraction = spent / budget.amount
        beyond = max(spent - budget.amount, 0.0)
        self.overshoot_steps = beyond / step if step else 0.0
        self.overshoot_seconds = self.overshoot_steps * last.seconds
        self.patches_per_s = self.patches / self.device_seconds if self.device_seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``ledger.json`` and for a checkpoint."""
        return {
            name: value
            for name, value in asdict(self).items()
            if value is not None or not name.startswith(("inference_", "adaptation_"))
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Ledger:
        """Read what :meth:`to_dict` gave."""
        initial = content.get("initial")  # of no checkpoint that an earlier kitsbench wrote
        return cls(
            **{
                **content,
                "initial": initial and InitialWeights(**initial),
                "stages": [StageRow(**row) for row in content["stages"]],
                "lr_reductions": [Reduction(**row) for row in content["lr_reductions"]],
            }
        )
