"""Training of which nothing is known but its operations and the speed of the device."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from kitsbench.experiments.plan.estimate import STEP, TRAINING, estimate, foresee
from kitsbench.training.budget import Budget

PATCH, BATCH, FORWARD, GFLOPS = (16, 16, 32), 4, 10**9, 50.0


def task_of(workdir, budget: Budget, name: str = "a", **known):
    """A trial that nobody has run, of a network that nobody has measured."""
    usual = {
        "id": f"{name}-{budget}",
        "name": name,
        "budget": budget,
        "workdir": workdir,
        "members": (),
        "elsewhere": False,
        "threads": 1,
        "spec": SimpleNamespace(grids=(SimpleNamespace(shape=PATCH),), digest=lambda: "spec"),
        "recipe": SimpleNamespace(batch=BATCH, digest=lambda: "recipe"),
        "trial": SimpleNamespace(
            identity=SimpleNamespace(spec="spec", recipe="recipe", precision="float32")
        ),
    }
    return SimpleNamespace(**usual | known)


def test_steps_voxels_and_flops_are_the_operations_that_they_stand_for(tmp_path):
    steps = 70
    voxels = steps * BATCH * 16 * 16 * 32
    flops = steps * BATCH * STEP * FORWARD
    budgets = [Budget(steps, "steps"), Budget(voxels, "voxels"), Budget(flops, "flops")]
    tasks = [task_of(tmp_path, budget) for budget in budgets]
    found = estimate(tasks, {"a": FORWARD}, lambda: GFLOPS)
    seconds = flops / (GFLOPS * 1e9 * TRAINING)
    for task in tasks:
        assert found[task.id] == {"device_seconds": pytest.approx(seconds), "basis": "rough"}


@pytest.mark.parametrize(
    ("flops", "gflops"), [({}, GFLOPS), ({"a": None}, GFLOPS), ({"a": FORWARD}, None)]
)
def test_without_operations_or_a_device_nothing_is_known(flops, gflops, tmp_path):
    task = task_of(tmp_path, Budget(70, "steps"))
    (found,) = estimate([task], flops, lambda: gflops).values()
    assert found == {"device_seconds": None, "basis": "none"}


def test_the_device_is_asked_only_where_nothing_else_tells(tmp_path):
    tasks = [
        task_of(tmp_path, Budget(7, "seconds")),
        task_of(tmp_path, Budget(70, "steps"), members=("b",)),
    ]
    known = [one["basis"] for one in estimate(tasks, {"a": FORWARD}, pytest.fail).values()]
    assert known == ["budget", "members"]


def test_a_sum_that_rests_on_operations_is_rough(tmp_path, monkeypatch):
    """Also where trials of other networks tell what surrounds it."""
    from kitsbench.experiments.plan import estimate as room

    beside = SimpleNamespace(
        seconds=lambda task, training: (5.0, "other trials"), disk=lambda tasks, parameters: 0
    )
    monkeypatch.setattr(room, "Surroundings", lambda *asked: beside)
    monkeypatch.setattr(room, "is_done", lambda task: False)
    waiting = SimpleNamespace(read_status=lambda: SimpleNamespace(status="pending"))
    asked = []

    def speed():
        asked.append(1)
        return GFLOPS

    tasks = [task_of(tmp_path, Budget(70, "steps"), name, folder=waiting) for name in "ab"]
    flops = dict.fromkeys("ab", FORWARD)
    found = foresee(tasks, [], Budget(1, "steps"), 1, 2, flops, {}, speed)
    assert (found.basis, found.unknown, found.around) == ("rough", (), 10.0)
    assert found.rough
    assert found.seconds == pytest.approx(2 * 70 * BATCH * STEP / (GFLOPS * TRAINING))
    assert len(asked) == 1  # another process has to be started for it
