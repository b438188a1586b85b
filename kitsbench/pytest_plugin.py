"""The fixture ``kitsbench_profile``, by which the tests of a plugin guard what it costs.

pytest finds it by itself where kitsbench is installed. Nothing heavy is imported until a test asks.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

UPDATE = "--kitsbench-profile-update"
FILE = "kitsbench_profile.json"
MARKER = "kitsbench_profile: profiles a network and compares what it costs with what it cost"

Guard = Callable[..., dict[str, Any]]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that accepts new costs."""
    parser.getgroup("kitsbench").addoption(
        UPDATE, action="store_true", help=f"Keep what networks cost now in {FILE}."
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker, so that ``-m "not kitsbench_profile"`` leaves profiles out."""
    config.addinivalue_line("markers", MARKER)


@pytest.fixture
def kitsbench_profile(request: pytest.FixtureRequest) -> Guard:
    """Profile a network on the CPU and fail the test if it costs more than before.

    The fixture is a function ``(architecture, patch=None, batch=None, slower=1.3, more=1.1)``
    that returns the profile. Parameters, FLOPs, patch and batch must be what
    ``kitsbench_profile.json`` beside the test says; a training step and a forward pass may take
    ``slower`` times as long, and memory ``more`` times as much, as on the same machine before. What
    the file does not know is written to it, so keep the file with the tests. ``pytest
    --kitsbench-profile-update`` accepts what is found.
    """
    from kitsbench.profiling.guard import Baseline
    from kitsbench.profiling.reading import company

    file = Path(request.path).parent / FILE

    def guard(
        architecture: str,
        patch: tuple[int, int, int] | None = None,
        batch: int | None = None,
        slower: float = 1.3,
        more: float = 1.1,
    ) -> dict[str, Any]:
        row = _profiled(architecture, patch, batch)
        kept = Baseline(file)
        if request.config.getoption(UPDATE):
            kept.note(architecture, row)
            return row
        if (busy := company(row)) is not None:
            warnings.warn(f"{architecture}: {busy}; its times were not compared", stacklevel=2)
        if found := kept.check(architecture, row, slower, more):
            told = "\n".join(f"  {one}" for one in found)
            pytest.fail(
                f"{architecture} costs more or other than {file} says:\n{told}\n"
                f"If that is meant, run pytest {UPDATE} and keep the file.",
                pytrace=False,
            )
        return row

    return guard


def _profiled(text: str, patch: tuple[int, int, int] | None, batch: int | None) -> dict[str, Any]:
    """Profile an architecture of the size that a CPU trains, by the shared recipe."""
    from dataclasses import replace

    import torch

    from kitsbench.architecture import Task, configure
    from kitsbench.experiments.machines.environment import device_name
    from kitsbench.profiling import ProfileJob, profile
    from kitsbench.registry import load, parse_request
    from kitsbench.training.recipes import MATCHED_CPU

    name, settings = parse_request(text)
    registered = load(name)
    architecture = registered.architecture
    recipe = replace(
        MATCHED_CPU,
        patch=MATCHED_CPU.patch if patch is None else patch,
        batch=MATCHED_CPU.batch if batch is None else batch,
    )
    sizes = {} if "size" in settings or "tiny" not in architecture.sizes else {"size": "tiny"}
    spec = architecture.spec(
        configure(architecture, {**sizes, **settings}), Task(patch=recipe.patch)
    )
    job = ProfileJob(text, registered.location, spec, recipe, seconds=0.5, warm=1)
    return {**profile(job), "device_name": device_name(torch.device("cpu"))}
