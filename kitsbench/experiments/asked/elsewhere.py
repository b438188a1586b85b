"""What came from another working directory runs nothing of it before a user has named that here.

A request may name plugins' files, which are imported, and a cluster's options, which are run: as
``setup``, in a ``container``, by another ``python``. Whoever merges trials has agreed to no code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kitsbench.errors import UsageError
from kitsbench.experiments.asked.request import Request
from kitsbench.files.foreign import brief
from kitsbench.registry import parse_request


def name_again(
    before: Request, given: Mapping[str, Any], experiment: str, origin: str
) -> tuple[Request, dict[str, Any]]:
    """Put what this call names in the place of what would run otherwise.

    Parameters
    ----------
    before : Request
        What was asked for there.
    given : mapping
        What this call says, by the names of a request: each file of a plugin by its path, or, where
        it lies elsewhere on this machine, by a path that ends in the same name; and an executor
        with its options.
    experiment : str
        Its id.
    origin : str
        Where it came from.

    Returns
    -------
    Request
        It runs only what was named here.
    dict
        What this call says besides.

    Raises
    ------
    UsageError
        Something that would run was not named.
    """
    said = dict(given)
    named = [(text, *parse_request(text)) for text in said.pop("architectures", ())]
    asked = [parse_request(text) for text in before.architectures]
    theirs = dict.fromkeys(name for name, _ in asked if name.endswith(".py"))
    own = {file: _own(file, list(theirs), [name for _, name, _ in named]) for file in theirs}
    faults = [
        f"your {brief(Path(file).name, 100)} as ARCH ({brief(file, 200)} would be imported)"
        for file, found in own.items()
        if found is None
    ]
    if before.executor != "local" and "executor" not in said:
        options = ", ".join(f"{key}={brief(one)}" for key, one in before.executor_options.items())
        faults.append(
            f"--executor {before.executor} with its options, or --executor local (trials would be "
            f"started by {before.executor}{f' with {options}' * bool(options)})"
        )
    if faults:
        raise UsageError(
            f"Experiment {experiment} was merged from {brief(origin, 200)}, and nothing that it "
            f"names runs before you name it here. Say once, with `kitsbench run --experiment "
            f"{experiment}`: {'; '.join(faults)}."
        )
    if before.executor != "local":
        named_here = said.get("executor_options", {})  # nothing of theirs is joined to these
        before = replace(before, executor=said["executor"], executor_options=named_here)
    whole = tuple(
        f"{own.get(name) or name}{text.strip()[len(name) :]}"
        for text, (name, _) in zip(before.architectures, asked, strict=True)
    )
    files = set(own.values())
    rest = [
        text
        for text, name, settings in named
        if not (str(Path(name).resolve()) in files and _only_named(name, settings, asked, own))
    ]
    if rest:
        said["architectures"] = tuple(rest)
    return replace(before, architectures=whole), said


def _own(file: str, theirs: Sequence[str], given: Sequence[str]) -> str | None:
    """The file that a user has named for one of theirs; None if there is none."""
    paths = list(dict.fromkeys(Path(name).resolve() for name in given if name.endswith(".py")))
    if Path(file).resolve() in paths:
        return str(Path(file).resolve())
    fitting = [path for path in paths if path.name == Path(file).name]
    alone = sum(Path(other).name == Path(file).name for other in theirs) == 1
    return str(fitting[0]) if alone and len(fitting) == 1 else None


def _only_named(
    name: str,
    settings: Mapping[str, str],
    asked: Sequence[tuple[str, Mapping[str, str]]],
    own: Mapping[str, str | None],
) -> bool:
    """Whether a file is given to name it, not to add an architecture of other settings."""
    file = str(Path(name).resolve())
    return not settings or any(own.get(o) == file and dict(s) == settings for o, s in asked)
