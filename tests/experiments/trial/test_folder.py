"""The status of a trial's folder."""

from __future__ import annotations

import pytest

from kitsbench.errors import DataError
from kitsbench.experiments.records import PENDING
from kitsbench.experiments.trial.folder import TrialFolder


def test_status_tells_when_a_trial_began_and_ended(tmp_path):
    folder = TrialFolder(tmp_path, "trial")
    assert folder.read_status() == PENDING
    folder.set_status("running")
    running = folder.read_status()
    assert running.started
    assert running.finished is None
    assert not running.ended
    folder.set_status("failed", "out-of-memory", "too much")
    failed = folder.read_status()
    assert failed.started == running.started
    assert failed.finished
    assert failed.ended
    assert (failed.reason, failed.message) == ("out-of-memory", "too much")


def test_a_status_that_cannot_be_written_is_said_instead(tmp_path, capsys):
    folder = TrialFolder(tmp_path, "trial")
    (tmp_path / "trials").write_text("a file where a folder should be")
    folder.try_status("failed", "disk error", "The disk was full.")
    assert "disk error: The disk was full." in capsys.readouterr().err


def test_a_damaged_status_gives_way_to_what_is_written_next(tmp_path):
    folder = TrialFolder(tmp_path, "trial")
    folder.set_status("running")
    (folder.path / "status.json").write_text("{")
    with pytest.raises(DataError, match=r"status\.json"):
        folder.read_status()
    folder.set_status("finished")
    assert folder.read_status().status == "finished"
    assert folder.read_status().started is None
