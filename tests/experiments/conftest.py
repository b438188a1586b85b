"""Plugins of the tests as files, and a finished run."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import SMALL, run_kitsbench
from experiments.real_clusters import ray_head, slurm

__all__ = ["ray_head", "slurm"]


@pytest.fixture(scope="session")
def plugin(tmp_path_factory):
    """Write a plugin file that offers one of the tests' architectures under a name."""
    folder = tmp_path_factory.mktemp("plugins")

    def write(name: str, base: str, module: str = "architectures") -> Path:
        # One name may stand for several bases in a session: a file that changed is another plugin.
        path = folder / f"{module}.{base}" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            f"from {module} import {base} as Base\n\n\nclass Plugin(Base):\n    pass\n",
            encoding="utf-8",
        )
        return path

    return write


@pytest.fixture(scope="session")
def finished(plugin, phantom, tmp_path_factory):
    """Two architectures, two folds, two seeds, run to the end."""
    workdir = tmp_path_factory.mktemp("run") / "work"
    arguments = [
        "run",
        plugin("alpha", "Smallest"),
        plugin("beta", "Regions"),
        "--dataset",
        phantom,
        *SMALL,
        "--seeds",
        "2",
        "--budget",
        "8steps",
        "--workdir",
        workdir,
        "--json",
    ]
    return arguments, workdir, run_kitsbench(*arguments)
