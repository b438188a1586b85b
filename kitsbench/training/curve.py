"""What is written down while a network trains: losses, learning rates, scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from kitsbench.data.batches.prepared import Prepared
from kitsbench.training.failures import TrialFailure

CURVE_POINTS = 400  # loss rows kept over a whole run
GRADIENT = "gradient norm"


class Reading:
    """Losses of one step on their way to the host, so that nobody waits for the device.

    Parameters
    ----------
    batch : Prepared
    progress : float
        Share of the budget that was spent before the step.
    lr : float
        Learning rate of the step.
    values : mapping of str to Tensor or float
        Scalars on the device: ``loss``, its components, and the norm of the gradient.
    scaled : bool
        Whether the loss was scaled, so that the norm may be infinite where nothing is wrong.
    """

    def __init__(
        self,
        batch: Prepared,
        progress: float,
        lr: float,
        values: Mapping[str, Tensor | float],
        scaled: bool = False,
    ):
        self._free = GRADIENT if scaled else None
        self.step, self.cases, self.progress, self.lr = batch.step, batch.cases, progress, lr
        self.names = tuple(values)
        scalars = {n: torch.as_tensor(v).detach().double().reshape(()) for n, v in values.items()}
        device = next(iter(scalars.values())).device
        there = {name: scalar for name, scalar in scalars.items() if scalar.device == device}
        self._there = tuple(there)
        # What a hook gave as a plain number stays here: to send it to the others would wait for
        # them.
        self._here = {name: float(scalars[name]) for name in scalars if name not in there}
        stacked = torch.stack(list(there.values()))
        self._arrived: torch.cuda.Event | None = None
        if device.type == "cuda":
            # Reading a value directly would wait for whatever was queued after it as well.
            self._host = torch.empty(stacked.shape, dtype=stacked.dtype, pin_memory=True)
            self._host.copy_(stacked, non_blocking=True)
            self._arrived = torch.cuda.Event()
            # On the device's own stream, or it would be passed before the copy has begun.
            self._arrived.record(torch.cuda.current_stream(device))
        else:
            self._host = stacked

    def numbers(self) -> dict[str, float]:
        """Wait for the step and return its scalars.

        Raises
        ------
        TrialFailure
            One of them is not finite; of a scaled loss only the norm may be.
        """
        if self._arrived is not None:
            self._arrived.synchronize()
        known = self._here | dict(zip(self._there, self._host.tolist(), strict=True))
        numbers = {name: known[name] for name in self.names}
        for name, value in numbers.items():
            if not math.isfinite(value) and name != self._free:
                raise TrialFailure(
                    "non-finite loss",
                    f"{name} was {value} at step {self.step} "
                    f"(cases {', '.join(sorted(set(self.cases)))}).",
                )
        return numbers


@dataclass
class Curve:
    """Rows of ``curve.parquet``: step, fraction, device_seconds, kind, name, value.

    Parameters
    ----------
    rows : list of dict
        Where a resumed run starts.

    Attributes
    ----------
    latest : (int, float, mapping of str to float) or None
        Step, learning rate and scalars of the last step that is known, recorded or not.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    latest: tuple[int, float, Mapping[str, float]] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._points = sum(row["kind"] == "lr" for row in self.rows)

    def losses(self, reading: Reading, numbers: Mapping[str, float], seconds: float) -> None:
        """Record a step's losses and learning rate, if enough was spent since the last ones."""
        self.latest = reading.step, reading.lr, numbers
        if reading.progress * CURVE_POINTS < self._points - 1:
            return
        self._points += 1
        for name, value in numbers.items():
            kind = "gradient" if name == GRADIENT else "loss"
            self.record(reading.step, reading.progress, seconds, kind, name, value)
        self.record(reading.step, reading.progress, seconds, "lr", "lr", reading.lr)

    def record(
        self, step: int, fraction: float, seconds: float, kind: str, name: str, value: float
    ) -> None:
        """Add a row."""
        self.rows.append(
            {
                "step": step,
                "fraction": fraction,
                "device_seconds": seconds,
                "kind": kind,
                "name": name,
                "value": value,
            }
        )
