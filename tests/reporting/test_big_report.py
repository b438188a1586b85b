"""A report of the size that real comparisons have: 12 architectures x 5 folds x 3 seeds."""

from __future__ import annotations

import resource
import time

import pytest
from reporting.workdirs import Plan, write_workdir

from kitsbench.reporting import build_report

GAPS = {f"net_{number:02d}:width=0.5,depth={number}": 0.01 * number - 0.05 for number in range(12)}
BIG = Plan(
    GAPS,
    folds=5,
    seeds=3,
    cases_per_fold=42,
    layout="kits23",
    predictions=False,
    curve_points=401,
    synthetic=False,
)


@pytest.mark.slow
def test_many_trials_of_many_cases_make_a_page_that_opens(tmp_path):
    """210 cases in 180 trials: a page of less than 25 MB, in less than 2 GB of memory."""
    workdir = write_workdir(tmp_path / "work", BIG)
    began = time.process_time()
    page = build_report(workdir)
    spent = time.process_time() - began
    # Not asserted: it depends on the machine. `pytest -s` shows it.
    print(f"built in {spent:.0f} s of CPU, {page.stat().st_size / 1e6:.1f} MB")
    assert page.stat().st_size < 25e6
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 < 2e9
    text = page.read_text(encoding="utf-8")
    assert all(name in text for name in GAPS)
    for file in page.parent.glob("tab-*.tex"):
        assert file.stat().st_size > 0
