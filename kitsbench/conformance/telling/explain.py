"""What a hook raised, in a sentence: which hook, which line, and what to do."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import cast, get_args

import kitsbench
from kitsbench.conformance.telling import places
from kitsbench.conformance.outcome import Place
from kitsbench.conformance.driven.subject import Subject
from kitsbench.errors import KitsbenchError, telling
from kitsbench.training.failures import TrialFailure

HOOKS = {*get_args(Place), "__init__"} - {"class"}
PACKAGE = Path(kitsbench.__file__).parent
HERE = Path(__file__).parents[1]  # the checks and what they drive


def failure(error: Exception, subject: Subject) -> str:
    """What went wrong in a hook or in a training, where, and what to do."""
    if isinstance(error, TrialFailure):
        return _of_training(error, subject)
    if isinstance(error, KitsbenchError):
        return _of_kitsbench(error, subject)
    hook = hook_of(error.__traceback__, subject.architecture)
    place = places.of_error(error, subject.architecture)
    who = f"{hook}()" if hook else "a hook"
    return f"{who} raised {telling(error)}{' ' * bool(place)}{place}: {remedy(error, subject)}."


def _of_kitsbench(error: Exception, subject: Subject) -> str:
    """A rule that was broken, with the hook that its sentence begins with."""
    said = str(error)
    hook = said.partition("()")[0]
    if hook not in get_args(Place):
        return said
    where = places.of_hook(cast(Place, hook), subject.architecture, subject.built)
    return f"{said} See {where}." if where else said


def _of_training(error: TrialFailure, subject: Subject) -> str:
    """A failure by the code of a run, which names the hook and not the line."""
    cause: BaseException | None = error
    while isinstance(cause, TrialFailure):
        cause = cause.__cause__
    said = str(error).rstrip(".")
    if isinstance(cause, Exception):
        place = places.of_error(cause, subject.architecture)
        said += f"{' ' * bool(place)}{place}: {remedy(cause, subject)}"
    return f"training by the code of `kitsbench run` fails ({error.reason}): {said}."


def hook_of(trace: TracebackType | None, architecture: object) -> str:
    """Name of the outermost hook on a stack: the plugin's, or its default."""
    own = places.folder_of(architecture)
    while trace is not None:
        code = trace.tb_frame.f_code
        file = code.co_filename
        # A check may be called like a hook, and this package holds the defaults of some.
        ours = places.is_within(file, own) or places.is_within(file, PACKAGE)
        if code.co_name in HOOKS and ours and not places.is_within(file, HERE):
            return "build" if code.co_name == "__init__" else code.co_name
        trace = trace.tb_next
    return ""


def remedy(error: Exception, subject: Subject) -> str:
    """What to do about an exception."""
    if isinstance(error, KeyError):
        try:
            heads = ", ".join(head.name for head in subject.spec.heads)
            grids = ", ".join(grid.name for grid in subject.spec.grids)
        except Exception:
            return "ask for names that are there"
        return (
            f"outputs, targets and probabilities have the names of the spec's heads ({heads}; "
            f"evaluation may leave auxiliary ones out), inputs and labels of its grids ({grids})"
        )
    return "repair it"
