"""What a search for settings goes through: THE declared space, and what may be asked besides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kitsbench.errors import UsageError
from kitsbench.files.foreign import brief
from kitsbench.training.budget import Budget

MOST = 1_000_000


@dataclass(frozen=True)
class Dimension:
    """A range that a parameter is drawn from, on a logarithmic scale or not."""

    low: float
    high: float
    log: bool = True


# THE declared space. ``lr_factor`` multiplies the recipe's learning rate; the others replace a
# value of the recipe.
SPACE = {
    "lr_factor": Dimension(0.1, 10.0),
    "weight_decay": Dimension(1e-4, 1e-1),
}
# What may be tuned besides, when a configuration file asks for it.
OPTIONAL = {
    "warmup": Dimension(0.0, 0.2, log=False),
    "clip_gradient": Dimension(0.1, 100.0),
    "foreground": Dimension(0.0, 1.0, log=False),
}


@dataclass(frozen=True)
class Tuning:
    """How settings are searched for.

    Parameters
    ----------
    trials : int
        Settings that each architecture tries in each fold; the first is the recipe itself.
    space : dict of str to Dimension
    budget : Budget or None
        Of a tuning trial; None for that of the other trials.
    """

    trials: int
    space: dict[str, Dimension]
    budget: Budget | None = None


def read_tuning(trials: int | None, given: Mapping[str, Any]) -> Tuning | None:
    """Settings of a tuning from ``--tune`` and the section ``[tune]`` of a configuration file.

    Parameters
    ----------
    trials : int or None
    given : mapping
        ``trials``, ``budget``, and ``name = [low, high]`` for each parameter that is searched
        otherwise than by default; ``name = false`` leaves one out.

    Raises
    ------
    UsageError
        A parameter is unknown, or a range is none.
    """
    rest = dict(given)
    count = rest.pop("trials", None) if trials is None else trials
    rest.pop("trials", None)
    budget = rest.pop("budget", None)
    known = {**SPACE, **OPTIONAL}
    space = dict(SPACE)
    for name, ends in rest.items():
        if name not in known:
            raise UsageError(
                f"'{brief(name)}' cannot be tuned; choose from {', '.join(known)} (besides trials "
                "and budget)."
            )
        if ends is False:
            space.pop(name, None)
            continue
        lowest = 0.0 if known[name].log else -1e-9
        numbers = isinstance(ends, list) and all(
            type(end) in (int, float) and abs(end) < MOST for end in ends
        )
        if not numbers or len(ends) != 2 or not lowest < ends[0] < ends[1]:
            raise UsageError(
                f"The range {name} = {brief(ends)} is none; write [low, high] with "
                f"{'0 < ' if known[name].log else ''}low < high, or false."
            )
        space[name] = Dimension(float(ends[0]), float(ends[1]), known[name].log)
    if not count:
        return None
    if type(count) is not int or not 2 <= count <= MOST:
        raise UsageError(
            f"--tune {brief(count)} cannot be: the first trial is the recipe itself, so use a "
            f"whole number from 2 to {MOST}."
        )
    if not space:
        raise UsageError("The space of [tune] is empty; leave a parameter in it.")
    return Tuning(count, space, None if budget is None else Budget.parse(str(budget)))


def check_shared(tuning: Tuning | None, recipe: str) -> None:
    """See that what is tuned is the recipe that all share.

    Raises
    ------
    UsageError
        Each architecture has a recipe of its own.
    """
    if tuning is not None and recipe != "matched":
        raise UsageError(
            "--tune searches around the shared recipe, since a space is equal only there; use "
            "--recipe matched, or leave --tune out."
        )
