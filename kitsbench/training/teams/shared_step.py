"""A step that several processes take together.

Every process computes the loss of the whole batch: outputs and labels are gathered before it. So
a loss may couple the samples of a batch as it likes, as a Dice over the batch does. Each goes
backward to its own samples, and the sum of the gradients is that of one process.

Between two exchanges lies a stretch in which each works alone. At its end all tell whether they
came through. Where memory ran out for one of them nobody goes on to the exchange, in which the
others would wait for it for ever, and all take the step again in more parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import torch
import torch.distributed as dist
from torch import Tensor, nn

from kitsbench.training.failures import Elsewhere, can_be_smaller
from kitsbench.training.optimisation.accumulation import Buffers, take_in_parts
from kitsbench.training.optimisation.foreach import copy_all
from kitsbench.training.teams.distributed import Team
from kitsbench.training.teams.whole_batch_norm import apart, exchanges


@dataclass(frozen=True)
class Parcel:
    """What this process sends of a tensor, and room for what all send.

    Attributes
    ----------
    own : Tensor
        (B / size, ...), contiguous, without a graph.
    all : Tensor
        (B, ...)
    """

    own: Tensor
    all: Tensor


class SharedStep:
    """How the processes of a team take the steps of a stage; a team of one exchanges nothing.

    Parameters
    ----------
    team : Team
    network : nn.Module
        In the mode in which it trains. If it asks the others in the middle of a pass, as batch
        normalisation does, memory that runs out there ends the training; so a step is tried alone
        before, see :func:`parts_alone`.
    parameters : sequence of Parameter
        Those that train.
    """

    def __init__(self, team: Team, network: nn.Module, parameters: Sequence[nn.Parameter]):
        self.team, self.parameters = team, tuple(parameters)
        self.alone = team.size == 1
        self.waits = not self.alone and exchanges(network)
        self.votes = not self.alone and not self.waits
        self.missing = 0.0  # gradients, over all processes, at the end of the last stretch
        # Asked for now: memory that runs out in an exchange could not be told to anybody.
        self._sums: list[tuple[Tensor, list[Tensor]]] = []
        if not self.alone:
            self._make_room()

    def _make_room(self) -> None:
        kinds: dict[tuple[torch.dtype, torch.device], list[nn.Parameter]] = {}
        for parameter in self.parameters:
            kinds.setdefault((parameter.dtype, parameter.device), []).append(parameter)
        for (dtype, device), members in kinds.items():
            flat = torch.zeros(sum(p.numel() for p in members), dtype=dtype, device=device)
            pieces = flat.split([p.numel() for p in members])
            views = [piece.view(p.shape) for piece, p in zip(pieces, members, strict=True)]
            self._sums.append((flat, views))
        self._order = [parameter for members in kinds.values() for parameter in members]

    def stretch(self) -> Stretch:
        """A stretch in which no process needs another, as a context."""
        return Stretch(self)

    def pack(
        self, values: Mapping[str, Tensor], dtype: torch.dtype | None = None
    ) -> dict[str, Parcel]:
        """Make ready what is to be exchanged.

        Parameters
        ----------
        values : mapping of str to Tensor
            (B / size, ...), of equal shape in all processes.
        dtype : torch.dtype, optional
            In which they are sent.
        """
        found = {}
        for name, value in values.items():
            own = value.detach().to(dtype or value.dtype).contiguous()
            room = own.new_empty((own.shape[0] * self.team.size, *own.shape[1:]))
            found[name] = Parcel(own, room)
        return found

    def exchange(self, *parcels: Mapping[str, Parcel]) -> None:
        """Send parcels to all, and receive theirs."""
        for parcel in (one for several in parcels for one in several.values()):
            # Not as a list, for which NCCL asks for room of its own.
            gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
            gather(parcel.all, parcel.own)  # under its newer name or its older

    def unpack(
        self, parcels: Mapping[str, Parcel], values: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The parts of all processes along the first axis, of the types that were packed.

        Only this process's own part has a gradient.
        """
        found = {}
        for name, parcel in parcels.items():
            own = values[name]
            found[name] = (
                _Joined.apply(own, parcel.all, self.team.rank)
                if own.requires_grad
                else parcel.all.to(own.dtype)
            )
        return found

    @torch.no_grad()
    def sum_gradients(self) -> None:
        """Put the sums of all processes' gradients in their place.

        A parameter that no process has used keeps none, as in a single process.
        """
        if self.alone:
            return
        gradients = [parameter.grad for parameter in self._order]
        total = self.missing if self.votes else self.team.total(self._count_missing())[0]
        unused = [False] * len(gradients)
        if total:  # mostly all have all
            missing = [float(gradient is None) for gradient in gradients]
            unused = [count == self.team.size for count in self.team.total(*missing)]
        begin = 0
        for flat, views in self._sums:
            own = gradients[begin : begin + len(views)]
            leave = unused[begin : begin + len(views)]
            if total:
                flat.zero_()
            pairs = [(v, g) for v, g in zip(views, own, strict=True) if g is not None]
            copy_all([view for view, _ in pairs], [gradient for _, gradient in pairs])
            dist.all_reduce(flat)
            copy_all([gradient for _, gradient in pairs], [view for view, _ in pairs])
            for number, (view, gradient) in enumerate(zip(views, own, strict=True)):
                if gradient is None and not leave[number]:
                    # The room for sums itself: memory that ran out for a copy here could not be
                    # told to the others. It is filled anew after gradients are set to None.
                    self._order[begin + number].grad = view
            begin += len(views)

    def vote(self, failed: bool) -> float:
        """Ask how many processes ran out of memory; that some gradients are missing is told too."""
        short, self.missing = self.team.total(float(failed), self._count_missing())
        return short

    def _count_missing(self) -> float:
        return float(sum(parameter.grad is None for parameter in self._order))


class _Alone(SharedStep):
    """A step that takes as much memory as one of a team, and asks nobody."""

    def _make_room(self) -> None:
        self.votes = False  # and the room for sums is there already

    def exchange(self, *parcels: Mapping[str, Parcel]) -> None:
        """Take what would be sent for what would be received."""
        for parcel in (one for several in parcels for one in several.values()):
            for part in parcel.all.chunk(self.team.size):
                part.copy_(parcel.own)

    def sum_gradients(self) -> None:
        """Leave them as they are."""


def parts_alone(
    shared: SharedStep,
    take: Callable[[int, SharedStep], object],
    network: nn.Module,
    buffers: Buffers,
    batch: int,
    parts: int,
) -> int:
    """Parts in which a step fits into the memory of each process, tried by each alone.

    Parameters
    ----------
    shared : SharedStep
    take : callable
        Takes a step that moves no weight, in a number of parts; buffers may be left moved.
    network : nn.Module
    buffers : Buffers
    batch, parts : int
        Samples of this process, and the parts to begin with.

    Raises
    ------
    Exception
        Memory runs out even for single samples.
    """
    with apart(network):
        alone = _Alone(shared.team, network, shared.parameters)
        try:
            _, parts = take_in_parts(lambda n: take(n, alone), network, buffers, batch, parts)
        except Exception as error:
            # Whatever else is wrong alone, as statistics of a single value, may be right together.
            if can_be_smaller(error):
                raise
    return int(shared.team.largest(parts))


class Stretch:
    """A context at whose end all processes tell whether they came through.

    Parameters
    ----------
    shared : SharedStep

    Raises
    ------
    Elsewhere
        Memory ran out for another one.
    """

    def __init__(self, shared: SharedStep):
        self.shared = shared

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.shared.votes:
            return
        failed = error is not None and can_be_smaller(error)
        if error is not None and not failed:
            return  # the training ends, which the others notice by the connection
        if self.shared.vote(failed) and not failed:
            raise Elsewhere("out-of-memory", "Memory ran out in another process of the training.")


class _Joined(torch.autograd.Function):
    """The whole batch, with the graph of this process's own part."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, whole: Tensor, rank: int) -> Tensor:
        ctx.part = slice(rank * own.shape[0], (rank + 1) * own.shape[0])
        return whole.view_as(whole)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient[ctx.part], None, None
