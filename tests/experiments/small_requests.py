"""A request for trials that take seconds: the phantom in coarse voxels, on the CPU."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kitsbench.experiments.asked.request import Request
from kitsbench.training.budget import Budget


def small_request(
    workdir: Path, phantom: Path, architectures: Iterable[object], steps: int, **others: Any
) -> Request:
    """Ask for one fold of two and one seed, unless others are said.

    Parameters
    ----------
    workdir, phantom : path
    architectures : iterable
        Names, or files of plugins.
    steps : int
        Of each training run.
    **others
        Of :class:`~kitsbench.experiments.asked.request.Request`.
    """
    usual = {"split": "2", "folds": (0,), "seeds": 1, "patch": (16, 16, 16)}
    return Request(
        workdir=workdir,
        architectures=tuple(map(str, architectures)),
        dataset=str(phantom),
        spacing=(9.0, 9.0, 9.0),
        device="cpu",
        budget=Budget(steps, "steps"),
        **{**usual, **others},
    )
