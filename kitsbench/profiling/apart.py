"""Measuring in a process of its own, whatever is measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from kitsbench.errors import KitsbenchError
from kitsbench.isolation import IsolatedFailure, call_isolated


class Job(Protocol):
    """What is measured, and on what."""

    @property
    def name(self) -> str:
        """Name in tables."""


J = TypeVar("J", bound=Job)


def measured_apart(
    measure: Callable[[J], dict[str, Any]], job: J, timeout: float
) -> dict[str, Any]:
    """Measure in a process that takes nobody along, and whose peak of memory is its own.

    Parameters
    ----------
    measure : callable
        Importable from its module.
    job : Job
    timeout : float
        Seconds after which the process is stopped.

    Raises
    ------
    KitsbenchError
        The measurement failed; the message says why.
    """
    try:
        return dict(call_isolated(measure, job, timeout=timeout))
    except IsolatedFailure as error:
        raise KitsbenchError(f"{job.name} could not be measured: {error}") from error
