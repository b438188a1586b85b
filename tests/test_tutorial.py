"""The tutorial: its code and its commands, as they stand on the page."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from kitsbench.experiments.records import TrialRecord

PAGE = Path(__file__).resolve().parents[1] / "docs" / "new_architecture.md"
BLOCK = re.compile(r"^```(\S+)(?: python)?\n(?::caption: (\S+)\n\n)?(.*?)^```", re.M | re.S)


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """The folder in which a reader who followed the page stands at its end, and what was said."""
    if not all(map(importlib.util.find_spec, ("pip", "setuptools"))):
        pytest.skip("needs pip and setuptools to build the package")
    folder, site = tmp_path_factory.mktemp("reader"), tmp_path_factory.mktemp("site")
    python = [sys.executable, "-m"]
    # The tests' own environment is left as it is: the package goes into a folder of its own, which
    # an editable installation could not.
    commands = {
        "kitsbench": [*python, "kitsbench.cli"],
        "pip": [*python, "pip", "-q", "--no-cache-dir"],
    }
    options = ["--no-deps", "--no-build-isolation", "--target", str(site)]
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    said = {}
    for kind, caption, content in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if caption:
            assert (folder / caption).is_file(), "the page edits a file that the scaffold wrote"
            (folder / caption).write_text(content, encoding="utf-8")
        if kind != "console":
            continue
        for line in re.findall(r"^\$ (.*)$", content, re.M):
            name, *words = shlex.split(line)
            if name == "cd":
                folder = folder / words[0]
                continue
            if name == "pip":
                words = [word for word in words if word != "-e"] + options
            done = subprocess.run(
                [*commands[name], *words],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
            said[line] = done.stdout + done.stderr
    return folder, said


def of(said, start):
    (text,) = [text for line, text in said.items() if line.startswith(start)]
    return " ".join(text.split())


def test_the_page_has_code_and_commands():
    kinds = [kind for kind, *_ in BLOCK.findall(PAGE.read_text(encoding="utf-8"))]
    assert kinds.count("console") >= 4
    assert "{code-block}" in kinds


@pytest.mark.exhaustive
def test_the_new_architecture_is_in_the_report(followed):
    folder, _ = followed
    page = (folder / "kitsbench-work" / "report" / "index.html").read_text(encoding="utf-8")
    page = page.replace("<wbr>", "")
    for label in ("two_scale_net", "two_scale_net:coarse=off", "unet3d"):
        assert re.search(f"<td[^>]*>(<a [^>]*>)?{re.escape(label)}<", page), label


@pytest.mark.exhaustive
def test_what_the_page_promises_happens(followed):
    folder, said = followed
    assert "Two-scale net" in of(said, "kitsbench show")
    (dry,) = [text for line, text in said.items() if line.endswith("--dry-run")]
    assert "9 of 12 trials would run" in " ".join(dry.split())
    assert (folder / "segmented" / "case_00000.nii.gz").is_file()
    trial = next((folder / "kitsbench-work" / "trials").glob("*/trial.json"))
    trained_on = "case_00000" in TrialRecord.read(trial).context.train_cases
    assert ("Warning" in of(said, "kitsbench predict")) == trained_on
