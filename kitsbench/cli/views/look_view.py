"""How the terminal shows a look: the state of every pair, and what it cost."""

from __future__ import annotations

from typing import Any

from kitsbench.cli.output import print_rich, say
from kitsbench.look import said
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
    over = look["number"] >= plan["looks"]
    rows = [
        [
            f"{pair['a']} – {pair['b']}",
            _number(pair["estimate"], f"+.{digits}f"),
            _number(pair["p_value"], ".2g"),
            _number(pair["bound"], ".2g"),
            said(pair["state"], over)
            + ("" if pair["settled_at"] is None else f" ({pair['settled_at']})"),
            _number(final[pair["a"], pair["b"]]["unbiased"], f"+.{digits}f"),
        ]
        for pair in listed[:_MOST]
    ]
    title = f"Look {look['number']} of {plan['looks']}"
    if look["number"] > plan["looks"]:
        title = f"Look {look['number']}, after the {plan['looks']} that are planned"
    # What was too large at an earlier look may do when other pairs have passed their alpha on.
    title += ": p must be below the bound, here or before"
    print_rich(make_table(columns, rows, title))
    if len(listed) > _MOST:
        say(f"{len(listed) - _MOST} more pairs are in --json.")
    if look["fraction"]:
        say(
            f"Alpha spent: {look['spent']:.2g} of {plan['alpha']:g}, {look['price']:.2g} by this "
            f"look (information {100 * look['fraction']:.0f} %). It counts each pair's own share, "
            "and not what settled pairs pass on."
        )
    else:
        say(
            "No alpha is spent: there are too few runs for a look before the last to settle "
            "anything. It may give pairs up."
        )
    if look["open"]:
        say(f"Goes on: {', '.join(look['open'])}.")
        return
    settled = sum(pair["settled_at"] is not None for pair in look["pairs"])
    rest = "no round is left" if over else "no further trial is needed"
    say(f"Nobody goes on: {settled} of {len(look['pairs'])} pairs are settled, and {rest}.")


def show_expected(planned: dict[str, Any]) -> None:
    """Print what looks are expected to take.

    Parameters
    ----------
    planned : dict
        A plan with the key ``until_decided``.
    """
    found = planned["until_decided"]
    for scenario in found["scenarios"]:
        columns = [Column("true state")]
        columns += [Column(name, "right") for name in ("runs", "of 9 in 10", "of fixed")]
        timed = "hours" in scenario["states"][0]
        columns += [Column("hours", "right")] * timed
        columns += [Column("power", "right"), Column("fixed", "right")]
        rows = [
            [
                state["state"],
                f"{state['runs']:.0f}",
                f"{state['runs_low']:.0f}-{state['runs_high']:.0f}",
                f"{100 * state['part']:.0f} %",
                *([f"{state['hours']:.3g} ± {state['hours_sd']:.2g}"] if timed else []),
                *(
                    _DASH if state[key] is None else f"{100 * state[key]:.0f} %"
                    for key in ("power", "fixed_power")
                ),
            ]
            for state in scenario["states"]
        ]
        whole = scenario["states"][0]["fixed_runs"]
        seeds = f"{planned['seeds']} seed{'s' * (planned['seeds'] != 1)}"
        title = f"Until decided: tau {scenario['seed_sd']:.3g}, at most {seeds} ({whole} runs)"
        print_rich(make_table(columns, rows, title))
    say(
        f"Simulated, looks after each seed, question {found['question']}, {found['spending']}, "
        f"true differences of {found['gap']:g}. Power: of these, by pair, how many are found."
    )


def _number(value: float | None, form: str) -> str:
    return _DASH if value is None else f"{value:{form}}"
