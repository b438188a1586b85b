"""One working directory and one report for all tests of the room."""

from __future__ import annotations

import dataclasses

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
def planted(analysis):
    """The same with its last entrant as a planted control, and its name."""
    experiment, last = analysis.results.experiment, analysis.names[-1]
    entrants = tuple(
        entrant.model_copy(update={"planted": "the first under another name"})
        if entrant.name == last
        else entrant
        for entrant in experiment.entrants
    )
    experiment = experiment.model_copy(update={"entrants": entrants})
    results = dataclasses.replace(analysis.results, experiment=experiment)
    return dataclasses.replace(analysis, results=results), last


@pytest.fixture(scope="session")
def report(workdir, analysis):
    """Folder of the report."""
    return write_report(analysis, workdir / "report").parent


def analysed(folder, **design):
    plan = Plan({"a": 0.0, "b": 0.1}, predictions=False, profiles=False, **design)
    return analyse(load_results(write_workdir(folder, plan)))


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """One fold, one seed, another protocol and budget, real scans."""
    return analysed(
        tmp_path_factory.mktemp("small"),
        folds=1,
        seeds=1,
        layout="kits23",
        budget=("400steps", 400.0, "steps"),
        synthetic=False,
    )


@pytest.fixture(scope="session")
def by_folds(tmp_path_factory):
    """Five folds, one seed."""
    return analysed(tmp_path_factory.mktemp("folds"), folds=5, seeds=1)
