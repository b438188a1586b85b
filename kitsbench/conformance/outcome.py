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
    """

    name: str
    passed: bool
    message: str = ""
    expected: str | None = None

    @property
    def kept(self) -> bool:
        """Whether it passed, or fails as declared."""
        return self.passed or self.expected is not None

    def to_dict(self) -> dict[str, Any]:
        """Plain data; ``expected`` only where something is declared."""
        found = vars(self).copy()
        if self.expected is None:
            del found["expected"]
        return found


@dataclass(frozen=True)
class Report:
    """All results for one architecture."""

    architecture: str
    checks: tuple[Outcome, ...]

    @property
    def passed(self) -> bool:
        """Whether every check passed, but for those that are declared to fail."""
        return all(outcome.kept for outcome in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``kitsbench check --json``."""
        return {
            "architecture": self.architecture,
            "passed": self.passed,
            "checks": [outcome.to_dict() for outcome in self.checks],
        }


def looks_at(place: Place) -> Callable[[F], F]:
    """Say which hook is to be mended where a check fails."""

    def marked(check: F) -> F:
        check.looks_at = place  # type: ignore[attr-defined]
        return check

    return marked
