"""What running a trial needs: what it is, its files, and where it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from kitsbench.configuration import CONTENT
from kitsbench.data.datasets.dataset import Case
from kitsbench.errors import UsageError
from kitsbench.experiments.records import TrialRecord
from kitsbench.experiments.trial.folder import TrialFolder
from kitsbench.recipe import Recipe
from kitsbench.scans.label_names import LabelNames
from kitsbench.spec import Spec
from kitsbench.training.budget import Budget


@dataclass(frozen=True)
class TrialTask:
    """A trial with everything that running it needs and its identity does not hold.

    Parameters
    ----------
    workdir : Path
    trial : TrialRecord
        ``trial.json``.
    location : str
        Name of the entry point, or path of the plugin's file.
    spec, recipe, budget : Spec, Recipe, Budget
    stores : dict of str to Path
        {grid: folder of the prepared store}.
    train_cases, test_cases : tuple of str
    cases : dict of str to Case
        Image and label files of the dataset, for scoring on native voxels.
    window : (float, float, float, float)
        Resolved intensity rule.
    protocols : tuple of str
        Protocols that scores are stored for; the first is the experiment's.
    device : str
    devices : tuple of str
        One for each process that trains; the first is ``device``.
    threads : int
        Of each process.
    max_memory : int or None
        Bytes.
    members : tuple of TrialTask
        For an ensemble, or for other test-time augmentation of one trained network.
    given : dict of str to (Path, str), or None
        {case: its label map and the hash of that} where somebody else has made them.
    keep_predictions : bool
    keep_probabilities : bool
        For an ensemble that comes after it.
    map_cases : tuple of str
        Test cases for which the maps of its spec are kept.
    stall : float
        Seconds without progress after which it is stopped.
    checkpoint_every : float or None
        Seconds between two checkpoints, see :class:`~kitsbench.training.job.Job`.
    files : dict of str to Path
        Where the files lie that keys of the configuration name, which has their hashes alone.
    """

    workdir: Path
    trial: TrialRecord
    location: str
    spec: Spec
    recipe: Recipe
    budget: Budget
    stores: dict[str, Path]
    train_cases: tuple[str, ...]
    test_cases: tuple[str, ...]
    cases: dict[str, Case]
    window: tuple[float, float, float, float]
    protocols: tuple[str, ...]
    device: str = "cpu"
    devices: tuple[str, ...] = ("cpu",)
    threads: int = 1
    max_memory: int | None = None
    members: tuple[TrialTask, ...] = ()
    given: dict[str, tuple[Path, str]] | None = None
    keep_predictions: bool = True
    keep_probabilities: bool = False
    map_cases: tuple[str, ...] = ()
    stall: float = 1800.0
    checkpoint_every: float | None = None
    files: dict[str, Path] = field(default_factory=dict)

    def absolute(self) -> Self:
        """The task with paths that mean the same in any folder, wherever a plugin goes."""
        return replace(
            self,
            workdir=self.workdir.resolve(),
            stores={grid: folder.resolve() for grid, folder in self.stores.items()},
            cases={
                name: replace(case, image=_whole(case.image), label=_whole(case.label))
                for name, case in self.cases.items()
            },
            members=tuple(member.absolute() for member in self.members),
            files={key: file.resolve() for key, file in self.files.items()},
        )

    def check_files(self, lay: Mapping[str, str] | None = None) -> None:
        """See that a training that is still to begin has the files of its settings.

        Parameters
        ----------
        lay : mapping of str to str, optional
            Where files lay before, by what was in them.

        Raises
        ------
        UsageError
            Only its hash names one.
        """
        begun = next(self.folder.checkpoints.glob("step-*"), None) is not None
        if self.members or begun or self.folder.read_status().status == "finished":
            return
        for key, value in self.spec.config:
            if isinstance(value, str) and CONTENT.fullmatch(value) and key not in self.files:
                place = (lay or {}).get(value)
                back = "" if place is None else f", or put it back at {place}"
                raise UsageError(
                    f"{key}={value} names the file of {self.name} by its hash alone, but its trial "
                    f"{self.id[:10]} is still to be trained: give the path of the file{back}."
                )

    @property
    def elsewhere(self) -> bool:
        """Whether it was trained elsewhere, so that nothing is trained here."""
        return bool(self.spec.trained_on)

    @property
    def id(self) -> str:
        """The trial's hash."""
        return self.trial.id

    @property
    def name(self) -> str:
        """Display name of its entrant."""
        return self.trial.name

    @property
    def names(self) -> LabelNames:
        """Labels of the dataset, and the values that its masks have for them."""
        return self.trial.context.names

    @property
    def folder(self) -> TrialFolder:
        """Where its files are."""
        return TrialFolder(self.workdir, self.id)


def _whole(path: Path | None) -> Path | None:
    return None if path is None else path.resolve()
