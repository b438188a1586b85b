"""Energy that a device reports to have used; nothing where it reports none."""

from __future__ import annotations

from collections.abc import Callable

import torch

from kitsbench.devices.nvml import open_device


class EnergyMeter:
    """Adds up the energy of a device over the stretches between :meth:`start` and :meth:`stop`.

    NVIDIA devices since Volta count their energy since the driver was loaded, read through NVML
    (package ``nvidia-ml-py``). It is that of the whole device, so another process on it counts as
    well. No other device is asked, and nothing is estimated.

    Parameters
    ----------
    device : torch.device
    joules : float or None
        Where a resumed run starts.
    """

    def __init__(self, device: torch.device, joules: float | None = None):
        self._read = _counter(device)
        self._known = joules
        self._begin: float | None = None

    def start(self) -> None:
        """Begin a stretch; the device shall have nothing left to do from before."""
        self._begin = self._now()

    def stop(self) -> None:
        """End a stretch; the device shall have finished its work."""
        began, self._begin = self._begin, None
        if began is not None and (now := self._now()) is not None:
            self._known = (self._known or 0.0) + now - began

    def _now(self) -> float | None:
        if self._read is None:
            return None
        try:
            return self._read()
        except Exception:
            # A counter that no longer answers ends no training. What it has told until then is no
            # energy of the whole, so nothing is.
            self._read = self._known = None
            return None

    @property
    def joules(self) -> float | None:
        """Energy of the stretches that have ended; None where the device reports none."""
        return self._known


def _counter(device: torch.device) -> Callable[[], float] | None:
    """A function that reads a device's energy counter in joules, or None."""
    found = open_device(device)
    if found is None:
        return None
    library, handle = found
    try:
        library.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception:  # a device that does not count
        return None
    return lambda: float(library.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000
