"""Networks as training needs them: their seeds."""

from __future__ import annotations

import torch

from kitsbench.data.batches.patches import generator
from kitsbench.training.networks import build


def test_a_seed_is_torchs_own_whatever_devices_there_are(monkeypatch):
    seed = int(generator(7, 5, 3).integers(2**62))
    torch.manual_seed(seed)
    wanted = torch.randn(9), torch.rand(9), torch.randperm(9)
    for there in (True, False):
        monkeypatch.setattr(build, "_has_accelerator", lambda there=there: there)
        build.seed_everything(7, 5, 3)
        found = torch.randn(9), torch.rand(9), torch.randperm(9)
        assert all(torch.equal(a, b) for a, b in zip(wanted, found, strict=True))
