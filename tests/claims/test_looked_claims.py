"""A run that stopped because of what it saw holds claims against its looks, and no other test."""

from __future__ import annotations

import pytest
from reporting.workdirs import Plan, look_until_decided, write_workdir

from kitsbench.claims import check_claims, evidence_of_workdir
from kitsbench.claims.statements import Claim, Step
from kitsbench.experiments.results import load_results

PLAN = Plan(
    {"unet3d": 0.1, "msan_v1": 0.0},
    folds=2,
    seeds=4,
    cases_per_fold=6,
    synthetic=False,
    predictions=False,
    curve_points=5,
)


def claim(region):
    step = Step(higher="unet3d", lower="msan_v1", region=region)
    texts = dict.fromkeys(("paper", "statement", "figure", "conditions"), "as a paper says")
    return Claim(id=region, modes=("matched",), step=(step,), **texts)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = write_workdir(tmp_path_factory.mktemp("claims") / "work", PLAN)
    look_until_decided(folder, PLAN)
    return folder


def test_a_step_that_was_looked_at_is_settled_by_the_looks(workdir):
    (found,) = check_claims((claim("tumor"),), evidence_of_workdir(workdir))
    (pair,) = load_results(workdir).compare(secondary=False).pairs
    assert found["verdict"] == "replicated"
    (step,) = found["steps"]
    assert step["p_value"] == pair["p_adjusted"]
    assert step["difference"] == pytest.approx(abs(pair["look"]["estimate"]))
    assert step["p_value"] > pair["naive"]["p_adjusted"]


def test_what_was_not_looked_at_is_not_tested(workdir):
    (found,) = check_claims((claim("kidney_and_tumor"),), evidence_of_workdir(workdir))
    assert found["verdict"] == "not tested"
    assert "looks at kidney_and_tumor dice of unet3d and msan_v1" in found["missing"][0]
