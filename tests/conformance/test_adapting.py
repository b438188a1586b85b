"""A hook that adapts the network to a scan is checked as a function of that scan."""

from __future__ import annotations

import numpy as np
import torch
from architectures.brought import Entropy

from kitsbench import conformance

NAME = "adapts to each scan alone"


def outcome(kind):
    return next(c for c in conformance.checks(kind) if c.name == NAME).outcome()


def test_the_reference_plugin_passes():
    found = outcome(Entropy)
    assert found.passed
    assert found.message == ""


class Counts(Entropy):
    """Adapts more from scan to scan."""

    seen = 0

    def adapt(self, adaptation, spec):
        type(self).seen += 1
        with torch.no_grad():
            next(adaptation.network.parameters()).add_(self.seen)


class ByChance(Entropy):
    def adapt(self, adaptation, spec):
        with torch.no_grad():
            next(adaptation.network.parameters()).add_(float(np.random.rand()))  # noqa: NPY002


class Breaks(Entropy):
    def adapt(self, adaptation, spec):
        adaptation.tiles[0]["scan"]


class Spoils(Entropy):
    def adapt(self, adaptation, spec):
        with torch.no_grad():
            next(adaptation.network.parameters()).fill_(float("nan"))


class Idle(Entropy):
    def adapt(self, adaptation, spec):
        len(adaptation.tiles)


def test_what_is_wrong_is_found():
    for kind in (Counts, ByChance):
        told = outcome(kind)
        assert not told.passed
        assert "adapt() makes two networks of one scan" in told.message
    told = outcome(Breaks).message
    assert "adapt() raised KeyError: 'scan' in Breaks.adapt at test_adapting.py:" in told
    assert "NaN or infinite" in outcome(Spoils).message
    assert "It changes nothing" in outcome(Idle).message
