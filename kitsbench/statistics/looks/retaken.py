"""Whether looks that were read are those that their scores give.

A look is a pure function of the scores that it saw, and those are all at hand at the next one. So
nothing that a file says of what was found has to be believed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from kitsbench.errors import DataError
from kitsbench.look import Look
from kitsbench.statistics.looks.plan import LookPlan
from kitsbench.statistics.looks.take import take_look

_NEAR = 1e-6  # another machine may find other last digits
_WORDS = ("reason", "notes")  # which follow from the numbers


def check_retaken(
    scores: pd.DataFrame, plan: LookPlan, looks: Sequence[Look], place: str, **chosen: Any
) -> None:
    """Take looks once more, and see that they say the same.

    Where trials with failed predictions have been repeated since, the looks that saw them as they
    were cannot be taken again, nor those after: they are believed.

    Parameters
    ----------
    scores : DataFrame
        All scores so far.
    plan : LookPlan
        That of the looks.
    looks : sequence of Look
        In their order.
    place : str
        Where they were read, for the message.
    **chosen
        Other words of :func:`~kitsbench.statistics.looks.take.take_look`.

    Raises
    ------
    DataError
        One says something else than its scores give.
    """
    columns = [scores[name].astype(str) for name in ("architecture", "fold", "seed")]
    names = columns[0] + " " + columns[1] + " " + columns[2]
    taken: list[Look] = []
    for number, look in enumerate(looks):
        seen = scores[names.isin(look.trials)].reset_index(drop=True)
        if seen.empty:
            raise DataError(
                f"{place}: look {look.number} names no trial of the scores, which must hold all "
                "that was seen. Name the table that has them."
            )
        again = take_look(seen, plan, taken, number=look.number, **chosen)
        if again.trials != look.trials:
            return  # what is missing, changed or repeated is told by the look that comes now
        found = next(_differences(look.to_dict(), again.to_dict(), f"looks.{number}"), None)
        if found is not None:
            key, said, right = found
            raise DataError(
                f"{place}: the key {key} is {said!r}, and the scores of look {look.number} give "
                f"{right!r}: the file was edited, or written by another version of kitsbench or "
                "with another --cluster.\nRestore it, and give the options of then: what was "
                "looked at cannot be looked at for the first time again."
            )
        taken.append(look)


def _differences(said: Any, right: Any, key: str) -> Iterator[tuple[str, Any, Any]]:
    """Keys at which plain data differ by more than the last digits."""
    if isinstance(said, dict) and isinstance(right, dict) and said.keys() == right.keys():
        for name in said:
            if name not in _WORDS:
                yield from _differences(said[name], right[name], f"{key}.{name}")
    elif isinstance(said, list | tuple) and isinstance(right, list | tuple):
        if len(said) != len(right):
            yield key, f"a list of {len(said)}", f"a list of {len(right)}"
        for number, (one, other) in enumerate(zip(said, right, strict=False)):
            yield from _differences(one, other, f"{key}.{number}")
    elif isinstance(said, float) and isinstance(right, float):
        if not math.isclose(said, right, rel_tol=_NEAR, abs_tol=_NEAR**2):
            yield key, said, right
    elif said != right:
        yield key, said, right
