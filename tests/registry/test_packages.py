"""Versions of the distributions that a plugin imports or requires."""

from __future__ import annotations

import sys
from importlib.metadata import version

import pytest

from kitsbench import registry
from kitsbench.recipe import Optimiser, Recipe, Stage, Transform
from kitsbench.registry.packages import packages_of_recipe

PLUGIN = """
from kitsbench.architecture import Architecture

class Net(Architecture):
    title = "A net"
"""


class Installed:
    """A folder of installed packages on the import path."""

    def __init__(self, folder):
        self.folder = folder

    def install(self, name, version, requires=(), listed=True, entries=None, **modules):
        """Write modules, and the metadata of their distribution; ``listed`` in the new way."""
        for old in self.folder.glob(f"{name}-*.dist-info"):
            for file in old.iterdir():
                file.unlink()
            old.rmdir()
        info = self.folder / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        for module, text in modules.items():
            file = self.folder / f"{module.replace('__', '/')}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        tops = sorted({module.split("__")[0] for module in modules})
        if listed:
            (info / "RECORD").write_text("".join(f"{top}/x.py,sha256=0,1\n" for top in tops))
        else:
            (info / "top_level.txt").write_text("\n".join(tops) + "\n")
        lines = [f"Requires-Dist: {text}" for text in requires]
        head = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        (info / "METADATA").write_text("\n".join([*head, *lines]) + "\n")
        if entries:
            points = [f"{key} = {value}" for key, value in entries.items()]
            (info / "entry_points.txt").write_text(
                "\n".join([f"[{registry.GROUP}]", *points]) + "\n"
            )


@pytest.fixture
def site(tmp_path, monkeypatch):
    folder = tmp_path / "lib" / "site-packages"
    folder.mkdir(parents=True)
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    yield Installed(folder)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def plugin(tmp_path):
    """A plugin's file that imports one package itself and another by a helper beside it."""
    (tmp_path / "net.py").write_text("import aided_by_nobody\nimport helper_of_net\n" + PLUGIN)
    (tmp_path / "helper_of_net.py").write_text(
        "def late():\n    from bricks.walls import high\n    import os, numpy, torch\n"
    )
    return str(tmp_path / "net.py")


def versions(plugin, monkeypatch):
    # A process knows the packages that were there when it began; this stands for a new one.
    monkeypatch.setattr(sys, "path", [*sys.path, f"/none/{len(sys.path)}"])
    entry = registry.load(plugin)
    assert entry.status == "ok", entry.error
    return entry.packages, entry.source_hash


def test_versions_of_imported_packages_count_and_their_source_does_not(site, plugin, monkeypatch):
    site.install("Bricks_And.more", "1.6.1", bricks__walls="high = 1")
    site.install("aided", "2", listed=False, aided_by_nobody="")
    site.install("unrelated", "3", unrelated="")
    before, source = versions(plugin, monkeypatch)
    assert before == {"aided": "2", "bricks-and-more": "1.6.1"}
    site.install("Bricks_And.more", "1.7.0", bricks__walls="high = 2")
    site.install("unrelated", "4", unrelated="")
    after, same = versions(plugin, monkeypatch)
    assert after == {**before, "bricks-and-more": "1.7.0"}
    assert same == source


def test_a_package_that_comes_later_is_another_plugin(site, tmp_path, monkeypatch):
    text = "try:\n    import perhaps_there\nexcept ImportError:\n    perhaps_there = None\n"
    (tmp_path / "net.py").write_text(text + PLUGIN)
    assert versions(str(tmp_path / "net.py"), monkeypatch)[0] == {}
    site.install("perhaps", "1", perhaps_there="")
    assert versions(str(tmp_path / "net.py"), monkeypatch)[0] == {"perhaps": "1"}


def test_what_a_distribution_requires_counts_for_whoever_may_use_it(site, monkeypatch):
    site.install("seen", "1", seen_bricks="")
    site.install("unseen", "2", unseen_bricks="")
    site.install("extra", "3", extra_bricks="")
    site.install(
        "two-nets",
        "0.1",
        requires=["torch>=2", "Seen (>=1)", "unseen", "absent", 'extra; extra == "all"'],
        entries={"lone_net": "two_nets.lone.plugin:Net", "made_net": "two_nets.made.plugin:Net"},
        two_nets____init__="",
        two_nets__lone____init__="",
        two_nets__lone__plugin=PLUGIN,
        two_nets__made____init__="",
        two_nets__made__plugin="from seen_bricks import *\n" + PLUGIN,
    )
    # Nobody is seen to import it, so a name that is computed may mean it.
    assert versions("lone_net", monkeypatch)[0] == {"unseen": "2"}
    assert versions("made_net", monkeypatch)[0] == {"seen": "1", "unseen": "2"}


def test_the_reference_plugins_count_what_they_are_made_from_and_nothing_else():
    named = {
        entry.name: set(entry.packages)
        for entry in registry.load_all()
        if entry.distribution == "kitsbench-plugins" and entry.status == "ok"
    }
    for name, packages in named.items():
        expected = set()
        if name.startswith("smp_"):
            expected = {"segmentation-models-pytorch-3d"}
        elif name.startswith("nnunet_"):
            expected = {"dynamic-network-architectures"}
        assert packages == expected, name


def test_what_a_recipe_names_counts_though_no_statement_imports_it():
    field = Transform("pydantic.fields:Field")
    found = packages_of_recipe(Recipe("own", augmentation=(field,)))
    assert found == {"pydantic": version("pydantic")}
    # A plugin's own is in its source, what kitsbench stands on in each trial's environment.
    others = Recipe(
        "own",
        optimiser=Optimiser("plugin:Lion"),
        augmentation=(Transform("torchio.RandomFlip"), Transform("noise")),
    )
    assert packages_of_recipe(others) == {}
    stages = (Stage(optimiser=Optimiser("rich.console:Console")),)
    assert packages_of_recipe(Recipe("own"), stages) == {"rich": version("rich")}
    assert packages_of_recipe(Recipe("matched"), stages) == {}
