"""Where the time went, as a terminal and a report say it."""

from __future__ import annotations

import pytest
from reporting.workdirs import Plan, write_workdir

from kitsbench.experiments.records import AccountsRecord, Call, LedgerRecord, Sitting
from kitsbench.experiments.records.accounts import PARTS
from kitsbench.experiments.results import load_results
from kitsbench.reporting.accounting import call_table, parts_of, told, trial_table
from kitsbench.reporting.build import build_report

SITTING = {**dict.fromkeys(PARTS, 0.0), "training_s": 240.0, "prediction_s": 182.0, "rest_s": 2.0}


def call(**changed) -> Call:
    usual = {f"{part}_s": 0.0 for part in ("planning", "data", "preparation", "device", "profile")}
    content = {
        **usual,
        "began": "2026-11-21T10:00:00.000+00:00",
        "wall_s": 232.0,
        "starting_s": 4.0,
        "trials_s": 220.0,
        "report_s": 7.0,
        "slots": 2,
        "trials": 2,
        "idle_s": 6.0,
        "process_s": 10.0,
        "lost_s": 0.0,
        "sittings": SITTING,
        "foreseen_s": None,
        "foreseen_took_s": None,
    }
    return Call.model_validate(content | changed)


def test_a_line_says_what_is_wall_time_and_what_was_side_by_side():
    (line,) = told(call())
    assert line == (
        "Time: 3 min 52 s in all (wall time: what 2 trials did side by side is divided by 2): "
        "starting 4.0 s, training 2 min 0 s, prediction 1 min 31 s, processes of trials 5.0 s, "
        "places without a trial 3.0 s, report 7.0 s, all else 2.0 s."
    )
    alone, estimate = told(call(slots=1, trials_s=440.0, foreseen_s=120.0, foreseen_took_s=300.0))
    assert "side by side" not in alone
    assert "training 4 min 0 s" in alone
    assert estimate == (
        "Estimated were 2 min 0 s from the plan to the end; it took 5 min 0 s, 2.5 times as long."
    )


def test_parts_add_up_to_the_wall_time_of_all_calls():
    calls = [call(), call(slots=1, wall_s=460.0, trials_s=440.0, starting_s=8.0)]
    parts = parts_of(calls)
    assert sum(wall for _, wall, _ in parts) == pytest.approx(232 + 460)
    (training,) = [part for part in parts if part[0] == "training"]
    assert training[1:] == (120 + 240, 480)
    rows = call_table(calls).rows
    assert rows[-1] == ["in all", "11 min 32 s", "100 %", "14 min 40 s"]


def test_a_report_shows_calls_and_trials_and_an_old_directory_has_none(tmp_path):
    workdir = write_workdir(
        tmp_path / "work",
        Plan({"a": 0.1, "b": 0.0}, folds=2, seeds=1, predictions=False, showcase=0),
    )
    page = build_report(workdir, tmp_path / "before")
    assert "Where the time went" not in page.read_text(encoding="utf-8")
    results = load_results(workdir)
    for trial in results.trials:
        ledger = LedgerRecord.read(trial.folder.ledger)
        own = Sitting(began="2026-11-21T10:00:00.000+00:00", wall_s=424.0, **SITTING)
        ledger.model_copy(update={"sittings": (own, own)}).write(trial.folder.ledger)
    name = results.experiment.id
    AccountsRecord(experiment=name, calls=(call(),)).write(AccountsRecord.file(workdir, name))
    results = load_results(workdir)
    table = trial_table(results)
    assert table.head == [
        *("Architecture", "Fold", "Seed", "Training", "Prediction", "Tables and maps", "In all")
    ]
    assert table.rows[0] == ["a", "0", "0", "8 min 0 s", "6 min 4 s", "4.0 s", "14 min 8 s"]
    assert len(table.rows) == 4 + 1
    page = build_report(workdir, tmp_path / "after")
    text = page.read_text(encoding="utf-8")
    assert text.index("What each costs") < text.index("Where the time went")
    markdown = (tmp_path / "after" / "report.md").read_text(encoding="utf-8")
    assert "| training | 2 min 0 s | 51.7\u00a0% | 4 min 0 s |" in markdown
    assert "accounting_training_s" in (tmp_path / "after" / "ledger.csv").read_text()
