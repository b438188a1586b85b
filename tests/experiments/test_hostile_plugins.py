"""Plugins that end, hang or change the process they run in are rows beside the honest ones."""

from __future__ import annotations

import tempfile
import time
import uuid
from pathlib import Path

import pandas as pd
import psutil
import pytest
from command_line import SMALL, call_kitsbench, environment, run_kitsbench
from experiments.hostile_plugins import BROKEN, HOSTILE, SOME

LOG_LIMIT = 2**20


def processes_with(mark: str) -> list[psutil.Process]:
    """Processes that were started with a mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if mark in process.environ().values() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def misread(hostile, reason, message) -> str | None:
    """What is wrong about how a run tells of a hostile plugin."""
    shown = f"{reason}: {message}"[:500]
    if reason != hostile.reason or hostile.words not in (message or ""):
        return f"{shown}, not {hostile.reason}: {hostile.words}"
    if len((message or "").encode()) > 2500:
        return "too long"
    if reason == BROKEN and not message.startswith("plugin error: "):
        return shown
    return None


def check_run(names, plugin, phantom, tmp_path, patience):
    """Run hostile plugins beside two honest ones, and the honest ones alone."""
    mark = uuid.uuid4().hex
    folders = {name: tmp_path / name for name in ("here", "plugins", "work", "alone")}
    for folder in folders.values():
        folder.mkdir()
    # Sockets of processes lie there, and the path of one may have about a hundred characters.
    folders["tmp"] = Path(tempfile.mkdtemp(prefix="kb"))
    honest = [plugin("honest", "Smallest"), plugin("upright", "Regions")]
    written = [
        HOSTILE[name].write(folders["plugins"] / f"{name}.py", folders["work"]) for name in names
    ]
    options = ("--dataset", phantom, *SMALL, "--folds", "0", "--seeds", "1", "--budget", "4steps")
    surroundings = {
        "cwd": folders["here"],
        "env": {
            **environment(),
            "TMPDIR": str(folders["tmp"]),
            "KITSBENCH_PLUGIN_SECONDS": str(patience),
            "KITSBENCH_MARK": mark,
        },
    }
    mixed = [*written[: len(written) // 2], *honest, *written[len(written) // 2 :]]
    done = run_kitsbench(
        "run", *mixed, *options, "--workdir", folders["work"], "--json", timeout=3000,
        **surroundings,
    )  # fmt: skip
    assert done.code == 1, done.err
    assert "Traceback" not in done.err
    rows = {t["architecture"]: (t["reason"], t["message"]) for t in done.json["trials"]}
    rows |= {b["architecture"]: (BROKEN, b["error"]) for b in done.json["broken"]}
    assert set(rows) == {*names, "honest", "upright"}
    told = {name: misread(HOSTILE[name], *rows[name]) for name in names}
    misreadings = "\n".join(f"{name}: {what}" for name, what in told.items() if what is not None)
    assert not misreadings, f"{misreadings}\n{done.err}"
    alone = call_kitsbench("run", *honest, *options, "--workdir", folders["alone"], "--json")
    assert alone.code == 0, alone.err
    for trial in alone.json["trials"]:
        pair = [
            pd.read_parquet(folders[where] / "trials" / trial["id"] / "scores.parquet")
            for where in ("alone", "work")
        ]
        pd.testing.assert_frame_equal(*pair, check_exact=True)
    for log in folders["work"].glob("trials/*/log.txt"):
        assert log.stat().st_size <= LOG_LIMIT, log
    deadline = time.monotonic() + 20  # the server of processes ends after whoever started it
    while processes_with(mark) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not processes_with(mark)
    assert not list(folders["here"].iterdir())
    left = {file.name for file in folders["tmp"].iterdir()}
    assert {name for name in left if not name.startswith("torchinductor")} == set()  # torch's own


@pytest.mark.exhaustive
def test_hostile_plugins_are_rows_beside_honest_ones(plugin, phantom, tmp_path):
    check_run(SOME, plugin, phantom, tmp_path, patience=120)


@pytest.mark.exhaustive
@pytest.mark.timeout(3600)
def test_fifty_hostile_plugins_are_rows_beside_honest_ones(plugin, phantom, tmp_path):
    check_run(tuple(HOSTILE), plugin, phantom, tmp_path, patience=90)
