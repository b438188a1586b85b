"""Full disks, folders that are not ours, and two runs on one working directory."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
from command_line import SMALL, run_kitsbench, without_bytecode

from kitsbench.experiments.records import Status

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs limits of POSIX")


@pytest.fixture
def arguments(plugin, phantom, tmp_path):
    """A small run of two trials in ``tmp_path/work``."""
    return [
        "run",
        plugin("alpha", "Smallest"),
        "--dataset",
        phantom,
        *SMALL,
        "--seeds",
        "1",
        "--budget",
        "3steps",
        "--workdir",
        tmp_path / "work",
        "--json",
    ]


def stamps(workdir):
    return {
        p: p.stat().st_mtime_ns
        for p in workdir.glob("trials/*/*")
        if p.name in ("ledger.json", "scores.parquet", "status.json")
    }


def run_limited(arguments, largest: int):
    """Run the command line where no file may grow beyond some bytes, as under a quota."""
    limit = (largest, largest)
    return run_kitsbench(
        *arguments,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
        env=without_bytecode(),
    )


@pytest.mark.exhaustive
def test_a_quota_hit_in_the_middle_loses_nothing_and_says_what_to_do(arguments, tmp_path):
    first = run_kitsbench(*arguments, "--folds", "0")
    assert first.code == 0, first.err
    workdir = tmp_path / "work"
    before = stamps(workdir)
    done = run_limited(arguments, 5000)  # a status fits, a checkpoint does not
    assert done.code in (1, 2)
    assert "Traceback" not in done.err
    assert "disk or its quota was full" in done.err + done.out
    assert "same command again" in done.err + done.out
    assert {p: s for p, s in stamps(workdir).items() if p in before} == before
    (failed,) = [
        Status.read(p / "status.json")
        for p in workdir.glob("trials/*")
        if p / "status.json" not in before
    ]
    assert (failed.status, failed.reason) == ("failed", "disk error")
    again = run_kitsbench(*arguments)
    assert again.code == 0, again.err
    assert {p: s for p, s in stamps(workdir).items() if p in before} == before
    assert {t["status"] for t in again.json["trials"]} == {"finished"}


@pytest.mark.exhaustive
def test_a_full_disk_loses_nothing_and_says_what_to_do(arguments, tmp_path):
    workdir = tmp_path / "work"
    workdir.mkdir()
    mounted = shutil.which("mount") and os.geteuid() == 0
    size = ["-t", "tmpfs", "-o", "size=24m", "tmpfs", str(workdir)]
    if not mounted or subprocess.run(["mount", *size], check=False).returncode:
        pytest.skip("may not mount a small disk")
    try:
        first = run_kitsbench(*arguments, "--folds", "0")
        assert first.code == 0, first.err
        before = stamps(workdir)
        for spare in (0, 6_000, 60_000):
            space = os.statvfs(workdir)
            (workdir / "filler").write_bytes(bytes(space.f_bavail * space.f_frsize - spare))
            done = run_kitsbench(*arguments)
            assert done.code in (1, 2)
            assert "Traceback" not in done.err
            assert "disk or its quota was full" in done.err + done.out
            assert {p: s for p, s in stamps(workdir).items() if p in before} == before
            (workdir / "filler").unlink()
        again = run_kitsbench(*arguments)
        assert again.code == 0, again.err
        assert {p: s for p, s in stamps(workdir).items() if p in before} == before
    finally:
        subprocess.run(["umount", str(workdir)], check=False)


@pytest.mark.exhaustive
def test_a_folder_that_is_not_ours_is_named_and_nothing_is_trained(arguments, tmp_path):
    prefix = ()
    if os.geteuid() == 0:  # root may write anywhere, unless it gives that up
        if not shutil.which("setpriv"):
            pytest.skip("needs setpriv")
        drop = "-dac_override,-dac_read_search"
        prefix = ("setpriv", "--bounding-set", drop, "--inh-caps", drop)
    workdir = tmp_path / "work"
    workdir.mkdir()
    workdir.chmod(0o555)
    try:
        done = run_kitsbench(*arguments, prefix=prefix)
    finally:
        workdir.chmod(0o755)
    assert done.code == 2, done.err
    assert "Permission denied" in done.err
    assert "Choose another folder" in done.err
    assert str(workdir) in done.err
    assert "Traceback" not in done.err
    assert not list(workdir.iterdir())


@pytest.mark.exhaustive
def test_two_runs_share_a_working_directory_and_each_trial_is_trained_once(arguments, tmp_path):
    run_kitsbench(*arguments, "--dry-run")  # the data, so that both begin to train at once
    arguments[arguments.index("3steps")] = "40steps"
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: run_kitsbench(*arguments), range(2)))
    assert [done.code for done in both] == [0, 0], [done.err for done in both]
    for done in both:
        assert {t["status"] for t in done.json["trials"]} == {"finished"}
        assert {t["ledger"]["steps"] for t in done.json["trials"]} == {40}
        assert {t["ledger"]["resumed"] for t in done.json["trials"]} == {0}
    first, second = (
        {t["id"]: t["ledger"]["device_seconds"] for t in done.json["trials"]} for done in both
    )
    assert first == second
    for folder in (tmp_path / "work" / "trials").iterdir():
        assert not (folder / "lease.json").exists()
        assert len(pd.read_parquet(folder / "scores.parquet")) > 0
