"""The check of label maps that another system made: each holds the labels of the task.

Whether they lie on the grids of their scans is told by ``kitsbench run``, which knows the scans,
before anything is trained.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kitsbench.conformance.outcome import Outcome, Report
from kitsbench.errors import DataError
from kitsbench.evaluation.label_files import find_label_maps
from kitsbench.scans.label_names import LabelNames, near
from kitsbench.scans.nifti import read_header, read_label
from kitsbench.spec import Task

TOLD = 3  # faults


def check_label_maps(
    folder: Path, task: Task, progress: Callable[[str], object] = lambda what: None
) -> Report:
    """Read every label map of a folder as a trial would.

    Parameters
    ----------
    folder : Path
        In a layout of :func:`~kitsbench.evaluation.label_files.find_label_maps`.
    task : Task
        Its labels; where a ``dataset.json`` lies above the files, their values are its.
    progress : callable
        Called with each case before it is read.

    Raises
    ------
    DataError
        There is no label map.
    """
    files = find_label_maps(folder, predictions=True)
    names = LabelNames(dict(task.labels))
    wrong = []
    for case, file in files.items():
        progress(case)
        try:
            own = near(file)
            read_label(read_header(file, case), names if own is None else own.onto(names))
        except DataError as error:
            wrong.append(" ".join(str(error).split()))
    more = f" And {len(wrong) - TOLD} more." if len(wrong) > TOLD else ""
    told = f"{len(wrong)} of {len(files)} cannot be used: {' '.join(wrong[:TOLD])}{more}"
    found = Outcome("label maps are found", True, f"{len(files)} in {folder}.")
    return Report(
        folder.name, (found, Outcome("label maps hold labels", not wrong, told if wrong else ""))
    )
