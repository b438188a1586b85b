"""What ``kitsbench doctor`` says of GPUs, on stubs of them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from fake_cuda import FakeCuda

from kitsbench.cli.verbs import doctor
from kitsbench.devices import norms

ENVIRONMENT = {"cuda": "13.0", "driver": "580.1", "cudnn": "9.1"}


@pytest.mark.parametrize("work", [True, False])
def test_slow_kernels_of_norms_are_named_with_what_they_need(work, monkeypatch):
    FakeCuda(monkeypatch)
    card = SimpleNamespace(name="A card", total_memory=80 * 2**30, major=8, minor=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: card)
    monkeypatch.setattr(norms, "_work", lambda device: work)
    rows = {
        what: (status, found, remedy) for what, status, found, remedy in doctor._gpus(ENVIRONMENT)
    }
    assert rows["GPU cuda:1"][1] == "A card, 80 GiB, compute capability 8.0; networks in bfloat16"
    assert ("instance norms" in rows) is not work
    if not work:
        status, _, remedy = rows["instance norms"]
        assert status == "note"
        assert "triton" in remedy
        assert "C compiler" in remedy
