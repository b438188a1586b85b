"""What the checks found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

Place = Literal[
    "class",
    "spec",
    "build",
    "forward",
    "targets",
    "loss",
    "decode",
    "postprocess",
    "weights",
    "step",
    "derive",
    "adapt",
]
"""What of a plugin a check looks at: a hook, the network's ``forward``, or the class."""

F = TypeVar("F", bound=Callable[..., Any])


class Violation(AssertionError):
    """A broken rule of the contract: what was found, the rule and the remedy.

    Parameters
    ----------
    text : str
        One sentence.
    at : str, optional
        The hook to mend where it is another than the check's, see :func:`looks_at`; empty where
        the sentence names its place itself.
    """

    def __init__(self, text: str, at: Place | Literal[""] | None = None):
        super().__init__(text)
        self.at = at


class Hint(UserWarning):
    """Something that the contract allows and an author will want to know."""


class ExpectedFailure(Hint):
    """A check failed whose failure the plugin declares, with its reason."""


@dataclass(frozen=True)
class Outcome:
    """One check's result.

    Attributes
    ----------
    name : str
    passed : bool
    message : str
        Of a check that passed a hint, mostly empty.
    expected : str or None
        The reason for which the plugin declares that the check fails.
    reached : bool
        Whether it was run; it is not where a check failed that it builds on.
    """

    name: str
    passed: bool
    message: str = ""
    expected: str | None = None
    reached: bool = True

    @property
    def kept(self) -> bool:
        """Whether it passed, or fails as declared."""
        return self.passed or (self.reached and self.expected is not None)

    @property
    def failed(self) -> bool:
        """Whether it was run and fails, and the plugin declares no such failure."""
        return self.reached and not self.kept

    def to_dict(self) -> dict[str, Any]:
        """Plain data; ``passed`` is None where it was not reached.

        ``expected`` is there only where something is declared.
        """
        found: dict[str, Any] = {
            "name": self.name,
            "passed": self.passed if self.reached else None,
            "message": self.message,
        }
        return found if self.expected is None else {**found, "expected": self.expected}


@dataclass(frozen=True)
class Report:
    """All results for one architecture."""

    architecture: str
    checks: tuple[Outcome, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed, but for those that are declared to fail."""
        return all(outcome.kept for outcome in self.checks)

    @property
    def counts(self) -> dict[str, int]:
        """How many checks passed, failed, failed as declared, and were not reached."""
        found = self.checks
        return {
            "passed": sum(one.passed for one in found),
            "failed": sum(one.failed for one in found),
            "expected": sum(one.kept and not one.passed for one in found),
            "not_reached": sum(not one.reached for one in found),
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``kitsbench check --json``."""
        return {
            "architecture": self.architecture,
            "passed": self.passed,
            "counts": self.counts,
            "checks": [outcome.to_dict() for outcome in self.checks],
        }


def looks_at(place: Place) -> Callable[[F], F]:
    """Say which hook is to be mended where a check fails."""

    def marked(check: F) -> F:
        check.looks_at = place  # type: ignore[attr-defined]
        return check

    return marked
