"""Checkpoints survive kills and damage."""

from __future__ import annotations

import pickle

import pytest
import torch

from kitsbench.errors import DataError
from kitsbench.training.checkpoints.checkpoint import (
    drop_damaged,
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
)


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


@pytest.mark.parametrize("sums", ["[]", "{}", "7", "null", "[" * 100_000, '{"state.json": 7}'])
def test_checksums_that_are_none_make_no_whole_checkpoint(tmp_path, sums):
    save(tmp_path, 1)
    (save(tmp_path, 2) / "SHA256.json").write_text(sums)
    assert latest_checkpoint(tmp_path).name == "step-00000001"


def test_a_half_written_checkpoint_does_not_count(tmp_path):
    save(tmp_path, 1)
    (tmp_path / ".partial-00000002-99").mkdir()
    (tmp_path / "step-00000003").mkdir()
    assert latest_checkpoint(tmp_path).name == "step-00000001"


def test_a_second_checkpoint_of_a_step_is_the_newer_one(tmp_path):
    save(tmp_path, 7)
    again = save(tmp_path, 7)
    assert latest_checkpoint(tmp_path) == again
    assert len(list(tmp_path.glob("step-*"))) == 2
    assert latest_checkpoint(tmp_path) < save(tmp_path, 8)


def test_what_a_killed_process_left_half_written_is_cleared_away(tmp_path):
    (tmp_path / ".partial-00000002-99").mkdir()
    (tmp_path / ".partial-00000002-99" / "model.safetensors").write_bytes(b"half")
    save(tmp_path, 3)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000003"]


def test_a_damaged_checkpoint_does_not_push_out_the_one_before(tmp_path):
    save(tmp_path, 1)
    (save(tmp_path, 2) / "state.json").unlink()
    drop_damaged(tmp_path)
    save(tmp_path, 3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000001", "step-00000003"]


def test_a_checkpoint_that_holds_code_is_not_run(tmp_path):
    class Malicious:
        def __reduce__(self):
            return (exec, ("raise SystemExit('code was run')",))

    folder = save_checkpoint(
        tmp_path, 1, {"weight": torch.zeros(1)}, {"state": Malicious()}, {"step": 1}
    )
    with pytest.raises(DataError, match=r"optimiser\.pt cannot be read") as refused:
        load_checkpoint(folder)
    assert isinstance(refused.value.__cause__, pickle.UnpicklingError)


def test_nothing_saved_is_nothing_found(tmp_path):
    assert latest_checkpoint(tmp_path / "absent") is None
