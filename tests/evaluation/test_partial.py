"""A killed evaluation goes on where it stopped."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pandas as pd
import psutil
import pytest
from command_line import call_kitsbench
from save_maps import save_map

from kitsbench.errors import UsageError
from kitsbench.evaluation import evaluate, pool


class Stop(Exception):
    """What interrupts an evaluation in a test."""


def stop_after(count):
    def progress(done, total, case):
        if done == count:
            raise Stop

    return progress


@pytest.fixture
def interrupted(folders, tmp_path):
    """Three cases of which two are done; and where they are kept."""
    partial = tmp_path / "scores.csv.partial"
    with pytest.raises(Stop):
        evaluate(*folders, "kits23", partial=partial, progress=stop_after(2))
    return folders, partial


def doctor(partial):
    """Put a value into the kept scores that no calculation gives."""
    lines = partial.read_text().splitlines()
    for number, line in enumerate(lines[1:], 1):
        if line:
            entry = json.loads(line)
            entry["scores"]["rows"]["kits23"][0]["value"] = 0.123
            lines[number] = json.dumps(entry)
    partial.write_text("\n".join(lines) + "\n")


def values(evaluation):
    firsts = [
        r for r in evaluation.rows if (r["region"], r["metric"]) == ("kidney_and_mass", "dice")
    ]
    return {row["case"]: row["value"] for row in firsts}


def test_cases_that_are_done_are_not_scored_again(interrupted):
    folders, partial = interrupted
    expected = evaluate(*folders, "kits23").to_dict()
    assert evaluate(*folders, "kits23", partial=partial).to_dict() == expected
    doctor(partial)
    assert list(values(evaluate(*folders, "kits23", partial=partial)).values()) == [0.123] * 3


def test_a_line_that_was_cut_off_is_scored_again_and_spoils_no_other(interrupted):
    folders, partial = interrupted
    expected = evaluate(*folders, "kits23").to_dict()
    partial.write_text(partial.read_text()[:-40])
    for _ in range(2):
        assert evaluate(*folders, "kits23", partial=partial).to_dict() == expected


def test_changed_files_metrics_or_protocols_are_scored_again(interrupted, make_maps):
    folders, partial = interrupted
    doctor(partial)
    for options in ({"metrics": ["dice"]}, {"metrics": ["dice", "recall"]}):
        found = evaluate(*folders, "kits23", partial=partial, **options)
        assert 0.123 not in values(found).values()
    assert 0.123 not in values(evaluate(*folders, "kits21", partial=partial)).values()
    save_map(folders[0] / "case_00000.nii.gz", make_maps(7)[0])
    found = values(evaluate(*folders, "kits23", partial=partial))
    assert found["case_00000"] != 0.123
    assert found["case_00001"] == 0.123


def test_a_file_of_somebody_else_is_left_alone(folders, tmp_path):
    partial = tmp_path / "scores.csv.partial"
    partial.write_text("my notes\n")
    with pytest.raises(UsageError, match="holds something else"):
        evaluate(*folders, "kits23", partial=partial)
    assert partial.read_text() == "my notes\n"


KILL_ITSELF = """
import os, signal, sys
from pathlib import Path
import psutil
from kitsbench.evaluation import evaluate

def progress(done, total, case):
    if done == 3:
        print(*(child.pid for child in psutil.Process().children(recursive=True)), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

predictions, truth, partial = map(Path, sys.argv[1:])
evaluate(predictions, truth, "kits23", jobs=2, partial=partial, progress=progress)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs a signal that cannot be caught")
def test_after_sigkill_the_command_goes_on_and_no_process_is_left(tmp_path, make_maps):
    for case in range(6):
        for folder, labels in zip(("predictions", "truth"), make_maps(case), strict=True):
            save_map(tmp_path / folder / f"case_{case:05d}.nii.gz", labels)
    folders = [str(tmp_path / "predictions"), str(tmp_path / "truth")]
    output, partial = tmp_path / "scores.csv", tmp_path / "scores.csv.partial"
    killed = subprocess.run(
        [sys.executable, "-c", KILL_ITSELF, *folders, str(partial)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    workers = [int(pid) for pid in killed.stdout.split()]
    assert workers
    deadline = time.monotonic() + 60
    while any(psutil.pid_exists(pid) for pid in workers):
        assert time.monotonic() < deadline, "processes outlive the one that started them"
        time.sleep(0.05)
    kept = [json.loads(line)["case"] for line in partial.read_text().splitlines()[1:] if line]
    assert len(kept) == 3
    doctor(partial)
    options = ("--protocol", "kits23", "--jobs", "1", "-o", output)
    assert call_kitsbench("evaluate", *folders, *options).code == 0
    assert not partial.exists()
    table = pd.read_csv(output)
    assert set(table.case[table.value == 0.123]) == set(kept)
    assert table.case.nunique() == 6


def workers():
    """Processes that score cases for this one."""
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if any("spawn_main" in word for word in child.cmdline()):
                yield child


@pytest.fixture
def four_cases(tmp_path, make_maps):
    for case in range(4):
        for folder, labels in zip(("predictions", "truth"), make_maps(case), strict=True):
            save_map(tmp_path / folder / f"case_{case:05d}.nii.gz", labels)
    return tmp_path / "predictions", tmp_path / "truth"


def test_a_killed_worker_costs_no_case(four_cases):
    kills = []

    def progress(done, total, case):
        if not kills:
            (victim, *_) = workers()
            victim.kill()
            kills.append(victim)

    found = evaluate(*four_cases, "kits23", jobs=2, progress=progress)
    assert kills
    assert not found.problems
    assert found.rows == evaluate(*four_cases, "kits23", jobs=1).rows


def test_a_case_for_which_memory_does_not_suffice_leaves_the_others(four_cases, monkeypatch):
    real = pool.score_files

    def score_files(file, task):
        if file.case == "case_00002":
            raise MemoryError
        return real(file, task)

    monkeypatch.setattr(pool, "score_files", score_files)
    found = evaluate(*four_cases, "kits23", jobs=1)
    assert [problem.case for problem in found.problems] == ["case_00002"]
    assert len({row["case"] for row in found.rows}) == 3


def test_a_case_that_kills_every_worker_is_named_and_tried_again_by_the_next_command(
    four_cases, tmp_path
):
    over, partial = threading.Event(), tmp_path / "scores.csv.partial"

    def kill_all():
        while not over.wait(0.01):
            for worker in workers():
                worker.kill()

    killer = threading.Thread(target=kill_all)
    killer.start()
    try:
        found = evaluate(*four_cases, "kits23", jobs=2, partial=partial)
    finally:
        over.set()
        killer.join()
    assert not found.rows
    assert [problem.case for problem in found.problems] == [f"case_{k:05d}" for k in range(4)]
    assert "memory ran out, or its process was killed" in found.problems[0].reason
    assert not evaluate(*four_cases, "kits23", jobs=2, partial=partial).problems
