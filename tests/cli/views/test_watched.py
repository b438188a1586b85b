"""What ``kitsbench watch`` says below its table."""

from __future__ import annotations

from types import SimpleNamespace

from kitsbench.cli.views.watched import remarks
from kitsbench.experiments.workdir.watching import Look, SeenTrial

WATCH = SimpleNamespace(experiment=SimpleNamespace(id="0" * 16, endpoint="tumor:dice"))


def seen(number, state, message=""):
    return SeenTrial(f"{number:016x}", f"net{number}", 0, 1, None, state, message=message)


def test_what_is_the_same_of_many_trials_is_said_once():
    gone = [seen(number, "dead", "its process is gone\nand more") for number in range(500)]
    failed = seen(500, "failed", "out of memory")
    found = remarks(WATCH, Look((*gone, failed), (), None, False), most=10)
    assert found[:2] == [
        "net0 fold 0 seed 1 (00000000), net1 fold 0 seed 1 (00000000), net2 fold 0 seed 1 "
        "(00000000) and 497 more are dead: its process is gone",
        "net500 fold 0 seed 1 (00000000) is failed: out of memory",
    ]
    assert "`kitsbench run --experiment 00000000`" in found[2]
    assert remarks(WATCH, Look((*gone, failed), (), None, False), most=1)[1] == "... and 1 more"
