"""The examples of docs/contract.md on what a network is shown do what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from kitsbench import conformance
from kitsbench.architecture import Architecture, Task, configure

PAGE = Path(__file__).parents[1] / "docs" / "contract.md"


def examples() -> dict[str, Architecture]:
    """Architectures that the page's code defines, by their names."""
    (section,) = re.findall(
        r"^## What a network is shown\n(.*?)^## ", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    found = {}
    for code in re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL):
        names: dict = {"__name__": "example"}
        exec(code, names)
        kinds = [(name, value) for name, value in names.items() if isinstance(value, type)]
        own = [(n, kind) for n, kind in kinds if Architecture in kind.__mro__[1:]]
        found |= {name: kind() for name, kind in own}
    return found


# What many patches or a training take; the networks of the tests go through these.
LONG = {"learns one volume", "takes every patch", "configurations build"}


@pytest.mark.parametrize("name", ["Placed", "Attentive"])
def test_an_example_keeps_the_contract(name):
    example = examples()[name]
    for check in conformance.checks(example):
        if str(check) not in LONG:
            check()


def test_what_the_page_says_of_shapes():
    placed, attentive = (
        example.spec(configure(example), Task(patch=(8, 8, 8))) for example in examples().values()
    )
    assert placed.input_shapes(2) == {"image": (2, 4, 8, 8, 8), "spacing": (2, 3)}
    assert attentive.fit == (8, 8, 8)
    network = examples()["Attentive"].build(attentive).eval()
    assert network({"image": torch.zeros(1, 1, 8, 8, 8)})["attention"].shape == (1, 1, 8, 8, 8)
