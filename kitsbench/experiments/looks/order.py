"""In which order the trials of a round begin: by what they can decide, per device hour.

A round is one seed over all folds, and its look comes when all of it has ended. So the order
changes no look; it decides what is there when a call is stopped in the middle.

The worth of a trial is the number of open pairs that it helps to decide by the next look:

    worth = share of the fold's cases x sum over the open pairs of its architecture of p / 2

with p the probability that the pair is decided at the next look, given what the last one saw (1
before the first, since all are alike then), and one half since a pair takes both of its
architectures. Trials begin by worth per expected device hour, the largest first; equals, and those
of which nobody knows the hours, in the order of the plan. The seed of a round is fixed beforehand:
nobody chooses among seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")
Pair = tuple[str, str]


def worth(name: str, cases: int, all_cases: int, open_pairs: Mapping[Pair, float]) -> float:
    """Open pairs that a trial helps to decide by the next look.

    Parameters
    ----------
    name : str
        Its entrant.
    cases, all_cases : int
        Test cases of its fold, and of all folds of the round.
    open_pairs : mapping of (str, str) to float
        Probability that each open pair is decided at the next look.
    """
    share = cases / all_cases if all_cases else 0.0
    return share * sum(chance / 2 for pair, chance in open_pairs.items() if name in pair)


def by_worth(
    trials: Sequence[T], worth_of: Callable[[T], float], hours_of: Callable[[T], float | None]
) -> list[T]:
    """Trials in the order in which they begin.

    Parameters
    ----------
    trials : sequence
        In the order of the plan.
    worth_of : callable
        See :func:`worth`.
    hours_of : callable
        Expected device hours; None where nothing tells.
    """
    known = [hours for one in trials if (hours := hours_of(one)) is not None and hours > 0]
    # Who is not known costs what the others do in the mean, so that it is neither first nor last.
    usual = sum(known) / len(known) if known else 1.0

    def rate(place: int) -> float:
        hours = hours_of(trials[place])
        return worth_of(trials[place]) / (hours if hours else usual)

    places = sorted(range(len(trials)), key=lambda place: (-rate(place), place))
    return [trials[place] for place in places]
