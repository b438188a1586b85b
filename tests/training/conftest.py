"""Small trainings on the coarse phantom."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from architectures import PATCH, Smallest

from kitsbench.architecture import Task, configure
from kitsbench.recipe import Sampling, Transform
from kitsbench.training.budget import Budget
from kitsbench.training.job import Job
from kitsbench.training.recipes import INTENSITY_AND_SHAPE, MATCHED_CPU

# Augmented, which the shared recipe is on a GPU alone.
RECIPE = replace(
    MATCHED_CPU,
    patch=PATCH,
    sampling=Sampling("mixture", weights=(("tumor", 0.3), ("kidney", 0.2), ("background", 0.5))),
    augmentation=(Transform("mirror", 0.5, (("axes", (2,)),)), *INTENSITY_AND_SHAPE),
)


@pytest.fixture
def make_job(coarse_store, tmp_path):
    """Job of an architecture on the coarse phantom; keyword arguments replace its fields."""

    def make(architecture=None, folder="run", **fields) -> Job:
        architecture = architecture or Smallest()
        task = Task(patch=PATCH, spacing=coarse_store.spacing)
        spec = architecture.spec(configure(architecture), task)
        recipe = fields.pop("recipe", RECIPE)
        cases = coarse_store.cases[:4]
        known = {
            "architecture": architecture,
            "spec": spec,
            "stores": {grid.name: coarse_store for grid in spec.grids},
            "cases": cases,
            "recipe": recipe,
            "window": recipe.intensity.resolve(coarse_store.intensity(cases)["foreground"]),
            "budget": Budget(8, "steps"),
            "seed": 0,
            "fold": 0,
            "device": torch.device("cpu"),
            "precision": "float32",
            "folder": tmp_path / folder,
        }
        return Job(**{**known, **fields})

    return make


@pytest.fixture(autouse=True)
def one_thread():
    """One thread: timings are steadier, and equal bits are asked for."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
