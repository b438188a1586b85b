"""What a check found in somebody's files: the case, the file, the rule and the remedy."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from kitsbench.errors import DataError
from kitsbench.text import visible

FIELDS = ("severity", "case", "file", "what", "rule", "remedy")


@dataclass(frozen=True)
class Finding:
    """One observation about a dataset.

    Attributes
    ----------
    case : str
        Case id, or an empty string where the whole dataset is meant.
    file : str
        Path of the file or folder.
    what : str
        What was found.
    rule : str
        What is expected.
    remedy : str
        What to do about it.
    severity : {"error", "warning"}
        An error sets the case aside; a warning is shown and the case is used.
    """

    case: str
    file: str
    what: str
    rule: str
    remedy: str
    severity: str = "error"

    def __post_init__(self) -> None:
        for name in ("case", "file", "what"):
            object.__setattr__(self, name, visible(getattr(self, name)))

    def __str__(self) -> str:
        place = f"{self.case}: " if self.case else ""
        return f"{place}{self.what} ({self.file}). {self.rule} {self.remedy}"

    def to_dict(self) -> dict[str, str]:
        """Return the fields as plain data."""
        return asdict(self)


class Refused(DataError):
    """A file that cannot be used.

    Parameters
    ----------
    finding : Finding
        Why.
    """

    def __init__(self, finding: Finding):
        super().__init__(str(finding))
        self.finding = finding

    def __reduce__(self) -> tuple[type[Refused], tuple[Finding]]:
        # Worker processes send this error to their parent.
        return type(self), (self.finding,)
