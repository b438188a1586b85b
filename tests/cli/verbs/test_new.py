"""``kitsbench new``: the package that it writes can be installed, found and checked."""

from __future__ import annotations

import ast
import configparser
import importlib.util
import os
import subprocess
import sys

import pytest
from command_line import call_kitsbench, run_kitsbench

from kitsbench import conformance, registry
from kitsbench.cli.verbs.new import cookbook


def written(tmp_path, name="my-net", *options):
    assert call_kitsbench("new", name, "--dir", tmp_path, *options).code == 0
    return tmp_path / name


def test_it_says_where_it_writes_and_writes_everything_a_plugin_needs(tmp_path):
    done, folder = call_kitsbench("new", "my-net", "--dir", tmp_path), tmp_path / "my-net"
    assert done.code == 0
    assert done.out.strip() == str(folder)
    assert "kitsbench check my_net" in done.err
    for path in (
        "setup.cfg",
        "pyproject.toml",
        "README.md",
        "my_net/__init__.py",
        "my_net/plugin.py",
        "tests/test_plugin.py",
        ".github/workflows/test.yml",
    ):
        text = (folder / path).read_text()
        assert text
        assert not any(f"@{token}@" in text for token in ("name", "package", "title", "class"))
        assert "://" not in text  # nobody's host: whoever writes the package has their own


def test_the_plugin_has_at_most_12_lines_and_keeps_the_contract(tmp_path):
    path = written(tmp_path) / "my_net" / "plugin.py"
    assert len(path.read_text().splitlines()) <= 12
    assert conformance.check(path).passed


def setup_of(folder):
    config = configparser.ConfigParser()
    config.read(folder / "setup.cfg")
    return config


def test_the_entry_point_names_the_class(tmp_path):
    config = setup_of(written(tmp_path, "tiny_kidney-net2"))
    points = config["options.entry_points"]["kitsbench.architectures"].strip()
    assert points == "tiny_kidney_net2 = tiny_kidney_net2.plugin:TinyKidneyNet2"
    assert config["options"]["install_requires"].split() == ["kitsbench", "torch"]


@pytest.mark.parametrize("like", [None, *cookbook()])
@pytest.mark.parametrize("name", ["my-net", "plain", "network"])
def test_the_entry_point_leads_to_a_class_with_a_name_of_its_own(like, name, tmp_path):
    folder = written(tmp_path, name, *(["--like", like] if like else []))
    text = (folder / name.replace("-", "_") / "plugin.py").read_text()
    own = setup_of(folder)["options.entry_points"]["kitsbench.architectures"].rpartition(":")[2]
    tree = ast.parse(text)
    names = [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    imported = [
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    ]
    assert [*names, *imported].count(own) == 1
    assert f'title = "{name.replace("-", " ").capitalize()}"' in text
    assert "paper = " not in text


def test_it_begins_like_a_plugin_of_the_cookbook(tmp_path):
    path = written(tmp_path, "my-net", "--like", "two-grids") / "my_net" / "plugin.py"
    assert conformance.check(path).passed
    assert registry.load(str(path)).title == "My net"


def test_what_the_network_is_made_of_is_a_requirement(tmp_path):
    config = setup_of(written(tmp_path, "my-net", "--like", "segresnet"))
    assert "monai" in config["options"]["install_requires"].split()


def test_what_is_asked_for_can_be_begun_with(tmp_path):
    asked = {"segresnet", "deep-supervision", "regions", "two-grids", "inference-only"}
    assert asked <= set(cookbook())
    done = call_kitsbench("new", "my-net", "--dir", tmp_path, "--like", "two_grid")
    assert done.code == 2
    assert all(name in done.err for name in asked)
    assert "Did you mean 'two-grids'?" in done.err.replace("\n", " ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.exhaustive
def test_installed_it_is_listed_loads_and_passes_its_own_test(tmp_path):
    if not all(map(importlib.util.find_spec, ("pip", "setuptools"))):
        pytest.skip("needs pip and setuptools to build the package")
    folder, site = written(tmp_path), tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    run = {"env": environment, "capture_output": True, "text": True, "cwd": tmp_path}
    subprocess.run([*install, "--target", str(site), str(folder)], check=True, **run)
    listed = run_kitsbench("list", "--load", "--json", env=environment, cwd=tmp_path)
    row = next(row for row in listed.json if row["name"] == "my_net")
    assert (row["status"], row["distribution"], row["title"]) == ("ok", "my-net", "My net")
    tested = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *("-p", "kitsbench.pytest_plugin", "--strict-markers", str(folder / "tests")),
        ],
        **run,
    )
    assert tested.returncode == 0, tested.stdout


@pytest.mark.parametrize(
    "name", ["My-Net", "1net", "my net", "my--net", "../net", "net-", "", "a.b"]
)
def test_names_of_another_form_are_refused(name, tmp_path):
    done = call_kitsbench("new", name, "--dir", tmp_path)
    assert done.code == 2
    assert "no valid name" in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("json", "another Python module"),
        ("torch", "another Python module"),
        ("class", "another Python module"),
        ("unet3d", "kitsbench-plugins provides an architecture called 'unet3d'"),
    ],
)
def test_names_that_are_taken_are_refused(name, reason, tmp_path):
    done = call_kitsbench("new", name, "--dir", tmp_path)
    assert done.code == 2
    assert reason in done.err
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path):
    folder = written(tmp_path)
    plugin = folder / "my_net" / "plugin.py"
    plugin.write_text("mine")
    done = call_kitsbench("new", "my-net", "--dir", tmp_path)
    assert done.code == 2
    assert "exists and is left as it is" in done.err
    assert plugin.read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    done = call_kitsbench("new", "my-net", "--dir", tmp_path / "file")
    assert done.code == 2
    assert done.err.startswith("Error: ")
