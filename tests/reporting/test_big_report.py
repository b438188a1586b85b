"""A report of the size that real comparisons have: 12 architectures x 5 folds x 3 seeds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from reporting.workdirs import Plan, write_workdir

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


# In a process of its own: only there is the most memory that of the report.
BUILD = """
import json, resource, sys, time
from kitsbench.reporting import build_report
began = time.process_time()
page = build_report(sys.argv[1])
most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps([str(page), time.process_time() - began, most]))
"""


@pytest.mark.exhaustive
def test_many_trials_of_many_cases_make_a_page_that_opens(tmp_path):
    """210 cases in 180 trials: a page of less than 25 MB, in less than 2 GB of memory."""
    workdir = write_workdir(tmp_path / "work", BIG)
    words = [sys.executable, "-c", BUILD, str(workdir)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=550)
    place, spent, most = json.loads(done.stdout.splitlines()[-1])
    page = Path(place)
    # Time is not asserted: it depends on the machine. `pytest -s` shows it.
    size = page.stat().st_size
    print(f"built in {spent:.0f} s of CPU, {most / 1e9:.2f} GB, {size / 1e6:.1f} MB")
    assert size < 25e6
    assert most < 2e9
    text = page.read_text(encoding="utf-8")
    assert all(name in text for name in GAPS)
    for file in page.parent.glob("tab-*.tex"):
        assert file.stat().st_size > 0
