"""The page on costs: its commands run as they stand there, and its options exist."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from command_line import call_kitsbench

PAGE = Path(__file__).resolve().parents[1] / "docs" / "costs.md"
# A smaller patch than the page's, so that nobody waits.
SMALL = ("--patch", "16")


def commands() -> list[str]:
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in re.findall(r"^\$ (.*)$", block, re.MULTILINE)]


def test_the_page_names_every_option_that_measures_more():
    text = PAGE.read_text(encoding="utf-8")
    for option in ("--compare", "--scan", "--memory", "--max-memory", "--also", "--compile", "-o"):
        assert option in text
    assert len(commands()) >= 6


@pytest.mark.exhaustive
@pytest.mark.timeout(1800)  # beside other work
def test_the_commands_of_the_page_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for line in commands():
        program, *words = shlex.split(line)
        if program == "pytest-benchmark":
            from pytest_benchmark import cli

            monkeypatch.setattr(sys, "argv", [program, *words])
            cli.main()
            assert "residual_unet" in capsys.readouterr().out
            continue
        assert program == "kitsbench"
        done = call_kitsbench(*words, *SMALL)
        assert done.code == 0, done.err
        for name in ("--scan", "--memory", "--also"):
            if name in words:
                shown = {"--scan": "median", "--memory": "largest batch", "--also": "bfloat16"}
                assert shown[name] in done.out
        if "--compare" in words:
            assert "quartiles of both lie apart" in done.out
    rows = json.loads((tmp_path / "costs.json").read_text())
    assert [row["architecture"] for row in rows] == ["residual_unet", "scau_unet"]
