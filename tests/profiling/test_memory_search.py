"""The largest that fits: found from any guess, and really tried."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planted import planted_job

from kitsbench.profiling import memory
from kitsbench.profiling.memory import Load, carry, largest, line, profile_memory, settle, shapes
from kitsbench.spec import SizeRule

MIB = 2**20


@pytest.mark.parametrize("truth", [0, 1, 7, 40, 100])
@pytest.mark.parametrize("guess", [0, 1, 6, 40, 99, 100, 500])
def test_the_largest_is_found_and_the_next_was_tried(truth, guess):
    tried = []

    def fits(number):
        tried.append(number)
        return number <= truth

    assert largest(fits, guess, 100) == truth
    assert len(tried) == len(set(tried)) <= 15
    assert {n for n in (truth, truth + 1) if 1 <= n <= 100} <= set(tried)


def test_a_good_guess_costs_two_tries():
    tried = []
    assert largest(lambda n: tried.append(n) or n <= 40, 40, 4096) == 40
    assert tried == [40, 41]


@pytest.mark.parametrize(
    ("answers", "found", "settled"),
    [
        ({}, 7, (7, (), 8)),
        ({8: [False, True]}, 7, (7, (8,), 9)),
        ({8: [True], 9: [False, True]}, 7, (7, (8, 9), 10)),
        ({7: [True, False]}, 7, (6, (7,), 8)),
        ({1: [False], 2: [False], 3: [False]}, 3, (0, (1, 2, 3), 4)),
        ({}, 0, (0, (), 1)),
        ({}, 20, (20, (), None)),
    ],
)
def test_a_size_at_the_edge_is_believed_only_where_it_answers_alike(answers, found, settled):
    left = {number: list(of) for number, of in answers.items()}

    def fits(number):
        return left[number].pop(0) if left.get(number) else number <= found

    assert settle(fits, found, 20) == settled


@pytest.mark.parametrize("told", [0, 40, 41, 60, 90, 1000])
def test_a_better_guess_is_tried_and_a_bad_one_costs_little(told):
    tried = []
    found = largest(lambda n: tried.append(n) or n <= 60, 40, 100, lambda: told)
    assert found == 60
    assert {60, 61} <= set(tried)
    assert len(tried) == len(set(tried)) <= (3 if told == 60 else 12)


def test_the_line_goes_through_points_on_a_line():
    found = line([(100, 1200), (200, 1400), (400, 1800)])
    assert found["bytes"] == pytest.approx(1000)
    assert found["bytes_per_voxel"] == pytest.approx(2)
    assert found["worst"] < 1e-9
    assert line([(100, 1200), (100, 1300)]) is None


def test_patches_are_steps_of_the_size_rule(tmp_path, coarse_store):
    spec = planted_job(tmp_path, coarse_store).spec
    rule = SizeRule(multiple=(4, 8, 8), minimum=(8, 16, 16))
    grid = replace(spec.grids[0], shape=(12, 24, 24))
    found = shapes(replace(spec, grids=(grid,), size_rule=rule))
    assert found[:3] == [(8, 16, 16), (12, 24, 24), (16, 32, 32)]
    fixed = SizeRule.fixed((12, 24, 24))
    assert shapes(replace(spec, grids=(grid,), size_rule=fixed)) == [(12, 24, 24)]


def edges(of_batch):
    """The largest batch and the one that fails: neighbours but for those that fit sometimes."""
    batch, fails = of_batch["largest"], of_batch["fails"]
    assert list(range(batch + 1, fails)) == of_batch["sometimes"]
    return batch, fails


@pytest.mark.exhaustive
def test_a_cap_is_kept_and_the_next_batch_fails(tmp_path, coarse_store):
    job = planted_job(tmp_path, coarse_store, patch=(32, 32, 32))
    told = []
    found = profile_memory(job, 300 * MIB, told.append)
    assert found["training"]["bytes_per_voxel"] > found["inference"]["bytes_per_voxel"] > 0
    batch, fails = edges(found["batch"])
    shape = (32, 32, 32)
    assert carry(Load(job, shape, batch, limit=300 * MIB))["fits"]
    assert not carry(Load(job, shape, fails, limit=300 * MIB))["fits"]
    assert found["patch"]["fails"][0] > found["patch"]["largest"][0]
    # Without gradients there is room for more.
    most, too_many = edges(found["inference_batch"])
    assert most > batch
    assert carry(Load(job, shape, most, training=False, limit=300 * MIB))["fits"]
    assert not carry(Load(job, shape, too_many, training=False, limit=300 * MIB))["fits"]
    assert found["inference_patch"]["largest"] > found["patch"]["largest"]
    assert told


@pytest.mark.exhaustive
@pytest.mark.timeout(1800)  # beside other work
@pytest.mark.parametrize("name", ["unet3d", "residual_unet", "scau_unet"])
def test_two_gibibytes_hold_what_was_found_and_no_more(name, coarse_store):
    from kitsbench.architecture import Task, configure
    from kitsbench.profiling import ProfileJob
    from kitsbench.registry import load
    from kitsbench.training.recipes import MATCHED_CPU

    registered = load(name)
    architecture = registered.architecture
    recipe = replace(MATCHED_CPU, patch=(32, 32, 32), batch=2)
    spec = architecture.spec(configure(architecture, {"size": "tiny"}), Task(patch=recipe.patch))
    job = ProfileJob(name, registered.location, spec, recipe)
    found = profile_memory(job, 2048 * MIB)
    for kind in ("batch", "patch", "inference_batch", "inference_patch"):
        assert found[kind]["largest"] is not None
        assert found[kind]["fails"] is not None
    assert found["inference_batch"]["largest"] > found["batch"]["largest"]
    most = found["inference_patch"]
    one, next_one = tuple(most["largest"]), tuple(most["fails"])
    assert carry(Load(job, one, recipe.batch, False, 2048 * MIB))["fits"]
    assert not carry(Load(job, next_one, recipe.batch, False, 2048 * MIB))["fits"]
    shape, (batch, fails) = spec.grids[0].shape, edges(found["batch"])
    assert carry(Load(job, shape, batch, limit=2048 * MIB))["fits"]
    assert not carry(Load(job, shape, fails, limit=2048 * MIB))["fits"]
    assert memory.MOST_BATCH > batch > 1
