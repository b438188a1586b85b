"""Check of the hook ``adapt``: each scan by itself, from the trained weights."""

from __future__ import annotations

import random
from functools import partial

import numpy as np
import torch
from torch import Tensor

from kitsbench.architecture import adapts
from kitsbench.conformance.driven import surroundings
from kitsbench.conformance.driven.road import CPU, recipe_of
from kitsbench.conformance.driven.subject import Subject
from kitsbench.conformance.driven.volumes import WINDOW, Volumes
from kitsbench.conformance.outcome import Violation, looks_at
from kitsbench.inference.adaptation import Adapter
from kitsbench.inference.sliding import Predictor


@looks_at("adapt")
def adapts_to_each_scan_alone(subject: Subject) -> str:
    """One scan gives one network, whatever was predicted before it, and what it gives is finite."""
    architecture, spec = subject.architecture, subject.spec
    if not adapts(architecture):
        return ""
    network, rule = subject.network().eval(), recipe_of(spec).inference
    derive = partial(architecture.derive, spec=spec)
    stores = {grid.name: Volumes(spec, grid, derive) for grid in spec.grids}
    scans = [
        {name: store.case(case) for name, store in stores.items()}
        for case in stores[spec.grids[0].name].cases
    ]
    trained = _copied(network.state_dict())
    adapter, found = Adapter(architecture, spec), []
    for seed, scan in enumerate((scans[0], scans[1], scans[0])):
        if seed < 2:  # what depends on the very first scan shows where another one comes first
            subject.forget()
        with surroundings.preserved():
            # Whoever draws from these depends on what was done before.
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            torch.manual_seed(seed)
            own = adapter.adapted(network, scan, WINDOW, rule, CPU, "float32")
        found.append(_copied(own.state_dict()))
    if _differs(trained, network.state_dict()):
        raise Violation(
            "adapt() changes the trained network, so the next scan would begin with other weights: "
            "change adaptation.network, which is a copy."
        )
    if _differs(found[0], found[2]):
        raise Violation(
            "adapt() makes two networks of one scan: keep no state between scans, and draw from "
            "adaptation.random or torch's global generator, which follow the seed and the scan."
        )
    Predictor(network, spec, WINDOW, rule, CPU, adapter=adapter).probabilities(scans[0])
    hints = []
    if not any(_differs(trained, one) for one in found):
        hints.append("It changes nothing: parameters and buffers of adaptation.network count.")
    if spec.paper is None:
        hints.append("It takes part with --recipe paper alone, and the spec names no recipe.")
    return " ".join(hints)


def _copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.items()}


def _differs(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() != other.keys() or any(
        not torch.equal(value.nan_to_num(), other[name].nan_to_num()) for name, value in one.items()
    )
