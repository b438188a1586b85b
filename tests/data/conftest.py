"""Fixtures of the data room."""

from __future__ import annotations

from pathlib import Path

import pytest
from scans import case

from kitsbench.data.phantom.dataset import write_phantom


@pytest.fixture(scope="session")
def kits23_phantom(tmp_path_factory) -> Path:
    """Three phantom cases in the layout of KiTS23; do not change them."""
    return write_phantom(tmp_path_factory.mktemp("phantom") / "set", 3, labels="kits23")


@pytest.fixture
def folder(tmp_path) -> Path:
    """A KiTS19 folder with two good cases; its cases lie in ``data``."""
    for number in (0, 1):
        case(tmp_path / "kits" / "data", f"case_{number:05d}")
    return tmp_path / "kits"
