"""How large what is sought is in each case: measured once, for groups of cases in the report."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from kitsbench.data.datasets.dataset import Dataset
from kitsbench.data.inspection.covariates import measure_cases
from kitsbench.errors import DataError
from kitsbench.experiments.records import CaseSize, CasesRecord


def keep_case_sizes(
    workdir: Path,
    dataset: Dataset,
    progress: Callable[[int, int], None] | None = None,
) -> CasesRecord | None:
    """Measure the label maps of a dataset, unless that was done before, and keep what they tell.

    Parameters
    ----------
    workdir : Path
    dataset : Dataset
    progress : callable, optional
        Called as ``progress(done, total)``.

    Returns
    -------
    CasesRecord or None
        None where no label map can be read, or nothing can be written. A damaged file is made
        anew, and so is one that lacks a case.
    """
    labelled = {case.id for case in dataset.cases if case.label is not None}
    with contextlib.suppress(DataError):
        kept = CasesRecord.find(workdir, dataset.fingerprint)
        # One that could not be read when it was measured may be read by now.
        if kept is not None and labelled <= {*kept.cases}:
            return kept
    # Nothing but a table of the report hangs on it, so what has been trained is reported anyway.
    with contextlib.suppress(DataError, OSError, ValueError):
        return _measured(workdir, dataset, progress)
    return None


def _measured(
    workdir: Path, dataset: Dataset, progress: Callable[[int, int], None] | None
) -> CasesRecord:
    table = measure_cases(dataset, progress=progress)
    cases = {
        str(case): CaseSize(
            volumes_ml={name: float(row[f"{name}_volume_ml"]) for name in dataset.labels},
            slice_thickness_mm=float(row["slice_thickness_mm"]),
        )
        for case, row in table.iterrows()
    }
    found = CasesRecord(dataset=dataset.fingerprint, cases=cases)
    found.write(CasesRecord.file(workdir, dataset.fingerprint))
    return found
