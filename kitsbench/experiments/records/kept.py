"""Where a working directory keeps its experiments: each has a file and a folder of its own.

No run writes into another's: ``experiments/<id>.json`` says what was asked for, the report lies in
``experiments/<id>/report``, and ``experiments/latest.json`` names the one that was begun or
reported last.
"""

from __future__ import annotations

import os
from pathlib import Path

from kitsbench.errors import DataError, UsageError
from kitsbench.experiments.records.experiment import ExperimentRecord, LatestRecord

FOLDER = "experiments"
BEFORE = "experiment.json"  # of an earlier kitsbench, which kept a single one


def experiment_file(workdir: Path, experiment: str) -> Path:
    """``WORKDIR/experiments/<id>.json``."""
    return Path(workdir) / FOLDER / f"{experiment}.json"


def report_folder(workdir: Path, experiment: str) -> Path:
    """``WORKDIR/experiments/<id>/report``."""
    return Path(workdir) / FOLDER / experiment / "report"


def request_file(workdir: Path, experiment: str) -> Path:
    """``WORKDIR/experiments/<id>/request.json``."""
    return Path(workdir) / FOLDER / experiment / "request.json"


def latest_file(workdir: Path) -> Path:
    """``WORKDIR/experiments/latest.json``."""
    return Path(workdir) / FOLDER / "latest.json"


def keep_experiment(workdir: Path, record: ExperimentRecord) -> None:
    """Write an experiment's own file, and let it be the latest."""
    record.write(experiment_file(workdir, record.id))
    make_latest(workdir, record.id)


def make_latest(workdir: Path, experiment: str) -> None:
    """Let an experiment be the latest."""
    LatestRecord(id=experiment).write(latest_file(workdir))


def has_experiments(workdir: Path) -> bool:
    """Whether an experiment was ever begun in a folder, by this kitsbench or an earlier one."""
    return bool(known_experiments(workdir)) or any(
        os.path.lexists(file) for file in (latest_file(workdir), Path(workdir) / BEFORE)
    )


def find_experiment(workdir: Path, name: str | None = None) -> ExperimentRecord:
    """Read an experiment of a working directory.

    Parameters
    ----------
    workdir : Path
    name : str, optional
        Its id, or the first letters of it; the latest by default.

    Raises
    ------
    UsageError
        There is no experiment of that name, or several.
    DataError
        The folder holds no experiment, or a file is damaged.
    """
    workdir = Path(workdir)
    known = known_experiments(workdir)
    if not known and not os.path.lexists(latest_file(workdir)):
        raise _no_workdir(workdir)
    if name is not None:
        fitting = [one for one in known if one.startswith(name)] if name else []
        if len(fitting) != 1:
            what = f"has {len(fitting)} experiments" if fitting else "has no experiment"
            raise UsageError(f"{workdir} {what} '{name}'; it has:\n{_listed(workdir, known)}.")
        return _read(workdir, fitting[0])
    if not os.path.lexists(latest_file(workdir)):
        raise DataError(
            f"{latest_file(workdir)} is missing, which names the latest experiment. Name one with "
            f"--experiment; {workdir} has:\n{_listed(workdir, known)}."
        )
    return _read(workdir, LatestRecord.read(latest_file(workdir)).id)


def experiments_of(workdir: Path, trial: str) -> list[ExperimentRecord]:
    """Every experiment that plans a trial; files that cannot be read are left out."""
    found = []
    for name in known_experiments(workdir):
        record, _ = try_experiment(workdir, name)
        if record is not None and any(planned.id == trial for planned in record.trials):
            found.append(record)
    return found


def known_experiments(workdir: Path) -> list[str]:
    """Ids of the experiments whose files are there, sorted."""
    return sorted(
        file.stem for file in (Path(workdir) / FOLDER).glob("*.json") if file.name != "latest.json"
    )


def _read(workdir: Path, experiment: str) -> ExperimentRecord:
    file = experiment_file(workdir, experiment)
    record = ExperimentRecord.read(file)
    if record.id != experiment:
        raise DataError(
            f"{file}: the key id is {record.id}, which is not its file's name."
            f"\n{ExperimentRecord.remedy}"
        )
    return record


def try_experiment(workdir: Path, experiment: str) -> tuple[ExperimentRecord | None, str]:
    """Read an experiment; None, and what is wrong with its file, where it cannot be read."""
    try:
        return _read(workdir, experiment), ""
    except DataError as error:
        return None, str(error).splitlines()[0]


def _listed(workdir: Path, known: list[str]) -> str:
    """A line for each experiment, so that one can be told from the others."""
    lines = []
    for name in known:
        record, fault = try_experiment(workdir, name)
        if record is None:
            lines.append(f"{name}: {str(fault).rstrip('.')}")
            continue
        names = ", ".join(entrant.name for entrant in record.entrants if entrant.asked)
        lines.append(
            f"{name}: {record.created}, {names}, {record.dataset.name}, {record.budget.text} a "
            f"trial, {record.protocol}, {len(record.trials)} trials"
        )
    return ";\n".join(lines) if lines else "none"


def _no_workdir(workdir: Path) -> DataError:
    if os.path.lexists(workdir / BEFORE):
        return DataError(
            f"{workdir / BEFORE} was written by an earlier kitsbench, which kept one experiment a "
            "working directory; it is not read.\nRun the same command again in another --workdir."
        )
    return DataError(
        f"{workdir} holds no experiment, so it is not a working directory of kitsbench. "
        "Name the folder that `kitsbench run` wrote (by default kitsbench-work)."
    )
