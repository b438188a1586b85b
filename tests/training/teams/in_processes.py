"""Processes of a test that answer by rank."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kitsbench.isolation import process_context


def answers_by_rank(work: Callable[..., None], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Run ``work(*arguments, queue)`` in a process each; what they put there, without the rank."""
    context = process_context()
    answers = context.Queue()
    others = [context.Process(target=work, args=(*own, answers)) for own in arguments]
    for process in others:
        process.start()
    found = sorted((answers.get(timeout=120) for _ in others), key=lambda one: one[0])
    for process in others:
        process.join()
    return [one[1:] for one in found]
