"""The examples of docs/contract.md run as they stand there."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from architectures.own_steps import RECIPE, OwnRecipe

PAGE = Path(__file__).resolve().parents[1] / "docs" / "contract.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)


def example(name: str) -> dict:
    """What the example of the page defines that has this name."""
    (code,) = [code for code in BLOCK.findall(PAGE.read_text("utf-8")) if name in code]
    found: dict = {"__name__": "example"}
    exec(compile(code, str(PAGE), "exec"), found)
    return found


@pytest.fixture
def job(coarse_store, tmp_path):
    """A training of five steps on the coarse phantom."""
    import torch

    from kitsbench.architecture import Task, configure
    from kitsbench.training.budget import Budget
    from kitsbench.training.job import Job

    def make(architecture, recipe):
        spec = architecture.spec(configure(architecture), Task(patch=RECIPE.patch))
        cases = coarse_store.cases[:4]
        window = recipe.intensity.resolve(coarse_store.intensity(cases)["foreground"])
        return Job(
            architecture=architecture,
            spec=spec,
            stores={grid.name: coarse_store for grid in spec.grids},
            cases=cases,
            recipe=recipe,
            window=window,
            budget=Budget(5, "steps"),
            seed=0,
            fold=0,
            device=torch.device("cpu"),
            precision="float32",
            folder=tmp_path / "run",
        )

    return make


def test_the_step_trains(job):
    from kitsbench.training.loop import train

    step = example("class MyStep")["MyStep"].step
    architecture = type("Example", (OwnRecipe,), {"step": step})()
    outcome = train(job(architecture, RECIPE))
    assert {"loss", "agreement"} <= {row["name"] for row in outcome.curve}
    assert outcome.ledger.voxels == 2 * 5 * 4 * 16**3


def test_the_recipe_trains(job):
    from torch import nn

    from kitsbench.training.loop import train

    class Example(OwnRecipe):
        def build(self, spec):
            network = super().build(spec)
            convolution, norm, activation = network.network[0]
            encoder = nn.Sequential(nn.Conv3d(8, 8, 1), nn.GroupNorm(2, 8))
            parts = {
                "stem": convolution,
                "norm": norm,
                "activation": activation,
                "encoder": encoder,
                "head": network.network[1],
            }
            network.network = nn.Sequential()
            for name, part in parts.items():
                network.network.add_module(name, part)
            return network

    recipe = replace(example("RECIPE = Recipe(")["RECIPE"], patch=RECIPE.patch)
    outcome = train(job(Example(), recipe))
    (row,) = outcome.ledger.stages
    assert row.optimiser == "NAdam"
    assert row.frozen_parameters == 8 * 27


def test_the_sampler_and_the_transforms_make_batches(coarse_store):
    pytest.importorskip("monai")
    from kitsbench.architecture import Task, configure
    from kitsbench.data.batches.foreign_source import ForeignSource, change_batch
    from kitsbench.data.batches.source import training_source

    found = example("def hardest_first")
    names = {name: staticmethod(found[name]) for name in ("hardest_first", "cutout")}
    architecture = type("Example", (OwnRecipe,), names)()
    recipe = found["SAMPLED"]
    assert recipe.mirror_axes() == (0, 1, 2)
    spec = architecture.spec(configure(architecture), Task(patch=(8, 8, 8)))
    stores = {grid.name: coarse_store for grid in spec.grids}
    window = (-100.0, 300.0, 0.0, 0.01)
    source = training_source(
        stores, coarse_store.cases, spec, recipe, window, 0, plugin=architecture
    )
    batch = super(ForeignSource, source).batch(3)
    # By the libraries in this process, as in theirs.
    changed = change_batch(batch, source.setting, (1, 2))
    assert changed.images["image"].shape == batch.images["image"].shape
    drawn = source.sampler(3)
    assert [name for name, _ in drawn] == list(batch.cases)


def test_the_adaptation_changes_norm_layers_alone(coarse_store):
    import torch

    from kitsbench.architecture import Task, configure
    from kitsbench.inference.adaptation import Adapter
    from kitsbench.recipe import Inference

    hook = example("def adapt")["Surer"].adapt
    architecture = type("Example", (OwnRecipe,), {"adapt": hook})()
    spec = architecture.spec(configure(architecture), Task(patch=(8, 8, 8)))
    network = architecture.build(spec).eval()
    scan = {"image": coarse_store.case(coarse_store.cases[0])}
    window = (-100.0, 300.0, 0.0, 0.01)
    own = Adapter(architecture, spec).adapted(
        network, scan, window, Inference(), torch.device("cpu"), "float32"
    )
    before = network.state_dict()
    changed = {n for n, value in own.state_dict().items() if not torch.equal(value, before[n])}
    assert changed == {"network.0.1.weight", "network.0.1.bias"}
