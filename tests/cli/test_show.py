"""``kitsbench show``."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from kitsbench.cli import cli, main


def shown(*arguments):
    result = CliRunner().invoke(cli, ["show", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [
        (["unet3d"], 19_073_795),
        (["unet3d", "--labels", "kits21"], 19_073_860),
        (["unet3d:width=0.5"], 4_770_691),
        (["scau_unet:attention=off"], 1_384_039),
        (["scau_unet", "--labels", "kits19"], 1_387_395),
        (["residual_unet:size=tiny"], 302_093),
    ],
)
def test_parameters_are_at_paper_size_unless_a_width_or_size_is_given(arguments, parameters):
    document = shown(*arguments)
    assert document["name"] == arguments[0].partition(":")[0]
    assert document["parameters"] == parameters


def test_each_key_has_its_value_default_options_and_provenance():
    config = shown("scau_unet:attention=off")["config"]
    attention = config["attention"]
    assert (attention["value"], attention["default"]) == ("off", "on")
    assert "spatial" in attention["options"]
    assert all(key["provenance"] for key in config.values())
    assert config["width"]["options"] is None
    assert set(config) >= {"size", "width", "depth", "preset", "logit_prelu"}


def test_a_small_patch_is_noted():
    document = shown("unet3d", "--patch", "8x32x32")
    assert document["grids"][0]["shape"] == [8, 32, 32]
    assert "instead of 3x3x3" in document["notes"][0]
    assert shown("unet3d")["notes"] == []


def test_a_file_can_be_shown(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(
        "from torch import nn\n"
        "from kitsbench.architecture import Architecture, Plain\n"
        "class Own(Architecture):\n"
        "    def build(self, spec):\n"
        "        return Plain(nn.Conv3d(1, spec.classes, 1))\n"
    )
    document = shown(str(path))
    assert (document["name"], document["parameters"]) == ("own", 6)


def test_for_people_it_prints_the_same():
    result = CliRunner().invoke(cli, ["show", "unet3d:padding=valid"])
    assert result.exit_code == 0
    for text in ("3D U-Net", "19,073,795 parameters", "padding", "valid", "segmentation", "Cicek"):
        assert text in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["unet4d"], "Did you mean 'unet3d'?"),
        (["unet3d:depht=3"], "'depht' is no configuration key"),
        (["unet3d:width=-1"], "allowed are"),
        (["unet3d", "--patch", "32"], "three edges like 32x48x48"),
        (["unet3d", "--patch", "0x1x1"], "at least 1 voxel"),
    ],
)
def test_wrong_requests_get_a_sentence_and_exit_code_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["show", *arguments])
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("Error: ")
    assert message in captured.err
