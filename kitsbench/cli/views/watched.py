"""What ``kitsbench watch`` shows."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from kitsbench.cli.output import page_width, print_rich, say, stdout_console
from kitsbench.cli.time_left import in_words
from kitsbench.cli.trial_table import Row, counted, number, overview, trial_table, wrapped

if TYPE_CHECKING:
    from rich.console import Group

    from kitsbench.experiments.workdir.watching import Look, SeenTrial, Watch

SAY_EVERY = 180.0  # seconds between two lines about the whole where there is no terminal
AT_WORK = ("starting", "training", "scoring")
NAMED = 3  # trials of which the same is said
FIRST = ("dead", "silent", "failed", "damaged", *AT_WORK, "finished", "queued", "waiting", "spared")
NOBODY = "No `kitsbench run` works on it: what waits is begun by `kitsbench run --experiment {id}`."


def row_of(trial: SeenTrial) -> Row:
    """What the table shows of a trial."""
    known = trial.progress
    working = trial.state in (*AT_WORK, "silent") and known is not None
    return Row(
        name=trial.name,
        fold=trial.fold,
        seed=str(trial.seed) if trial.setting is None else f"tuning {trial.setting}",
        state=trial.state,
        share=trial.share if trial.state != "starting" else None,
        left=known.left_s if working and known is not None else None,
        score=trial.score,
        loss=None if known is None else known.losses.get("loss"),
        device=known.device if working and known is not None else None,
    )


def show(watch: Watch, found: Look) -> None:
    """Print every trial, and how far all of them are."""
    print_rich(trial_table([row_of(trial) for trial in found.trials], page_width()))
    say(summary(watch, found))
    for line in remarks(watch, found, most=len(found.trials)):
        say(line)


def follow(watch: Watch, found: Look, interval: float) -> Look:
    """Show how far everything is until all of it is over; returns the last look."""
    return (_live if sys.stdout.isatty() else _lines)(watch, found, interval)


def _live(watch: Watch, found: Look, interval: float) -> Look:
    from rich.live import Live

    console = stdout_console()
    with Live(_screen(watch, found), console=console, auto_refresh=False) as live:
        live.refresh()
        while not found.over:
            time.sleep(interval)
            found = watch.look()
            live.update(_screen(watch, found), refresh=True)
    return found


def _screen(watch: Watch, found: Look) -> Group:
    """As many trials as the terminal has lines for, those first that somebody should look at."""
    from rich.console import Group

    console = stdout_console()
    said = remarks(watch, found, most=3)
    below = overview(found.share, None, found.left_s, summary(watch, found))
    room = max(console.height - 6 - 2 * len(said), 3)
    trials = sorted(found.trials, key=lambda trial: FIRST.index(trial.state))[:room]
    left_out = len(found.trials) - len(trials)
    more = [wrapped(f"... and {left_out} more", "dim")] if left_out else []
    table = trial_table([row_of(trial) for trial in trials], console.width)
    return Group(table, *more, below, *(wrapped(line) for line in said))


def _lines(watch: Watch, found: Look, interval: float) -> Look:
    """A line for each change, and now and then one about the whole."""
    before: dict[str, str] = {}
    said = time.monotonic()
    say(summary(watch, found))
    while True:
        for trial in found.trials:
            if trial.state != before.get(trial.id, "waiting"):
                say(_changed(trial))
        before = {trial.id: trial.state for trial in found.trials}
        if found.over:
            say(summary(watch, found))
            return found
        if time.monotonic() - said >= SAY_EVERY:
            said = time.monotonic()
            say(summary(watch, found))
        time.sleep(interval)
        found = watch.look()


def _changed(trial: SeenTrial) -> str:
    row = row_of(trial)
    more = "" if trial.score is None else f", score {number(trial.score)}"
    loss = "" if row.loss is None or trial.ended else f", loss {number(row.loss)}"
    why = f": {trial.reason or trial.message}" if trial.reason or trial.message else ""
    return f"{_name(trial)}: {trial.state}{loss}{more}{why}"


def _name(trial: SeenTrial) -> str:
    row = row_of(trial)
    place = row.seed if trial.setting is not None else f"seed {row.seed}"
    return f"{trial.name} fold {trial.fold} {place}"


def summary(watch: Watch, found: Look) -> str:
    """How many trials are in which state, and what is left, in a line."""
    counts = Counter(found.counts)
    running = sum(counts.pop(state, 0) for state in AT_WORK)
    told = counted({**counts, "running": running}) or "no trials yet"
    left = "" if found.left_s is None else f"; about {in_words(found.left_s)} left"
    tuning = "; a search for settings goes on" if found.searching else ""
    return f"Experiment {watch.experiment.id}: {told}{left}{tuning}."


def remarks(watch: Watch, found: Look, most: int) -> list[str]:
    """What somebody should know: why trials failed, who is gone, what the score is."""
    from kitsbench.reporting.words import listing

    groups: dict[tuple[str, str], list[SeenTrial]] = {}
    for trial in found.trials:
        if trial.state in ("failed", "dead", "silent", "damaged"):
            why = ": ".join(filter(None, [trial.reason, *trial.message.splitlines()[:1]]))
            groups.setdefault((trial.state, why), []).append(trial)
    lines = []
    for (state, why), trials in groups.items():
        names = [f"{_name(trial)} ({trial.id[:8]})" for trial in trials[:NAMED]]
        names += [f"{len(trials) - NAMED} more"] * (len(trials) > NAMED)
        verb = "is" if len(trials) == 1 else "are"
        lines.append(f"{listing(names)} {verb} {state}: {why}")
    left_out = len(lines) - most
    lines = lines[:most] + [f"... and {left_out} more"] * (left_out > 0)
    if any(trial.score is not None for trial in found.trials):
        endpoint = watch.experiment.endpoint
        lines.append(f"Score: mean {endpoint} of the held-out cases that were scored so far.")
    if not found.over and not found.runs and not found.counts["queued"]:
        lines.append(NOBODY.format(id=watch.experiment.id[:8]))
    return lines


def content(watch: Watch, found: Look) -> dict[str, Any]:
    """What ``kitsbench watch --json`` prints."""
    return {
        "workdir": str(watch.workdir),
        "experiment": watch.experiment.id,
        "endpoint": watch.experiment.endpoint,
        "runs": [str(holder) for holder in found.runs],
        "searching": found.searching,
        "over": found.over,
        "left_s": found.left_s,
        "states": dict(found.counts),
        "trials": [_trial_content(trial) for trial in found.trials],
    }


def _trial_content(trial: SeenTrial) -> dict[str, Any]:
    known = trial.progress
    return {
        "id": trial.id,
        "architecture": trial.name,
        "fold": trial.fold,
        "seed": trial.seed,
        "tuning": trial.setting,
        "state": trial.state,
        "reason": trial.reason or None,
        "message": trial.message or None,
        "host": trial.host,
        "score": trial.score,
        "took_s": trial.took,
        "progress": None
        if known is None
        else known.model_dump(mode="json", exclude={"schema_version", "trial", "sitting", "count"}),
    }
