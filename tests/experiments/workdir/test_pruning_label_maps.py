"""Label maps go alone: told first, then done, and only those that can be made again."""

from __future__ import annotations

import shutil

from command_line import call_kitsbench

from kitsbench.experiments.trial.folder import TrialFolder
from kitsbench.experiments.trial.lease import Lease
from kitsbench.experiments.workdir.inventory import take_inventory


def fill(work):
    """Give every finished trial two label maps; returns the ids of those trials."""
    finished = [trial.id for trial in take_inventory(work).trials if trial.state == "finished"]
    for name in finished:
        place = TrialFolder(work, name).predictions
        place.mkdir()
        for number in range(2):
            (place / f"case_0000{number}.nii.gz").write_bytes(b"0" * 500)
    return finished


def prune(work, *words):
    return call_kitsbench("trials", work, "--prune", "predictions", *words)


def test_a_dry_run_tells_and_the_second_removes_them_alone(work):
    finished = fill(work)
    told = prune(work)
    assert told.code == 0, told.err
    assert "6 label maps of 3 trials would be deleted: 3,000 bytes (3 kB)." in told.out
    assert "Nothing was deleted. Say --yes" in told.out
    document = prune(work, "--json").json
    assert (document["deleted"], document["bytes"]) == (False, 3000)
    assert all(TrialFolder(work, name).predictions.is_dir() for name in finished)
    scores = {name: TrialFolder(work, name).scores.read_bytes() for name in finished}
    done = prune(work, "--yes", "--json").json
    assert done == {**document, "deleted": True}
    assert {row["id"] for row in done["trials"]} == {*finished}
    assert not any(TrialFolder(work, name).predictions.exists() for name in finished)
    assert {name: TrialFolder(work, name).scores.read_bytes() for name in finished} == scores
    assert {t.id for t in take_inventory(work).trials if t.state == "finished"} == {*finished}
    assert list((work / "trials").glob(".*")) == []
    assert "0 label maps of 0 trials would be deleted" in prune(work).out


def test_what_could_not_be_made_again_stays(work):
    without, held, _ = finished = fill(work)
    shutil.rmtree(TrialFolder(work, without).checkpoints)
    with Lease(TrialFolder(work, held).path / "lease.json"):
        done = prune(work, "--yes", "--json").json
    kept = {row["id"]: row["why"] for row in done["kept"]}
    assert "could not be made again" in kept[without]
    assert "works on it" in kept[held]
    left = {name for name in finished if TrialFolder(work, name).predictions.exists()}
    assert left == {without, held}


def test_orphans_are_trials_that_nobody_uses(work):
    orphans = call_kitsbench("trials", work, "--prune", "orphans", "--json")
    unused = call_kitsbench("trials", work, "--prune", "unused", "--json")
    assert orphans.code == 0, orphans.err
    assert orphans.json == unused.json
