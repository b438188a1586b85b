"""Networks are computed in what their device is made for, unless a user says otherwise."""

from __future__ import annotations

import pytest
import torch
from fake_cuda import FakeCuda

from kitsbench.devices import precision
from kitsbench.devices.precision import (
    autocast,
    best_precision,
    choose_precision,
    gradient_scaler,
)
from kitsbench.errors import UsageError

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        ((6, 1), "float32"),
        ((7, 0), "float16"),
        ((7, 5), "float16"),
        ((8, 0), "bfloat16"),
        ((8, 9), "bfloat16"),
        ((9, 0), "bfloat16"),
        ((12, 0), "bfloat16"),
    ],
)
def test_each_generation_of_gpus_has_its_precision(monkeypatch, capability, expected):
    FakeCuda(monkeypatch, capability)
    assert best_precision(torch.device("cuda:0")) == expected


def test_a_cpu_computes_in_float32():
    assert best_precision(CPU) == "float32"


@pytest.mark.parametrize(
    ("wish", "kind", "best", "expected"),
    [
        ("auto", "cpu", "float32", "float32"),
        ("auto", "cuda", "float16", "float16"),
        ("float32", "cuda", "bfloat16", "float32"),
        ("float16", "cuda", "bfloat16", "float16"),
        ("bfloat16", "cpu", "float32", "bfloat16"),
    ],
)
def test_what_is_asked_for_is_taken_where_the_device_can(wish, kind, best, expected, monkeypatch):
    monkeypatch.setattr(precision, "cpu_is_right_in_bfloat16", lambda: True)
    assert choose_precision(wish, kind, best) == expected


def test_a_processor_that_is_wrong_in_bfloat16_is_not_asked_for_it(monkeypatch):
    monkeypatch.setattr(precision, "cpu_is_right_in_bfloat16", lambda: False)
    with pytest.raises(UsageError, match=r"wrong on this processor.*Leave --precision out"):
        choose_precision("bfloat16", "cpu", "float32")
    assert choose_precision("auto", "cpu", "float32") == "float32"


def test_whether_a_processor_is_right_is_found_by_what_it_computes(monkeypatch):
    # Without oneDNN torch has convolutions of its own, which are right everywhere.
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    assert precision.cpu_is_right_in_bfloat16.__wrapped__()
    right = precision._gradient_of_weights

    def stale(image, weight, kind):
        (gradient,) = right(image, weight, kind)
        return (
            gradient if kind == torch.float32 else gradient.index_fill(0, torch.tensor(3), 7.0),
        )

    monkeypatch.setattr(precision, "_gradient_of_weights", stale)
    assert not precision.cpu_is_right_in_bfloat16.__wrapped__()


@pytest.mark.parametrize(
    ("wish", "kind", "best", "words"),
    [
        ("float16", "cpu", "float32", "float16 needs a GPU.*Leave --precision out"),
        ("bfloat16", "cuda", "float16", "capability 8.*means float16 here"),
        ("bfloat16", "cuda", "float32", "capability 8.*means float32 here"),
    ],
)
def test_what_a_device_cannot_is_refused(wish, kind, best, words):
    with pytest.raises(UsageError, match=words):
        choose_precision(wish, kind, best)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_products_are_computed_in_what_was_chosen(precision):
    a = torch.ones(4, 4)
    with autocast(CPU, precision):
        assert (a @ a).dtype == getattr(torch, precision)


def test_only_float16_needs_a_scale():
    assert gradient_scaler(CPU, "float32") is None
    assert gradient_scaler(CPU, "bfloat16") is None
    assert gradient_scaler(CPU, "float16").get_scale() > 1
