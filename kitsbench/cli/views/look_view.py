"""How the terminal shows a look: the state of every pair, and what it cost."""

from __future__ import annotations

from typing import Any

from kitsbench.cli.output import print_rich, say
from kitsbench.text.screen import Column, make_table

_DASH = "–"
_MOST = 45  # pairs of ten architectures


def show_look(look: dict[str, Any], digits: int = 3) -> None:
    """Print a look.

    Parameters
    ----------
    look : dict
        From :attr:`~kitsbench.statistics.Comparison.look`.
    digits : int
        Of differences.
    """
    plan = look["plan"]
    columns = [Column("pair"), Column("difference", "right"), Column("p", "right")]
    columns += [Column("bound", "right"), Column("state"), Column("unbiased", "right", extra=True)]
    final = {(pair["a"], pair["b"]): pair for pair in look["final"]}
    order = {"open": 0, "difference": 1, "equivalence": 2, "futile": 3, "not asked": 4}
    listed = sorted(look["pairs"], key=lambda pair: order[pair["state"]])
    rows = [
        [
            f"{pair['a']} – {pair['b']}",
            _number(pair["estimate"], f"+.{digits}f"),
            _number(pair["p_value"], ".2g"),
            _number(pair["bound"], ".2g"),
            pair["state"]
            if pair["settled_at"] is None
            else f"{pair['state']} ({pair['settled_at']})",
            _number(final[pair["a"], pair["b"]]["unbiased"], f"+.{digits}f"),
        ]
        for pair in listed[:_MOST]
    ]
    title = f"Look {look['number']} of {plan['looks']}: p must be below the bound"
    print_rich(make_table(columns, rows, title))
    if len(listed) > _MOST:
        say(f"{len(listed) - _MOST} more pairs are in --json.")
    say(
        f"Alpha spent: {look['spent']:.2g} of {plan['alpha']:g}, {look['price']:.2g} by this look "
        f"(information {100 * look['fraction']:.0f} %)."
    )
    if look["open"]:
        say(f"Goes on: {', '.join(look['open'])}.")
    else:
        say("Nothing is open any more: no further trial is needed.")


def _number(value: float | None, form: str) -> str:
    return _DASH if value is None else f"{value:{form}}"
