"""The types of values that stand on the command line or in a file of ``kitsbench run --config``.

Each hands the reading to the room whose word it is, whose error is shown as it is: what was found,
the rule, and what to do. That room is imported when a value is read, so that ``--help`` stays
instant.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kitsbench.errors import UsageError
from kitsbench.files.foreign import brief
from kitsbench.metrics import Metric, declare

DEFAULT_ENDPOINT = "tumor:dice"

MOST = 1_000_000
"""Of what is counted: cases, draws, steps of a rule. A larger number is a slip."""
LONGEST = 100_000_000.0
"""Seconds, which are three years; timers of the system know no time without end."""
WIDEST_SEED = 2**63 - 1
"""The largest seed; all are kept exact, also beyond 2^53, where numbers with a point have gaps."""

PATH = click.Path(path_type=Path)

Where = click.Context | None
Of = click.Parameter | None
if TYPE_CHECKING:
    Type = click.ParamType[Any]
else:
    Type = click.ParamType  # generic in the newest releases only


class Patch(Type):
    """Voxels of a patch: one edge, or three (z, y, x)."""

    name = "patch"

    def convert(self, value: Any, param: Of, ctx: Where) -> tuple[int, int, int]:
        """Read ``64``, ``32,48,48`` or ``32x48x48``."""
        from kitsbench.experiments.asked.quantities import parse_patch

        return parse_patch(value)


class Spacing(Type):
    """A voxel size in mm: one length, or three (z, y, x)."""

    name = "spacing"

    def convert(self, value: Any, param: Of, ctx: Where) -> tuple[float, float, float]:
        """Read ``4.5`` or ``3,0.78,0.78``."""
        from kitsbench.experiments.asked.quantities import parse_spacing

        return parse_spacing(value)


class Folds(Type):
    """Indices of folds, or all."""

    name = "folds"

    def convert(self, value: Any, param: Of, ctx: Where) -> tuple[int, ...] | str:
        """Read ``all`` or ``0,2``."""
        from kitsbench.experiments.asked.quantities import parse_folds

        return parse_folds(value)


class Memory(Type):
    """An amount of memory in bytes."""

    name = "memory"

    def convert(self, value: Any, param: Of, ctx: Where) -> int:
        """Read ``11GiB`` or ``500MB``."""
        from kitsbench.experiments.asked.quantities import parse_memory

        return parse_memory(value)


class Interval(Type):
    """A time in seconds."""

    name = "time"

    def convert(self, value: Any, param: Of, ctx: Where) -> float:
        """Read ``10min`` or a number of seconds."""
        from kitsbench.experiments.asked.quantities import parse_interval

        return parse_interval(value)


class Spend(Type):
    """The budget of a trial."""

    name = "budget"

    def convert(self, value: Any, param: Of, ctx: Where) -> Any:
        """Read ``90s`` or ``20000steps``."""
        from kitsbench.training.budget import Budget

        return Budget.parse(str(value))


class SplitRule(Type):
    """A rule for splits, a number of folds, or a file; refused before any data are touched.

    Parameters
    ----------
    none : bool
        Whether ``none`` is allowed too.
    """

    name = "split"

    def __init__(self, none: bool = False):
        self._none = none

    def convert(self, value: Any, param: Of, ctx: Where) -> str:
        """Check ``5``, ``nnunet``, ``90:10`` or ``splits_final.json``; the text stays a text."""
        from kitsbench.data.splits.rules import check_rule

        text = str(value)
        if not (self._none and text == "none"):
            check_rule(text)
        return text


class EndpointName(Type):
    """A region and a metric."""

    name = "endpoint"

    def convert(self, value: Any, param: Of, ctx: Where) -> str:
        """Check ``tumor:dice``; the text stays a text."""
        if value == DEFAULT_ENDPOINT:
            return DEFAULT_ENDPOINT  # whose reading would only cost the second of an import
        from kitsbench.statistics.table.endpoints import parse_endpoint

        return parse_endpoint(str(value)).name


class Range(Type):
    """The range of a metric."""

    name = "range"

    def convert(self, value: Any, param: Of, ctx: Where) -> tuple[float | None, float | None]:
        """Read ``0:1``, or ``0:`` and ``:100`` where an end is open."""
        if isinstance(value, tuple):
            return value
        low, colon, high = str(value).partition(":")
        try:
            ends = (_end(low), _end(high))
        except ValueError:
            colon = ""
        if not colon:
            raise UsageError(
                f"The range is '{brief(value)}'; write LOW:HIGH, such as 0:1, or 0: where the "
                "metric has no upper end. Its ends must be numbers."
            )
        return ends


class Declaration(Type):
    """What is declared about a metric that kitsbench does not compute."""

    name = "declaration"

    def convert(self, value: Any, param: Of, ctx: Where) -> Metric:
        """Read ``ece:lower`` or ``ece:lower:0:1``."""
        if isinstance(value, Metric):
            return value
        name, _, rest = str(value).partition(":")
        better, colon, ends = rest.partition(":")
        if not name.strip() or better not in ("lower", "higher"):
            raise UsageError(
                f"The declaration is '{brief(value)}'; write METRIC:lower or METRIC:higher, and "
                "the range after it, such as ece:lower:0:1."
            )
        low, high = Range().convert(ends, param, ctx) if colon else (None, None)
        return declare(name.strip(), "lower" if better == "lower" else "higher", low, high)


def _end(text: str) -> float | None:
    end = float(text) if text.strip() else None
    if end is not None and not math.isfinite(end):
        raise ValueError("an open end is left out")
    return end


class Level(Type):
    """The level of a test."""

    name = "level"

    def convert(self, value: Any, param: Of, ctx: Where) -> float:
        """Read a number between 0 and 1."""
        try:
            level = float(value)
        except (TypeError, ValueError):
            level = math.nan
        if not 0 < level < 1:
            raise UsageError(
                f"The level '{brief(value)}' is none; write a number above 0 and below 1, such "
                "as 0.05."
            )
        return level


class LookOf(Type):
    """A look and how many rounds are planned."""

    name = "look"

    def convert(self, value: Any, param: Of, ctx: Where) -> tuple[int, int]:
        """Read ``2/5``."""
        if isinstance(value, tuple):
            return value
        parts = str(value).split("/")
        if len(parts) != 2 or not all(x.isascii() and x.isdigit() and len(x) < 7 for x in parts):
            self.fail(
                f"'{brief(str(value), 40)}' is no look; write which one of how many rounds, such "
                "as 2/5.", param, ctx,
            )  # fmt: skip
        return int(parts[0]), int(parts[1])


class Whole(click.IntRange):
    """A whole number that a program can take.

    Parameters
    ----------
    low : int or None
        The smallest; None where the room whose number it is says so better.
    high : int
        The largest.
    """

    def __init__(self, low: int | None = None, high: int = MOST):
        super().__init__(low, high)

    def convert(self, value: Any, param: Of, ctx: Where) -> int:
        """Read a number of at most twenty digits."""
        if isinstance(value, str) and len(value) > 20:
            self.fail(f"'{brief(value, 40)}' is no whole number of at most 20 digits.", param, ctx)
        return int(super().convert(value, param, ctx))


class Number(click.FloatRange):
    """A number that is one, and neither infinite nor beyond all measure.

    Parameters
    ----------
    low, high : float or None
        The ends, themselves allowed; None where the room whose number it is says so better.
    """

    other = "no finite number"

    def __init__(self, low: float | None = None, high: float | None = None):
        super().__init__(low, high)

    def _describe_range(self) -> str:
        # Click writes an end that there is not as None.
        return "" if self.min is None and self.max is None else super()._describe_range()

    def convert(self, value: Any, param: Of, ctx: Where) -> float:
        """Read a number; NaN and the infinities, which click lets pass, are none."""
        if isinstance(value, str) and len(value) > 40:
            self.fail(f"'{brief(value, 40)}' is no number.", param, ctx)
        try:
            float(value)
        except ValueError:
            self.fail(f"'{brief(value, 40)}' is no number.", param, ctx)
        except (OverflowError, TypeError):
            pass  # the next lines say it
        try:
            number = float(super().convert(value, param, ctx))
        except OverflowError:  # an integer of a configuration file
            number = math.inf
        if not math.isfinite(number):
            self.fail(f"{brief(value)} is {self.other}.", param, ctx)
        return number


class Seconds(Number):
    """A time in seconds, at least a given one.

    Parameters
    ----------
    low : float
    """

    name = "seconds"
    other = "no number of seconds"

    def __init__(self, low: float):
        super().__init__(low, LONGEST)
