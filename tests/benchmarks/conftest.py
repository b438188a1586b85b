"""Options of the benchmarks: where ratios are written, and what they are compared with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks import promises


def pytest_addoption(parser):
    group = parser.getgroup("kitsbench", "ratios of the benchmarks")
    group.addoption(
        "--ratios", type=Path, metavar="FILE.json", help="write them there, and the page FILE.md"
    )
    group.addoption(
        "--against", type=Path, metavar="FILE.json", help="fail on a ratio a fifth worse than there"
    )


@pytest.fixture(autouse=True)
def _watched():
    """What others do beside a benchmark counts from its begin."""
    promises.watch()


def _read(file: Path) -> dict:
    return json.loads(file.read_text(encoding="utf-8"))


def pytest_sessionfinish(session):
    written = session.config.getoption("ratios", default=None)
    before = session.config.getoption("against", default=None)
    worse = promises.fallen(promises.noted(), _read(before)) if before else []
    if written:
        promises.write(written, _read(written) if written.is_file() else None)
    for line in worse:
        print(f"\nfallen: {line}")
    if worse:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
