"""What an experiment left, with its statistics, as tables for a notebook."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kitsbench.errors import DataError, UsageError
from kitsbench.experiments.results import Results, load_results
from kitsbench.experiments.stored_trial import StoredTrial
from kitsbench.reporting.analysis import Analysis, analyse
from kitsbench.reporting.build import build_report
from kitsbench.reporting.first_screen.looked import hours_of
from kitsbench.text import html

WORKDIR = "kitsbench-work"
_RANKING = ["architecture", "rank", "mean", "ci_low", "ci_high"]
_LOOKS = ["look", "a", "b", "state", "estimate", "low", "high", "p_adjusted"]
_PAIRS = ["a", "b", "region", "metric", "difference", "ci_low", "ci_high", "verdict"]


@dataclass(frozen=True)
class Prediction:
    """A label map that a trial's network made.

    Attributes
    ----------
    labels : ndarray of integers
        Values as the dataset's own label maps have them, axes as in the file of the scan: what
        nibabel reads.
    affine : ndarray, (4, 4)
        From indices of these axes to world mm (RAS+).
    case : str
    trial : str
        Id of the trial whose fold holds the case out.
    """

    labels: np.ndarray
    affine: np.ndarray
    case: str
    trial: str


class Outcome:
    """An experiment's trials, scores and statistics.

    Tables are computed when they are first asked for and kept. They are copies: changing one
    changes no file.

    Parameters
    ----------
    results : Results
        As of :func:`~kitsbench.experiments.results.load_results`.
    """

    def __init__(self, results: Results):
        self._results = results

    @cached_property
    def _analysis(self) -> Analysis:
        return analyse(self._results)

    @property
    def workdir(self) -> Path:
        """The working directory."""
        return self._results.workdir

    @property
    def id(self) -> str:
        """The experiment's id, as ``kitsbench trials`` shows it."""
        return self._results.experiment.id

    @property
    def architectures(self) -> list[str]:
        """Names of the entrants, in the order of the experiment."""
        return self._analysis.names

    @property
    def endpoint(self) -> str:
        """What the verdicts are about, such as ``tumor:dice``."""
        return self._results.experiment.endpoint

    @property
    def protocol(self) -> str:
        """By which the verdicts' scores were made; ``scores`` may hold others beside it."""
        return self._results.experiment.protocol

    @property
    def endpoint_scores(self) -> pd.DataFrame:
        """Those of :attr:`scores` that the verdicts are about: a row for each trial and case."""
        region, metric = self.endpoint.split(":")
        table = self.scores
        rows = (
            (table["protocol"] == self.protocol)
            & (table["region"] == region)
            & (table["metric"] == metric)
        )
        return table[rows].reset_index(drop=True)

    @property
    def scope(self) -> str:
        """``L0``: these trained models alone; ``L1``: the architectures; empty: no comparison."""
        return self._analysis.scope

    @property
    def obstacle(self) -> str:
        """Why nothing could be compared; empty where something was."""
        return self._analysis.obstacle

    @property
    def warnings(self) -> list[str]:
        """What the statistics want a reader to know."""
        return self._analysis.warnings

    @property
    def scores(self) -> pd.DataFrame:
        """Scores, a row for each trial, protocol, case, region and metric.

        What :func:`kitsbench.compare` takes. Cases of failed trials carry the penalty.
        """
        return self._results.marked.copy()

    @property
    def summary(self) -> pd.DataFrame:
        """Mean, SD over folds and 95 % interval by protocol, architecture, region and metric."""
        return self._analysis.summary.copy()

    @property
    def ranking(self) -> pd.DataFrame:
        """A row for each ranked architecture, best first: rank, mean, interval, group."""
        return _table(self._analysis.ranking, _RANKING)

    @property
    def pairs(self) -> pd.DataFrame:
        """A row for each pair at the endpoint: difference, interval, adjusted p-value, verdict."""
        return _table(self._analysis.pairs, _PAIRS)

    @property
    def looks(self) -> pd.DataFrame:
        """A row for each look and pair of a run that stopped by itself; empty of a fixed design.

        ``look`` is the number of seeds that had ended by then; ``state``, ``estimate``, ``low``,
        ``high``, ``p_adjusted`` and the rest are what it found of the pair, as of
        :class:`kitsbench.look.PairLook`.
        """
        kept = self._results.looks
        rows = [
            {"look": look.seeds, **asdict(pair)}
            for look in (() if kept is None else kept.looks)
            for pair in look.pairs
        ]
        return _table(rows, _LOOKS)

    @property
    def hours(self) -> dict[str, float | int | None]:
        """Device hours ``spent``, and ``spared`` of the fixed design's; trials never run."""
        found = hours_of(self._results)
        return {
            "spent": found.spent,
            "spared": found.spared,
            "fixed": found.fixed,
            "trials": found.trials,
            "spared_trials": found.spared_trials,
        }

    @property
    def secondary(self) -> pd.DataFrame:
        """Pairs of all other endpoints, which are exploratory."""
        return _table(self._analysis.secondary, _PAIRS)

    @property
    def comparison(self) -> dict[str, Any]:
        """Everything that the statistics found, as in ``comparison.json`` of the report."""
        return self._analysis.comparison

    @property
    def ledger(self) -> pd.DataFrame:
        """A row for each trial: state, and what it spent in every currency."""
        return self._results.ledger.copy()

    @property
    def curves(self) -> pd.DataFrame:
        """Losses, learning rates and scores along the budget, a row for each value."""
        return self._results.curves.copy()

    @property
    def trials(self) -> list[StoredTrial]:
        """All trials in the order of the plan, failed and unfinished ones included."""
        return list(self._results.trials)

    def trial(self, name: str, fold: int | None = None, seed: int | None = None) -> StoredTrial:
        """One trial by its id, or by its architecture, fold and seed.

        Parameters
        ----------
        name : str
            A trial's id or the id's first letters, or an architecture as tables show it.
        fold, seed : int, optional
            Needed where the architecture has several trials.

        Returns
        -------
        StoredTrial
            With ``status``, ``ledger``, ``environment`` and ``folder``.

        Raises
        ------
        UsageError
            There is no such trial, or there are several.
        """
        named = [t for t in self.trials if t.name == name]
        found = named or [t for t in self.trials if name and t.id.startswith(name)]
        found = [
            t
            for t in found
            if (fold is None or t.fold == fold) and (seed is None or t.seed == seed)
        ]
        if len(found) == 1:
            return found[0]
        what = "".join(
            f", {word} {value}"
            for word, value in (("fold", fold), ("seed", seed))
            if value is not None
        )
        if not found:
            raise UsageError(
                f"There is no trial '{name}'{what} in experiment {self.id}; it has "
                f"{', '.join(self.architectures)}."
            )
        some = ", ".join(f"fold {t.fold} seed {t.seed}" for t in found[:4])
        raise UsageError(
            f"'{name}'{what} fits {len(found)} trials ({some}{', ...' * (len(found) > 4)}); say "
            "fold= and seed=."
        )

    def prediction(
        self, case: str, architecture: str, seed: int | None = None, device: str = "cpu"
    ) -> Prediction:
        """Segment a case of the dataset by the network that never saw it.

        Parameters
        ----------
        case : str
            A case that some fold of the experiment tests.
        architecture : str
            As tables show it.
        seed : int, optional
            Needed where there are several.
        device : str
            Where the network runs, as torch names it.

        Returns
        -------
        Prediction
            The network predicts anew; nothing is written.

        Raises
        ------
        UsageError
            No finished trial of the architecture tests the case.
        DataError
            The scan or the trial's weights are gone or damaged.
        """
        import nibabel
        import torch

        from kitsbench.data.datasets.dataset import open_dataset
        from kitsbench.experiments.predict import open_trials, predict_scans

        trial = self._that_tests(case, architecture, seed)
        dataset = self._results.experiment.dataset
        images = {c.id: c.image for c in open_dataset(Path(dataset.path), dataset.layout).cases}
        if (image := images.get(case)) is None:
            raise DataError(f"{dataset.path} has no scan of {case} any more.")
        opened = open_trials([trial.folder.path], torch.device(device))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{case}.nii.gz"
            (done,) = predict_scans(opened, [image], [file])
            if isinstance(done, DataError):
                raise done
            written: Any = nibabel.load(file)
            labels = np.asarray(written.dataobj)
            return Prediction(labels, np.array(written.affine), case, trial.id)

    def _that_tests(self, case: str, architecture: str, seed: int | None) -> StoredTrial:
        """The finished trial of an architecture whose fold holds a case out."""
        named = [t for t in self.trials if t.name == architecture]
        if not named:
            raise UsageError(
                f"There is no architecture '{architecture}' in experiment {self.id}; it has "
                f"{', '.join(self.architectures)}."
            )
        found = [
            t
            for t in named
            if t.state == "finished"
            and t.record is not None
            and case in t.record.context.test_cases
            and seed in (None, t.seed)
        ]
        if len(found) == 1:
            return found[0]
        if found:
            seeds = ", ".join(str(t.seed) for t in found)
            raise UsageError(f"{architecture} was trained with the seeds {seeds}; say seed=.")
        raise UsageError(
            f"No finished trial of {architecture} tests a case '{case}'"
            + (f" with seed {seed}" if seed is not None else "")
            + "; `scores` lists the cases that were tested."
        )

    def report(self, out: str | Path | None = None) -> Path:
        """Write the report; see :func:`kitsbench.reporting.build.build_report`.

        Parameters
        ----------
        out : path, optional
            Folder; the experiment's own by default.

        Returns
        -------
        Path
            ``index.html``.
        """
        return build_report(self.workdir, out, self.id)

    def __repr__(self) -> str:
        done = sum(t.state == "finished" for t in self.trials)
        return (
            f"<kitsbench.Outcome {self.id}: {len(self.architectures)} architectures, {done} of "
            f"{len(self.trials)} trials finished, {self.endpoint}>"
        )

    def _repr_html_(self) -> str:
        """What a notebook shows: the ranking, or why there is none."""
        head = f"<p><b>kitsbench</b> experiment <code>{html(self.id)}</code>, "
        head += f"{html(self.endpoint)}"
        table = self.ranking
        if table.empty:
            return f"{head}</p><p>{html(self.obstacle or 'Nothing is ranked.')}</p>"
        shown = table[[name for name in _RANKING if table[name].notna().any()]]
        lines = [_line("th", [*shown.columns])]
        lines += [_line("td", row) for row in shown.itertuples(index=False)]
        body = f"<table>{''.join(lines)}</table>"
        said = "".join(f"<p>{html(line)}</p>" for line in self.warnings)
        return f"{head}, scope {html(self.scope)}</p>{body}{said}"


def _line(tag: str, cells: Iterable[Any]) -> str:
    texts = (f"{cell:.3f}" if isinstance(cell, float) else cell for cell in cells)
    return f"<tr>{''.join(f'<{tag}>{html(text)}</{tag}>' for text in texts)}</tr>"


def _table(rows: Sequence[dict[str, Any]], least: list[str]) -> pd.DataFrame:
    """Rows as a table, which has its usual columns where there are no rows, too."""
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=least)


def load(workdir: str | Path = WORKDIR, experiment: str | None = None) -> Outcome:
    """Read an experiment that ``kitsbench run`` made.

    Parameters
    ----------
    workdir : path
        The working directory.
    experiment : str, optional
        The experiment's id, or its first letters; the latest by default.

    Returns
    -------
    Outcome

    Raises
    ------
    UsageError
        There is no such experiment.
    DataError
        The folder holds no experiment, or one of its files cannot be read.
    """
    return Outcome(load_results(workdir, experiment))
