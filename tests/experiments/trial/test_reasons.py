"""Whatever ends a trial, its row has a reason of the closed set, and one line."""

from __future__ import annotations

import sys

import pytest

from kitsbench.errors import ContractError
from kitsbench.experiments.trial.lease import Lease
from kitsbench.experiments.trial.run import _attempt, explain
from kitsbench.training.failures import TrialFailure


class Mute(ContractError):
    def __str__(self):
        raise RuntimeError("no words")


class Letters(str):
    """Text whose own code is asked by whoever takes it for text."""

    __slots__ = ()

    def strip(self, *marks):
        raise SystemExit(3)

    splitlines = endswith = __format__ = encode = strip


class Sly(Exception):
    def __str__(self):
        return Letters("told")


class Named(type):
    @property
    def __name__(cls):
        return Letters("Other")


class Nameless(Exception, metaclass=Named):
    pass


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (TrialFailure("made up", "x"), "it names 'made up' as the reason: TrialFailure: x"),
        (Mute(), "Mute: its message cannot be had (RuntimeError in __str__)"),
        (Sly(), "Sly: told"),
        (Nameless("told"), "Other: told"),
    ],
)
def test_an_error_that_misleads_is_the_plugins(error, message):
    def work():
        raise error

    with pytest.raises(type(error)) as raised:
        exec(compile("work()", "plugin.py", "exec"), {"work": work})
    assert explain(raised.value) == ("plugin error", message)


def test_a_reason_is_kept_whatever_took_the_place_of_stderr(tmp_path, monkeypatch):
    kept = []

    def work():
        monkeypatch.setattr(sys, "stderr", 5)
        raise MemoryError("told")

    with Lease(tmp_path / "lease.json") as lease:
        assert _attempt(work, lambda *reason: kept.append(reason), lease) == "failed"
    assert kept == [("out-of-memory", "The memory of the machine ran out: told")]
