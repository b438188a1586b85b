"""Plugins that run and give wrong results, or run for a while: the checks find them."""

from __future__ import annotations

import builtins
import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from architectures import Presence, Smallest
from architectures.broken import _Changed
from architectures.elsewhere import Bright
from torch import nn

from kitsbench import conformance
from kitsbench.architecture import Plain
from kitsbench.conformance.checks import learning


def outcome(kind, name):
    return next(check for check in conformance.checks(kind) if check.name == name).outcome()


class FitsTheFirstPatch(_Changed):
    """Takes off what the first patch in evaluation mode had."""

    @staticmethod
    def change(network, logits):
        if network.training or logits.is_meta:
            return logits
        network.first = getattr(network, "first", logits.mean())
        return logits - network.first


class MovesABufferInEvaluation(_Changed):
    def modules(self, spec):
        return {"seen": nn.BatchNorm3d(spec.classes)}

    @staticmethod
    def change(network, logits):
        if not network.training:
            network.seen.train()(logits)
            network.seen.eval()
        return logits


class DividesByTheSpread(Smallest):
    """Standardises each patch, of which air has no spread."""

    def build(self, spec):
        return Plain(_Standardised(spec.classes))


class _Standardised(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.last = nn.Conv3d(1, classes, 3, padding=1)

    def forward(self, images):
        axes = (1, 2, 3, 4)
        return self.last((images - images.mean(axes, True)) / images.std(axes, keepdim=True))


class Mirrors(_Changed):
    """In both modes, so that it can learn what is alike on both sides."""

    @staticmethod
    def change(network, logits):
        return logits.flip(2)


class ShiftsInEvaluation(_Changed):
    @staticmethod
    def change(network, logits):
        return logits if network.training else logits.roll(1, 4)


class EndsTooEarly(Smallest):
    """A schedule of so many steps as one budget has."""

    def loss(self, outputs, targets, progress, spec):
        weight = torch.linspace(1, 0.1, 5000)[progress.step]
        total, parts = super().loss(outputs, targets, progress, spec)
        return total * weight, parts


class WantsBackground(Smallest):
    def loss(self, outputs, targets, progress, spec):
        total, parts = super().loss(outputs, targets, progress, spec)
        chosen = outputs["segmentation"].float().softmax(1)[:, 0]
        return total - chosen[targets["segmentation"] == 0].mean(), parts


class TakesARootOfNothing(Smallest):
    """Finite where there is no foreground, and its slope is not."""

    def loss(self, outputs, targets, progress, spec):
        total, parts = super().loss(outputs, targets, progress, spec)
        chosen = outputs["segmentation"].float().softmax(1)[:, 1]
        return total - 0.01 * (chosen * (targets["segmentation"] > 0)).sum().sqrt(), parts


class MirrorsAtTheEnd(Smallest):
    def postprocess(self, labels, maps, spacing, spec):
        return labels.flip(0)


class TurnsAtTheEnd(Smallest):
    def postprocess(self, labels, maps, spacing, spec):
        return labels.permute(2, 1, 0).reshape(labels.shape)


class CountsVoxelsOfOneSpacing(Smallest):
    """Closes over 3 mm, by a number of voxels that may be even."""

    def postprocess(self, labels, maps, spacing, spec):
        edge = round(3 / spacing[0])
        return F.max_pool3d(labels[None].float(), edge, 1, edge // 2)[0].to(torch.uint8)


class WantsTwoSlices(Smallest):
    def postprocess(self, labels, maps, spacing, spec):
        torch.gradient(labels.float(), dim=0)
        return labels


class DecodesNumbersOfChannels(Smallest):
    def decode(self, probabilities, spec):
        return probabilities["segmentation"].argmax(0).to(torch.uint8)


class LearnsTheValuesOfKits(Smallest):
    def targets(self, labels, spec):
        values = labels["image"]
        return {"segmentation": (values == 1) * 1 + (values == 2) * (len(spec.labels) > 1) * 2}


class ExchangesChannels(Smallest):
    def targets(self, labels, spec):
        return {"segmentation": spec.classes - 1 - super().targets(labels, spec)["segmentation"]}


class PoolsWithinThickSlices(Smallest):
    """And forgets to come back."""

    def spec(self, config, task):
        return replace(super().spec(config, task), spacing=task.spacing)

    def build(self, spec):
        first = [nn.MaxPool3d((1, 2, 2))] if spec.spacing and spec.spacing[0] > 2 else []
        return Plain(nn.Sequential(*first, nn.Conv3d(1, spec.classes, 3, padding=1)))


class TakesEdgesOf150(_Changed):
    @staticmethod
    def change(network, logits):
        if max(logits.shape[2:]) > 150:
            raise ValueError("too few position embeddings")
        return logits


LOSSES = []


class KeepsItsLosses(Smallest):
    def loss(self, outputs, targets, progress, spec):
        total, parts = super().loss(outputs, targets, progress, spec)
        LOSSES.append(total)
        return total, parts


class KeepsItsFeatures(_Changed):
    @staticmethod
    def change(network, logits):
        network.__dict__.setdefault("maps", []).append(logits.mean())
        return logits


class KeepsANumberInTorch(Smallest):
    """By which the first loss of a process weighs all others."""

    def loss(self, outputs, targets, progress, spec):
        total, parts = super().loss(outputs, targets, progress, spec)
        torch.first_loss = total.detach()
        return total, parts


class ChangesALayerOfTorch(Smallest):
    def build(self, spec):
        nn.ReLU.forward = lambda layer, features: F.leaky_relu(features)
        return super().build(spec)


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [
        (FitsTheFirstPatch, "evaluation is deterministic", "on what was predicted before: keep"),
        (
            MovesABufferInEvaluation,
            "evaluation is deterministic",
            "forward() changes 'network.seen.running_mean' in evaluation mode",
        ),
        (DividesByTheSpread, "shapes", "not finite for a patch of one value, as of air or of"),
        (Mirrors, "learns one volume", "what is decided of a patch lies mirrored along z: give"),
        (
            ShiftsInEvaluation,
            "learns one volume",
            "in evaluation mode lies shifted by 1 voxel along x where training mode has it",
        ),
        (
            EndsTooEarly,
            "loss is finite",
            "in stage 'train' at its end (step 1,000,000) loss() raised IndexError: index 1000000",
        ),
        (WantsBackground, "loss is finite", "in stage 'train' on a patch of kidney alone is nan"),
        (
            TakesARootOfNothing,
            "every parameter learns",
            "not finite in stage 'train' on a patch of background: look for a division, a root",
        ),
        (
            MirrorsAtTheEnd,
            "postprocess keeps the shape",
            "postprocess() gives what it was given mirrored along z: keep the axes (z, y, x)",
        ),
        (TurnsAtTheEnd, "postprocess keeps the shape", "with its axes in the order (x, y, z)"),
        (
            CountsVoxelsOfOneSpacing,
            "postprocess keeps the shape",
            "(18, 24, 20) torch.uint8 for (17, 23, 19) voxels",
        ),
        (
            WantsTwoSlices,
            "postprocess keeps the shape",
            "for a scan of 1x23x19 voxels of (0.7, 0.6, 0.6) mm postprocess() raised RuntimeError",
        ),
        (
            DecodesNumbersOfChannels,
            "other labels work",
            "for a task of 1 label (tumor 2) decode() gives label 1: the task has [0, 2] only",
        ),
        (
            LearnsTheValuesOfKits,
            "other labels work",
            "label 'tumor' is decoded with Dice 0.00: take the order of channels, and the values",
        ),
        (ExchangesChannels, "decodes what is learned", "label 'tumor' is decoded with Dice 0.00"),
        (
            PoolsWithinThickSlices,
            "other spacings work",
            "for a task of 5x0.78x0.78 mm it does not run (forward() returned head 'segmentation'",
        ),
        (TakesEdgesOf150, "takes every patch", "it seems to need at most 15"),
        (
            KeepsItsLosses,
            "holds no more with each step",
            "still there some steps later (in test_wrong_results.LOSSES), so memory runs out",
        ),
        (KeepsItsFeatures, "holds no more with each step", "keep numbers, or the last tensor"),
        (
            KeepsANumberInTorch,
            "leaves the process alone",
            "the plugin changes the attributes of torch of the process",
        ),
        (
            ChangesALayerOfTorch,
            "leaves the process alone",
            "the plugin changes the attributes of torch.nn.ReLU of the process",
        ),
    ],
)
def test_wrong_plugins_of_further_kinds_are_found(kind, name, told, monkeypatch):
    monkeypatch.setattr(learning, "STEPS", 60)
    relu = nn.ReLU.forward
    found = outcome(kind, name)
    assert not found.passed
    assert told in found.message
    assert nn.ReLU.forward is relu
    assert not hasattr(torch, "first_loss")


class Averages(Smallest):
    """Decides in evaluation mode by a long running average of its last layer, which it owns."""

    def build(self, spec):
        return Plain(_Averaged(spec.classes))


class _Averaged(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.first, self.last = nn.Conv3d(1, 8, 3, padding=1), nn.Conv3d(8, classes, 1)
        for name, own in self.last.named_parameters():
            self.register_buffer(f"mean_{name}", own.detach().clone())

    def forward(self, images):
        features = self.first(images).relu()
        if not self.training:
            return F.conv3d(features, self.mean_weight, self.mean_bias)
        with torch.no_grad():
            for name, own in self.last.named_parameters():
                getattr(self, f"mean_{name}").lerp_(own, 0.003)
        return self.last(features)


def test_long_averages_of_weights_are_waited_for():
    assert outcome(Averages, "learns one volume").passed


class Takes(Presence):
    """Takes from what it is given what it has looked at."""

    def spec(self, config, task):
        spec = super().spec(config, task)
        second = replace(spec.primary, name="second", role="auxiliary", at_inference=True)
        return replace(spec, heads=(spec.primary, second))

    def targets(self, labels, spec):
        return {name: labels["image"] for name in ("segmentation", "second")}

    def decode(self, probabilities, spec):
        second = probabilities.pop("second")
        return (probabilities["segmentation"] + second).argmax(0).to(torch.uint8)

    def postprocess(self, labels, maps, spacing, spec):
        return labels * (maps["second"].sum(0) > 0)


def test_what_decode_takes_out_of_a_mapping_is_there_for_postprocess():
    assert outcome(Takes, "predicts as run does").passed


class NamesAPartAtTimes(Smallest):
    """A part of patches with a tumour alone; of a batch in single samples, some have none."""

    def loss(self, outputs, targets, progress, spec):
        total, parts = super().loss(outputs, targets, progress, spec)
        if len(outputs["segmentation"]) == 1 and torch.rand(()) < 0.5:
            parts["tumour"] = total.detach()
        return total, parts


def test_parts_that_some_samples_lack_are_no_fault():
    assert outcome(NamesAPartAtTimes, "takes every patch").passed


def test_state_in_objects_of_installed_classes_is_gone_too():
    from monai.metrics import CumulativeAverage

    class Fitted(Bright):
        meter = CumulativeAverage()

        def predict(self, image, spacing, spec, device):
            if not self.meter.count:
                self.meter.append(float(image.max()))
            return (image > float(self.meter.val) - 60).to(torch.uint8)

    told = outcome(Fitted, "predicts the same again").message
    assert "another label map for the same scan" in told


def test_what_a_system_leaves_with_python_itself_is_found():
    class Fitted(Bright):
        def predict(self, image, spacing, spec, device):
            top = builtins.__dict__.setdefault("brightest_of_this_test", float(image.max()))
            return (image > top - 60).to(torch.uint8)

    told = outcome(Fitted, "leaves the scan alone").message
    assert told.startswith("predict() changes the attributes of builtins")
    assert not hasattr(builtins, "brightest_of_this_test")


def test_state_in_files_is_found(tmp_path):
    file = tmp_path / "first"

    class Fitted(Bright):
        def predict(self, image, spacing, spec, device):
            if not file.exists():
                file.write_text(str(float(image.max())))
            return (image > float(file.read_text()) - 60).to(torch.uint8)

    told = outcome(Fitted, "predicts the same again").message
    assert f"a hook reads {file}, which another call of it has written" in told
    file.unlink()

    class Handed(Bright):
        """Hands each scan to something else by a file, as those do that call a program."""

        def predict(self, image, spacing, spec, device):
            file.write_bytes(image.numpy().tobytes())
            assert len(file.read_bytes()) == image.numel() * 4
            return super().predict(image, spacing, spec, device)

    found = conformance.check(Handed)
    assert found.passed
    assert not any(one.message for one in found.checks)


def test_files_that_any_hook_reads_are_told(tmp_path):
    file = tmp_path / "weights.json"
    file.write_text("[1, 2]")

    class Weighed(Smallest):
        def loss(self, outputs, targets, progress, spec):
            total, parts = super().loss(outputs, targets, progress, spec)
            return total * json.loads(file.read_text())[0], parts

    found = outcome(Weighed, "loss is finite")
    assert found.passed
    assert f"The plugin reads {file}, whose content is no part of what a trial is" in found.message


def test_files_that_a_plugin_reads_while_it_is_imported_are_told_once(tmp_path):
    (tmp_path / "width.txt").write_text("4")
    file = tmp_path / "reads_when_imported.py"
    file.write_text(
        "from pathlib import Path\n"
        "from torch import nn\n"
        "from kitsbench.architecture import Architecture, Plain\n"
        "WIDTH = int(Path(__file__).with_name('width.txt').read_text())\n"
        "class Net(Architecture):\n"
        "    def build(self, spec):\n"
        "        first = nn.Conv3d(1, WIDTH, 3, padding=1)\n"
        "        return Plain(nn.Sequential(first, nn.Conv3d(WIDTH, spec.classes, 1)))\n"
    )
    found = [check.outcome() for check in conformance.checks(file)[:4]]
    hints = [one.message for one in found if one.message]
    assert len(hints) == 1
    assert f"The plugin reads {tmp_path / 'width.txt'}, whose content" in hints[0]
