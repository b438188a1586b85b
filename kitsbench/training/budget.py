"""What a training run may spend, and the ledger of what it did spend."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from kitsbench.errors import UsageError

# unit -> (currency, factor to the currency's base unit)
UNITS = {
    "s": ("seconds", 1.0),
    "sec": ("seconds", 1.0),
    "second": ("seconds", 1.0),
    "seconds": ("seconds", 1.0),
    "m": ("seconds", 60.0),
    "min": ("seconds", 60.0),
    "minutes": ("seconds", 60.0),
    "h": ("seconds", 3600.0),
    "hours": ("seconds", 3600.0),
    "step": ("steps", 1.0),
    "steps": ("steps", 1.0),
    "voxel": ("voxels", 1.0),
    "voxels": ("voxels", 1.0),
    "flop": ("flops", 1.0),
    "flops": ("flops", 1.0),
}


@dataclass(frozen=True)
class Budget:
    """An amount of one currency.

    Parameters
    ----------
    amount : float
        In seconds on the device, optimiser steps, voxels of input, or floating-point operations.
    unit : {"seconds", "steps", "voxels", "flops"}
    """

    amount: float
    unit: str

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Read ``90s``, ``10min``, ``2h``, ``20000steps``, ``5e9voxels`` or ``3e17flops``.

        Raises
        ------
        UsageError
            The text is none of these, or the amount is not positive and finite.
        """
        match = re.fullmatch(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*([a-z]+)\s*", text.lower())
        if match is None or match[2] not in UNITS:
            raise UsageError(
                f"The budget '{text}' cannot be read. Write a number and a unit, "
                "such as 90s, 10min, 2h, 20000steps, 5e9voxels or 3e17flops."
            )
        currency, factor = UNITS[match[2]]
        try:
            amount = float(match[1]) * factor
        except ValueError:
            raise UsageError(f"The budget '{text}' holds no number before its unit.") from None
        if not 0 < amount < math.inf or (currency == "steps" and amount != int(amount)):
            raise UsageError(
                f"The budget '{text}' must be positive and finite; steps must be a whole number."
            )
        return cls(amount, currency)

    def __str__(self) -> str:
        if self.unit == "seconds":
            for size, name in ((3600, "h"), (60, "min")):
                if self.amount >= size and self.amount % size == 0:
                    return f"{self.amount / size:g}{name}"
            return f"{self.amount:g}s"
        return f"{self.amount:g}{self.unit}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``trial.json``."""
        return {"text": str(self), "amount": self.amount, "unit": self.unit}


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
        Largest memory: the device allocator's figure on CUDA, resident memory of the process on
        the CPU.
    energy_joules : float or None
        Of the device during training. None where the device does not report it.
    loader_wait_s, evaluation_s, checkpoint_s, prediction_s, wall_s : float
        Time that the budget does not count.
    accumulation : int
        Parts in which batches went through the network one after the other, because memory did
        not hold more.
    compiled : bool
        Whether the network was compiled.
    stages : list of dict
        Each stage that was entered: its name, where it began, what it spent, which parameters
        trained, by what, and why it ended (``share``, ``until`` or ``budget``).
    lr_reductions : list of dict
        Each time that a plateau rule lowered the learning rate: stage, step, and the factor on
        the stage's learning rate from there on.
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
    energy_joules: float | None = None
    loader_wait_s: float = 0.0
    evaluation_s: float = 0.0
    checkpoint_s: float = 0.0
    prediction_s: float = 0.0
    wall_s: float = 0.0
    resumed: int = 0
    accumulation: int = 1
    compiled: bool = False
    patches_per_s: float = 0.0
    stages: list[dict[str, Any]] = field(default_factory=list)
    lr_reductions: list[dict[str, Any]] = field(default_factory=list)

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

    def close(self, budget: Budget, last: Mapping[str, float]) -> None:
        """Fill in what follows from the rest, when training has ended.

        Parameters
        ----------
        budget : Budget
        last : mapping of str to float
            {unit: what the last step spent}; that step went over the budget, if any did.
        """
        spent = self.spent(budget.unit)
        self.budget_spent_fraction = spent / budget.amount
        beyond = max(spent - budget.amount, 0.0)
        self.overshoot_steps = beyond / last[budget.unit] if last.get(budget.unit) else 0.0
        self.overshoot_seconds = self.overshoot_steps * last.get("seconds", 0.0)
        self.patches_per_s = self.patches / self.device_seconds if self.device_seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``ledger.json``."""
        return asdict(self)
