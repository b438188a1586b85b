"""Fixtures that every room uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings
from real_browser import chromium_started, pages_of

# Many small tensors: several threads would cost more than they bring. Read when torch is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Every run in a new working directory measures the device first.
os.environ.setdefault("KITSBENCH_CALIBRATION_SECONDS", "0.1")

# A deadline would make a timed test of every property, and machines are noisy.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked ``gpu`` where there is none."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


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


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six cases of the built-in phantom, kits19 layout."""
    from kitsbench.data.phantom.dataset import write_phantom

    return write_phantom(tmp_path_factory.mktemp("phantom") / "phantom", 6, jobs=2)


@pytest.fixture(scope="session")
def coarse_store(phantom: Path, tmp_path_factory: pytest.TempPathFactory):
    """The phantom prepared at 9 mm: volumes of about 32 voxels a side, for quick trainings."""
    from kitsbench.data.datasets.dataset import open_dataset
    from kitsbench.data.preparation.prepare import prepare

    out = tmp_path_factory.mktemp("prepared")
    return prepare(open_dataset(phantom), (9.0, 9.0, 9.0), out)


@pytest.fixture(scope="module")
def chromium():
    """Playwright's browser, closed after a module: its loop must not run below other tests."""
    with chromium_started() as browser:
        yield browser


@pytest.fixture
def browser_page(chromium):
    """Opens windows of a real browser, see :mod:`real_browser`: ``browser_page(width=390)``."""
    with pages_of(chromium) as window:
        yield window
