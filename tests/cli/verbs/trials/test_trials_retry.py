"""A trial that failed is run again, and an experiment grows, each in a few words."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from command_line import SMALL, call_kitsbench

from kitsbench.experiments.records import LedgerRecord, request_file

FLAKY = """
from pathlib import Path
from architectures import Smallest

SWITCH = Path({switch!r})


class Plugin(Smallest):
    def targets(self, labels, spec):
        if SWITCH.exists():
            raise RuntimeError("the switch is on")
        return super().targets(labels, spec)
"""


@pytest.fixture(scope="module")
def failed(phantom, tmp_path_factory):
    """A run whose only trial failed, and what makes it fail."""
    folder = tmp_path_factory.mktemp("flaky")
    switch = folder / "switch"
    switch.write_text("on")
    (folder / "flaky.py").write_text(FLAKY.format(switch=str(switch)))
    words = ("run", folder / "flaky.py", "--dataset", phantom, *SMALL, "--folds", "0")
    options = ("--seeds", "1", "--budget", "2steps", "--workdir", folder / "work", "--json")
    return folder / "work", switch, call_kitsbench(*words, *options)


def test_a_failed_trial_is_run_again_and_the_experiment_grows(failed):
    workdir, switch, first = failed
    assert first.code == 1, first.err
    (trial,) = first.json["trials"]
    assert (trial["status"], trial["reason"]) == ("failed", "plugin error")
    shown = call_kitsbench("trials", "log", trial["id"], "--workdir", workdir)
    assert "the switch is on" in shown.out
    assert "Traceback" in shown.out
    retry = ("trials", "retry", "--workdir", workdir)
    other = call_kitsbench(*retry, "--reason", "timeout")
    assert (other.code, "has failed for the reason 'timeout'" in other.err) == (0, True)
    switch.unlink()
    request = request_file(workdir, first.json["experiment"])
    asked = request.read_bytes()
    how = ("--timeout", "500", "--max-memory", "20GiB", "--jobs", "1")
    how += ("--log", "tensorboard") if find_spec("tensorboard") else ()
    again = call_kitsbench(*retry, trial["id"][:7], "--fresh", *how, "--json")
    assert again.code == 0, again.err
    if find_spec("tensorboard"):
        assert any(trial["id"][:8] in one.name for one in (workdir / "tensorboard").iterdir())
    assert request.read_bytes() == asked  # how it is tried this once was not asked for
    assert [(t["id"], t["status"]) for t in again.json["trials"]] == [(trial["id"], "finished")]
    assert again.json["experiment"] == first.json["experiment"]
    ledger = workdir / "trials" / trial["id"] / "ledger.json"
    assert LedgerRecord.read(ledger).steps == 2
    kept = ledger.read_bytes()
    refused = call_kitsbench(*retry, trial["id"])
    assert (refused.code, "is finished; only those that failed" in refused.err) == (2, True)
    nothing = call_kitsbench(*retry, "--all")
    assert (nothing.code, "has failed or was interrupted; nothing is run" in nothing.err) == (
        0,
        True,
    )

    page = workdir / "experiments" / first.json["experiment"] / "report" / "index.html"
    before = page.read_bytes()
    grown = call_kitsbench("run", "--add", "--folds", "1", "--workdir", workdir, "--json")
    assert grown.code == 0, grown.err
    assert {t["fold"] for t in grown.json["trials"]} == {0, 1}
    assert trial["id"] in {t["id"] for t in grown.json["trials"]}
    assert ledger.read_bytes() == kept
    # Each report lies in its experiment's own folder, and the link leads to the latest.
    assert page.read_bytes() == before
    own = workdir / "experiments" / grown.json["experiment"] / "report"
    assert (workdir / "report").resolve() == own.resolve()
    older = call_kitsbench("report", workdir, "--experiment", first.json["experiment"])
    assert older.out.strip() == str(page)
    assert (workdir / "report").resolve() == own.resolve()
    rows = call_kitsbench("trials", "experiments", workdir, "--json").json
    assert [row["states"] for row in rows] == [{"finished": 1}, {"finished": 2}]
    assert "--folds 0,1 " in rows[1]["command"]
    assert "--add" not in rows[1]["command"]
