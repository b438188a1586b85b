"""What a hook raised, in a sentence: which hook, which line, and what to do."""

from __future__ import annotations

import dis
import signal
from pathlib import Path
from types import TracebackType
from typing import cast, get_args

import kitsbench
from kitsbench.conformance.driven.source import folder_of, is_within
from kitsbench.conformance.driven.subject import Subject
from kitsbench.conformance.outcome import Place
from kitsbench.conformance.telling import places
from kitsbench.errors import KitsbenchError, Terminated, telling
from kitsbench.isolation import is_worker
from kitsbench.training.failures import TrialFailure

HOOKS = {*get_args(Place), "__init__"} - {"class"}
PACKAGE = Path(kitsbench.__file__).parent
HERE = Path(__file__).parents[1]  # the checks and what they drive
# Hooks, and parts of a training, in which the names of heads and grids are asked for.
NAMING = {"forward", "targets", "loss", "decode", "postprocess", "step", "adapt"}


def failure(error: BaseException, subject: Subject) -> str:
    """What went wrong in a hook or in a training, where, and what to do."""
    if isinstance(error, TrialFailure):
        return _of_training(error, subject)
    if isinstance(error, KitsbenchError):
        return _of_kitsbench(error, subject)
    hook = hook_of(error.__traceback__, subject.architecture)
    place = places.of_error(error, subject.architecture)
    who = f"{hook}()" if hook else "a hook"
    what = f"{who} raised {telling(error)}{' ' * bool(place)}{place}"
    return f"{what}: {remedy(error, hook, subject)}."


def is_the_users(error: BaseException) -> bool:
    """Whether a user or the system stops this process; a plugin may raise the same classes.

    A signal interrupts whatever runs, and a plugin raises in a statement of its own.
    """
    if isinstance(error, Terminated):
        return True
    if not isinstance(error, KeyboardInterrupt) or is_worker():
        return False
    return type(error) is not KeyboardInterrupt or not _is_raised(error)


def _is_raised(error: BaseException) -> bool:
    """Whether a statement ``raise`` made an exception, and not the handler of a signal."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return False
    code = trace.tb_frame.f_code
    if getattr(signal.getsignal(signal.SIGINT), "__code__", None) is code:
        return False
    here = (one for one in dis.get_instructions(code) if one.offset == trace.tb_lasti)
    return any(one.opname == "RAISE_VARARGS" for one in here)


def _of_kitsbench(error: Exception, subject: Subject) -> str:
    """A rule that was broken, with the hook that its sentence begins with."""
    said = str(error)
    hook = said.partition("()")[0]
    if hook not in get_args(Place):
        return said
    cause = error.__cause__
    place = places.of_error(cause, subject.architecture) if cause is not None else ""
    if cause is not None and place:
        return f"{said.rstrip('.')} {place}: {remedy(cause, hook, subject)}."
    where = places.of_hook(cast(Place, hook), subject.architecture, subject.built)
    return f"{said} See {where}." if where else said


def _of_training(error: TrialFailure, subject: Subject) -> str:
    """A failure by the code of a run, which names the hook and not the line."""
    cause: BaseException | None = error
    while isinstance(cause, TrialFailure):
        cause = cause.__cause__
    said = str(error).rstrip(".")
    if cause is not None:
        hook = said.partition("()")[0]
        place = places.of_error(cause, subject.architecture)
        said += f"{' ' * bool(place)}{place}: {remedy(cause, hook, subject)}"
    return f"training by the code of `kitsbench run` fails ({error.reason}): {said}."


def hook_of(trace: TracebackType | None, architecture: object) -> str:
    """Name of the outermost hook on a stack: the plugin's, or its default."""
    own = folder_of(architecture)
    while trace is not None:
        code = trace.tb_frame.f_code
        file = code.co_filename
        # A check may be called like a hook, and this package holds the defaults of some.
        ours = is_within(file, own) or is_within(file, PACKAGE)
        if code.co_name in HOOKS and ours and not is_within(file, HERE):
            return "build" if code.co_name == "__init__" else code.co_name
        trace = trace.tb_next
    return ""


def remedy(error: BaseException, hook: str, subject: Subject) -> str:
    """What to do about an exception.

    Parameters
    ----------
    error : BaseException
    hook : str
        In which it arose: a hook, ``optimiser``, or nothing where that is not known.
    subject : Subject
    """
    if not isinstance(error, Exception):
        return "raise an Exception: this one is for whoever runs the process, and ends it"
    if not isinstance(error, KeyError):
        return "repair it"
    if hook in NAMING:
        try:
            heads = ", ".join(head.name for head in subject.spec.heads)
            grids = ", ".join(grid.name for grid in subject.spec.grids)
        except Exception:
            return "ask for names that are there"
        return (
            f"outputs, targets and probabilities have the names of the spec's heads ({heads}; "
            f"evaluation may leave auxiliary ones out), inputs and labels of its grids ({grids})"
        )
    if hook == "weights":
        return (
            "files has the keys of the files that are given, none at times, and tensors have the "
            "names of network.state_dict()"
        )
    if hook in ("spec", "build"):
        return f"config and spec have the keys {', '.join(subject.config)}"
    return "ask for names that are there"
