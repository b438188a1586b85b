"""Code on the pages of the documentation: where it stands, and how it is run.

A block that is not run says why in a comment above it, ``<!-- not run: REASON -->``, or which test
runs it, ``<!-- run by: tests/test_tutorial.py -->``. :data:`REASONS` has the reasons that count.
"""

from __future__ import annotations

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
# Why a block is not run, and what each of its commands must then show.
REASONS = {
    "needs a GPU": r"cuda|gpu|--nv\b|--world-size",
    "needs a cluster": r"slurm|\bray\b|--add\b",
    "needs a container engine": r"podman|apptainer",
    "downloads": r"data fetch|pip install|podman build|apptainer build",
    "changes the environment": r"venv|pip install|activate",
    "takes hours": r"calibrate|benchmark|pytest|run --all|\.ci/run",
    "stays until it is stopped": r"kitsbench (view|watch) |tensorboard --logdir|mlflow ui",
    "needs nnU-Net": r"nnUNetv2_",
    "a part of a command": r"^ *--",
}
_FENCE = re.compile(
    r"(?:<!-- (?P<mark>not run|run by): (?P<why>[^>]+?) -->\n\s*)?"
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
    mark, why : str
        ``not run`` with its reason, ``run by`` with the test's file, or nothing.
    """

    page: Path
    line: int
    language: str
    text: str
    mark: str
    why: str

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
            match["mark"] or "",
            match["why"] or "",
        )


CODE = ("console", "bash", "python")


def to_run(page: Path) -> list[Block]:
    """Blocks of commands and of Python that are run as the page has them."""
    return [block for block in blocks(page) if block.language in CODE and not block.mark]


class Reader:
    """Who follows a page: the folder that a shell stands in, and the names that Python knows.

    Parameters
    ----------
    folder : Path
    stand_ins : dict of str to str
        What a page says, and what is there in its place, such as the id of a trial.
    more : callable
        From the words of a command of kitsbench to words that are added, so that nobody waits;
        None leaves the command out.
    """

    def __init__(self, folder, stand_ins, more) -> None:
        self.folder, self.stand_ins, self.more = folder, stand_ins, more
        self.names: dict = {"__name__": "page"}

    def follow(self, page: Path) -> int:
        """Run what is to be run of a page; returns how many commands and blocks ran."""
        ran = 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MPLBACKEND", "agg")
            patch.chdir(self.folder)
            for block in to_run(page):
                if block.language == "python":
                    text = self._here(block.text)
                    exec(compile(text, str(block), "exec"), self.names)
                    ran += 1
                    continue
                for line in block.commands:
                    ran += self._call(self._here(line), patch, str(block))
        return ran

    def _here(self, text: str) -> str:
        for said, there in self.stand_ins.items():
            text = re.sub(rf"(?<![\w./-]){re.escape(said)}(?![\w.])", there, text)
        return text

    def _call(self, line: str, patch: pytest.MonkeyPatch, where: str) -> int:
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
            assert done.code == 0, f"{where}: {line}\n{done.out}\n{done.err}"
            return 1
        if program in ("python", "pytest"):
            module = [] if program == "python" else ["-m", "pytest"]
            done = subprocess.run(
                [sys.executable, *module, *words],
                env=environment(), capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{where}: {line}\n{done.stdout}\n{done.stderr}"
            return 1
        raise AssertionError(f"{where}: no test knows how to run {program!r}")
