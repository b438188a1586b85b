"""From names and a recipe to configured architectures."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from architectures import Pretrained, Smallest

from kitsbench import registry
from kitsbench.architecture import KITS21
from kitsbench.data.datasets.voxels import Voxels
from kitsbench.errors import UsageError
from kitsbench.experiments.asked.request import Request
from kitsbench.experiments.asked.resolve import resolve
from kitsbench.experiments.plan.description import describe_entrant
from kitsbench.experiments.plan.entrant import Entrant, told_apart
from kitsbench.experiments.plan.entrants import (
    check_batches,
    choose_entrants,
    with_whole_paths,
)
from kitsbench.preparation import OwnVoxels


def choose(request, voxels=None):
    resolved = resolve(request, dict(KITS21), "cpu")
    return choose_entrants(request, resolved, KITS21, voxels)


def entrant_of(name, **fields):
    request = Request(Path("none"), (str(name),), recipe="paper", **fields)
    return choose(request)[0]


@pytest.mark.parametrize(("preset", "patch"), [("paper", (32, 64, 64)), ("repo", (32, 80, 80))])
def test_a_papers_patch_follows_the_configuration_and_is_halved_at_tiny(preset, patch, tmp_path):
    entrant = entrant_of(f"scau_unet:preset={preset}")
    assert entrant.recipe.patch == entrant.spec.grids[0].shape == patch
    assert entrant.recipe.batch == 2
    (note,) = entrant.notes
    assert "instead of 64x" in note
    row = describe_entrant(entrant, tmp_path)
    assert note in row.notes
    assert row.recipe.patch == patch
    assert row.recipe.optimiser.lr == 1e-4


def test_at_small_size_a_paper_is_followed_to_the_letter():
    entrant = entrant_of("scau_unet", size="small")
    assert entrant.recipe == entrant.spec.paper
    assert entrant.spec.grids[0].shape == (64, 128, 128)
    assert entrant.notes == ()


def test_a_patch_on_the_command_line_goes_before_the_papers():
    entrant = entrant_of("scau_unet", patch=(16, 16, 16), batch=3)
    assert entrant.recipe.patch == entrant.spec.grids[0].shape == (16, 16, 16)
    assert entrant.recipe.batch == 3


def test_a_recipe_without_a_voxel_size_takes_the_datasets_median():
    request = Request(Path("none"), ("nnunet_plain", "msan_v1"), recipe="paper", size="small")
    voxels = Voxels(((5.0, 0.8, 0.8),) * 3, ((400, 512, 512),) * 3)
    planned, native = choose(request, voxels)
    assert planned.recipe.spacing == (5.0, 0.8, 0.8)
    # Slices as thick as these are not halved before the voxels are about as wide.
    assert [head.stride for head in planned.spec.heads][:3] == [(1, 1, 1), (1, 2, 2), (1, 4, 4)]
    # Another paper leaves every scan its own.
    assert native.recipe.spacing == "native"


def test_nnunets_recipe_takes_finer_slices_where_they_are_thick_and_few():
    thick = tuple((edge, 0.8, 0.8) for edge in (0.5, 1.0, 3.0, 5.0, 5.0))
    request = Request(Path("none"), ("nnunet_plain", "unet3d", "msan_v1"), recipe="paper")
    planned, baseline, native = choose(request, Voxels(thick, ((100, 512, 512),) * 5))
    # Doubled at size tiny, as everywhere.
    assert planned.recipe.spacing == pytest.approx((1.60002, 1.6, 1.6))
    assert baseline.recipe.spacing == planned.recipe.spacing
    assert native.recipe.spacing == OwnVoxels((1.0, 2.0, 2.0))


def test_an_architecture_without_a_paper_recipe_is_named(plugin):
    entrant = entrant_of(plugin("bare", "Smallest"))
    assert "no paper recipe" in entrant.error


def test_costs_of_two_architectures_with_equal_specs_are_their_own(tmp_path):
    request = Request(Path("none"), ("smp_unet", "smp_linknet"), size="tiny")
    rows = [describe_entrant(e, tmp_path) for e in choose(request)]
    # Known for three classes; the fourth adds its weights and its bias in the head.
    expected = [2_270_075 + 8 + 1, 2_131_155 + 16 + 1]
    assert [row.parameters for row in rows] == expected


def test_where_nobody_asks_for_costs_none_are_counted(tmp_path):
    entrant = entrant_of("scau_unet")
    counted, bare = describe_entrant(entrant, tmp_path), describe_entrant(entrant, None)
    costs = ("parameters", "flops", "paper_parameters", "paper_flops", "paper_patch")
    assert all(getattr(counted, name) for name in costs)
    assert bare == counted.model_copy(update=dict.fromkeys(costs))


def test_a_setting_that_differs_from_the_sizes_preset_is_another_architecture():
    """At size tiny the paper's own width is a setting like any other."""
    asked = ("unet3d", "unet3d:width=1", "unet3d:width=0.25", "unet3d:size=tiny")
    entrants = choose(Request(Path("none"), asked, size="tiny"))
    assert [entrant.name for entrant in entrants] == ["unet3d", "unet3d:width=1"]
    assert [dict(entrant.spec.config)["width"] for entrant in entrants] == [0.25, 1]


def test_files_of_one_name_take_part_side_by_side(tmp_path):
    """Every scaffold's file is called plugin.py."""
    base = "from architectures import {} as Base\n\n\nclass Net(Base):\n    pass\n"
    for folder, name in (("a/net", "Smallest"), ("b/net", "Configured")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "plugin.py").write_text(base.format(name))
    first, second = (str(tmp_path / f / "plugin.py") for f in ("a/net", "b/net"))
    asked = (first, f"{second}:width=0.5", f"{tmp_path}/b/../a/net/plugin.py")
    entrants = choose(Request(Path("none"), asked, size="paper"))
    assert [entrant.name for entrant in entrants] == ["a/net/plugin", "b/net/plugin:width=0.5"]
    assert [entrant.registered.location for entrant in entrants] == [first, second]
    # What a trial is does not depend on its company.
    assert {entrant.registered.name for entrant in entrants} == {"plugin"}


def test_a_file_is_shown_with_as_many_folders_as_tell_it_apart(tmp_path):
    def named(*places):
        for place in places:
            Path(place).parent.mkdir(parents=True, exist_ok=True)
            Path(place).touch()
        return told_apart(registry.find(str(place)) for place in places)

    one, two, unet = (tmp_path / name for name in ("one/net.py", "two/net.py", "mine/unet3d.py"))
    assert named(one) == named(one, unet) == named(one, one) == {}
    assert named(one, two, unet) == {str(one): "one/net", str(two): "two/net"}
    both = told_apart([registry.find(str(unet)), registry.find("unet3d")])
    assert both == {str(unet): "mine/unet3d"}


def test_a_file_whose_name_says_nothing_is_shown_by_its_folder(tmp_path):
    files = [tmp_path / folder / "plugin.py" for folder in ("my_net", "x/my_net", "other")]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("from architectures import Smallest as Base\n\nclass Net(Base): pass\n")
    found = [registry.find(str(file)) for file in files]
    assert told_apart(found[:1]) == {str(files[0]): "my_net"}
    assert registry.display_name(str(files[0])) == "my_net"
    # As many folders as tell them apart.
    names = told_apart(found)
    assert len(set(names.values())) == 3
    assert names[str(files[1])] == "x/my_net/plugin"
    assert names[str(files[2])] == "other"
    # What a trial is named by stays.
    assert {entry.name for entry in found} == {"plugin"}


@pytest.mark.parametrize(
    ("beside", "content"),
    [
        (
            "setup.cfg",
            "[options.entry_points]\nkitsbench.architectures =\n    best = net.plugin:Net\n",
        ),
        (
            "pyproject.toml",
            '[project.entry-points."kitsbench.architectures"]\nbest = "net.plugin:Net"\n',
        ),
    ],
)
def test_a_scaffold_is_shown_by_the_name_that_it_will_be_installed_by(tmp_path, beside, content):
    file = tmp_path / "net" / "plugin.py"
    file.parent.mkdir()
    file.touch()
    (tmp_path / beside).write_text(content)
    assert registry.find(str(file)).shown == "best"
    (tmp_path / beside).write_text("[options.entry_points\n=")  # damaged: the folder says it
    assert registry.find(str(file)).shown == "net"
    installed = replace(registry.find("unet3d"), name="net", location="net")
    assert told_apart([registry.find(str(file)), installed]) == {str(file): "net/plugin"}


OWN_RULES = """
from kitsbench.architecture import SizeRule, softmax_spec
from kitsbench.recipe import Recipe, Sampling, Transform

from architectures.own_steps import SharpnessAware


class OwnRules(SharpnessAware):
    def spec(self, config, task):
        recipe = Recipe("own", patch=(16, 16, 16), {words})
        return softmax_spec(config, task, SizeRule(), (16, 16, 16), paper=recipe)


def centres(draw):
    return []
"""


@pytest.fixture
def own_rules(tmp_path):
    """A file whose recipe has these words."""

    def write(words):
        file = tmp_path / "own_rules.py"
        file.write_text(OWN_RULES.replace("{words}", words))
        return file

    return write


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("sampling=Sampling('plugin:center')", "plugin error: .*has it"),
        (
            "augmentation=(Transform('no_such_package.noise:rician'),)",
            r"^missing dependency: .*no_such_package.* run `pip install no_such_package`$",
        ),
    ],
)
def test_what_a_recipe_names_is_looked_for_before_anything_runs(own_rules, words, error):
    assert re.search(error, entrant_of(own_rules(words)).error)


BESIDE = """
import dataclasses

from kitsbench.recipe import Recipe, Transform

from architectures.seeing import {base}


class Beside({base}):
    def spec(self, config, task):
        recipe = Recipe("own", patch=(16, 16, 16), augmentation=(Transform("{transform}"),))
        return dataclasses.replace(super().spec(config, task), paper=recipe)


def keep(image, label, random):
    return image, label
"""


@pytest.mark.parametrize(
    ("base", "transform"),
    [
        ("Coordinates", "torchio.RandomBlur"),
        ("TwoPhases", "monai.RandFlipd"),
        ("WholeScan", "plugin:keep"),
    ],
)
def test_transforms_from_outside_beside_channels_are_a_row(tmp_path, base, transform):
    file = tmp_path / "beside.py"
    file.write_text(BESIDE.replace("{base}", base).replace("{transform}", transform))
    error = entrant_of(file).error
    assert re.search(rf"^plugin error: .*names {transform}, .* given the CT alone", error), error


def test_a_step_of_ones_own_is_for_one_process_and_not_for_the_shared_recipe(own_rules):
    file = own_rules("batch=4, sampling=Sampling('plugin:centres')")
    own = entrant_of(file)
    assert own.error is None
    assert own.recipe.foreign() == ("plugin:centres",)
    check_batches([own], 1)
    with pytest.raises(UsageError, match=r"own_rules has a training step of its own.*world-size 1"):
        check_batches([own], 2)
    (shared,) = choose(Request(Path("none"), (str(file),)))
    check_batches([shared], 2)
    assert "training step is left out" in " ".join(shared.notes)


def test_files_among_settings_get_absolute_paths_and_other_settings_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plugins = {str(tmp_path / "net.py"): Pretrained(), "unet3d": Smallest()}
    entrants = [
        Entrant("net", registry.RegisteredArchitecture("net", location=place, instance=plugin))
        for place, plugin in plugins.items()
    ]
    content = f"sha256:{'0' * 64}"
    named = [("net.py", {"size": "small", "weights": "init.pt"}), ("unet3d", {"size": "tiny"}),
             ("net.py", {"weights": content}), ("broken.py", {"weights": "init.pt"})]  # fmt: skip
    whole = {"size": "small", "weights": str(tmp_path / "init.pt")}
    assert with_whole_paths(named, entrants) == [("net.py", whole), *named[1:]]
    (tmp_path / "a,b").mkdir()
    monkeypatch.chdir(tmp_path / "a,b")
    there = [(str(tmp_path / "net.py"), {"weights": "init.pt"})]
    whole = {"weights": str(tmp_path / "a,b" / "init.pt")}  # a list of settings quotes a comma
    assert with_whole_paths(there, entrants) == [(str(tmp_path / "net.py"), whole)]
