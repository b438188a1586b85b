"""A process is set up for its device once, and what was set is written down."""

from __future__ import annotations

import pytest
import torch
from fake_cuda import FakeCuda

from kitsbench.devices.use import settings, use_device

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def put_back():
    threads, matmul = torch.get_num_threads(), torch.get_float32_matmul_precision()
    benchmark = torch.backends.cudnn.benchmark
    yield
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(matmul)
    torch.backends.cudnn.benchmark = benchmark


def test_threads_and_the_precision_of_products_are_set():
    torch.set_float32_matmul_precision("medium")
    use_device(CPU, 2)
    assert torch.get_num_threads() == 2
    assert settings(CPU) == {"matmul_precision": "highest"}


def test_threads_stay_where_nobody_names_them():
    torch.set_num_threads(2)
    use_device(CPU)
    assert torch.get_num_threads() == 2


def test_the_second_gpu_becomes_the_current_one_and_cudnn_searches(monkeypatch):
    cuda = FakeCuda(monkeypatch)
    use_device(torch.device("cuda:1"), 1)
    assert cuda.current == 1
    assert settings(torch.device("cuda:1"))["cudnn_benchmark"] is True
    assert settings(torch.device("cuda:1"))["instance_norm"] in ("triton", "torch")


def test_a_gpu_without_a_number_is_the_current_one(monkeypatch):
    cuda = FakeCuda(monkeypatch)
    use_device(torch.device("cuda:1"))
    use_device(torch.device("cuda"))
    assert cuda.current == 1
