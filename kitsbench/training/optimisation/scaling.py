"""The scale of the loss in float16, and the steps that it costs."""

from __future__ import annotations

import math
from typing import Any

import torch

from kitsbench.devices.precision import gradient_scaler
from kitsbench.training.curve import GRADIENT
from kitsbench.training.failures import TrialFailure

# A scale that is too large is halved by each step that it costs. After so many in a row it is 1e-5
# of what it was, and the gradient itself is infinite.
HALVINGS = 32


class LossScale:
    """Scales the loss in float16 and does nothing in other precisions.

    Small gradients vanish in float16. So the loss is multiplied before the backward pass, by a
    number that grows until gradients overflow: the step in which they do is left out, and the
    number halved.

    Parameters
    ----------
    device : torch.device
    precision : {"float32", "bfloat16", "float16"}
    state : dict, optional
        Where a resumed run starts, as of :attr:`state`.
    """

    def __init__(self, device: torch.device, precision: str, state: dict[str, Any] | None = None):
        self.scaler = gradient_scaler(device, precision)
        self._in_a_row = 0
        if self.scaler is not None and state:
            self.scaler.load_state_dict(state)

    @property
    def state(self) -> dict[str, Any] | None:
        """Plain data for a checkpoint; waits for the device."""
        return None if self.scaler is None else self.scaler.state_dict()

    def left_out(self, numbers: dict[str, float], step: int) -> bool:
        """Whether a step was left out because its gradient overflowed; its norm is then removed.

        Parameters
        ----------
        numbers : dict of str to float
            Losses of the step and the norm of its gradient.
        step : int

        Raises
        ------
        TrialFailure
            No scale is small enough.
        """
        if self.scaler is None or math.isfinite(numbers[GRADIENT]):
            self._in_a_row = 0
            return False
        norm = numbers.pop(GRADIENT)  # of no gradient that moved a weight
        self._in_a_row += 1
        if self._in_a_row == HALVINGS:
            raise TrialFailure(
                "non-finite loss",
                f"{GRADIENT} was {norm} at step {step} and the {HALVINGS - 1} before it, however "
                "small the loss was scaled in float16. Try --precision float32.",
            )
        return True
