"""Five steps of three architectures: what came out, in numbers that are easy to compare.

``python tests/experiments/numerics_values.py`` shows what moved; ``--write`` makes it what the test
compares with, once NUMERICS in kitsbench/numerics.py was raised.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kitsbench.data.phantom.dataset import write_phantom
from kitsbench.data.preparation.store import PreparedStore
from kitsbench.experiments.asked.request import Request
from kitsbench.experiments.experiment import plan_experiment
from kitsbench.experiments.tables import CURVE, SCORES, read_table
from kitsbench.experiments.trial.run import run_trial
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.experiments.trial.trained import load_trained
from kitsbench.files import read_json, write_json
from kitsbench.numerics import NUMERICS
from kitsbench.recipe import Optimiser, Sampling, Transform
from kitsbench.training.budget import Budget
from kitsbench.training.recipes import INTENSITY_AND_SHAPE

STORED = Path(__file__).with_name("numerics.json")
CASES = 6
# Adam divides a gradient by its size, so a weight that has none, such as a bias before a norm,
# moves by what rounding makes of zero. Without that division rounding stays small.
SGD = Optimiser("sgd", lr=1e-2, momentum=0.9)
# Batch, sampling and augmentation of the shared recipe are fixed here, and the settings of tiny
# presets: that somebody tunes them makes another trial, and no other numerics.
SHARED = {
    "batch": 2,
    "sampling": Sampling("foreground", fraction=0.5),
    "augmentation": (Transform("mirror", 0.5, (("axes", (2,)),)), *INTENSITY_AND_SHAPE),
}
# Name with settings, recipe, edge of the patch, optimiser (None for the recipe's), and by how much
# a loss, a probability or a Dice may differ. Measured: without oneDNN's kernels, or with two
# threads, the largest difference is 1e-6, 9e-5 and 4e-4; with a learning rate that is 1 % higher
# 1e-3, 4e-4 and 2e-3; with a window that is shifted by 1 HU 3e-4, 1e-4 and 1e-2.
RUNS = (
    # One head, momentum, all augmentation of intensities.
    ("unet3d:width=0.125", "paper", 16, None, 2e-5),
    # Two grids, three heads, two stages, outputs smaller than inputs, elastic deformation.
    (
        "cascade_classifier:least_output=1,lo_trainable_tail=blocks,postprocess=on",
        "paper",
        64,
        SGD,
        3e-4,
    ),
    # Overlapping regions, a boundary head, the shared recipe: AdamW, warm-up, clipped gradients.
    ("boundary_aware", "matched", 16, None, 1.5e-3),
)


def measure(
    phantom: Path, workdir: Path, alter: Callable[[TrialTask], TrialTask] = lambda task: task
) -> dict[str, Any]:
    """Train, predict and score.

    Parameters
    ----------
    phantom : Path
        Six cases of the phantom.
    workdir : Path
    alter : callable
        Changes a planned trial, to see how far its numbers move.

    Returns
    -------
    dict
        {architecture: {"losses": {name: one value a step}, "probabilities": {head and channel:
        mean, standard deviation and three voxels}, "dice": {case and region: value}}}.
    """
    request = Request(
        workdir=workdir,
        dataset=str(phantom),
        spacing=(9.0, 9.0, 9.0),
        size="tiny",
        split="2",
        folds=(0,),
        seeds=1,
        device="cpu",
        budget=Budget(5, "steps"),
    )
    found = {}
    for name, recipe, edge, optimiser, _ in RUNS:
        own = {"architectures": (name,), "recipe": recipe, "patch": (edge,) * 3}
        (task,) = plan_experiment(replace(request, **own)).tasks
        if recipe == "matched":
            task = replace(task, recipe=replace(task.recipe, **SHARED))
        if optimiser is not None:
            task = replace(task, recipe=replace(task.recipe, optimiser=optimiser))
        # Sums over threads have another order, and other last digits, by their number; and
        # scoring along the budget would only take time.
        context = task.trial.context.model_copy(update={"curve_cases": ()})
        trial = task.trial.model_copy(update={"context": context})
        found[_plain(name)] = _values(alter(replace(task, trial=trial, threads=1)))
    return found


def differences(stored: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """One line for each value that is missing, new, or differs by more than it may."""
    lines = []
    for name, *_, tolerance in RUNS:
        name = _plain(name)
        old, new = _flat(stored.get(name, {})), _flat(found.get(name, {}))
        for key in sorted(old.keys() | new.keys()):
            before, after = old.get(key), new.get(key)
            # A value that is no number differs from every other.
            if before is None or after is None or not abs(before - after) <= tolerance:
                lines.append(f"{name} {key}: {before} before, {after} now (within {tolerance:g})")
    return lines


def _plain(name: str) -> str:
    """An architecture's name without settings."""
    return name.partition(":")[0]


def _flat(tree: Any, path: str = "") -> dict[str, float]:
    """The numbers of nested dicts and lists by their path."""
    if not isinstance(tree, (dict, list)):
        return {path.strip(): float(tree)}
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    return {k: v for key, one in items for k, v in _flat(one, f"{path} {key}").items()}


def _values(task: TrialTask) -> dict[str, Any]:
    """Run one trial in this process and read what it left."""
    assert run_trial(task) == "finished", task.folder.read_status()
    curve = read_table(task.folder.curve, CURVE)
    losses = curve[curve["kind"] == "loss"].groupby("name")["value"]
    scores = read_table(task.folder.scores, SCORES)
    dice = scores[(scores["metric"] == "dice") & (scores["protocol"] == task.protocols[0])]
    return {
        "losses": {name: _rounded(values) for name, values in losses},
        "probabilities": _probabilities(task),
        "dice": {f"{r.case} {r.region}": _rounded([r.value])[0] for r in dice.itertuples()},
    }


def _probabilities(task: TrialTask) -> dict[str, list[float]]:
    """Mean, spread and three voxels of every channel, on the first held-out case."""
    predictor = load_trained(task, torch.device("cpu")).predictors[0]
    case = task.test_cases[0]
    volumes = {grid: PreparedStore.open(at).case(case) for grid, at in task.stores.items()}
    found = {}
    for head, values in predictor.probabilities(volumes).items():
        for channel, one in enumerate(values.double().numpy()):
            voxels = [one[tuple(int(edge * at) for edge in one.shape)] for at in (0.3, 0.5, 0.7)]
            found[f"{head} {channel}"] = _rounded([one.mean(), one.std(), *voxels])
    return found


def _rounded(values: Any) -> list[float]:
    return [float(f"{value:.7g}") for value in np.asarray(values, dtype=float)]


def main() -> None:
    """Show what moved, or write the values where the test looks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"replace {STORED.name}")
    write = parser.parse_args().write
    stored = read_json(STORED) if STORED.exists() else {"numerics": None, "values": {}}
    if write and stored["numerics"] == NUMERICS:
        sys.exit(
            f"{STORED.name} has the values of NUMERICS = {NUMERICS} already: raise the number in "
            "kitsbench/numerics.py, or delete the file if only its layout has changed."
        )
    os.environ.setdefault("KITSBENCH_CALIBRATION_SECONDS", "0.1")
    with tempfile.TemporaryDirectory() as folder:
        phantom = write_phantom(Path(folder) / "phantom", CASES, jobs=2)
        values = measure(phantom, Path(folder) / "work")
    print(*differences(stored["values"], values), sep="\n")
    if write:
        write_json(STORED, {"numerics": NUMERICS, "torch": torch.__version__, "values": values})


if __name__ == "__main__":
    main()
