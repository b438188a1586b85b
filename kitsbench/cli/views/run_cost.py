"""What ``kitsbench run`` says of the hours that it will take, and asks before it spends many."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from kitsbench.cli.output import tell

if TYPE_CHECKING:
    from kitsbench.experiments.plan.estimate import Forecast

ASK_BEYOND = 24.0
"""Device hours of training beyond which a user at a terminal is asked."""


def cost_of(forecast: Forecast) -> list[str]:
    """Say how long what is left takes, and of what that is not known; empty where nothing is."""
    if not forecast.open_trials + forecast.open_searches:
        return []
    from kitsbench.reporting.words import about, listing, plural

    todo = plural(forecast.open_trials, "trial")
    if forecast.open_searches:
        todo += f" and {plural(forecast.open_searches, 'trial')} of the tuning before"
    lines = []
    if forecast.seconds:
        hours = forecast.device_hours
        much = f"{hours:,.0f} device hours" if hours >= 10 else f"about {about(3600 * hours)}"
        text = f"To do: {todo}, {much} of training"
        if forecast.wall_hours is not None and forecast.jobs is not None:
            each = "" if forecast.jobs == 1 else f", {forecast.jobs} at a time"
            text += f", about {about(3600 * forecast.wall_hours)} here{each}"
        lines.append(f"{text}; scoring comes on top.")
    if forecast.unknown and not forecast.seconds:
        lines.append(
            f"To do: {todo}. How long such a budget takes is known once some have finished, or "
            "after `kitsbench profile` in this working directory."
        )
    elif forecast.unknown:
        lines.append(
            f"Not in any estimate: {listing(list(forecast.unknown))}. Nothing tells how long such "
            "a budget takes until a trial has finished, or `kitsbench profile` has measured it in "
            "this working directory."
        )
    return lines


def go_on(forecast: Forecast, yes: bool) -> bool:
    """Tell the cost, and ask at a terminal whether to spend it where it is much.

    Parameters
    ----------
    forecast : Forecast
    yes : bool
        Nobody is asked.
    """
    for line in cost_of(forecast):
        tell(line)
    asked = sys.stdin.isatty() and sys.stderr.isatty()
    if yes or not asked or forecast.device_hours <= ASK_BEYOND:
        return True
    tell(
        "That is a lot. A smaller --budget, fewer --folds or --seeds, or fewer architectures take "
        "less; docs/budgets.md says what is worth most."
    )
    try:
        return click.confirm("Train all of it?", default=False, err=True)
    except click.Abort:  # Ctrl-C, or nothing more can be typed
        return False
