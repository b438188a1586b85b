"""One training on several devices: who they are, and what they tell each other.

Every process draws its part of the same batch; how they take a step together stands in
:mod:`kitsbench.training.teams.shared_step`. What the devices spent is added up, and all processes
see the same sum, so that they anneal and stop together.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from kitsbench.errors import UsageError, telling
from kitsbench.training.failures import Elsewhere
from kitsbench.training.meters.clock import DeviceClock
from kitsbench.training.teams.whole_batch_norm import synchronised

PATIENCE = timedelta(hours=6)  # others wait while the first process scores whole volumes


def check_batch(batch: int, world_size: int, name: str) -> None:
    """A batch must be shared out among the processes without a rest.

    Raises
    ------
    UsageError
        It cannot.
    """
    if batch % world_size:
        raise UsageError(
            f"{name} trains with batches of {batch}, which {world_size} processes cannot share "
            f"evenly. Choose a --world-size that divides {batch}, or another --batch."
        )


# What Gloo and NCCL say where the other end is gone, in small letters.
LOST = (
    "closed by peer",
    "connection reset",
    "broken pipe",
    "remote process",
    "socket",
    "timed out",
)


def is_lost_connection(error: BaseException | None) -> bool:
    """Whether an error means that another process of the team is gone.

    It may have come up inside a hook of a plugin, and be the cause of the failure that names it.
    """
    while error is not None:
        if isinstance(error, Elsewhere):
            return True
        if isinstance(error, RuntimeError) and any(word in telling(error).lower() for word in LOST):
            return True
        error = error.__cause__
    return False


@dataclass(frozen=True)
class Team:
    """The processes that train one network; by default there is one.

    Parameters
    ----------
    rank : int
        Of this process; the first (0) evaluates, reports and writes checkpoints.
    size : int
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process speaks for all."""
        return self.rank == 0

    def samples(self, batch: int) -> range:
        """Samples of a batch that this process draws."""
        share = batch // self.size
        return range(self.rank * share, (self.rank + 1) * share)

    def synchronise(self, network: nn.Module) -> nn.Module:
        """Let batch normalisation see the whole batch."""
        if self.size == 1:
            return network
        return synchronised(network)

    def total(self, *values: float) -> list[float]:
        """Sums over the processes."""
        if self.size == 1:
            return list(values)
        # Over the host: a sum on the devices would wait for every step that is queued there.
        numbers = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(numbers, group=_control_group())
        return numbers.tolist()

    def agree(
        self, sums: Sequence[float], firsts: Sequence[float]
    ) -> tuple[list[float], list[float]]:
        """Sums over the processes, and numbers of the first one, in one exchange.

        Parameters
        ----------
        sums, firsts : sequence of float
            As many in all processes.
        """
        # The others add zeros, which leave a number what it is.
        own = firsts if self.leads else [0.0] * len(firsts)
        found = self.total(*sums, *own)
        return found[: len(sums)], found[len(sums) :]

    def largest(self, value: float) -> float:
        """The maximum over the processes."""
        if self.size == 1:
            return value
        number = torch.tensor([value], dtype=torch.float64)
        dist.all_reduce(number, dist.ReduceOp.MAX, group=_control_group())
        return float(number)

    def energy(self, joules: float | None) -> float | None:
        """Joules of all devices, or None where one of them does not tell."""
        if self.size == 1:
            return joules
        # Both sums in one go. Half a sum would look like a saving.
        known, total = self.total(float(joules is not None), joules or 0.0)
        return total if known == self.size else None

    def share(self, joules: float | None) -> float | None:
        """What one process goes on from where all together had spent so much."""
        return None if joules is None else joules / self.size

    def decide(self, value: bool) -> bool:
        """What the first process decides."""
        if self.size == 1:
            return value
        number = torch.tensor([float(value)])
        dist.broadcast(number, 0, group=_control_group())
        return bool(number)

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            dist.barrier(group=_control_group())


SOLO = Team()
_groups: dict[str, Any] = {}


def _control_group() -> Any:
    """A group over the host, which no device has to wait for."""
    return _groups.get("control")


@contextlib.contextmanager
def join_team(rank: int, size: int, device: torch.device, meeting: Path) -> Iterator[Team]:
    """Meet the other processes of a training, on this machine.

    Parameters
    ----------
    rank, size : int
    device : torch.device
    meeting : Path
        A file that does not exist yet, the same for all.
    """
    # Processes of one machine need no network, and its name need not resolve.
    if os.path.exists("/sys/class/net/lo") or os.name == "posix":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    backend = "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
        backend = "nccl"
    # They meet by a file, not by a port that something else may have taken.
    dist.init_process_group(
        backend,
        store=dist.FileStore(str(meeting), size),  # type: ignore[attr-defined] # torch lists no exports
        rank=rank,
        world_size=size,
        timeout=PATIENCE,
    )
    # NCCL sends nothing that lies on the host.
    _groups["control"] = None if backend == "gloo" else dist.new_group(backend="gloo")
    try:
        yield Team(rank, size)
    finally:
        _groups.clear()
        dist.destroy_process_group()


class TeamClock:
    """Device seconds of all processes together; in every process the same sum.

    Parameters
    ----------
    clock : DeviceClock
        Of this process.
    team : Team
    """

    def __init__(self, clock: DeviceClock, team: Team):
        self._clock, self._team = clock, team
        self._last_step = self._known = 0.0
        self._asked = False  # since it last ran

    def start(self) -> None:
        """Let this process's clock run."""
        self._asked = False
        self._clock.start()

    def stop(self) -> None:
        """Let this process's clock stand still."""
        self._clock.stop()

    def estimate(self) -> float:
        """Seconds so far, without waiting for a device; while it stands still, without asking."""
        return self._known if self._asked else self._sum(*self.own())

    def exact(self) -> float:
        """Seconds so far, after waiting for the devices."""
        return self._sum(self._clock.exact(), self._clock.last_step)

    def alone(self) -> float:
        """Seconds at the last time that all were asked: one that failed may never answer again."""
        return self._known

    @property
    def last_step(self) -> float:
        """Seconds of the last step that is known, of all devices together."""
        return self._last_step

    def own(self) -> tuple[float, float]:
        """Seconds so far and of the last step, of this process alone."""
        return self._clock.estimate(), self._clock.last_step

    def tell(self, total: float, last_step: float) -> None:
        """Take sums over the processes that were exchanged with other things."""
        self._known, self._last_step, self._asked = total, last_step, True

    def _sum(self, own: float, last_step: float) -> float:
        self.tell(*self._team.total(own, last_step))
        return self._known


def team_clock(device: torch.device, seconds: float, team: Team) -> DeviceClock | TeamClock:
    """A clock that starts where a training left off.

    Parameters
    ----------
    device : torch.device
    seconds : float
        Of all processes together.
    team : Team
    """
    # Each goes on from an equal share; only the sum means anything.
    clock = DeviceClock(device, seconds / team.size)
    return clock if team.size == 1 else TeamClock(clock, team)
