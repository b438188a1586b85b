"""A paper's recipe at reduced size."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kitsbench.recipe import Inference, Optimiser, Recipe, Schedule
from kitsbench.training.recipes import at_size

PAPER = Recipe(
    "own",
    spacing=(1.0, 1.0, 1.0),
    patch=(176, 176, 176),
    batch=8,
    optimiser=Optimiser("adam", lr=5e-5),
    schedule=Schedule("plateau"),
    inference=Inference(overlap=0.8, blend="uniform", mirror=(0, 1, 2)),
    sources=(("batch", "section 3"),),
)


def test_tiny_reduces_patch_batch_and_inference_and_says_so():
    recipe, note = at_size(PAPER, "tiny")
    assert (recipe.patch, recipe.batch) == ((88, 88, 88), 2)
    assert recipe.spacing == (2.0, 2.0, 2.0)  # a patch shows as much of the body as the paper's
    assert recipe.inference == Inference(overlap=0.25, blend="uniform")
    for words in (
        "88x88x88 voxels instead of 176x176x176",
        "2x2x2 mm",
        "2 instead of 8",
        "0.25",
        "mirroring",
    ):
        assert words in note
    assert note in dict(recipe.sources).values()
    assert dict(recipe.sources)["batch"] == "section 3"
    same = {"patch", "spacing", "batch", "inference", "sources"}
    assert {k: v for k, v in recipe.to_dict().items() if k not in same} == {
        k: v for k, v in PAPER.to_dict().items() if k not in same
    }


@pytest.mark.parametrize("size", ["small", "paper"])
def test_other_sizes_train_by_the_papers_own(size):
    assert at_size(PAPER, size) == (PAPER, "")


def test_thick_slices_keep_their_edge():
    recipe, _ = at_size(replace(PAPER, patch=(4, 512, 31)), "tiny")
    assert recipe.patch == (4, 256, 31)
    assert recipe.spacing == (1.0, 2.0, 1.0)


def test_what_somebody_chose_is_left_alone():
    recipe, note = at_size(PAPER, "tiny", given={"patch", "batch"})
    assert (recipe.patch, recipe.batch) == (PAPER.patch, PAPER.batch)
    assert recipe.spacing == PAPER.spacing
    assert at_size(PAPER, "tiny", given={"spacing"})[0].spacing == PAPER.spacing
    assert "voxels" not in note
    assert "batch" not in note


def test_a_recipe_that_is_small_already_stays():
    small = replace(PAPER, patch=(16, 16, 16), batch=1, inference=Inference(overlap=0.25))
    assert at_size(small, "tiny") == (small, "")
