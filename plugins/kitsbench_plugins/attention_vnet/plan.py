"""What the two resolutions of the paper are, and what follows from a patch and its spacing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from kitsbench.preparation import Spacing
from kitsbench.recipe import (
    Coarsened,
    Inference,
    Optimiser,
    Preparation,
    Recipe,
    Sampling,
    Schedule,
    Transform,
)
from kitsbench_plugins.blocks import Pooling, Shape, plan_pooling

BASE, CAP = 30, 320  # channels of the first level, and of any
BOTTOM = 4  # smallest edge at the bottom, voxels
POOLS = 5  # most halvings of an axis
EPOCHS, STEPS = 1000, 84  # of the paper; an epoch is a pass over 168 scans in batches of two
EPOCH = 1 / EPOCHS  # share of the budget
STOP = 1e-6  # learning rate at which the paper ends
# A cubic B-spline whose control points lie 19 voxels apart is as smooth as sigma 11.
ELASTIC = (
    ("spacing_mm", 19.0),
    ("magnitude_mm", 0.96),
    ("strength", (0.0, 2.0)),
    ("smoothness", (9 / 11, 13 / 11)),
    ("voxels", True),
)


@dataclass(frozen=True)
class Plan:
    """One resolution of the paper.

    Parameters
    ----------
    patch : (int, int, int)
        Voxels (z, y, x), table 1 of the paper.
    spacing : (float, float, float)
        mm; derived, since the paper does not print it.
    """

    patch: Shape
    spacing: tuple[float, float, float]


PLANS = {
    "full": Plan((48, 160, 160), (3.0, 0.78, 0.78)),
    "low": Plan((80, 128, 128), (3.22, 1.62, 1.62)),
}


def level_channels(width: float, levels: int) -> list[int]:
    """Channels of each level: doubled up to a cap that keeps its proportion to the first."""
    base = BASE if width == 1 else max(4, 2 * round(BASE * width / 2))
    cap = 2 * round(CAP * base / BASE / 2)
    return [min(cap, base * 2**level) for level in range(levels)]


def pooling(patch: Shape, resolution: str, pools: int) -> Pooling:
    """Strides for a patch; a note only where they are fewer than those of the paper's patch."""
    found = plan_pooling(patch, pools, BOTTOM)
    if found.strides == plan_pooling(PLANS[resolution].patch, pools, BOTTOM).strides:
        return replace(found, note="")
    counts = [sum(s[axis] == 2 for s in found.strides) for axis in range(3)]
    paper = plan_pooling(PLANS[resolution].patch, POOLS, BOTTOM).strides
    wanted = [sum(s[axis] == 2 for s in paper) for axis in range(3)]
    note = (
        f"The pools follow the patch: {'x'.join(map(str, counts))} halvings (z, y, x) instead of "
        f"the paper's {'x'.join(map(str, wanted))}, because the patch is "
        f"{'x'.join(map(str, found.patch))} voxels and an edge of {BOTTOM} must be left."
    )
    return replace(found, note=note)


def auto_kernels(
    spacing: tuple[float, float, float], strides: Sequence[Shape]
) -> tuple[Shape, ...]:
    """Kernels of each level by the rule of the authors' planner (``common_utils.py``).

    While some axis is finer than half of the coarsest spacing, the axes that are not get kernel 1.

    Parameters
    ----------
    spacing : (float, float, float)
        mm.
    strides : sequence of (int, int, int)
    """
    reach, now, kernels = max(spacing), list(spacing), []
    for stride in [(1, 1, 1), *strides]:
        now = [size * step for size, step in zip(now, stride, strict=True)]
        reached = [size > reach / 2 for size in now]
        kernel = tuple(1 if there and not all(reached) else 3 for there in reached)
        kernels.append(kernel)
    return tuple(kernels)  # type: ignore[arg-type]


# Section 2.3: by a factor of two until the median scan has less than four times a patch's voxels.
RULES: dict[str, Spacing] = {"full": "median", "low": Coarsened(patches=4.0, factor=2.0)}


def paper_recipe(resolution: str, lr: float, by_rule: bool = False) -> Recipe:
    """Recipe of the paper for one resolution.

    Parameters
    ----------
    resolution : {"full", "low"}
    lr : float
        Learning rate.
    by_rule : bool
        Find the voxel size by the rule of the paper's text instead of its table.
    """
    plan = PLANS[resolution]
    return Recipe(
        name=f"attention_vnet_{resolution}",
        spacing=RULES[resolution] if by_rule else plan.spacing,
        preparation=Preparation("cubic", "linear", slices_from=3.0),
        patch=plan.patch,
        batch=2,
        sampling=Sampling("foreground", fraction=0.5, centred=True),
        augmentation=(
            Transform("elastic", 0.2, ELASTIC),
            Transform("rotation", 0.2, (("degrees", (15.0, 15.0, 15.0)), ("voxels", True))),
            Transform(
                "scale", 0.2, (("range", (0.85, 1.25)), ("coordinates", True), ("halves", True))
            ),
            Transform("gamma", 0.3, (("range", (0.7, 1.5)), ("halves", True))),
            Transform("mirror", 0.5),
        ),
        optimiser=Optimiser("adam", lr=lr, weight_decay=3e-5, amsgrad=True),
        # The average keeps 0.93 of itself in an epoch.
        schedule=Schedule(
            "plateau",
            factor=0.2,
            patience=30 * EPOCH,
            memory=round(-EPOCH / math.log(0.93), 5),
            full=EPOCHS * STEPS,
            least=STOP / lr,
        ),
        inference=Inference(overlap=0.5, blend="gaussian", sigma=0.125, mirror=(0, 1, 2)),
        clip_gradient=None,
        sources=SOURCES,
    )


SOURCES = (
    (
        "spacing",
        "derived from the median shapes of the paper and the median grid of KiTS19; the paper "
        "prints none. The coarse one is what the winner of KiTS19 reports",
    ),
    (
        "preparation",
        "preprocessing.py of the authors: splines of order 3, of labels 1, of thick slices 0",
    ),
    ("patch", "table 1"),
    (
        "batch, sampling",
        "section 2.4: two patches, one of them with foreground; dataset_loading.py of the authors: "
        "about a voxel of it, not before the scan, and small scans in the middle",
    ),
    ("intensity", "section 2.2: percentiles 0.5 and 99.5, mean and sd of the foreground"),
    (
        "augmentation",
        "default_data_augmentation.py of the authors, as batchgenerators draws it: the factor of "
        "the scale multiplies coordinates, rotations take voxels for cubes, half of the factors "
        "and of the gammas lie below 1. CHOICE: images linear, there cubic; labels by the nearest "
        "voxel; outside the scan the window's lower end, there the mean",
    ),
    (
        "augmentation.elastic",
        "there noise smoothed by sigma 9 to 13 voxels, times 0 to 900; here a B-spline as smooth, "
        "whose displacements have the same sd on average and the same spread",
    ),
    ("optimiser", "section 2.4: Adam with weight decay 3e-5; AMSGrad in the authors' code only"),
    (
        "optimiser.lr",
        "3e-4 in the history of the authors' code, and in nnU-Net of 2018; the text prints 3e-5, "
        "which is also its weight decay",
    ),
    (
        "schedule",
        "section 2.4: times 0.2 after 30 of 1000 epochs without improvement; a moving average that "
        "keeps 0.93 of itself in one of 1000 epochs forgets in 0.0138 of the budget. Under every "
        "budget the rule takes the noise of the paper's 84,000 steps. The paper stops at a rate of "
        "1e-6; here the rate falls no further, and the budget says when training ends",
    ),
    ("inference", "section 2.5: half a patch of overlap, Gaussian weights, all eight mirrorings"),
    ("clip_gradient", "not mentioned"),
)
