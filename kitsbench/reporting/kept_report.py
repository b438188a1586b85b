"""The report of a run: written where anything has changed that it is made of, else as it lies.

Statistics and figures take longer than everything else that a repeated run does, and give the same
files again. What they are made of is told by a hash of contents, never by times of files.
"""

from __future__ import annotations

import contextlib
import hashlib
import platform
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar, Literal

import pandas as pd

from kitsbench.errors import DataError
from kitsbench.experiments.records import report_folder
from kitsbench.experiments.results import Results
from kitsbench.experiments.stored_trial import StoredTrial
from kitsbench.files import as_json, digest, file_digest
from kitsbench.files.documents import Document
from kitsbench.reporting.analysis import Analysis, analyse
from kitsbench.viewer.choice import chosen_cases

PAGE = "index.html"
# Whose next version may count, draw or write something in another way.
LIBRARIES = (
    *("numpy", "pandas", "scipy", "matplotlib", "seaborn", "jinja2", "nibabel"),
    *("itables", "ipyniivue", "pyarrow"),
)


class KeptReport(Document):
    """What lies beside an experiment's report, and tells whether it still holds.

    Attributes
    ----------
    made_of : str
        Hash of everything that the report is made of.
    files : dict of str to str
        Hash of each file of the report, by its path.
    comparison, obstacle
        As of :class:`~kitsbench.reporting.analysis.Analysis`.
    summary : dict
        {column: its values}; missing numbers are None.
    dtypes : dict of str to str
        {column: its type}.
    """

    remedy: ClassVar[str] = "Delete it: the next run writes the report again."

    schema_version: Literal[1] = 1
    made_of: str
    files: dict[str, str]
    comparison: dict[str, Any]
    obstacle: str
    summary: dict[str, list[Any]]
    dtypes: dict[str, str]

    def table(self) -> pd.DataFrame:
        """The summary as it was computed."""
        columns = {
            name: pd.Series(values, dtype=self.dtypes[name])
            for name, values in self.summary.items()
        }
        return pd.DataFrame(columns)


def report_of(
    results: Results, account: Callable[[], object] = lambda: None
) -> tuple[Path, Analysis]:
    """Bring an experiment's own report up to date.

    Parameters
    ----------
    results : Results
    account : callable
        Called before a page is written, so that what was spent can be written down.

    Returns
    -------
    page : Path
        ``index.html``.
    analysis : Analysis
        What it says.
    """
    folder = report_folder(results.workdir, results.experiment.id)
    file, made_of = folder.parent / "report.json", what_makes(results)
    with contextlib.suppress(DataError, OSError, ValueError):  # missing or damaged: written anew
        kept = KeptReport.read(file)
        if kept.made_of == made_of and kept.files == _files(folder):
            return folder / PAGE, _analysis(results, kept)
    # What draws takes seconds to import.
    from kitsbench.reporting.build import own_report

    # First: who is stopped while the report is written leaves nothing that vouches for it.
    file.unlink(missing_ok=True)
    analysis = analyse(results)
    page = own_report(analysis, account)
    _keep(analysis, made_of, _files(folder), file)
    return page, analysis


def what_makes(results: Results) -> str:
    """Hash of everything that a report is made of.

    That is the experiment, the files of its trials, the label maps that are drawn, profiles, sizes
    of cases, and the software. When it was planned is left out: each repetition plans it again.
    """
    experiment = results.experiment.model_dump(mode="json", exclude={"created"})
    shown = tuple(dict.fromkeys([*results.experiment.showcase, *chosen_cases(results, "few")]))
    trials = [[str(_content(file)) for file in _read(trial, shown)] for trial in results.trials]
    states = [[t.id, t.state, t.status.reason, t.status.message] for t in results.trials]
    # Of a fixed design the hash is what it was before there were looks.
    looks = [results.looks.model_dump(mode="json")] if results.looks is not None else []
    profiles = {name: p.model_dump(mode="json") for name, p in results.profiles.items()}
    cases = [results.cases.model_dump(mode="json")] if results.cases is not None else []
    return digest([experiment, states, trials, profiles, _software(), *looks, *cases], 64)


def _read(trial: StoredTrial, shown: tuple[str, ...]) -> list[Path]:
    folder = trial.folder
    own = [folder.trial, folder.ledger, folder.environment, folder.curve, folder.scores]
    # A map that was not kept is no file, and leaves the hash of those who keep none as it was.
    maps = [file for case in shown for file in sorted((folder.maps / case).glob("*"))]
    return [*own, *(folder.predictions / f"{case}.nii.gz" for case in shown), *maps]


def _content(file: Path) -> str | None:
    try:
        return file_digest(file)
    except OSError:  # a trial that failed, or that keeps no label maps
        return None


def _software() -> list[str]:
    """Versions of what computes and draws, and kitsbench's own source."""
    root = Path(__file__).parents[1]
    source = hashlib.sha256()
    kinds = ("*.py", "*.j2", "*.css", "*.js", "*.json")
    for file in sorted(file for kind in kinds for file in root.rglob(kind)):
        source.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes())
    return [platform.python_version(), source.hexdigest(), *_versions()]


def _versions() -> Iterator[str]:
    for name in LIBRARIES:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"{name} is missing"


def _files(folder: Path) -> dict[str, str]:
    """Hash of every file of a report, by its path inside the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {file.relative_to(folder).as_posix(): file_digest(file) for file in files}


def _keep(analysis: Analysis, made_of: str, files: dict[str, str], file: Path) -> None:
    summary = analysis.summary
    values = {
        str(name): [None if pd.isna(value) else value for value in column.tolist()]
        for name, column in summary.items()
    }
    # Where numbers are infinite, which JSON has not, nothing is kept and all is made anew.
    with contextlib.suppress(ValueError):
        kept = KeptReport(
            made_of=made_of,
            files=files,
            comparison=as_json(analysis.comparison),
            obstacle=analysis.obstacle,
            summary=values,
            dtypes={str(name): str(dtype) for name, dtype in summary.dtypes.items()},
        )
        if kept.table().equals(summary):
            kept.write(file)


def _analysis(results: Results, kept: KeptReport) -> Analysis:
    region, metric = results.experiment.endpoint.split(":")
    protocol = results.experiment.protocol
    return Analysis(results, protocol, region, metric, kept.comparison, kept.obstacle, kept.table())
