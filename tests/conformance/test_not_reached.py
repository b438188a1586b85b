"""One fault is one failed check; those that were not run are counted apart."""

from __future__ import annotations

from architectures import broken
from command_line import call_kitsbench

from kitsbench import conformance

PLUGIN = """
from architectures.broken import TwoPrimaryHeads


class Own(TwoPrimaryHeads):
    pass
"""


def test_a_fault_is_counted_once():
    report = conformance.check(broken.TwoPrimaryHeads)
    counts, checks = report.counts, report.to_dict()["checks"]
    assert not report.passed
    assert (counts["failed"], counts["expected"]) == (1, 0)
    assert counts["not_reached"] > 20
    assert sum(counts.values()) == len(report.checks)
    failed = [check["name"] for check in checks if check["passed"] is False]
    assert failed == ["grids and heads fit"]
    assert sum(check["passed"] is None for check in checks) == counts["not_reached"]
    assert report.to_dict()["counts"] == counts


def test_the_verb_tells_them_apart(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(PLUGIN)
    done = call_kitsbench("check", path)
    assert done.code == 1
    said = " ".join(done.out.split())
    assert said.count("FAILED") == 1
    total = len(conformance.checks(broken.TwoPrimaryHeads))
    apart = total - 3
    assert f"not reached: {apart}, because the check 'grids and heads fit' failed (sizes" in said
    assert f"1 of {total} failed, {apart} not reached." in said
