"""Code on the pages of the documentation: where it stands, and how it is run.

What is not run says why in a comment above its block, ``<!-- not run: REASON; REASON -->``. A
reason holds for the commands that show it (:data:`REASONS`), all others of the block are run.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from command_line import call_kitsbench, environment

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "leaderboards" / "README.md",
)
# Why a command is not run, and what it must then show.
REASONS = {
    "needs a GPU": r"--device cuda|-m gpu\b|--world-size",
    "needs a cluster": r"slurm|^ray |--executor ray",
    "needs a container engine": r"^(podman|apptainer) ",
    "downloads": r"data fetch ",
    "changes the environment": r"venv|pip install|activate",
    "takes hours": r"calibrate|benchmark",
    "trains 130 networks": r"--until decided --max-seeds 5$",
    "stays until it is stopped": r"^kitsbench view |^tensorboard |^mlflow ui",
    "runs before each change": r"^\.venv/bin/",
}
# Pages whose blocks of a language are run by a test of their own.
ELSEWHERE = {
    ("docs/new_architecture.md", "console"): "tests/test_tutorial.py",
    ("docs/costs.md", "console"): "tests/test_costs_page.py",
    ("docs/experiments.md", "console"): "tests/test_findings.py",
    ("docs/contract.md", "python"): "tests/test_docs_code.py",
    ("docs/losses.md", "python"): "tests/test_docs_code.py",
    ("docs/losses.md", "pycon"): "tests/test_docs_code.py",
    ("docs/looks.md", "pycon"): "tests/test_docs_code.py",
    ("docs/plugin.md", "python"): "tests/test_docs_code.py",
    ("docs/recipes.md", "python"): "tests/test_docs_code.py",
    ("docs/python.md", "python"): "tests/api/test_running.py",
    ("docs/statistics.md", "python"): "tests/statistics/compare/test_comparison.py",
}
SHELL = ("console", "bash")
CODE = (*SHELL, "python", "pycon")
_FENCE = re.compile(
    r"(?:<!-- not run: (?P<why>[^>]+?) -->\n\s*)?"
    r"^(?P<indent> *)(?P<fence>`{3,})(?P<head>[^\n`]*)\n(?P<body>.*?)^(?P=indent)(?P=fence) *$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes
    ----------
    page : Path
    line : int
        Where it begins.
    language : str
        ``console``, ``python`` and so on; empty for what a program prints.
    text : str
        Without the indentation of a list.
    reasons : tuple of str
        Why some of its commands are not run.
    """

    page: Path
    line: int
    language: str
    text: str
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """Lines for a shell, each with what follows a backslash, without comments and output."""
        joined = re.sub(r"\\\n *", " ", self.text)
        if self.language == "bash":
            found = joined.splitlines()
        else:
            found = re.findall(r"^\$ (.*)$", joined, re.MULTILINE)
        found = [re.sub(r"\s+#\s.*$", "", line).strip() for line in found]
        return [line for line in found if line and not line.startswith("#")]

    @property
    def refused(self) -> set[str]:
        """Commands under which the page shows an error."""
        joined = re.sub(r"\\\n *", " ", self.text)
        return {line.strip() for line in re.findall(r"^\$ (.*)\nError: ", joined, re.MULTILINE)}

    def reason_of(self, line: str) -> str:
        """Why a command of it is not run; empty where it is."""
        given = (r for r in self.reasons if re.search(REASONS[r], line))
        return next(given, "")

    @property
    def to_run(self) -> list[str]:
        """Commands that are run, without those that lead into another folder."""
        lines = [line for line in self.commands if not self.reason_of(line)]
        return [line for line in lines if not line.startswith("cd ")]


def blocks(page: Path) -> Iterator[Block]:
    """Fenced blocks of a page, in their order."""
    text = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        start = match.start("fence")
        yield Block(
            page,
            text.count("\n", 0, start) + 1,
            match["head"].strip(),
            textwrap.dedent(match["body"]),
            tuple(filter(None, re.split(r"; *", match["why"] or ""))),
        )


def to_run(page: Path) -> list[Block]:
    """Blocks of commands and of Python that no test of their own runs."""
    name = page.relative_to(ROOT).as_posix()
    return [
        block
        for block in blocks(page)
        if block.language in CODE and (name, block.language) not in ELSEWHERE
    ]


class Reader:
    """Who follows a page: the folder that a shell stands in, and the names that Python knows.

    Parameters
    ----------
    folder : Path
    stand_ins : dict of str to str
        What a page says, and what is there in its place, such as the id of a trial.
    more : callable
        From the words of a command of kitsbench to words that are added, so that nobody waits;
        None leaves the command out, and EOFError the rest of the page.
    """

    def __init__(self, folder, stand_ins, more) -> None:
        self.folder, self.stand_ins, self.more = folder, stand_ins, more
        self.names: dict = {"__name__": "page"}
        self.ran = 0

    def follow(self, page: Path) -> int:
        """Run what is to be run of a page; returns how many commands and blocks ran."""
        with contextlib.suppress(EOFError), pytest.MonkeyPatch.context() as patch:
            patch.setenv("MPLBACKEND", "agg")
            patch.chdir(self.folder)
            for block in to_run(page):
                if block.language == "python":
                    text = self._here(block.text)
                    exec(compile(text, str(block), "exec"), self.names)
                    self.ran += 1
                    continue
                for line in block.commands:
                    if not block.reason_of(line):
                        code = 2 if line in block.refused else 0
                        self.ran += self._call(self._here(line), patch, str(block), code)
        return self.ran

    def _here(self, text: str) -> str:
        for said, there in self.stand_ins.items():
            text = re.sub(rf"(?<![\w./-]){re.escape(said)}(?![\w.])", there, text)
        return text

    def _call(self, line: str, patch: pytest.MonkeyPatch, where: str, code: int) -> int:
        program, *words = shlex.split(line)
        if program == "cd":
            self.folder = self.folder / words[0]
            patch.chdir(self.folder)
            return 0
        if program == "kitsbench":
            added = self.more(words)
            if added is None:
                return 0
            done = call_kitsbench(*words, *added)
            assert done.code == code, f"{where}: {line}\n{done.out}\n{done.err}"
            return 1
        if program == "pip":
            return self._install(words, patch)
        if program in ("python", "pytest"):
            module = [] if program == "python" else ["-m", "pytest"]
            done = subprocess.run(
                [sys.executable, *module, *words],
                env=environment(), capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{where}: {line}\n{done.stdout}\n{done.stderr}"
            return 1
        raise AssertionError(f"{where}: no test knows how to run {program!r}")

    def _install(self, words: list[str], patch: pytest.MonkeyPatch) -> int:
        """Put a package into a folder of its own, which leaves the tests' environment as it is."""
        if self.more(words) is None:
            return 0
        site = self.folder / "site"
        words = [word for word in words if word != "-e"]
        options = ["-q", "--no-deps", "--no-build-isolation", "--target", str(site)]
        done = subprocess.run(
            [sys.executable, "-m", "pip", *words, *options],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        patch.syspath_prepend(site)
        patch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
        return 1
