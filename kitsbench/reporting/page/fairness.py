"""Was the fight fair: what each training spent, stage by stage, and who had no budget here."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kitsbench.data.datasets.leaks import NOTHING
from kitsbench.experiments.records import LedgerRecord
from kitsbench.experiments.stored_trial import StoredTrial
from kitsbench.reporting import words
from kitsbench.reporting.analysis import Analysis
from kitsbench.reporting.tables import Table
from kitsbench.training.ledger import StageRow


def audit(analysis: Analysis) -> tuple[Table, str]:
    """What each architecture spent, and one sentence that judges it.

    Parameters
    ----------
    analysis : Analysis

    Returns
    -------
    table : Table
        Means over the finished trials of each architecture; the overshoot is the largest.
    sentence : str
    """
    rows = []
    shares: list[float] = []
    overshoots: list[float] = []
    energies: list[float | None] = []  # a column only where a device reports it
    numbers: list[str] = []  # a column only where trials ran on GPUs, or did not in float32
    adapting: list[float | None] = []  # a column only where somebody adapts at test time
    for name in analysis.names:
        done = [t for t in analysis.results.trials if _done(t, name)]
        ledgers = [t.ledger for t in done if t.ledger is not None]
        if not done:
            continue
        adapted = sum(_values(ledgers, "adaptation_cases"))
        adapting.append(sum(_values(ledgers, "adaptation_s")) / adapted if adapted else None)
        if not all(t.trained for t in done):
            # An ensemble trains nothing itself: its row has what its members spent together, which
            # also stands in theirs. What was trained elsewhere nobody measured the training of.
            memory = max(
                _values(ledgers, "inference_peak_memory_bytes")
                or _values(ledgers, "peak_memory_bytes"),
                default=None,
            )
            sums = _of_members(done, analysis)
            role = analysis.role(name) or "ensemble"
            energies.append(None)
            numbers.append(words.DASH)
            rows.append([f"{name}\n{role}", str(len(done)), *sums, words.memory(memory)])
            continue
        energies.append(_mean(ledgers, "energy_joules"))
        numbers.append(_numbers(ledgers))
        shares += _values(ledgers, "budget_spent_fraction")
        overshoots += _values(ledgers, "overshoot_steps")
        wall = _mean(ledgers, "wall_s")
        wait = _mean(ledgers, "loader_wait_s")
        busy = (_mean(ledgers, "device_seconds") or 0.0) + (wait or 0.0)
        share = wait / busy if wait is not None and busy else None
        planted = analysis.role(name) if name in analysis.planted else ""
        rows.append(
            [
                f"{name}\n{planted}".rstrip("\n"),
                str(len(ledgers)),
                f"{words.duration(_mean(ledgers, 'device_seconds'))}\n{words.duration(wall)}",
                words.percent(_mean(ledgers, "budget_spent_fraction"), 1),
                words.big(_mean(ledgers, "steps")),
                words.big(_mean(ledgers, "voxels")),
                words.big(_mean(ledgers, "flops"), "FLOP"),
                words.number(max(_values(ledgers, "overshoot_steps"), default=None), 2),
                words.big(_mean(ledgers, "patches_per_s")),
                f"{words.duration(wait)}\n{words.percent(share)}",
                words.memory(max(_values(ledgers, "peak_memory_bytes"), default=None)),
            ]
        )
    head = [
        "Architecture",
        "Trials",
        "Device time, wall time",
        "Of budget",
        "Steps",
        "Voxels",
        "Compute",
        "Overshoot (steps)",
        "Patches/s",
        "Loader wait",
        "Peak memory",
    ]
    if any(not words.missing(energy) for energy in energies):
        head.append("Energy")
        for row, energy in zip(rows, energies, strict=True):
            row.append(words.big(energy, "J"))
    if any(seconds is not None for seconds in adapting):
        head.append("Adapting to a scan")
        for row, seconds in zip(rows, adapting, strict=True):
            row.append(words.DASH if seconds is None else words.duration(seconds))
    trained = [t.ledger for t in analysis.results.trials if t.ledger is not None and t.trained]
    if any(ledger.device != "cpu" or ledger.precision != "float32" for ledger in trained):
        head.append("Precision, layout")
        for row, own in zip(rows, numbers, strict=True):
            row.append(own)
    caption = (
        "Means over the finished trials of each architecture; overshoot and memory are the "
        "largest. Device time counts everything the method does; below it is the wall time, which "
        "holds scoring, checkpoints and waiting for batches as well. An ensemble costs what its "
        "members cost together; their rows have it, too; its memory is its own. Below the "
        "loader wait is its share of device time and wait together. On a CPU, memory is that of "
        "the whole process. "
        "Energy, where a device reports it, is that of the whole device while it trains."
    )
    if "Adapting to a scan" in head:
        caption += " Adapting to a scan is done at test time, and no budget counts it."
    return Table(head, rows, caption, answers=(3, 4)), _judgement(shares, overshoots, analysis)


def _of_members(ensembles: Sequence[StoredTrial], analysis: Analysis) -> list[str]:
    """Cells of what the members of an ensemble spent together, mean over its trials."""
    known = {trial.planned.id: trial.ledger for trial in analysis.results.trials}
    sums: dict[str, list[float]] = {}
    keys = ("device_seconds", "wall_s", "steps", "voxels", "flops")
    for trial in ensembles:
        record = trial.record
        own = [] if record is None else [known.get(member) for member in record.identity.members]
        # A network that is mirrored otherwise at test time is the one member of an entrant.
        if len(own) < 2 or None in own:
            return [words.DASH] * 8
        for key in keys:
            values = _values([ledger for ledger in own if ledger is not None], key)
            if len(values) == len(own):
                sums.setdefault(key, []).append(sum(values))
    mean = {key: sum(values) / len(values) for key, values in sums.items()}
    device, wall = (words.duration(mean.get(key)) for key in keys[:2])
    return [
        f"{device}\n{wall}",
        "sum of members",
        words.big(mean.get("steps")),
        words.big(mean.get("voxels")),
        words.big(mean.get("flops"), "FLOP"),
        *[words.DASH] * 3,
    ]


def elsewhere(analysis: Analysis) -> Table | None:
    """What predicting costs everybody, beside what was trained elsewhere, and on what.

    Parameters
    ----------
    analysis : Analysis

    Returns
    -------
    Table or None
        None where everybody was trained here.
    """
    if not analysis.elsewhere:
        return None
    rows = []
    for name in analysis.names:
        done = [t for t in analysis.results.trials if _done(t, name)]
        ledgers = [t.ledger for t in done if t.ledger is not None]
        tested = sum(len(t.record.context.test_cases) for t in done if t.record is not None)
        known = analysis.elsewhere.get(name)
        spent = sum(_values(ledgers, "inference_s"))
        scans = sum(_values(ledgers, "inference_cases"))
        own = words.duration(spent / scans) if scans else words.DASH
        if known is None:
            training = "in the audit" if any(t.trained for t in done) else "its members'"
        elif known.hours is not None:
            training = f"{known.hours:g} h, as reported"
        elif tuple(known.trained_on) == (NOTHING,):
            training = "none"
        else:
            training = "elsewhere, unknown"
        given = known is not None and known.kind == "predictions"
        # Of label maps that were kept from before, or made by others, reading alone took time.
        kept = given or (known is not None and not scans)
        whole = 0.0 if kept else sum(_values(ledgers, "prediction_s"))
        peaks = [] if given else _values(ledgers, "inference_peak_memory_bytes")
        rows.append(
            [
                name,
                "here" if known is None else "; ".join(known.trained_on),
                training,
                "unknown" if given else own,
                words.duration(whole / tested) if tested and not kept else words.DASH,
                words.memory(max(peaks, default=None)),
            ]
        )
    head = [
        "Entrant",
        "Trained on",
        "Cost of training",
        "Predicting a scan",
        "With reading and scoring",
        "Peak memory",
    ]
    caption = (
        "Who was trained elsewhere has no budget here. Predicting a scan is the time inside "
        "predict(); with reading and scoring it can be compared with networks that were trained "
        "here. Memory is that of predicting; on a GPU what torch allocates, so that of programs "
        "which a system starts is not in it. Of given label maps nobody measured what predicting "
        "took."
    )
    return Table(head, rows, caption, text_columns=3)


def _numbers(ledgers: Sequence[LedgerRecord]) -> str:
    """What networks were computed in, how their weights lay, and what was compiled."""
    precisions = ", ".join(dict.fromkeys(ledger.precision for ledger in ledgers))
    names = {"contiguous": "contiguous", "channels_last_3d": "channels last", None: words.DASH}
    layouts = ", ".join(dict.fromkeys(names[ledger.layout] for ledger in ledgers))
    compiled = ", compiled" if any(ledger.compiled for ledger in ledgers) else ""
    return f"{precisions}\n{layouts}{compiled}"


def _judgement(shares: list[float], overshoots: list[float], analysis: Analysis) -> str:
    outside = ""
    if analysis.planted:
        told = [f"{name} ({what})" for name, what in analysis.planted.items()]
        one = len(told) == 1
        outside = (
            f" {words.listing(told)} {'was' if one else 'were'} planted as "
            f"{'a control' if one else 'controls'}, whose outcome was known before."
        )
    if analysis.elsewhere:
        told = [f"{name} ({known.told()})" for name, known in analysis.elsewhere.items()]
        outside += f" No budget held for {words.listing(told)}."
    if not shares:
        if any(t.state == "finished" for t in analysis.results.trials):
            return f"Nothing was trained here.{outside}"
        if any(t.state == "held" for t in analysis.results.trials):
            return f"What trials have spent that wait for their look is shown after it.{outside}"
        return f"No trial has finished, so nothing was spent that could be compared.{outside}"
    text = analysis.results.experiment.budget.text
    low, high = words.percent(min(shares), 1), words.percent(max(shares), 1)
    span = low if low == high else f"between {low} and {high}"
    late = ""
    if overshoots:
        most = max(1, math.ceil(max(overshoots) - 1e-9))
        over = max(overshoots) > 1e-9
        late = ", and no trial went over it"
        late += f" by more than {words.plural(most, 'step')}" if over else ""
    if min(shares) < 0.98:
        return (
            f"Not every trial used its budget of {text}: the trials spent {span} of it{late}. "
            f"Compare with care.{outside}"
        )
    return f"Every finished training spent {span} of its budget of {text}{late}.{outside}"


def stages(analysis: Analysis) -> Table | None:
    """What each stage of training spent and trained, and why it ended.

    Parameters
    ----------
    analysis : Analysis

    Returns
    -------
    Table or None
        None where every architecture trained in one stage and no plateau lowered a learning rate.
    """
    rows = []
    for entrant in analysis.names:
        ledgers = [
            t.ledger
            for t in analysis.results.trials
            if _done(t, entrant) and t.trained and t.ledger is not None
        ]
        if not any(len(x.stages) > 1 or x.lr_reductions for x in ledgers):
            continue
        names = dict.fromkeys(row.name for x in ledgers for row in x.stages)
        rows += [_stage(entrant, name, ledgers) for name in names]
    if not rows:
        return None
    head = ["Architecture", "Stage", "Steps", "Device time", "Trained", "Frozen", "Learning rate"]
    caption = (
        "Means over the finished trials; trained and frozen are numbers of parameters. Below the "
        "stage is why it ended, below the steps their range. A plateau lowers the learning rate "
        "when the loss no longer falls; the steps at which it did are those of the first trial "
        "where it did."
    )
    return Table([*head, "Plateaus"], rows, caption, text_columns=2)


def _stage(entrant: str, name: str, ledgers: list[LedgerRecord]) -> list[str]:
    own = [row for x in ledgers for row in x.stages if row.name == name]
    falls = [[fall for fall in x.lr_reductions if fall.stage == name] for x in ledgers]
    first = next((found for found in falls if found), [])
    steps = _values(own, "steps")
    span = f"{min(steps):.0f} to {max(steps):.0f}" if len(set(steps)) > 1 else ""
    reasons = "; ".join(dict.fromkeys(str(row.ended_because) for row in own))
    where = ", ".join(str(fall.step) for fall in first[:6]) + (" …" if len(first) > 6 else "")
    return [
        entrant,
        f"{name}\n{reasons}",
        f"{words.big(_mean(own, 'steps'))}\n{span}".rstrip("\n"),
        words.duration(_mean(own, "device_seconds")),
        words.big(_mean(own, "trained_parameters")),
        words.big(_mean(own, "frozen_parameters")),
        f"{own[0].lr}\n{own[0].schedule}",
        f"{len(first)} (step {where})\nto {first[-1].factor:.3g} of it" if first else "0",
    ]


def _done(trial: StoredTrial, name: str) -> bool:
    return trial.state == "finished" and trial.name == name and trial.ledger is not None


def _values(rows: Sequence[LedgerRecord | StageRow], key: str) -> list[float]:
    values = [getattr(row, key) for row in rows]
    return [float(value) for value in values if value is not None]


def _mean(rows: Sequence[LedgerRecord | StageRow], key: str) -> float | None:
    values = _values(rows, key)
    return sum(values) / len(values) if values else None
