"""What it costs to start: `kitsbench --help`, `list` and a completion against an empty Python.

``pytest tests/benchmarks/test_start.py -n0 --benchmark-only -s`` starts both in turn and takes the
CPU time of the process, which other programs hardly change.
"""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest
from benchmarks.promises import note
from command_line import environment

ROUNDS = 9
COMPLETE = {
    "_KITSBENCH_COMPLETE": "bash_complete",
    "COMP_WORDS": "kitsbench ru",
    "COMP_CWORD": "1",
}


def cpu_seconds(*arguments: str, **more: str) -> float:
    """CPU seconds of a process of Python and of those that it waits for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *arguments],
        env={**environment(), **more},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize(
    ("key", "words", "more"),
    [
        ("start.help", ["--help"], {}),
        ("start.list", ["list"], {}),
        ("start.completion", [], COMPLETE),
    ],
)
def test_cpu_time_of_a_start(benchmark, key, words, more):
    ours, empty = [], []

    def one_round() -> None:
        ours.append(cpu_seconds("-m", "kitsbench.cli", *words, **more))
        empty.append(cpu_seconds("-c", "pass"))

    one_round()  # bytecode is compiled
    ours.clear()
    empty.clear()
    benchmark.pedantic(one_round, rounds=ROUNDS)
    ratios = [b / a for a, b in zip(ours, empty, strict=True)]
    middle = sorted(ours)[len(ours) // 2]
    note(key, ratios, middle)
    benchmark.extra_info |= {"cpu_seconds": middle, "ratio": sorted(ratios)[len(ratios) // 2]}
    print(f"\n{key}: {middle:.3f} s of CPU, {1 / benchmark.extra_info['ratio']:.1f} empty Pythons")
