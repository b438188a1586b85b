"""FLOPs of what really runs, counted once for each kind of work."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

Answer = TypeVar("Answer")


class FlopMeter:
    """Adds up FLOPs; what is known by its key is not counted anew.

    Counted are the operations that :mod:`torch.utils.flop_counter` knows: convolutions, matrix
    products and attention; a multiply-add counts as two.

    Attributes
    ----------
    spent : int
        Since :meth:`reset`.
    """

    def __init__(self) -> None:
        self.spent = 0
        self._known: dict[Hashable, int] = {}

    def reset(self) -> None:
        """Begin anew."""
        self.spent = 0

    def knows(self, key: Hashable) -> bool:
        """Whether work of this kind has been counted."""
        return key in self._known

    def run(self, key: Hashable, work: Callable[[], Answer]) -> Answer:
        """Do the work and add what it costs.

        Parameters
        ----------
        key : hashable
            Equal for work that costs the same; None for work that is like no other.
        work : callable
        """
        if key is not None and key in self._known:
            self.spent += self._known[key]
            return work()
        # Not above: it brings triton, which who only plans does without.
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            answer = work()
        found = int(counter.get_total_flops())
        if key is not None:
            self._known[key] = found
        self.spent += found
        return answer
