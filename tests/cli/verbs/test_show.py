"""``kitsbench show``."""

from __future__ import annotations

import json

import pytest
from command_line import call_kitsbench

from kitsbench.cli.verbs.new import cookbook
from kitsbench.training.recipes import matched


def shown(*arguments):
    done = call_kitsbench("show", *arguments, "--json")
    assert done.code == 0, done.err
    return done.json


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [
        (["unet3d"], 19_073_795),
        (["unet3d", "--labels", "kits21"], 19_073_860),
        (["unet3d:width=0.5"], 4_770_691),
        (["scau_unet:attention=off"], 1_384_039),
        (["scau_unet", "--labels", "kits19"], 1_387_395),
        (["residual_unet:size=tiny"], 2_706_133),
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


@pytest.mark.parametrize("patch", ["16", "16x16x16", "16,16,16"])
def test_a_patch_is_written_as_for_run(patch):
    assert shown("unet3d", "--patch", patch)["grids"][0]["shape"] == [16, 16, 16]


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
    done = call_kitsbench("show", "unet3d:padding=valid")
    assert done.code == 0
    for text in ("3D U-Net", "19,073,795 parameters", "padding", "valid", "segmentation", "Cicek"):
        assert text in done.out


def test_the_matched_recipes_and_the_papers_are_printed(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    document = shown("scau_unet")
    assert document["matched"]["cuda"] == json.loads(json.dumps(matched("cuda").to_dict()))
    assert document["matched"]["cpu"]["optimiser"]["lr"] == matched("cpu").optimiser.lr
    assert document["recipe"]["optimiser"]["lr"] == 1e-4
    out = " ".join(call_kitsbench("show", "scau_unet").out.split())
    for row in (
        "recipe matched, on a GPU matched, on a CPU scau (--recipe paper)",
        "batch 2 4 8",
        "intensity.clip - - -80, 305",
        "sampling.weights - tumor 0.4, kidney 0.2, background 0.4 foreground 0.5, background 0.5",
        "optimiser.lr 0.001 0.005 0.0001",
        "schedule.rule polynomial polynomial constant",
    ):
        assert row in out
    assert "mirror, probability 0.5 - elastic, probability 0.5, spacing_mm" in out
    assert "Source of optimiser: train.py" in out


def test_what_is_not_trained_has_no_recipe():
    done = call_kitsbench("show", cookbook()["inference-only"])
    assert "trained elsewhere on nothing" in done.out
    assert "recipe" not in done.out


def test_without_a_papers_recipe_it_says_so(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(
        "from torch import nn\n"
        "from kitsbench.architecture import Architecture, Plain\n"
        "class Own(Architecture):\n"
        "    def build(self, spec):\n"
        "        return Plain(nn.Conv3d(1, spec.classes, 1))\n"
    )
    done = call_kitsbench("show", path)
    assert "no recipe of its paper" in done.out
    assert "clip_gradient 12 12" in " ".join(done.out.split())
    assert "each member is trained by its own" in call_kitsbench("show", "msan_vote").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["unet4d"], "Did you mean 'unet3d'?"),
        (["unet3d:depht=3"], "'depht' is no configuration key"),
        (["unet3d:width=-1"], "allowed are"),
        (["unet3d", "--patch", "32x48"], "such as 64 or 32,48,48"),
        (["unet3d", "--patch", "0x1x1"], "of at least 1"),
    ],
)
def test_wrong_requests_get_a_sentence_and_exit_code_2(arguments, message):
    done = call_kitsbench("show", *arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Error: ")
    assert message in done.err
