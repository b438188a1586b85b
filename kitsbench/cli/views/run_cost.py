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


SURROUNDINGS = "starting, evaluation, prediction, scoring and the report"
HOW_GOOD = {
    "trials like it": "as trials like them took here",
    "other trials": "as other trials took here, so it may be well off",
    "profile": "by profiles and the sizes of the scans, so it may be well off",
    "rough": "a rough guess, since nothing like it has finished here yet",
}


def cost_of(forecast: Forecast, price: float | None = None) -> list[str]:
    """Say how long what is left takes, and of what that is not known; empty where nothing is.

    Parameters
    ----------
    forecast : Forecast
    price : float, optional
        Of an hour of a device, in whatever currency.
    """
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
        known = forecast.basis in HOW_GOOD
        if forecast.wall_hours is not None and forecast.jobs is not None:
            each = "" if forecast.jobs == 1 else f", {forecast.jobs} at a time"
            text += f", about {about(3600 * forecast.wall_hours)} here{each}"
        elif known:
            text += f", about {about(3600 * forecast.held_hours)} of devices in all"
        text += f", with {SURROUNDINGS}" if known else f"; {SURROUNDINGS} come on top"
        lines.append(f"{text}.")
        if known:
            what = "That" if forecast.rough else "The time around training"
            lines.append(f"{what} is {HOW_GOOD[forecast.basis]}.")
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
    if price is not None and forecast.seconds:
        more = "" if forecast.basis in HOW_GOOD and not forecast.unknown else " at least"
        lines.append(
            f"Cost:{more} {price * forecast.held_hours:,.2f} for {forecast.held_hours:,.2f} device "
            f"hours at {price:g} an hour."
        )
    return lines


def cost_row(forecast: Forecast, price: float | None) -> dict[str, float | None]:
    """The same cost for JSON; empty where no price was given, None where a part is not known."""
    if price is None:
        return {}
    known = forecast.basis in HOW_GOOD and not forecast.unknown
    return {"price_per_hour": price, "cost": price * forecast.held_hours if known else None}


def disk_of(forecast: Forecast) -> list[str]:
    """Say how much the trials will leave on the disk, where it is known."""
    if not forecast.open_trials or not forecast.disk:
        return []
    size = forecast.disk
    much = f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{max(size / 2**20, 0.1):.1f} MiB"
    return [f"Disk: about {much} more for weights, label maps and scores."]


def go_on(forecast: Forecast, yes: bool, price: float | None = None) -> bool:
    """Tell the cost, and ask at a terminal whether to spend it where it is much.

    Parameters
    ----------
    forecast : Forecast
    yes : bool
        Nobody is asked.
    price : float, optional
        Of an hour of a device.
    """
    for line in cost_of(forecast, price):
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
