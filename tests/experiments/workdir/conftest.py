"""Working directories that tests take things out of and put things into."""

from __future__ import annotations

import shutil

import pytest
from reporting.workdirs import Plan, write_workdir

from kitsbench.training.checkpoints.checkpoint import save_checkpoint

PLAN = Plan(
    {"a": 0.0, "b": 0.1}, folds=2, seeds=1, showcase=0, predictions=False, profiles=False,
    failed=(("b", 1, 0, "out-of-memory"),),
)  # fmt: skip


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """Four trials, one of them failed, that others copy."""
    return write_workdir(tmp_path_factory.mktemp("written") / "work", PLAN)


@pytest.fixture
def work(written, tmp_path):
    """A working directory of the test's own; the finished trials have weights."""
    import torch

    folder = shutil.copytree(written, tmp_path / "work")
    for scores in folder.glob("trials/*/scores.parquet"):
        save_checkpoint(scores.parent / "checkpoint", 3, {"w": torch.ones(2)}, {}, {"step": 3})
    return folder
