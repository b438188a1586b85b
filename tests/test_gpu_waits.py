"""What makes the host wait for a GPU is found without one, with its line; and nothing else is."""

from __future__ import annotations

import functools
import inspect
import io

import architectures
import pytest
import torch
from architectures import own_steps
from torch import nn
from torch.utils.checkpoint import checkpoint

from kitsbench import conformance
from kitsbench.architecture import Plain, Task
from kitsbench.configuration import configure
from kitsbench.conformance.fake_gpu.gradient import backward
from kitsbench.conformance.fake_gpu.waits import trace

HERE = "test_gpu_waits.py"
WEIGHTS = torch.tensor([1.0, 2.0, 3.0])
SHIFT = torch.tensor([0.5])


def traced(kind, **options):
    architecture = kind() if isinstance(kind, type) else kind
    spec = architecture.spec(configure(architecture, {}), Task(patch=(16, 16, 16)))
    return trace(architecture, spec, **options)


def with_loss(term):
    """An architecture whose loss adds a term of logits and targets."""

    class Added(architectures.Smallest):
        def loss(self, outputs, targets, progress, spec):
            total, parts = super().loss(outputs, targets, progress, spec)
            return total + term(outputs["segmentation"], targets["segmentation"]), parts

    return Added


def place_of(function, line=0):
    return f"{HERE}:{inspect.getsourcelines(function)[1] + line}"


def square(logits):
    return logits[0, 0, 0, :2, :2].float()


@functools.lru_cache
def kept_weights(device):
    return WEIGHTS.to(device)


WAITS = [
    (lambda logits, target: logits.mean().item(), "`.item()`"),
    (lambda logits, target: float(logits.mean()), "`float()`"),
    (lambda logits, target: int(target.sum()), "`int()`"),
    (lambda logits, target: sum(logits.mean((0, 2, 3, 4)).tolist()), "`.tolist()`"),
    (lambda logits, target: 1.0 if target.any() else 0.0, "`if`"),
    (lambda logits, target: 1.0 * torch.equal(target, target), "`torch.equal()`"),
    (lambda logits, target: 1.0 * torch.allclose(logits, logits), "`torch.allclose()`"),
    (lambda logits, target: logits[logits > 0].mean(), "a mask as an index"),
    (lambda logits, target: logits.masked_select(logits > 0).mean(), "`masked_select()`"),
    (lambda logits, target: 0.0 * torch.nonzero(target).sum(), "`nonzero()`"),
    (lambda logits, target: 0.0 * torch.bincount(target.flatten()).sum(), "`bincount()`"),
    (lambda logits, target: 0.0 * torch.unique(target).sum(), "`unique()`"),
    (lambda logits, target: 0.0 * target.repeat_interleave(target.flatten()[:2], 0).sum(), "`rep"),
    (lambda logits, target: 0.0 * torch.histc(logits.float(), 4).sum(), "`histc()`"),
    (lambda logits, target: 0.0 * nn.functional.one_hot(target).sum(), "`.item()`"),
    (lambda logits, target: logits.mean().cpu().to(logits.device), "`.cpu()`"),
    (lambda logits, target: WEIGHTS.to(logits.device).sum(), "`.to()`"),
    (lambda logits, target: torch.tensor([1.0, 2.0], device=logits.device).sum(), "`torch.tensor"),
    (lambda logits, target: logits.new_tensor([1.0, 2.0]).sum(), "`.new_tensor()`"),
    (lambda logits, target: logits[:, torch.tensor([0, 1])].mean(), "an index on the host"),
    (lambda logits, target: torch.tensor([logits.mean(), logits.max()]).sum(), "`torch.tensor()`"),
    (lambda logits, target: len(f"{logits.mean():.3f}"), "an f-string"),
    (lambda logits, target: logits.detach().cpu().numpy().mean(), "`.cpu()`"),
    (lambda logits, target: print(logits.mean(), file=io.StringIO()) or 0.0, "`print()`"),
    (lambda logits, target: 0.0 * torch.linalg.svdvals(square(logits)).sum(), "`svdvals()`"),
    (lambda logits, target: 0.0 * torch.linalg.eigh(square(logits))[0].sum(), "`eigh()`"),
    (lambda logits, target: 0.0 * torch.linalg.pinv(square(logits)).sum(), "`torch.linalg.pinv()`"),
    (lambda logits, target: 0.0 * torch.linalg.eigvalsh(square(logits)).sum(), "`eigvalsh()`"),
    (lambda logits, target: torch.cuda.synchronize() or 0.0, "`torch.cuda.synchronize()`"),
    (lambda logits, target: torch.cuda.Event().synchronize() or 0.0, ".synchronize() of an event"),
]


@pytest.mark.parametrize(("term", "what"), WAITS, ids=[what for _, what in WAITS])
def test_what_waits_is_told_with_its_line(term, what):
    found = traced(with_loss(term))
    assert not found.refusals
    told = [str(wait) for wait in found.waits if wait.hook == "loss()"]
    assert any(text.startswith(f"loss() makes the host wait for a GPU: {what}") for text in told)
    assert all(f" at {place_of(term)}; " in text for text in told)


@pytest.mark.parametrize(
    "term",
    [
        lambda logits, target: (logits * (logits > 0)).mean(),
        lambda logits, target: torch.where(logits > 0, 1.0, logits).mean(),
        lambda logits, target: logits.masked_fill(logits > 0, 2.0).mean() + logits.new_zeros(1)[0],
        lambda logits, target: (target.float().masked_fill_(target > 0, 2).mean() * logits).mean(),
        lambda logits, target: 0.0 * nn.functional.one_hot(target, 3).sum(),
        lambda logits, target: kept_weights(logits.device).sum(),
        lambda logits, target: logits[:, [1, 2][0]].mean() * WEIGHTS[0],
        lambda logits, target: logits.mean() / max(1, logits.shape[0]),
        lambda logits, target: logits.sum(torch.arange(2, logits.ndim).tolist()).mean(),
    ],
)
def test_what_does_not_wait_after_the_first_step_is_not_blamed(term):
    found = traced(with_loss(term))
    assert (found.waits, found.refusals, found.unseen) == ([], [], [])


def test_every_hook_is_looked_at():
    class Halting(nn.Module):
        def __init__(self, classes):
            super().__init__()
            self.layer = nn.Conv3d(1, classes, 1)

        def forward(self, images):
            logits = self.layer(images)
            return logits * 2 if logits.max() > 100 else logits

    class Everywhere(architectures.Smallest):
        def build(self, spec):
            return Plain(Halting(spec.classes))

        def targets(self, labels, spec):
            assert labels["image"].max() < 100
            return super().targets(labels, spec)

        def decode(self, probabilities, spec):
            decided = super().decode(probabilities, spec)
            return decided + 0 if decided.any() else decided

    found = traced(Everywhere)
    assert not found.refusals
    assert not found.unseen
    assert {(wait.hook, wait.what) for wait in found.waits} == {
        ("targets()", "assert"),
        ("forward()", "if"),
        ("decode()", "if"),
    }


def test_a_gradient_of_ones_own_is_looked_at():
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, values, factor):
            return values * factor

        @staticmethod
        def backward(ctx, gradient):
            return gradient * float(gradient.abs().max()), None

    found = traced(with_loss(lambda logits, target: Doubled.apply(logits, 2.0).mean()))
    (wait,) = found.waits
    assert (wait.hook, wait.what) == ("backward()", "float()")
    assert wait.place == place_of(Doubled.backward, 2)


def test_every_stage_is_looked_at():
    class Later(architectures.Staged):
        def loss(self, outputs, targets, progress, spec):
            total, parts = super().loss(outputs, targets, progress, spec)
            last = progress.stage == spec.stages[-1].name
            return total, {**parts, **({"late": total.item()} if last else {})}

    assert traced(architectures.Staged).waits == []
    assert [wait.what for wait in traced(Later).waits] == [".item()"]


class Forgets(nn.Module):
    """Keeps a tensor that is neither parameter nor buffer."""

    def __init__(self, classes):
        super().__init__()
        self.layer, self.scale = nn.Conv3d(1, classes, 1), torch.ones(1, classes, 1, 1, 1)

    def forward(self, images):
        return self.layer(images) * self.scale


def test_a_tensor_that_stays_on_the_host_is_refused():
    class Kept(architectures.Smallest):
        def build(self, spec):
            return Plain(Forgets(spec.classes))

    (refusal,) = traced(Kept).refusals
    assert refusal.startswith(f"forward() fails on a GPU at {place_of(Forgets.forward, 1)} (")
    assert "device" in refusal
    (refusal,) = traced(
        with_loss(lambda logits, target: (logits.mean((0, 2, 3, 4)) * WEIGHTS).sum())
    ).refusals
    assert refusal.startswith(f"loss() fails on a GPU at {HERE}:")


def test_what_cannot_be_followed_is_said_and_no_fault():
    @torch.library.custom_op("kitsbench_tests::opaque", mutates_args=())
    def opaque(values: torch.Tensor) -> torch.Tensor:
        return values.clone()

    class Odd(architectures.Smallest):
        def targets(self, labels, spec):
            return {k: opaque(v) for k, v in super().targets(labels, spec).items()}

    found = traced(Odd)
    assert (found.waits, found.refusals) == ([], [])
    assert found.unseen
    check = next(c for c in conformance.checks(Odd) if c.name == "ready for a gpu")
    with pytest.warns(conformance.Hint, match=r"Not traced on fake CUDA tensors: targets\(\) at"):
        check()


def test_a_check_that_passes_hints_at_waits():
    report = conformance.check(with_loss(lambda logits, target: 0 * logits.mean().item()))
    assert report.passed
    assert report.to_dict()["passed"] is True
    (outcome,) = [outcome for outcome in report.checks if outcome.message]
    assert outcome.name == "ready for a gpu"
    assert outcome.message.startswith("loss() makes the host wait for a GPU: `.item()` at test_gpu")
    assert outcome.message.endswith("; keep it a tensor.")


def test_real_tensors_stay_real():
    """What a hook keeps for each device, the trace must not have replaced by a fake."""
    traced(architectures.Regions)
    architecture = architectures.Regions()
    spec = architecture.spec({}, Task(patch=(4, 4, 4)))
    target = architecture.targets({"image": torch.ones(1, 4, 4, 4, dtype=torch.int64)}, spec)
    assert target["segmentation"].sum().item() == 64
    assert not torch.is_autocast_enabled("cuda")


def test_gradients_are_those_of_torchs_engine():
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, factor, values, other):
            return values * factor, other.sum()

        @staticmethod
        def backward(ctx, first, second):
            return None, first * 2 + second, second.expand(3)

    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.ReLU(inplace=True))
    network.append(nn.Conv3d(4, 2, 1))
    scale, other = nn.Parameter(torch.rand(1, 2, 1, 1, 1)), nn.Parameter(torch.rand(3))

    def loss():
        logits = network(torch.ones(2, 1, 6, 6, 6)) * scale
        first, _ = logits.half().chunk(2, 1)
        doubled, total = Doubled.apply(2.0, first.float(), other)
        return doubled.square().sum() + total + doubled.max() + scale.detach().sum()

    parameters = [*network.parameters(), scale, other]
    torch.manual_seed(1)
    loss().backward()
    expected = [parameter.grad.clone() for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    torch.manual_seed(1)
    backward(loss())
    for parameter, wanted in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.grad, wanted)


class Twice(nn.Module):
    """Lists its layers once more, as MONAI's DynUNet does, ties two, and keeps a weight itself."""

    def __init__(self, classes):
        super().__init__()
        self.first, self.norm = nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4)
        self.second, self.third = (nn.Conv3d(4, 4, 3, padding=1) for _ in range(2))
        self.third.weight = self.second.weight
        self.last = nn.Conv3d(4, classes, 1)
        self.layers = nn.ModuleList([self.first, self.norm, self.second, self.third, self.last])
        self.kept = [self.last.weight]
        self.register_buffer("shift", SHIFT)

    def forward(self, images):
        values = images + self.shift
        for layer in self.layers:
            values = layer(values)
        return values + self.kept[0].sum()


class MovesATable(Twice):
    """Keeps a tensor beside parameters and buffers, and moves it along."""

    def __init__(self, classes):
        super().__init__(classes)
        self.table = torch.ones(1, classes, 1, 1, 1)

    def _apply(self, fn, recurse=True):
        self.table = fn(self.table)
        return super()._apply(fn, recurse)

    def forward(self, images):
        return super().forward(images) * self.table


class Checkpointed(nn.Module):
    """Computes its middle again in the backward pass."""

    reentrant = False

    def __init__(self, classes):
        super().__init__()
        self.first, self.last = nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, classes, 1)
        layers = [nn.Conv3d(4, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU(), nn.Dropout(0.1)]
        self.middle = nn.Sequential(*layers)

    def forward(self, images):
        values = checkpoint(self.middle, self.first(images), use_reentrant=self.reentrant)
        return self.last(values)


class CheckpointedByTheEngine(Checkpointed):
    """By the older way, which asks torch's engine from within a backward pass."""

    reentrant = True


class WaitsWithin(Checkpointed):
    def __init__(self, classes):
        super().__init__(classes)
        self.middle.append(Halts())


class Halts(nn.Module):
    def forward(self, values):
        return values * values.mean().item()


def built(network):
    class Built(architectures.Smallest):
        def build(self, spec):
            return Plain(network(spec.classes))

    return Built


@pytest.mark.parametrize("kind", [Twice, MovesATable, Checkpointed, CheckpointedByTheEngine])
@pytest.mark.parametrize("precision", [torch.bfloat16, None])
def test_layers_listed_twice_and_activations_computed_again_are_followed(kind, precision):
    found = traced(built(kind), precision=precision)
    assert (found.waits, found.refusals, found.unseen) == ([], [], [])
    assert SHIFT.tolist() == [0.5]


def test_waits_in_what_is_computed_again_are_told():
    (wait,) = traced(built(WaitsWithin)).waits
    assert (wait.what, wait.place) == (".item()", place_of(Halts.forward, 1))


@pytest.mark.slow  # MONAI is imported
def test_monais_dynunet_is_followed():
    nets = pytest.importorskip("monai.networks.nets")

    def network(classes):
        return nets.DynUNet(3, 1, classes, [3] * 3, [1, 2, 2], [2, 2])

    found = traced(built(network))
    assert (found.waits, found.refusals, found.unseen) == ([], [], [])


@pytest.mark.parametrize("kind", [Checkpointed, CheckpointedByTheEngine])
def test_gradients_of_activations_computed_again_are_those_of_torchs_engine(kind):
    torch.manual_seed(0)
    network = kind(2)
    images = torch.rand(2, 1, 4, 4, 4)

    def gradients(go):
        network.zero_grad()
        torch.manual_seed(1)
        go(network(images).square().sum())
        return [parameter.grad.clone() for parameter in network.parameters()]

    wanted = gradients(lambda loss: loss.backward())
    torch.testing.assert_close(gradients(backward), wanted)
    torch.testing.assert_close(gradients(lambda loss: loss.backward()), wanted)


@pytest.mark.parametrize("precision", [None, torch.float16])
def test_the_precision_is_that_which_is_asked_for(precision):
    seen = []

    class Watched(architectures.Smallest):
        def loss(self, outputs, targets, progress, spec):
            seen.append(outputs["segmentation"].dtype)
            return super().loss(outputs, targets, progress, spec)

    found = traced(Watched, precision=precision)
    assert (found.waits, found.refusals, found.unseen) == ([], [], [])
    assert set(seen) == {precision or torch.float32}


class Reads(own_steps.OwnRecipe):
    def step(self, training, progress, spec):
        training.gradient()
        if training.parameters[0].grad.norm().item() > 3:
            training.parameters[0].grad.mul_(0.5)
        training.optimise()


class OnTheHost(own_steps.OwnRecipe):
    def step(self, training, progress, spec):
        share = torch.rand(2, 1, 1, 1, 1)
        mixed = {name: values * share for name, values in training.inputs.items()}
        training.gradient(None, mixed, training.labels)
        training.optimise()


class TwoTypes(own_steps.OwnRecipe):
    def step(self, training, progress, spec):
        training.gradient()
        gradient = training.parameters[0].grad.flatten(1)
        (gradient.half() @ gradient.T).sum()
        training.optimise()


class LossThatReads(own_steps.SameStep):
    def loss(self, outputs, targets, progress, spec):
        total, parts = super().loss(outputs, targets, progress, spec)
        return total + total.item(), parts


def test_a_step_of_a_plugins_own_is_followed():
    found = traced(Reads)
    (wait,) = found.waits
    assert str(wait).startswith(f"step() makes the host wait for a GPU: `.item()` at {HERE}:")
    assert wait.place == place_of(Reads.step, 2)
    assert not found.refusals
    (refusal,) = traced(OnTheHost).refusals
    assert refusal.startswith(f"step() fails on a GPU at {place_of(OnTheHost.step, 2)}")
    (refusal,) = traced(TwoTypes).refusals
    assert refusal.startswith(f"step() fails on a GPU at {place_of(TwoTypes.step, 3)}")
    assert "mm needs the same dtype, and got torch.float16 and torch.float32" in refusal
    (wait,) = traced(LossThatReads).waits  # once, though the step calls it too
    assert wait.hook == "loss()"


@pytest.mark.parametrize("kind", ["SameStep", "SharpnessAware", "MeanTeacher", "CutMix"])
def test_steps_that_keep_a_gpu_busy_pass(kind):
    found = traced(getattr(own_steps, kind))
    assert (found.waits, found.refusals, found.unseen) == ([], [], [])
