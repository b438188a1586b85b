"""Test-time adaptation is measured in each trial and shown beside what training spent."""

from __future__ import annotations

from architectures.brought import Entropy
from command_line import SMALL, call_kitsbench

from kitsbench.architecture import KITS19, configure
from kitsbench.data.datasets.voxels import Voxels
from kitsbench.experiments.plan.entrants import ADAPTATION_LEFT_OUT, ADAPTS, propose
from kitsbench.experiments.results import load_results
from kitsbench.training.recipes import MATCHED_CPU

VOXELS = Voxels(((9.0, 9.0, 9.0),), ((32, 32, 32),))


def test_what_it_takes_stands_in_the_ledger_and_the_report(plugin, phantom, tmp_path):
    done = call_kitsbench(
        *("run", plugin("surer", "Entropy", "architectures.brought"), "--recipe", "paper"),
        *("--dataset", phantom, *SMALL, "--folds", "0", "--seeds", "1", "--budget", "2steps"),
        *("--workdir", tmp_path / "work"),
    )
    assert done.code == 0, done.err
    (trial,) = load_results(tmp_path / "work").trials
    assert trial.ledger.adaptation_cases == len(trial.record.context.test_cases)
    assert 0 < trial.ledger.adaptation_s < trial.ledger.prediction_s
    page = (tmp_path / "work" / "report" / "report.md").read_text(encoding="utf-8")
    assert "Adapting to a scan" in page
    assert ADAPTS.split(";")[0] in page


def test_under_the_shared_recipe_it_is_left_out():
    plugin = Entropy()
    config = configure(plugin)
    shared = propose(plugin, "surer", config, False, {}, MATCHED_CPU, KITS19, None)
    own = propose(plugin, "surer", config, True, {}, MATCHED_CPU, KITS19, VOXELS)
    assert shared[2] == (ADAPTATION_LEFT_OUT,)
    assert own[2][0] == ADAPTS
