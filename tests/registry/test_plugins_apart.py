"""What plugins say of themselves, asked in processes of their own."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from kitsbench.architecture import KITS19, Grid, Head, Member, Task, configure
from kitsbench.errors import ContractError, UsageError
from kitsbench.recipe import Recipe
from kitsbench.registry import load, name_with, plugins_apart
from kitsbench.registry.plugins_apart import (
    asked,
    check_spec,
    introduce,
    introduce_each,
    time_limit,
)
from kitsbench.spec import Spec

PLUGIN = """
from torch import nn
from kitsbench.architecture import WIDTH, Architecture, Plain

class Net(Architecture):
    title = "A net"
    keys = {"width": WIDTH}
    sizes = {"tiny": {"width": 0.5}}

    def build(self, spec):
        return Plain(nn.Conv3d(1, spec.classes, 1))
"""


def spec_of(architecture, patch):
    """A question to a plugin."""
    return architecture.spec(configure(architecture), Task(KITS19, patch))


def pid_of(architecture):
    return os.getpid()


def test_what_a_plugin_declares_is_what_importing_it_here_gives(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(PLUGIN)
    entry, here = introduce(str(path)), load(str(path))
    assert entry.instance is None
    assert entry.declared is not None
    assert (entry.title, entry.source_hash) == (here.title, here.source_hash)
    assert (entry.declared.keys, entry.declared.sizes) == (here.instance.keys, here.instance.sizes)
    assert name_with(entry, {"width": "0.25"}) == "net:width=0.25"
    assert name_with(entry, {"width": "0.5"}, "tiny") == "net"
    reference = load("unet3d")
    found = introduce("unet3d")
    answer = asked(found.location, found.source_hash, spec_of, (32, 32, 32))
    assert answer == spec_of(reference.architecture, (32, 32, 32))
    assert asked(found.location, found.source_hash, pid_of) != os.getpid()


def test_a_plugin_is_asked_again_only_where_its_source_has_changed(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(PLUGIN)
    first = introduce(str(path))
    assert introduce(str(path)) is first
    path.write_text(PLUGIN.replace("A net", "Another net"))
    assert introduce(str(path)).title == "Another net"
    with pytest.raises(plugins_apart.IsolatedFailure, match="its source has changed"):
        asked(first.location, first.source_hash, pid_of)


def test_an_unknown_name_is_told_before_anything_is_started():
    with pytest.raises(UsageError, match="Did you mean 'unet3d'"):
        introduce_each(["unet3d", "unet4d"])


@pytest.mark.parametrize("text", ["soon", "nan", "-1", "0", "inf"])
def test_a_time_limit_that_is_none_is_named(monkeypatch, text):
    monkeypatch.setenv("KITSBENCH_PLUGIN_SECONDS", text)
    with pytest.raises(UsageError, match=f"KITSBENCH_PLUGIN_SECONDS={text} is no number"):
        time_limit()


GOOD = Spec(
    config=(("size", "paper"),),
    grids=(Grid("image", (16, 16, 16)),),
    heads=(Head("segmentation", "softmax", ((0,), (1,), (2,)), (16, 16, 16)),),
)


class Mine(Spec):
    pass


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (None, "returned a NoneType"),
        ({}, "returned a dict"),
        (Mine(), "returned a Mine"),
        (replace(GOOD, grids=()), "no grids"),
        (replace(GOOD, heads=()), "exactly one head"),
        (replace(GOOD, heads=GOOD.heads * 2), "exactly one head"),
        (replace(GOOD, stages=()), "no stages"),
        (replace(GOOD, grids=[Grid("image", (16, 16, 16))]), "spec.grids is a list"),
        (replace(GOOD, grids=(Grid("image", "abc"),)), "spec.grids[0].shape is a str"),
        (replace(GOOD, grids=(Grid("image", (16, 16)),)), "spec.grids[0].shape has 2 parts"),
        (replace(GOOD, grids=(Grid("image", (16, 0, 16)),)), "'image' has the shape"),
        (replace(GOOD, grids=(Grid("image", (16, 16.0, 16)),)), "shape[1] is a float"),
        (replace(GOOD, grids=(Grid("image", (16,) * 3, (float("nan"),) * 3),)), "is nan"),
        (replace(GOOD, grids=(Grid("image", (16,) * 3, (1e-9, 1.0, 1.0)),)), "has the ratio"),
        (replace(GOOD, heads=(replace(GOOD.heads[0], grid="other"),)), "lies on no grid"),
        (replace(GOOD, heads=(replace(GOOD.heads[0], kind="odd"),)), "kind is 'odd'"),
        (replace(GOOD, notes=(5,)), "spec.notes[0] is a int"),
        (replace(GOOD, members=("unet3d",)), "spec.members[0] is a str"),
        (replace(GOOD, paper="a recipe"), "spec.paper is a str"),
        (replace(GOOD, paper=Recipe()), "its recipe is called 'matched', which is the shared one"),
    ],
)
def test_what_is_no_whole_spec_is_refused_with_its_part_named(spec, words):
    with pytest.raises(ContractError) as caught:
        check_spec(spec)
    assert words in str(caught.value)


def test_whole_specs_pass():
    assert check_spec(GOOD) is GOOD
    ensemble = Spec(config=(("size", "paper"),), members=(Member("unet3d"),), combine="vote")
    assert check_spec(ensemble) is ensemble
