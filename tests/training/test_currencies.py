"""FLOPs of stages, energy, and what a ledger says about overshoot."""

from __future__ import annotations

import architectures
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from kitsbench.architecture import Progress
from kitsbench.training.budget import Budget
from kitsbench.training.failures import TrialFailure
from kitsbench.training.loop import train
from kitsbench.training.meters import energy
from kitsbench.training.meters.energy import EnergyMeter
from kitsbench.training.networks.meta import count_step
from kitsbench.training.optimisation.stages import freeze, training_mode


def flops_of_a_real_step(architecture, spec, stage, batch):
    """Counted while a step with the plugin's own loss runs."""
    network = architecture.build(spec)
    freeze(network, stage)
    training_mode(network)
    shape = spec.grids[0].shape
    inputs = {grid.name: torch.randn(batch, 1, *grid.shape) for grid in spec.grids}
    labels = {grid.name: torch.randint(3, (batch, *grid.shape)) for grid in spec.grids}
    targets = architecture.targets(labels, spec)
    with FlopCounterMode(display=False) as counter:
        outputs = network(inputs)
        loss, _ = architecture.loss(outputs, targets, Progress(stage.name, 0, 0, 0), spec)
        loss.backward()
    assert len(shape) == 3
    return counter.get_total_flops()


def test_each_stage_is_charged_the_flops_of_its_own_steps(make_job):
    architecture = architectures.Staged()
    job = make_job(architecture, budget=Budget(10, "steps"))
    ledger = train(job).ledger
    batch = job.recipe.batch
    real = [flops_of_a_real_step(architecture, job.spec, s, batch) for s in job.spec.stages]
    assert [row.flops_per_step for row in ledger.stages] == real
    assert real[0] != real[1]
    assert ledger.flops == sum(row.flops for row in ledger.stages)
    assert ledger.flops == 4 * real[0] + 6 * real[1]


def test_the_first_stage_of_the_cascade_costs_its_coarse_network_only(make_job):
    plugin = pytest.importorskip("kitsbench_plugins.cascade_classifier.plugin")
    from kitsbench.architecture import Task, configure

    architecture = plugin.CascadeClassifier()
    config = configure(architecture, {"size": "tiny"})
    spec = architecture.spec(config, Task(patch=(32, 32, 32), spacing=(4.0, 4.0, 4.0)))
    counted = [count_step(architecture, spec, stage, 2) for stage in spec.stages]
    assert counted == [flops_of_a_real_step(architecture, spec, s, 2) for s in spec.stages]
    assert 0 < counted[0] < 0.5 * counted[1]


@pytest.mark.parametrize("name", ["Smallest", "Valid", "Regions", "DeepSupervision", "TwoGrids"])
def test_counted_flops_are_those_of_a_real_step(make_job, name):
    architecture = getattr(architectures, name)()
    spec = make_job(architecture).spec
    stage = spec.stages[0]
    assert count_step(architecture, spec, stage, 2) == flops_of_a_real_step(
        architecture, spec, stage, 2
    )


def test_a_flop_budget_without_a_count_is_refused_and_says_what_to_do(make_job):
    class Uncountable(architectures.Smallest):
        """Looks at values, which the meta device does not have."""

        def build(self, spec):
            network = super().build(spec)
            network.register_forward_pre_hook(
                lambda module, inputs: print(float(inputs[0]["image"].sum()))
            )
            return network

    with pytest.raises(TrialFailure, match="budget in time, steps or voxels"):
        train(make_job(Uncountable(), budget=Budget(1e9, "flops")))
    assert train(make_job(Uncountable(), budget=Budget(2, "steps"))).ledger.flops == 0


def test_every_currency_is_in_every_ledger(make_job):
    for unit, amount in (("steps", 2), ("voxels", 9000), ("flops", 1e6), ("seconds", 0.05)):
        ledger = train(make_job(budget=Budget(amount, unit), folder=unit)).ledger.to_dict()
        for currency in ("device_seconds", "steps", "voxels", "flops", "peak_memory_bytes"):
            assert ledger[currency] > 0, (unit, currency)
        assert ledger["budget_spent_fraction"] >= 1
        assert 0 <= ledger["overshoot_steps"] < 1
        assert "energy_joules" in ledger


def test_a_cpu_reports_no_energy(make_job):
    meter = EnergyMeter(torch.device("cpu"))
    meter.start()
    meter.stop()
    assert meter.joules is None
    assert train(make_job(budget=Budget(2, "steps"))).ledger.energy_joules is None


def test_a_counter_of_energy_that_stops_to_answer_ends_no_training(monkeypatch):
    answers = iter([5.0, 9.0, 10.0])  # and then nothing

    monkeypatch.setattr(energy, "_counter", lambda device: lambda: next(answers))
    meter = EnergyMeter(torch.device("cuda:1"), 1.0)
    meter.start()
    meter.stop()
    assert meter.joules == 5.0
    meter.start()
    meter.stop()
    meter.start()
    meter.stop()
    assert meter.joules is None


@pytest.mark.gpu
def test_a_gpu_reports_energy_within_what_its_power_limit_allows(make_job):
    pynvml = pytest.importorskip("pynvml")
    device = torch.device("cuda")
    ledger = train(make_job(device=device, budget=Budget(5, "seconds"))).ledger
    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByUUID(
        f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    )
    watts = pynvml.nvmlDeviceGetPowerManagementLimit(handle) / 1000
    assert ledger.energy_joules is not None
    assert 0 < ledger.energy_joules < 1.2 * watts * ledger.wall_s
