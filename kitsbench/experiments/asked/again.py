"""What was asked for, kept beside an experiment: so that more is asked for in fewer words.

``experiments/<id>/request.json`` holds a request as it was, with paths that mean the same in any
folder. ``run --experiment ID`` goes on with it, and ``run --add`` asks for it and more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    ValidationError,
    model_serializer,
)

from kitsbench.configuration import join_settings
from kitsbench.data.splits.rules import FILES as SPLIT_FILES
from kitsbench.data.splits.rules import without_inner
from kitsbench.errors import DataError, UsageError
from kitsbench.experiments.asked.request import Folds, Request, joined
from kitsbench.experiments.asked.search_space import check_shared
from kitsbench.files import as_json
from kitsbench.files.documents import Document
from kitsbench.files.foreign import brief
from kitsbench.registry import parse_request
from kitsbench.training.budget import Budget

HOW = {
    "workdir", "dataset", "layout", "strict", "device", "executor", "executor_options", "jobs",
    "timeout", "stall", "checkpoint_every", "max_memory", "command", "log", "max_hours",
}  # fmt: skip
"""What says where and how trials run, or where the same dataset lies now; not what they are."""

PLACE = ("dataset", "layout")
"""Of those: where the dataset lies now, which stays so."""

NOT_KEPT = ("workdir", "command", "all_installed")
"""Of a request: where its file lies, what its experiment says, and what stands there by name."""


class RequestRecord(Document):
    """``experiments/<id>/request.json``: what was asked for.

    Attributes
    ----------
    experiment : str
        Its id.
    options : dict
        By the names of :class:`~kitsbench.experiments.asked.request.Request`. One that is missing
        was not known when the file was written, and has its default.
    merged_from : str or None
        The working directory that it was merged from, until it is asked for here; not written where
        there is none. See :mod:`kitsbench.experiments.asked.elsewhere`.
    """

    remedy: ClassVar[str] = "Delete it and repeat the whole command: finished trials are kept."

    schema_version: Literal[1] = 1
    experiment: str = Field(pattern=r"^[0-9a-f]{16}$")
    options: dict[str, Any]
    merged_from: str | None = None

    @model_serializer(mode="wrap")
    def _without_silent(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = write(self)
        if self.merged_from is None:
            del content["merged_from"]
        return content


@dataclass(frozen=True)
class Design:
    """What an experiment comes to, as its own file says.

    Attributes
    ----------
    id : str
    folds : tuple of int
        Which were run.
    seeds : int
    budget : Budget
        Of a trial; like the others it may have been left open, and another machine or another
        kitsbench would choose another.
    """

    id: str
    folds: tuple[int, ...]
    seeds: int
    budget: Budget


def keep_request(
    file: Path,
    experiment: str,
    request: Request,
    names: Sequence[tuple[str, Mapping[str, Any]]],
    contents: Mapping[str, str] | None = None,
) -> None:
    """Write down what was asked for.

    Parameters
    ----------
    file : Path
    experiment : str
        Its id.
    request : Request
    names : sequence of (str, mapping)
        Architectures with their settings, those of ``--all`` among them: what is installed later
        was not asked for. The paths of files among their settings are absolute.
    contents : mapping of str to str, optional
        What is in those files, by their paths.
    """
    dataset, split = request.dataset, request.split
    if dataset is not None and not request.phantom:
        dataset = _whole(dataset)
    if split is not None:
        rule, inner = without_inner(split)
        if rule.lower().endswith(SPLIT_FILES):
            split = _whole(rule) + ("" if inner is None else f"/{inner}")
    named = tuple(dict.fromkeys(_written(name, settings) for name, settings in names))
    kept = asdict(replace(request, architectures=named, dataset=dataset, split=split))
    named_files = {str(value) for _, settings in names for value in settings.values()}
    known = {**request.contents, **(contents or {})}
    kept["contents"] = {path: known[path] for path in sorted(known) if path in named_files}
    # JSON knows no paths.
    kept["predictions"] = [
        {**asdict(one), "folder": _whole(str(one.folder))} for one in request.predictions
    ]
    options = {key: value for key, value in kept.items() if key not in NOT_KEPT}
    for key in ("contents", "log", "until", "max_hours"):  # who needs none has that of before
        if not options[key]:
            del options[key]
    RequestRecord(experiment=experiment, options=as_json(options)).write(file)


def read_request(file: Path, workdir: Path) -> Request:
    """Read what was asked for.

    Raises
    ------
    DataError
        The file is missing or damaged.
    """
    options = RequestRecord.read(file).options
    known = {field.name for field in fields(Request)}
    if unknown := next((key for key in options if key not in known), None):
        raise DataError(
            f"{file}: the key options.{brief(unknown)} is not known.\n{RequestRecord.remedy}"
        )
    content = json.dumps({**options, "workdir": str(workdir)})
    try:
        found = TypeAdapter(Request).validate_json(content, strict=True)
        for budget in (found.budget, found.tuning.budget if found.tuning else None):
            if budget is not None:
                Budget.parse(f"{budget.amount!r}{budget.unit}")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, ("options", *first["loc"])))
        raise DataError(
            f"{file}: the key {brief(key, 120)} is wrong: {first['msg']} (found "
            f"{brief(repr(first['input']))}).\n{RequestRecord.remedy}"
        ) from error
    except UsageError as error:
        raise DataError(f"{file}: {error}\n{RequestRecord.remedy}") from error
    return found


def go_on_with(before: Request, given: Mapping[str, Any], design: Design) -> Request:
    """Ask for the same again; only where and how it runs may be another.

    Parameters
    ----------
    before : Request
    given : mapping
        What this call says, by the names of a request.
    design : Design
        What was asked for before came to.

    Raises
    ------
    UsageError
        Something was given that makes an experiment another one.
    """
    if other := next((key for key in given if key not in HOW), None):
        raise UsageError(
            f"Experiment {design.id} goes on as it was asked for, and {_option(other)} was given "
            "besides. Say --add to make a new experiment of both, or leave --experiment out."
        )
    return _with(_settled(before, design), given)


def stays_asked(before: Request, given: Mapping[str, Any]) -> Request:
    """What is asked for from now on where an experiment goes on: how this call runs is not kept.

    Parameters
    ----------
    before : Request
    given : mapping
        What this call says, by the names of a request.
    """
    return replace(before, **{key: given[key] for key in PLACE if key in given})


def add_to(before: Request, given: Mapping[str, Any], design: Design) -> Request:
    """Ask for the same and more.

    Architectures, label maps that are given, and folds are added; seeds are their number in all, as
    everywhere. Whatever else is given, such as a budget, takes the place of what was asked for
    before.

    Parameters
    ----------
    before : Request
    given : mapping
        What this call says, by the names of a request.
    design : Design
        What was asked for before came to.

    Raises
    ------
    UsageError
        Nothing is added, or less is asked for than before.
    """
    given = dict(given)
    if not set(given) - HOW:
        raise UsageError(
            "--add was given, and nothing to add: name architectures, --seeds, --folds or another "
            f"--budget. `kitsbench run --experiment {design.id}` does what is left of it."
        )
    named = [_written(*parse_request(text)) for text in given.pop("architectures", ())]
    new = [name for name in dict.fromkeys(named) if name not in before.architectures]
    if "predictions" in given:
        again = {one.name for one in given["predictions"]}
        others = (one for one in before.predictions if one.name not in again)
        given["predictions"] = (*others, *given["predictions"])
    before = _settled(before, design)
    if "split" in given:
        before = replace(before, folds=None)  # of another split, whose folds are others
    elif "folds" in given:
        given["folds"] = _folds(design.folds, given["folds"])
    if "seeds" in given:  # a fixed design, whose trials may be there already
        before = replace(before, until=None, max_hours=None)
    elif "until" in given:
        before = replace(before, seeds=None)
    if given.get("seeds", design.seeds) < design.seeds:
        raise UsageError(
            f"Experiment {design.id} has {design.seeds} seeds, and --add --seeds {given['seeds']} "
            f"would take some away. --seeds is their number in all: say more than {design.seeds}, "
            "or leave --add out."
        )
    return _with(replace(before, architectures=(*before.architectures, *new)), given)


def _settled(before: Request, design: Design) -> Request:
    # Where nobody could take part there were no folds to run.
    folds = design.folds or before.folds
    # Who stops by itself has no number of seeds, but a largest one.
    seeds = design.seeds if before.until is None else None
    return replace(before, folds=folds, seeds=seeds, budget=design.budget)


def _with(before: Request, given: Mapping[str, Any]) -> Request:
    options = dict(given)
    same = options.get("executor", before.executor) == before.executor
    if same and "executor_options" in options:
        options["executor_options"] = joined(before.executor_options, options["executor_options"])
    elif not same:  # what one cluster understands says nothing to another
        options.setdefault("executor_options", {})
    found = replace(before, **options)
    check_shared(found.tuning, found.recipe)
    return found


def _folds(before: tuple[int, ...], given: Folds) -> Folds:
    return "all" if given == "all" else tuple(sorted({*before, *given}))


def _option(key: str) -> str:
    words = {"architectures": "an architecture", "all_installed": "--all", "tuning": "--tune"}
    return words.get(key, f"--{key.replace('_', '-')}")


def _written(name: str, settings: Mapping[str, Any]) -> str:
    own = str(Path(name).resolve()) if name.endswith(".py") else name
    listed = join_settings(settings)
    return f"{own}:{listed}" if listed else own


def _whole(path: str) -> str:
    return str(Path(path).expanduser().resolve())
