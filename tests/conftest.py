"""Fixtures that every room uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real data and golden answers that lies beside a checkout, or wherever it is.

    ``KITSBENCH_SHARED`` names it; by default it is ``../shared`` seen from the repository.
    """
    default = Path(__file__).resolve().parents[2] / "shared"
    folder = Path(os.environ.get("KITSBENCH_SHARED", default))
    if not (folder / "golden").is_dir():
        pytest.skip("needs the shared folder of golden answers (set KITSBENCH_SHARED)")
    return folder
