"""``kitsbench new``: the package that it writes can be installed, found and checked."""

from __future__ import annotations

import configparser
import importlib.util
import os
import subprocess
import sys

import pytest
from command_line import call_kitsbench, run_kitsbench

from kitsbench import conformance


def written(tmp_path, name="my-net"):
    assert call_kitsbench("new", name, "--dir", tmp_path).code == 0
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


def test_the_entry_point_names_the_class(tmp_path):
    config = configparser.ConfigParser()
    config.read(written(tmp_path, "tiny_kidney-net2") / "setup.cfg")
    points = config["options.entry_points"]["kitsbench.architectures"].strip()
    assert points == "tiny_kidney_net2 = tiny_kidney_net2.plugin:TinyKidneyNet2"


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
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder / "tests")],
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
