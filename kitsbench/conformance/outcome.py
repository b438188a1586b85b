"""What the checks found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class Violation(AssertionError):
    """A broken rule of the contract: one sentence with what was found and the remedy."""


class Hint(UserWarning):
    """Something that the contract allows and an author will want to know."""


@dataclass(frozen=True)
class Outcome:
    """One check's result; the message of a check that passed is a hint, mostly empty."""

    name: str
    passed: bool
    message: str = ""


@dataclass(frozen=True)
class Report:
    """All results for one architecture."""

    architecture: str
    checks: tuple[Outcome, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(outcome.passed for outcome in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``kitsbench check --json``."""
        return {
            "architecture": self.architecture,
            "passed": self.passed,
            "checks": [vars(outcome).copy() for outcome in self.checks],
        }
