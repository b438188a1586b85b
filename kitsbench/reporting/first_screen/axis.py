"""A horizontal axis of figures that a page draws by its style sheet, from the table beside them."""

from __future__ import annotations

import math
from dataclasses import dataclass

_TICKS = 5  # parts of the axis, at most


@dataclass(frozen=True)
class Axis:
    """The axis of rows of dots and lines.

    Attributes
    ----------
    low, high : float
        Its ends.
    """

    low: float
    high: float

    @property
    def ticks(self) -> list[float]:
        """Where the axis has its numbers."""
        span = self.high - self.low
        unit = 10.0 ** math.floor(math.log10(span))
        step = next(s for s in (0.1, 0.2, 0.25, 0.5, 1, 2) if span / (s * unit) <= _TICKS) * unit
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [step * number for number in range(first, last + 1)]

    def share(self, value: float) -> str:
        """A place on the axis in per cent of its length, as CSS takes it."""
        share = (value - self.low) / (self.high - self.low)
        return f"{100 * min(max(share, 0.0), 1.0):.2f}"

    def rest(self, value: float) -> str:
        """What is left of the axis beyond a place, as :meth:`share` gives it."""
        return f"{100 - float(self.share(value)):.2f}"

    def number(self, value: float) -> str:
        """A number of the axis, without zeros that say nothing."""
        return f"{value:.3f}".rstrip("0").rstrip(".").replace("-", "−")
