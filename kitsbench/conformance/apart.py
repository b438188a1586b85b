"""The checks in a process of their own: a plugin may end it, or never come back."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kitsbench.configuration import Setting
from kitsbench.conformance.outcome import Outcome, Report
from kitsbench.conformance.runner import check
from kitsbench.errors import UsageError
from kitsbench.isolation import IsolatedFailure, call_isolated
from kitsbench.registry import find
from kitsbench.registry.plugins_apart import time_limit
from kitsbench.spec import Task

COMPILING = 600.0  # seconds


def check_apart(
    name: str,
    settings: Mapping[str, Setting],
    task: Task,
    progress: Callable[[str], object] = lambda what: None,
    *,
    compile: bool = False,
) -> Report:
    """Run all checks on one architecture, in another process.

    Parameters
    ----------
    name : str
        A registered name, or the path of a Python file.
    settings : mapping
    task : Task
    progress : callable
        Called with each check's name before it runs.
    compile : bool
        Train through ``torch.compile`` as well.

    Returns
    -------
    Report
        Of a single failed check where the plugin's code ended the process or took too long.

    Raises
    ------
    UsageError
        Unknown name, file, or setting.
    """
    current = "loads"

    def hear(what: str) -> None:
        nonlocal current
        current = what
        progress(what)

    try:
        # A compiler takes its time, and no plugin's code runs meanwhile.
        limit = max(time_limit(), COMPILING) if compile else time_limit()
        found = call_isolated(_check, name, settings, task, compile, timeout=limit, hear=hear)
    except IsolatedFailure as error:
        return Report(find(name).shown, (Outcome(current, False, f"meanwhile {error}"),))
    if isinstance(found, str):
        raise UsageError(found)
    report: Report = found
    return report


def _check(
    say: Callable[[str], None],
    name: str,
    settings: Mapping[str, Setting],
    task: Task,
    compile: bool,
) -> Report | str:
    try:
        return check(name, settings, task, compile=compile, progress=say)
    except UsageError as error:
        return str(error)
