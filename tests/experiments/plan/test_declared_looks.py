"""What is declared of looks before the first trial."""

from __future__ import annotations

import pytest
from reporting.workdirs import Plan, trained_elsewhere, write_workdir

from kitsbench.errors import UsageError
from kitsbench.experiments.asked.until import Until
from kitsbench.experiments.plan.until import note_until
from kitsbench.experiments.records import find_experiment

DICE = "tumor:dice"


@pytest.fixture(scope="module")
def entrants(tmp_path_factory):
    """One that is trained here, and label maps of somebody else."""
    plan = Plan(
        {"unet3d": 0.0, "ours": 0.1}, cases_per_fold=1, elsewhere={"ours": trained_elsewhere()}
    )
    return find_experiment(write_workdir(tmp_path_factory.mktemp("outside"), plan)).entrants


@pytest.mark.parametrize("question", ["pairs", "top", "baseline:ours"])
def test_what_no_seed_can_settle_is_refused_before_anything_runs(entrants, question):
    with pytest.raises(UsageError) as refused:
        note_until(Until(5, question), entrants, 3, DICE)
    assert "ours was trained elsewhere" in str(refused.value)
    assert "Say 4 --folds or more" in str(refused.value)
    assert note_until(Until(5, question), entrants, 4, DICE).looks == (2, 3, 4, 5)
