"""What an evaluation of a folder yields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kitsbench.evaluation.protocols import ALL, Protocol
from kitsbench.evaluation.summary import detection, headline, summarise

if TYPE_CHECKING:
    import pandas as pd

_ABOUT_FILES = ("missing", "extra", "problems")


@dataclass(frozen=True)
class Problem:
    """Why a case was not scored as it should have been."""

    case: str
    file: str
    reason: str


@dataclass
class Evaluation:
    """The scores of a folder.

    Attributes
    ----------
    protocol : Protocol
        By which it was scored.
    rows : list of dict
        ``case``, ``region``, ``metric``, ``value`` (None where undefined), ``status``.
    missing : list of str
        Cases without a prediction that were scored as background.
    extra : list of str
        Predictions without a truth; they are not scored.
    problems : list of Problem
        Cases whose voxels could not be used. A damaged prediction is scored as ``failed``, a
        damaged truth has no rows.
    notes : list of str
        What a reader of the scores should know.
    absent : set of (case, region)
        Failed scores whose truth lacks the region.
    lesions : list of dict
        ``case``, ``region``, ``n_lesions``, ``n_found``, ``n_false_positive``, for the regions
        that are lesions.
    """

    protocol: Protocol
    rows: list[dict[str, Any]]
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    absent: set[tuple[str, str]] = field(default_factory=set)
    lesions: list[dict[str, Any]] = field(default_factory=list)

    @cached_property
    def summary(self) -> list[dict[str, Any]]:
        """Mean, standard deviation and count by region and metric."""
        return summarise(self.rows, self.protocol, self.absent)

    @property
    def detection(self) -> list[dict[str, Any]]:
        """Cases with and without each region, and lesions, found and falsely found."""
        return detection(self.rows, self.protocol, self.absent, self.lesions)

    @property
    def headline(self) -> dict[str, float | None]:
        """Numbers by which the challenge ranks."""
        return headline(self.summary, self.protocol)

    @property
    def frame(self) -> pd.DataFrame:
        """One row per case, region and metric, as ``kitsbench compare`` reads it."""
        import pandas as pd

        columns = ["protocol", "case", "region", "metric", "value", "status"]
        frame = pd.DataFrame(self.rows, columns=columns[1:])
        frame.insert(0, "protocol", self.protocol.name)
        return frame.astype({"value": float})

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; notes and what went wrong are listed only where there are any."""
        result: dict[str, Any] = {
            "protocol": self.protocol.name,
            "regions": [region.name for region in self.protocol.regions],
            "cases": self.rows,
            "summary": self.summary,
            "detection": self.detection,
        }
        if self.notes:
            result["notes"] = self.notes
        if self.missing:
            result["missing"] = self.missing
        if self.extra:
            result["extra"] = self.extra
        if self.problems:
            result["problems"] = [vars(problem) for problem in self.problems]
        return result


def side_by_side(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Plain data for JSON of one set of predictions under several protocols.

    The keys are those of :meth:`Evaluation.to_dict`; every row of a list also names its
    protocol, and ``protocol`` is ``all``.
    """
    documents = [evaluation.to_dict() for evaluation in evaluations]
    regions = [region for document in documents for region in document["regions"]]
    result: dict[str, Any] = {"protocol": ALL, "regions": list(dict.fromkeys(regions))}
    for key in ("cases", "summary", "detection"):
        result[key] = [
            {"protocol": document["protocol"], **row}
            for document in documents
            for row in document[key]
        ]
    notes = dict.fromkeys(note for document in documents for note in document.get("notes", []))
    if notes:
        result["notes"] = list(notes)
    # Files and what is wrong with them do not depend on the protocol.
    return result | {k: documents[0][k] for k in _ABOUT_FILES if k in documents[0]}
