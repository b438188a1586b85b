"""What ``kitsbench run --add`` and ``--experiment`` ask for, and what comes of it, in words."""

from __future__ import annotations

import os
import shlex
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any

import click

from kitsbench.cli.options import was_given
from kitsbench.errors import DataError, UsageError

STOPS = ("until", "question", "max_seeds", "spending", "futility")
"""Options of which a request holds one word: when it stops by itself."""

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kitsbench.experiments.asked.again import Design
    from kitsbench.experiments.asked.request import Request
    from kitsbench.experiments.asked.until import Until
    from kitsbench.experiments.records import ExperimentRecord, UntilNote


def ask_again(
    request: Request, name: str | None, add: bool
) -> tuple[Request, Request, ExperimentRecord]:
    """What an experiment asked for, with what this call says.

    Parameters
    ----------
    request : Request
        By this call alone.
    name : str or None
        The experiment's id or the first letters of it; None for the latest.
    add : bool
        Whether more is asked for.

    Returns
    -------
    Request, Request, ExperimentRecord
        What is done now, what stays asked for, and the experiment that it starts from.

    Raises
    ------
    UsageError
        There is no such experiment, or what this call says does not fit to it.
    DataError
        What it asked for was not kept, or cannot be read.
    """
    from kitsbench.experiments.asked.again import add_to, go_on_with, stays_asked

    before, said, design, record = kept_request(request.workdir, name, _said(request))
    if "until" in said:
        said["until"] = _until_again(before.until, said["until"])
    if add:
        found = add_to(before, said, design)
        found = replace(found, command=whole_command(found) or request.command)
        return found, found, record
    asked = stays_asked(before, said)
    found = go_on_with(before, said, design)
    command = whole_command(go_on_with(asked, {}, design)) or record.command
    return replace(found, command=command), asked, record


def _until_again(before: Until | None, now: Until) -> Until:
    """When a run stops by itself, with what this call does not say as it was."""
    if before is None:
        if was_given("until"):
            return now
        option = next(name for name in STOPS[1:] if was_given(name)).replace("_", "-")
        raise UsageError(
            f"--{option} was given without --until decided, and the experiment has a fixed design. "
            "Add --until decided, or leave it out."
        )
    kept = {name: getattr(before, name) for name in STOPS[1:] if not was_given(name)}
    if "question" in kept:
        kept["steps"] = before.steps
    return replace(now, **kept)


def kept_request(
    workdir: Path, name: str | None, said: Mapping[str, Any]
) -> tuple[Request, dict[str, Any], Design, ExperimentRecord]:
    """What an experiment asked for, and what it came to.

    Parameters
    ----------
    workdir : Path
    name : str or None
        The experiment's id or the first letters of it; None for the latest.
    said : mapping
        What this call says, by the names of a request.

    Returns
    -------
    Request
        What was asked for.
    dict
        What this call says besides what names again the code of an experiment from elsewhere.
    Design, ExperimentRecord
        What it came to.

    Raises
    ------
    UsageError
        There is no such experiment, or it came from elsewhere and would run what nobody has named.
    DataError
        What it asked for was not kept, or cannot be read.
    """
    from kitsbench.experiments.asked.again import Design, RequestRecord, read_request
    from kitsbench.experiments.asked.elsewhere import name_again
    from kitsbench.training.budget import Budget

    file, record = _kept_file(workdir, name)
    budget = Budget(record.budget.amount, record.budget.unit)
    design = Design(record.id, record.folds.used, record.seeds, budget)
    before, besides = read_request(file, workdir), dict(said)
    if (origin := RequestRecord.read(file).merged_from) is not None:
        before, besides = name_again(before, besides, record.id, origin)
    return before, besides, design, record


def kept_executor(workdir: Path, name: str | None) -> str:
    """The executor of an experiment, which goes on with it unless another one is named.

    Raises
    ------
    UsageError, DataError
        As of :func:`kept_request`.
    """
    from kitsbench.experiments.asked.again import read_request

    return read_request(_kept_file(workdir, name)[0], workdir).executor


def _kept_file(workdir: Path, name: str | None) -> tuple[Path, ExperimentRecord]:
    from kitsbench.experiments.records import find_experiment, request_file

    record = find_experiment(workdir, name)
    file = request_file(workdir, record.id)
    if not os.path.lexists(file):
        raise DataError(
            f"{file} is missing, which says what experiment {record.id} asked for: an earlier "
            f"kitsbench planned it. Its command was: {record.command}\nRepeat that once, with what "
            "is to be added; finished trials are kept."
        )
    return file, record


def _said(request: Request) -> dict[str, Any]:
    """What the running call says of a request, here or in a configuration file."""
    context = click.get_current_context()
    own = {param.name for param in context.command.params}
    said = {}
    for field in fields(request):
        value = getattr(request, field.name)
        # Made of several options, or of one and a section: what was left out is as it was.
        if field.name not in own or field.name in ("predictions", "until"):
            default = field.default_factory() if callable(field.default_factory) else field.default
            given = value != default
        else:
            source = context.get_parameter_source(field.name)
            given = source is not click.core.ParameterSource.DEFAULT and value not in ((), None)
        if given and field.name not in ("workdir", "command"):
            said[field.name] = value
    return said


def whole_command(request: Request) -> str | None:
    """The command that asks for all of a request at once; None where a file has to say a part."""
    from kitsbench.experiments.asked.search_space import SPACE, Tuning
    from kitsbench.experiments.asked.until import Until

    tuning, until = request.tuning, request.until
    stops = {} if until is None else {**asdict(until), "until": "decided"}
    if tuning is not None and tuning != Tuning(tuning.trials, dict(SPACE)):
        return None
    plain = (str, int, float)
    if not all(isinstance(one, plain) for one in request.executor_options.values()):
        return None
    words = ["kitsbench", "run"]
    for param in click.get_current_context().command.params:
        name = str(param.name)
        value = getattr(request, {"executor_option": "executor_options"}.get(name, name), None)
        if name in STOPS:
            value = stops.get(name)
            # What is as it would be without a word needs none.
            value = None if name != "until" and value == getattr(Until, name, None) else value
        if name == "tune":
            value = None if tuning is None else tuning.trials
        if value is None or value == param.default:
            continue
        if isinstance(param, click.Argument):
            words += value
        elif isinstance(param, click.Option) and param.multiple and isinstance(value, tuple):
            words += [word for one in value for word in (param.opts[0], str(one))]
        elif isinstance(value, bool):
            words += [param.opts[0]] * value
        elif isinstance(value, dict):
            pairs = (f"{key}={one}" for key, one in value.items())
            words += [word for pair in pairs for word in (param.opts[0], pair)]
        else:
            words += [param.opts[0], _written(value)]
    return shlex.join(words)


def _written(value: Any) -> str:
    from kitsbench.training.budget import Budget

    if isinstance(value, Budget):
        short = str(value)
        return short if Budget.parse(short) == value else f"{value.amount!r}{value.unit}"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value)


def told(before: ExperimentRecord | None, now: ExperimentRecord) -> list[str]:
    """What an experiment is beside the one that it starts from, in sentences.

    Parameters
    ----------
    before : ExperimentRecord or None
        None where it starts from none.
    now : ExperimentRecord
    """
    if before is None:
        return []
    if now.id == before.id:
        return [f"Experiment {before.id} of {before.created[:10]} goes on; nothing in it is new."]
    kept = len({trial.id for trial in before.trials} & {trial.id for trial in now.trials})
    lines = [
        f"Experiment {now.id} is {before.id} of {before.created[:10]} with "
        f"{differences(before, now)}.",
        f"It has {len(now.trials)} trials, and {kept} of the {len(before.trials)} of {before.id} "
        "are among them.",
    ]
    if kept < len(before.trials) and before.tuning is None:
        lines.append("The others differ in what is named above, so they are trials of their own.")
    return lines


def _other_looks(before: UntilNote | None, now: UntilNote | None) -> str:
    """How an experiment looks otherwise than the one before."""
    if now is None:
        return "a fixed design"
    if before is None:
        return "looks until all is decided"
    if before.told() != now.told():
        return f"the question '{now.told()}' instead of '{before.told()}'"
    return "another plan of looks"


def differences(before: ExperimentRecord, now: ExperimentRecord) -> str:
    """What tells an experiment from another, in a few words."""
    found = []
    old, new = ({e.name: e for e in one.entrants if e.asked} for one in (before, now))
    if added := [name for name in new if name not in old]:
        found.append(f"{', '.join(added)} added")
    for name in old.keys() & new.keys():
        if (old[name].version, old[name].source_hash) != (new[name].version, new[name].source_hash):
            found.append(f"another source of {name}")
    if before.folds.split_id != now.folds.split_id:
        found.append("another split of its cases")
    elif before.folds.used != now.folds.used:
        found.append(f"folds {', '.join(map(str, now.folds.used))}")
    if before.seeds != now.seeds:
        found.append(f"{now.seeds} seeds instead of {before.seeds}")
    if before.until != now.until:
        found.append(_other_looks(before.until, now.until))
    for what, first, second in (
        ("budget", before.budget.text, now.budget.text),
        ("recipe", before.recipe_name, now.recipe_name),
        ("protocol", before.protocol, now.protocol),
        ("endpoint", before.endpoint, now.endpoint),
        ("device", before.device.kind, now.device.kind),
    ):
        if first != second:
            found.append(f"{what} {second} instead of {first}")
    if before.dataset.fingerprint != now.dataset.fingerprint:
        found.append("other data")
    return "; ".join(found) or "other settings"
