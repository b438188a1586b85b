"""Boards as they are published, for those who forge them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from leaderboard.forging import remembered
from reporting.workdirs import write_workdir

from kitsbench.leaderboard import add_entries


@pytest.fixture(scope="module")
def honest(request, tmp_path_factory) -> Path:
    """The board of the experiment that a module plans in ``PLAN``; equal tables cost once."""
    folder = tmp_path_factory.mktemp("honest")
    add_entries(write_workdir(folder / "work", request.module.PLAN), folder / "boards" / "phantom")
    with remembered():
        yield folder / "boards" / "phantom"


@pytest.fixture
def board(honest, tmp_path) -> Path:
    """A copy that a forger may have."""
    return Path(shutil.copytree(honest, tmp_path / "boards" / "phantom"))
