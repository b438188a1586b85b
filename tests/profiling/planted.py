"""A plugin each of whose parts can be made slower, and how it is measured."""

from __future__ import annotations

from dataclasses import replace

import torch

from kitsbench.architecture import Task, configure
from kitsbench.profiling.job import ProfileJob
from kitsbench.recipe import Sampling
from kitsbench.registry import load
from kitsbench.training.recipes import INTENSITY_AND_SHAPE, MATCHED_CPU

PATCH = (16, 16, 16)
SOURCE = """
import time

import torch
from torch import nn

from kitsbench import default_hooks
from kitsbench.architecture import Architecture, Plain

SLOW = {slow}


class Network(nn.Sequential):
    def forward(self, image):
        time.sleep(SLOW.get("network", 0))
        return super().forward(image)


class Plugin(Architecture):
    title = "Planted"

    def build(self, spec):
        layers = nn.Conv3d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv3d(8, spec.classes, 1)
        return Plain(Network(*layers))

    def targets(self, labels, spec):
        time.sleep(SLOW.get("targets", 0))
        return super().targets(labels, spec)

    def loss(self, outputs, targets, progress, spec):
        time.sleep(SLOW.get("loss", 0))
        return super().loss(outputs, targets, progress, spec)

    def decode(self, probabilities, spec):
        time.sleep(SLOW.get("decision", 0))
        return super().decode(probabilities, spec)

    def postprocess(self, labels, maps, spacing, spec):
        time.sleep(SLOW.get("post-processing", 0))
        return labels

    @staticmethod
    def places(draw):
        time.sleep(SLOW.get("loader", 0))
        return [(name, draw.random.uniform(0, draw.cases[name].shape)) for name in draw.names]
"""


def planted_job(folder, store, slow=None, patch=PATCH, **fields) -> ProfileJob:
    """Job of the plugin with seconds of sleep in some of its parts."""
    file = folder / f"planted_{'_'.join(slow or ['not'])}.py"
    file.write_text(SOURCE.replace("{slow}", repr(slow or {})))
    architecture = load(str(file)).architecture
    spec = architecture.spec(configure(architecture), Task(patch=patch, spacing=store.spacing))
    recipe = replace(
        MATCHED_CPU,
        patch=patch,
        batch=2,
        sampling=Sampling("plugin:places"),
        augmentation=INTENSITY_AND_SHAPE,
    )
    known = {
        "stores": {grid.name: store.folder for grid in spec.grids},
        "cases": store.cases[:2],
        "threads": torch.get_num_threads(),
        "seconds": 0.0,
        "warm": 1,
        "least": 5,
        "looks": 0.0,
    }
    return ProfileJob("planted", str(file), spec, recipe, **{**known, **fields})
