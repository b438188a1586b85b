"""The checks that every plugin must pass; authors run them in their own CI.

In: a plugin. Out: for each rule of the contract whether it is kept, and what to do if not.

From the command line: ``kitsbench check my_net`` or ``kitsbench check plugin.py``. In a test::

    import pytest
    from kitsbench import conformance

    @pytest.mark.parametrize("check", conformance.checks("my_net"), ids=str)
    def test_contract(check):
        check()

A check that passes may warn with a :class:`Hint`: that a step would make the host wait for a GPU,
or that a number is too large for float16. One that fails as the plugin's ``expected_failures`` say
warns with an :class:`ExpectedFailure`.

The checks run on the CPU with small patches and the size ``tiny`` where the architecture has one.
"""

from kitsbench.conformance.outcome import ExpectedFailure, Hint, Outcome, Report, Violation
from kitsbench.conformance.runner import Check, check, checks

__all__ = [
    "Check",
    "ExpectedFailure",
    "Hint",
    "Outcome",
    "Report",
    "Violation",
    "check",
    "checks",
]
