"""A request that every executor can carry out."""

from __future__ import annotations

import pytest
from experiments.small_requests import small_request


@pytest.fixture(scope="session")
def base(plugin, phantom):
    """A request of four trials, without a working directory."""
    alpha = plugin("alpha", "Smallest")
    # A working directory is given by every test.
    return small_request(phantom, phantom, (alpha,), steps=4, folds=None)
