"""Trials of what was trained elsewhere: a system predicts, or label maps were given."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kitsbench.architecture import System
from kitsbench.configuration import CONTENT, configure
from kitsbench.errors import ContractError, DataError, UsageError
from kitsbench.experiments.trial.scoring import CaseReader, Found, score_map
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.experiments.trial.trained import check_packages, plugin_of
from kitsbench.files import file_digest
from kitsbench.inference.systems import Ask, NativeScan, ask_system
from kitsbench.scans.findings import Refused
from kitsbench.scans.label_names import LabelNames, near
from kitsbench.spec import Spec
from kitsbench.training.failures import (
    TrialFailure,
    is_out_of_memory,
    memory_trouble,
    plugin_code,
)
from kitsbench.training.ledger import Ledger


@dataclass
class BySystem:
    """A system that predicts the held-out cases, see ``Segmenter``.

    Parameters
    ----------
    task : TrialTask
    system : System
    device : torch.device
    cases : CaseReader
    seconds : list of float
        What each prediction has taken so far.
    """

    task: TrialTask
    system: System
    device: torch.device
    cases: CaseReader
    seconds: list[float] = field(default_factory=list)

    def load(self, case: str) -> NativeScan:
        """Read the scan of a case."""
        file = self.task.cases[case].image
        assert file is not None
        return NativeScan.read(file, case)

    def predict(self, case: str, loaded: NativeScan) -> tuple[NativeScan, np.ndarray]:
        """Ask the system.

        Raises
        ------
        TrialFailure
            It raised, or returned no label map of the task.
        """
        with plugin_code("predict"):
            labels, seconds = ask_system(
                self.system, self.task.spec, loaded.image, loaded.spacing, self.device, case
            )
        self.seconds.append(seconds)
        return loaded, labels

    def finish(
        self, case: str, predicted: tuple[NativeScan, np.ndarray], protocols: Sequence[str]
    ) -> Found:
        """Score the label map of a case."""
        scan, labels = predicted
        rows = score_map(self.task, self.cases, case, labels, protocols)
        disk = np.ascontiguousarray(scan.header.axes.from_zyx(labels))
        return rows, disk, scan.header.native()

    def close(self, ledger: Ledger) -> None:
        """Write down what predicting took, if anything was predicted and not kept from before."""
        if self.seconds:
            ledger.inference_s = sum(self.seconds)
            ledger.inference_cases = len(self.seconds)


@dataclass
class FromFiles:
    """Label maps that somebody else has made, see ``Segmenter``; a case without one is missed.

    Parameters
    ----------
    task : TrialTask
    cases : CaseReader
    refused : list of Refused
        What was wrong with label maps, so that their cases are missed, too.
    read : int
        Label maps that could be used.
    """

    task: TrialTask
    cases: CaseReader
    refused: list[Refused] = field(default_factory=list)
    read: int = 0

    def load(self, case: str) -> np.ndarray | None:
        """Read the label map of a case; None where there is none that can be used."""
        found = (self.task.given or {}).get(case)
        if found is None:
            print(f"{case} has no label map and counts as missed.", file=sys.stderr)
            return None
        file, mark = found
        try:
            if file_digest(file) != mark:
                raise TrialFailure(
                    "data error",
                    f"{file} is not the label map that the trial was planned with: it was changed "
                    "since. Run the same command again.",
                )
            labels = self.cases.label_map(file, case, names_beside(file, self.task.names))
        except OSError as error:
            raise TrialFailure("data error", f"{file} cannot be read: {error.strerror}.") from error
        except Refused as error:
            self.refused.append(error)
            print(f"{case} counts as missed: {error}", file=sys.stderr)
            return None
        self.read += 1
        return labels

    def predict(self, case: str, loaded: np.ndarray | None) -> np.ndarray | None:
        """Nothing is left to predict."""
        return loaded

    def finish(self, case: str, predicted: np.ndarray | None, protocols: Sequence[str]) -> Found:
        """Score the label map of a case."""
        rows = score_map(self.task, self.cases, case, predicted, protocols)
        if predicted is None:
            return rows, None, {}
        header = self.cases.scan(case)
        disk = np.ascontiguousarray(header.axes.from_zyx(predicted))
        return rows, disk, header.native()

    def close(self, ledger: Ledger) -> None:
        """Refuse a fold of which no label map could be used.

        Raises
        ------
        Refused
            What is wrong with the first of them.
        """
        if self.refused and not self.read:
            raise self.refused[0]


Outside = BySystem | FromFiles


def outside_of(task: TrialTask, device: torch.device, cases: CaseReader) -> Outside:
    """What makes the label maps of a trial that was trained elsewhere.

    Raises
    ------
    ContractError
        The plugin cannot be loaded, it or its packages have changed since, or it is no system.
    """
    if task.given is not None:
        return FromFiles(task, cases)
    check_packages(task)
    system = as_system(plugin_of(task))
    with plugin_code("load"):
        system.load(task.files, task.spec, device)
    return BySystem(task, system, device, cases)


def named_files(task: TrialTask) -> dict[str, str]:
    """What is in the files that a trial was run with, by their keys."""
    config = task.spec.config
    return {k: v for k, v in config if isinstance(v, str) and CONTENT.fullmatch(v)}


def open_system(task: TrialTask, device: torch.device, given: Mapping[str, Path]) -> System:
    """The system of a trial, ready for the scans of a user.

    Parameters
    ----------
    task : TrialTask
    device : torch.device
    given : mapping of str to Path
        Files that it reads, by their keys: the trial keeps their hashes alone.

    Raises
    ------
    ContractError, DataError
        It cannot be loaded.
    UsageError
        A file is missing, or is another one than that of the trial.
    """
    system = as_system(plugin_of(task))
    for key, value in named_files(task).items():
        if key not in given or configure(system, {key: str(given[key])})[key] != value:
            what = f"another file than {given[key]}" if key in given else "a file"
            raise UsageError(
                f"{task.name} predicts by {what}, whose hash is {value}: give it with --file "
                f"{key}=PATH."
            )
    files = {key: file.expanduser().absolute() for key, file in given.items()}
    with _told("load"):
        system.load(files, task.spec, device)
    return system


def asking(system: System, spec: Spec, device: torch.device) -> Ask:
    """What asks a system for a user's scans, and raises what goes wrong with one in words."""

    def ask(scan: NativeScan, name: str) -> np.ndarray:
        with _told("predict"):
            labels, _ = ask_system(system, spec, scan.image, scan.spacing, device, name)
            return labels

    return ask


@contextmanager
def _told(hook: str) -> Iterator[None]:
    """Have what a system's hook raises told to the user, in one sentence for each scan."""
    try:
        with plugin_code(hook):
            yield
    except TrialFailure as error:
        raise ContractError(str(error)) from error
    except BaseException as error:
        if not is_out_of_memory(error):
            raise
        raise DataError(memory_trouble(error)) from error


def as_system(plugin: Any) -> System:
    """The plugin, if it is a system.

    Raises
    ------
    ContractError
        It is not.
    """
    if not isinstance(plugin, System):
        raise ContractError(f"{type(plugin).__name__} was trained elsewhere, but is no System.")
    return plugin


def names_beside(file: Path, names: LabelNames) -> LabelNames:
    """What the values of a given label map mean, by the ``dataset.json`` above it.

    Parameters
    ----------
    file : Path
    names : LabelNames
        The dataset's, which hold where there is none.

    Raises
    ------
    DataError
        It has labels that the dataset lacks.
    """
    own = near(file)
    try:
        return names if own is None else own.onto(names)
    except DataError as error:
        raise DataError(
            f"{file.parent} has other labels than the dataset: {error}.\n"
            "Map the label maps to the labels of the dataset first."
        ) from error
