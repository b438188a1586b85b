"""Foreign code in a process of its own, so that it can harm nobody else.

In: a function and its arguments. Out: its answer, or one line on why there is none; every process
that it has started is ended.
"""

from kitsbench.isolation.calls import (
    BySignal,
    IsolatedFailure,
    Stopped,
    TooLong,
    call_isolated,
    each_isolated,
    exit_text,
    prints_on_stderr,
    stops_at_signals,
)
from kitsbench.isolation.keeper import die_with_parent, is_worker
from kitsbench.isolation.kept import process_context

__all__ = [
    "BySignal",
    "IsolatedFailure",
    "Stopped",
    "TooLong",
    "call_isolated",
    "die_with_parent",
    "each_isolated",
    "exit_text",
    "is_worker",
    "prints_on_stderr",
    "process_context",
    "stops_at_signals",
]
