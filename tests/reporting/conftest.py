"""One working directory and one report for all tests of the room."""

from __future__ import annotations

import pytest
from reporting.workdirs import Plan, write_workdir

from kitsbench.experiments.results import load_results
from kitsbench.reporting.analysis import analyse
from kitsbench.reporting.build import write_report

LONG = "scau_unet:attention=off,width=0.25,depth=4"
PLAN = Plan(
    {"unet3d": -0.2, "msff_net": 0.06, LONG: 0.061, "late": -0.3},
    failed=(("late", 1, 0, "out-of-memory"),),
)


@pytest.fixture(scope="session")
def workdir(tmp_path_factory):
    return write_workdir(tmp_path_factory.mktemp("work"), PLAN)


@pytest.fixture(scope="session")
def analysis(workdir):
    return analyse(load_results(workdir))


@pytest.fixture(scope="session")
def report(workdir, analysis):
    """Folder of the report."""
    return write_report(analysis, workdir / "report").parent
