"""What a training run may spend."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from kitsbench.errors import UsageError
from kitsbench.files.foreign import brief

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

# What no training run can spend: 30 years, a step a nanosecond for as long, the largest machines.
MOST = {"seconds": 1e9, "steps": 1e12, "voxels": 1e21, "flops": 1e30}


@dataclass(frozen=True)
class Budget:
    """An amount of one currency.

    Parameters
    ----------
    amount : float
        In seconds on the device, optimiser steps, voxels of input, or floating-point operations.
    unit : {"seconds", "steps", "voxels", "flops", "none"}
        ``none`` is that of what is not trained here, see :data:`NO_BUDGET`.
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
                f"The budget '{brief(text)}' cannot be read. Write a number and a unit, "
                "such as 90s, 10min, 2h, 20000steps, 5e9voxels or 3e17flops."
            )
        currency, factor = UNITS[match[2]]
        try:
            amount = float(match[1]) * factor
        except ValueError:
            raise UsageError(
                f"The budget '{brief(text)}' holds no number before its unit."
            ) from None
        if not 0 < amount <= MOST[currency] or (currency == "steps" and amount != int(amount)):
            raise UsageError(
                f"The budget '{brief(text)}' must be positive and finite, at most "
                f"{MOST[currency]:g} {currency}; steps must be a whole number."
            )
        return cls(amount, currency)

    def __str__(self) -> str:
        if self.unit == "none":
            return "none"
        if self.unit == "seconds":
            for size, name in ((3600, "h"), (60, "min")):
                if self.amount >= size and self.amount % size == 0:
                    return f"{self.amount / size:g}{name}"
            return f"{self.amount:g}s"
        return f"{self.amount:g}{self.unit}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``trial.json``."""
        return {"text": str(self), "amount": self.amount, "unit": self.unit}


NO_BUDGET = Budget(0.0, "none")
"""Of what was trained elsewhere, which trains nothing here."""
