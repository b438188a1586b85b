"""Devices that a user names."""

from __future__ import annotations

import pytest
import torch

from kitsbench.devices.choose import choose_device, choose_devices
from kitsbench.errors import UsageError


@pytest.fixture
def four(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)


@pytest.mark.parametrize(
    ("wish", "device"),
    [("auto", "cuda:0"), ("cuda", "cuda:0"), ("cuda:3", "cuda:3"), ("cpu", "cpu")],
)
def test_one_device_is_the_named_one_or_the_first(four, wish, device):
    assert choose_device(wish) == torch.device(device)


def test_where_one_is_used_several_are_refused(four):
    assert choose_devices("cuda:1,cuda:2") == ("cuda:1", "cuda:2")
    with pytest.raises(UsageError, match="one is used here; name one, such as cuda:1"):
        choose_device("cuda:1,cuda:2")


@pytest.mark.parametrize("wish", ["mps", "mps:0"])
def test_apples_gpus_get_a_sentence(wish):
    with pytest.raises(UsageError, match=r"checked on no other\. Use --device cpu"):
        choose_device(wish)
