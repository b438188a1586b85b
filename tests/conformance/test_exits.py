"""A hook that ends the process is a failed check, and who runs the checks goes on."""

from __future__ import annotations

import signal
import sys

import pytest
from architectures import Smallest

from kitsbench import conformance


class Exits(Smallest):
    def loss(self, outputs, targets, progress, spec):
        sys.exit(3)


class Interrupts(Smallest):
    def decode(self, probabilities, spec):
        raise KeyboardInterrupt


class ExitsInSpec(Smallest):
    def spec(self, config, task):
        raise SystemExit


class ExitsWhenMade(Smallest):
    def __init__(self):
        sys.exit()


def found(kind, name):
    return next(c for c in conformance.checks(kind) if c.name == name).outcome()


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [
        (Exits, "loss is finite", "loss() raised SystemExit: 3 in Exits.loss at test_exits.py:"),
        (Interrupts, "decodes voxel by voxel", "decode() raised KeyboardInterrupt"),
        (ExitsInSpec, "spec is data", "spec() raised SystemExit"),
        (ExitsWhenMade, "loads", "ExitsWhenMade() raised SystemExit"),
    ],
)
def test_a_hook_that_ends_the_process_fails_its_check(kind, name, told):
    outcome = found(kind, name)
    assert not outcome.passed
    assert told in outcome.message
    if kind is not ExitsWhenMade:
        assert "raise an Exception" in outcome.message


def test_the_users_own_interruption_ends_the_checks():
    class Waits(Smallest):
        def decode(self, probabilities, spec):
            signal.raise_signal(signal.SIGINT)  # as Ctrl-C while it runs

    # Whoever starts the tests in the background may have them ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            found(Waits, "decodes voxel by voxel")
    finally:
        signal.signal(signal.SIGINT, before)
