"""A request that every executor can carry out."""

from __future__ import annotations

import pytest

from kitsbench.experiments.asked.request import Request
from kitsbench.training.budget import Budget


@pytest.fixture(scope="session")
def base(plugin, phantom):
    """A request of four trials, without a working directory."""
    return Request(
        workdir=phantom,  # replaced by every test
        architectures=(str(plugin("alpha", "Smallest")),),
        dataset=str(phantom),
        spacing=(9.0, 9.0, 9.0),
        patch=(16, 16, 16),
        split="2",
        seeds=1,
        device="cpu",
        budget=Budget(4, "steps"),
    )
