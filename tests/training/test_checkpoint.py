"""Checkpoints survive kills and damage."""

from __future__ import annotations

import pytest
import torch

from kitsbench.errors import DataError
from kitsbench.training.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint


def save(folder, step):
    return save_checkpoint(
        folder, step, {"weight": torch.full((3,), float(step))}, {"lr": 0.1}, {"step": step}
    )


def test_what_was_saved_comes_back(tmp_path):
    found = save(tmp_path, 7)
    model, optimiser, state = load_checkpoint(found)
    assert model["weight"].tolist() == [7, 7, 7]
    assert optimiser == {"lr": 0.1}
    assert state == {"step": 7}


def test_the_previous_checkpoint_is_kept_and_older_ones_go(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, step)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]


@pytest.mark.parametrize("name", ["model.safetensors", "optimiser.pt", "state.json", "SHA256.json"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, name):
    save(tmp_path, 1)
    newest = save(tmp_path, 2)
    content = bytearray((newest / name).read_bytes())
    content[len(content) // 2] ^= 0xFF
    (newest / name).write_bytes(bytes(content))
    assert latest_checkpoint(tmp_path).name == "step-00000001"
    with pytest.raises(DataError, match="no whole checkpoint"):
        load_checkpoint(newest)


def test_a_half_written_checkpoint_does_not_count(tmp_path):
    save(tmp_path, 1)
    (tmp_path / ".partial-00000002-99").mkdir()
    (tmp_path / "step-00000003").mkdir()
    assert latest_checkpoint(tmp_path).name == "step-00000001"


def test_nothing_saved_is_nothing_found(tmp_path):
    assert latest_checkpoint(tmp_path / "absent") is None
