"""The checks of systems that were trained elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from architectures.elsewhere import Bright, Known, Silent, Undeclared

from kitsbench.architecture import KITS21, Task
from kitsbench.conformance import check


def failures(system, **options):
    return {c.name: c.message for c in check(system, **options).checks if not c.passed}


@pytest.mark.parametrize("system", [Bright, Known])
def test_a_system_that_keeps_the_contract_passes(system):
    report = check(system)
    assert report.passed, report
    assert "predicts a label map" in [outcome.name for outcome in report.checks]
    assert check(system, task=Task(KITS21)).passed


def test_it_must_say_what_it_was_trained_on():
    failed = failures(Undeclared)
    assert "set trained_on" in failed["says what it was trained on"]
    assert "Not reached" in failed["predicts a label map"]


def test_it_must_predict():
    assert "does not define predict" in failures(Silent)["predicts a label map"]


class Wrong(Bright):
    """Made wrong by what follows."""

    def predict(self, image, spacing, spec, device):
        return self.spoil(super().predict(image, spacing, spec, device), image)


def spoiled(how):
    return type("Wrong", (Wrong,), {"spoil": staticmethod(how)})


calls = []


def drift(labels, image):
    calls.append(1)
    return np.roll(labels, len(calls), 2)


fitted = {}


def by_the_first(labels, image):
    """Decides by the brightest voxel of whichever scan was the first."""
    return labels * (image.numpy() > fitted.setdefault("top", float(image.max())) - 60)


kept = {}


def by_shape(labels, image):
    """Gives every scan what the first one of its shape got."""
    return kept.setdefault(labels.shape, labels)


def change(labels, image):
    image += 1
    return labels


def precise(labels, image):
    torch.set_float32_matmul_precision("high")
    return labels


def flat(labels, image):
    if image.shape[0] == 1:
        raise ValueError("a single slice")
    return labels


@pytest.mark.parametrize(
    ("how", "name", "told"),
    [
        (lambda labels, image: labels[None], "predicts a label map", "returned shape"),
        (lambda labels, image: labels * 7, "predicts a label map", "does not exist"),
        (lambda labels, image: labels / 1.0, "predicts a label map", "label values are uint8"),
        (
            lambda labels, image: labels * np.float32("nan"),
            "predicts a label map",
            "float64 with values that are not finite: label values are uint8. Decide a label",
        ),
        (
            lambda labels, image: torch.from_numpy(labels) + 0.31,
            "predicts a label map",
            "torch.float32 with values such as 0.31: label values",
        ),
        (
            lambda labels, image: labels.transpose(2, 1, 0),
            "predicts a label map",
            "(36, 40, 24) for (24, 40, 36) voxels: return its axes in the order (z, y, x)",
        ),
        (
            lambda labels, image: np.where(labels, 104, 0),
            "predicts a label map",
            "label 104, which does not exist: the task has [0, 1, 2]. Map labels of your own",
        ),
        (
            lambda labels, image: np.where(image.numpy() > 2000, 7, labels),
            "takes any scan",
            "of a scan with padding and metal: predict() returned label 7",
        ),
        (lambda labels, image: None, "predicts a label map", "returned a NoneType"),
        (lambda labels, image: [][0], "predicts a label map", "IndexError"),
        (change, "leaves the scan alone", "work on a copy"),
        (precise, "leaves the scan alone", "matmul precision"),
        (drift, "predicts the same again", "another label map"),
        (by_shape, "predicts the same again", "another label map for the same scan"),
        (by_the_first, "predicts the same again", "keep no state between scans"),
        (flat, "takes any scan", "a single slice"),
    ],
)
def test_wrong_systems_are_found(how, name, told):
    assert told in failures(spoiled(how))[name]


def test_what_is_drawn_by_lot_is_drawn_alike(monkeypatch):
    class Drawn(Bright):
        def predict(self, image, spacing, spec, device):
            by_torch = torch.rand(image.shape).numpy() < 0.5
            return (by_torch ^ (np.random.rand(*image.shape) < 0.5)).astype(bool)  # noqa: NPY002

    assert failures(Drawn) == {}


class ReadsOnce(Bright):
    """Has what ``load`` gave it, and no state beside that."""

    above = None

    def load(self, files, spec, device):
        assert self.above is None, "it is loaded once"
        self.above = 120.0

    def predict(self, image, spacing, spec, device):
        return (image > self.above).to(torch.uint8)


def test_what_load_reads_is_read_again_by_another_process():
    assert failures(ReadsOnce) == {}
