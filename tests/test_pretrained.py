"""Weights from files of others, under the names that a network has."""

from __future__ import annotations

import pickle

import pytest
import torch
from documented import example
from safetensors.torch import save_file
from torch import nn

from kitsbench.architecture import Plain
from kitsbench.errors import DataError
from kitsbench.pretrained import fit_names, read_weights


def network() -> nn.Module:
    return Plain(nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2), nn.Conv3d(2, 3, 1)))


def weights() -> dict[str, torch.Tensor]:
    return {"a.weight": torch.ones(2, 3), "a.bias": torch.zeros(2)}


@pytest.mark.parametrize(
    "wrap",
    [
        dict,
        lambda w: {"state_dict": w, "epoch": 3, "lr": torch.tensor(0.1)},
        lambda w: {"network_weights": w, "optimizer_state": {"state": {0: {"step": 1.0}}}},
        lambda w: {"model": {"net": w}},
    ],
)
def test_a_checkpoint_is_read_for_its_weights(tmp_path, wrap):
    torch.save(wrap(weights()), tmp_path / "w.pt")
    found = read_weights(tmp_path / "w.pt")
    assert found.keys() == weights().keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in weights().items())


def test_safetensors_are_read(tmp_path):
    save_file(weights(), tmp_path / "w.safetensors")
    assert torch.equal(read_weights(tmp_path / "w.safetensors")["a.weight"], torch.ones(2, 3))


class Harmful:
    def __reduce__(self):
        return print, ("it ran",)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda f: f.write_bytes(b"no weights"), "cannot be read as weights"),
        (lambda f: f.write_bytes(pickle.dumps(Harmful())), "cannot be read as weights"),
        (lambda f: torch.save(nn.Linear(2, 2), f), "network.state_dict()"),
        (lambda f: torch.save({"epoch": 3}, f), "holds no named tensors"),
        (lambda f: torch.save([torch.ones(2)], f), "holds no named tensors"),
    ],
)
def test_what_is_no_file_of_weights_is_refused_and_not_run(tmp_path, capfd, write, said):
    write(tmp_path / "w.pt")
    with pytest.raises(DataError, match=r"w\.pt") as error:
        read_weights(tmp_path / "w.pt")
    assert said in str(error.value)
    assert "it ran" not in capfd.readouterr().out


@pytest.mark.parametrize("theirs", ["", "module.", "model.backbone.", "network."])
def test_names_that_begin_otherwise_are_fitted(theirs):
    own = network()
    found = {
        theirs + name.removeprefix("network."): tensor + 1
        for name, tensor in own.state_dict().items()
    }
    assert fit_names(found, own).keys() == own.state_dict().keys()


def test_a_part_of_a_network_finds_its_place_by_names_and_shapes():
    own = Plain(nn.ModuleDict({"encoder": nn.Conv3d(1, 4, 3), "decoder": nn.Conv3d(4, 2, 1)}))
    encoder = {"weight": torch.ones(4, 1, 3, 3, 3), "bias": torch.ones(4)}
    assert set(fit_names(encoder, own)) == {"network.encoder.weight", "network.encoder.bias"}


def test_the_documented_hook_renames_what_it_reads(tmp_path):
    torch.save({"swinViT.bias": torch.ones(2)}, tmp_path / "w.pt")
    own: dict[str, object] = {"read_weights": read_weights}
    exec("class Net:\n" + example("Initial weights", 1), own)
    found = own["Net"]().weights(None, {"weights": tmp_path / "w.pt"}, None)
    assert list(found) == ["network.encoder.bias"]
    assert own["Net"]().weights(None, {}, None) is None
