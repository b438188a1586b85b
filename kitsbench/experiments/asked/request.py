"""What one call of ``kitsbench run`` asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kitsbench.experiments.asked.predictions import Predictions
from kitsbench.experiments.asked.search_space import Tuning
from kitsbench.experiments.asked.until import Until
from kitsbench.training.budget import Budget

Folds = tuple[int, ...] | Literal["all"]
Tell = Callable[[str], None]  # a line for the user
Count = Callable[[str, int, int], None]  # (what, done, total)


@dataclass(frozen=True)
class Request:
    """An experiment as it was asked for.

    What is None was left open; :mod:`kitsbench.experiments.asked.resolve` decides it.

    Parameters
    ----------
    architectures : tuple of str
        ``ARCH[:key=value,...]``; with ``all_installed`` also none.
    all_installed : bool
        Every installed architecture takes part.
    workdir : Path
    dataset : str or None
        A folder, or None (or ``phantom``) for the built-in phantom.
    layout : str or None
        The folder's layout where it cannot be detected.
    recipe : {"matched", "paper"}
    budget : Budget or None
    max_memory : int or None
        Bytes.
    compile : bool
        Train through ``torch.compile``.
    precision : {"auto", "float32", "bfloat16", "float16"}
        What networks are computed in; ``auto`` is what the device is made for.
    folds : tuple of int, "all" or None
        Which folds are run.
    split : str or None
        Rule, number of folds, or file of the split: see :mod:`kitsbench.data.splits.rules`.
    seeds : int or None
    device : str
        ``auto``, ``cpu``, ``cuda``, or GPUs such as ``cuda:0,cuda:1``.
    executor : {"local", "ray", "slurm"}
    executor_options : dict of str
        What :mod:`kitsbench.experiments.executors.options` lists for the executor.
    jobs : int or None
        Trials at the same time; None for one a device, on the CPU one a core, at most four, and
        on a cluster as many as it lets run.
    world_size : int
        Processes, each with a device of its own, that a trial trains with.
    size : {"auto", "tiny", "small", "paper"}
        Preset of the architectures that were not given one.
    tta : {"none", "mirror"} or None
        Test-time augmentation beside what the recipe says.
    patch, spacing : tuple or None
        Replace the matched recipe's.
    batch : int or None
    protocol, endpoint : str or None
    timeout : float or None
        Seconds of wall time for a trial.
    tuning : Tuning or None
        How each architecture searches for its settings before it is trained.
    stall : float
        Seconds without progress after which a trial is stopped.
    checkpoint_every : float or None
        Seconds between two checkpoints; by default ten minutes, or a fiftieth of the budget where
        that takes longer.
    strict : bool
        A damaged case is an error instead of being set aside.
    predictions : tuple of Predictions
        Label maps of somebody else that take part.
    until : Until or None
        When the run stops by itself; None where all of a fixed design is run.
    max_hours : float or None
        Device hours after which no further round begins; only with ``until``.
    allow_leak : bool
        Who was trained on scans of the test is compared like everybody else, and marked.
    log : tuple of str
        Where scalars go beside the working directory, see :mod:`kitsbench.experiments.logs`.
    contents : dict of str to str
        What was in the files that settings name, by their paths, when it was asked for before:
        where one is gone, finished trials do without it.
    """

    workdir: Path
    architectures: tuple[str, ...] = ()
    all_installed: bool = False
    dataset: str | None = None
    layout: str | None = None
    recipe: Literal["matched", "paper"] = "matched"
    budget: Budget | None = None
    max_memory: int | None = None
    compile: bool = False
    precision: str = "auto"
    folds: Folds | None = None
    split: str | None = None
    seeds: int | None = None
    device: str = "auto"
    executor: str = "local"
    executor_options: dict[str, Any] = field(default_factory=dict)
    jobs: int | None = None
    world_size: int = 1
    size: str = "auto"
    tta: str | None = None
    patch: tuple[int, int, int] | None = None
    spacing: tuple[float, float, float] | None = None
    batch: int | None = None
    protocol: str | None = None
    endpoint: str | None = None
    timeout: float | None = None
    stall: float = 1800.0
    checkpoint_every: float | None = None
    tuning: Tuning | None = None
    strict: bool = False
    predictions: tuple[Predictions, ...] = ()
    allow_leak: bool = False
    log: tuple[str, ...] = ()
    until: Until | None = None
    max_hours: float | None = None
    contents: dict[str, str] = field(default_factory=dict)
    command: str = field(default="", compare=False)

    @property
    def phantom(self) -> bool:
        """Whether the built-in phantom is asked for."""
        return self.dataset in (None, "phantom")

    @property
    def lasting(self) -> bool:
        """Whether its trials go on when the process that asked for them ends."""
        return self.executor == "slurm" and self.executor_options.get("cluster") != "local"

    @property
    def overrides(self) -> dict[str, Any]:
        """Fields of a recipe that the request replaces, whatever the recipe says."""
        given = {"spacing": self.spacing, "patch": self.patch, "batch": self.batch}
        return {key: value for key, value in given.items() if value is not None}


def joined(*given: Mapping[str, Any]) -> dict[str, Any]:
    """Options from several places; a later one goes before, in tables for each of its keys."""
    found: dict[str, Any] = {}
    for options in given:
        for key, value in options.items():
            both = isinstance(value, dict) and isinstance(found.get(key), dict)
            found[key] = {**found[key], **value} if both else value
    return found
