"""Results of a device on their way to the host, while the device goes on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

# Middles of some tiles in the first grid's volume, and their values {head: (B, C, z, y, x)}.
Pass = tuple[Sequence[np.ndarray], dict[str, Tensor]]


class Landing:
    """Hands each pass on where its sums lie: at once if that is the device, else one pass later.

    The values of a pass travel, and those of the pass before are added, while the device computes
    the next one.

    Parameters
    ----------
    home : torch.device
        Where the sums lie.
    """

    def __init__(self, home: torch.device):
        self.home = home
        self._waiting: tuple[Pass, torch.cuda.Event | None] | None = None

    def swap(self, one: Pass | None) -> list[Pass]:
        """Take the results of a pass, or None after the last, and give those that have arrived."""
        # By the type: "cuda" and "cuda:0" are one device, and not equal.
        if one is not None and all(v.device.type == self.home.type for v in one[1].values()):
            return [one]
        before, self._waiting = self._waiting, None
        if one is not None:
            centres, found = one
            values = {name: send(v) for name, v in found.items()}
            self._waiting = (centres, values), _mark(next(iter(found.values())).device)
        if before is None:
            return []
        results, sent = before
        if sent is not None:
            sent.synchronize()
        return [results]


def fetch(values: Tensor) -> Tensor:
    """A tensor on the host; waits for it."""
    if values.device.type == "cpu":
        return values
    found, sent = send(values), _mark(values.device)
    if sent is not None:
        sent.synchronize()
    return found


def send(values: Tensor) -> Tensor:
    """A copy on the host that is not there yet; in page-locked memory, which is much quicker."""
    if values.device.type != "cuda" or not torch.cuda.is_available():
        return values.cpu()
    there = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    return there.copy_(values, non_blocking=True)


def _mark(device: torch.device) -> torch.cuda.Event | None:
    """A mark behind all work that the device was given so far."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return None
    mark = torch.cuda.Event()
    mark.record(torch.cuda.current_stream(device))
    return mark
