"""A process that makes no progress is ended, and says where it stood."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from kitsbench.experiments.trial.watchdog import EXIT_CODE, Watchdog, hung

SCRIPT = """
import sys, time
from pathlib import Path
from kitsbench.experiments.trial.watchdog import Watchdog

told = Path(sys.argv[1]) / "told.txt"
with Watchdog(0.4, Path(sys.argv[1]) / "hang.txt", told.write_text) as watchdog:
    for _ in range(4):
        time.sleep(0.2)
        watchdog.beat()
    {hang}
"""


@pytest.mark.parametrize(
    ("hang", "code", "says"),
    [
        ("time.sleep(60)", EXIT_CODE, True),
        # A pattern that backtracks for hours, and holds the interpreter's lock meanwhile.
        ("import re; re.match('(a+)+$', 'a' * 60 + 'b')", 1, False),
    ],
    ids=["sleeps", "holds the lock"],
)
def test_a_hang_ends_the_process_and_leaves_its_stack(tmp_path, hang, code, says):
    script = SCRIPT.format(hang=hang)
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], timeout=50, check=False)
    assert done.returncode == code
    assert hung(tmp_path / "hang.txt")
    assert "<string>" in (tmp_path / "hang.txt").read_text()
    assert (tmp_path / "told.txt").exists() == says
    if says:
        assert "no progress for 0.4 s" in (tmp_path / "told.txt").read_text()


def test_progress_keeps_a_process_alive_and_leaves_nothing(tmp_path):
    with Watchdog(2.0, tmp_path / "hang.txt", print) as watchdog:
        for _ in range(5):
            time.sleep(0.05)
            watchdog.beat()
    assert not list(tmp_path.iterdir())
    assert not hung(tmp_path / "hang.txt")
