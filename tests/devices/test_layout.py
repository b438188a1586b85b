"""Weights lie as they are told, and what was chosen once is kept."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from kitsbench.devices.layout import (
    LayoutKey,
    LayoutRecord,
    faster,
    kept_layout,
    layout_of,
    layouts_of,
    set_layout,
)

KEY = LayoutKey(
    source="s",
    spec="p",
    batch=2,
    precision="bfloat16",
    device="A card",
    torch="2.9",
    cudnn="91002",
    norms="triton",
)
FAST_LAST = ({"contiguous": 2.0, "channels_last_3d": 1.0}, 2)
FAST_PLAIN = ({"contiguous": 1.0, "channels_last_3d": 2.0}, 2)


def mixed():
    """Convolutions in 3D, 2D and 1D, one channel, one tap, and a norm."""
    return nn.ModuleList(
        [
            nn.Conv3d(1, 4, 3),
            nn.Conv3d(4, 4, 3),
            nn.Conv3d(4, 2, 1),
            nn.ConvTranspose3d(4, 4, 2),
            nn.Conv2d(4, 4, 3),
            nn.Conv1d(4, 4, 3),
            nn.BatchNorm3d(4),
        ]
    )


def test_only_weights_with_five_axes_are_laid_out():
    network = mixed()
    before = copy.deepcopy(network.state_dict())
    set_layout(network, "channels_last_3d")
    assert layout_of(network) == "channels_last_3d"
    assert network[1].weight.stride(1) == 1
    assert network[4].weight.is_contiguous()
    assert all(torch.equal(before[name], v) for name, v in network.state_dict().items())
    set_layout(network, "contiguous")
    assert layout_of(network) == "contiguous"
    assert network[1].weight.is_contiguous()


def test_weights_lie_as_torch_itself_lays_them():
    networks = [nn.Sequential(*mixed()[:4]) for _ in range(2)]
    set_layout(networks[0], "channels_last_3d")
    networks[1].to(memory_format=torch.channels_last_3d)
    strides = [[p.stride() for p in network.parameters()] for network in networks]
    assert strides[0] == strides[1]


@pytest.mark.parametrize(
    ("plain", "last", "expected"),
    [
        (1.0, 0.9, "channels_last_3d"),
        (1.0, 0.985, "contiguous"),  # noise
        (1.0, 1.2, "contiguous"),
        (None, 5.0, "channels_last_3d"),
        (5.0, None, "contiguous"),
        (None, None, "contiguous"),
    ],
)
def test_channels_last_has_to_be_clearly_faster(plain, last, expected):
    assert faster({"contiguous": plain, "channels_last_3d": last}) == expected


def test_a_layout_is_measured_once_for_each_kind_of_trial(tmp_path):
    folder = layouts_of(tmp_path)
    found = kept_layout(KEY, folder, lambda: FAST_LAST)
    assert found.layout == "channels_last_3d"
    assert kept_layout(KEY, folder, lambda: pytest.fail("measured again")) == found
    (file,) = folder.iterdir()
    assert LayoutRecord.read(file) == found
    for change in (
        {"source": "other"},
        {"spec": "other"},
        {"batch": 1},
        {"precision": "float32"},
        {"device": "Another card"},
        {"torch": "2.10"},
        {"cudnn": "90000"},
    ):
        other = KEY.model_copy(update=change)
        assert kept_layout(other, folder, lambda: FAST_PLAIN).layout == "contiguous"
    assert len(list(folder.iterdir())) == 8


def test_a_damaged_choice_is_made_again(tmp_path):
    kept_layout(KEY, tmp_path, lambda: FAST_LAST)
    (file,) = tmp_path.iterdir()
    file.write_text("{")
    assert kept_layout(KEY, tmp_path, lambda: FAST_PLAIN).layout == "contiguous"
    assert LayoutRecord.read(file).layout == "contiguous"


def test_of_two_trials_that_measure_at_once_the_first_decides(tmp_path):
    def late():
        kept_layout(KEY, tmp_path, lambda: FAST_LAST)  # another trial, meanwhile
        return FAST_PLAIN

    assert kept_layout(KEY, tmp_path, late).layout == "channels_last_3d"
    assert len(list(tmp_path.iterdir())) == 1


def test_where_no_step_could_be_taken_the_next_trial_tries_again(tmp_path):
    neither = {"contiguous": None, "channels_last_3d": None}
    assert kept_layout(KEY, tmp_path, lambda: (neither, 1)).layout == "contiguous"
    assert not list(tmp_path.iterdir())
    assert kept_layout(KEY, tmp_path, lambda: FAST_LAST).layout == "channels_last_3d"


def test_without_a_folder_nothing_is_kept(tmp_path):
    assert kept_layout(KEY, None, lambda: FAST_LAST).layout == "channels_last_3d"
    assert kept_layout(KEY, None, lambda: FAST_PLAIN).layout == "contiguous"
