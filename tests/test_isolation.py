"""Foreign code in a process of its own."""

from __future__ import annotations

import os
import signal
import time

import pytest

from kitsbench.isolation import IsolatedFailure, call_isolated


def double(value):
    print("printed by foreign code")
    return 2 * value


def raise_error():
    raise ValueError("no such thing")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_result_comes_back_and_stdout_stays_clean(capfd):
    assert call_isolated(double, 21) == 42
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("function", "arguments", "words"),
    [
        (raise_error, (), "ValueError: no such thing"),
        (die, (), "SIGKILL"),
        (time.sleep, (60,), "longer than 3 s"),
    ],
)
def test_a_failure_is_told_in_words(function, arguments, words):
    with pytest.raises(IsolatedFailure, match=words):
        call_isolated(function, *arguments, timeout=3)
