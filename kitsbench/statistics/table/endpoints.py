"""What a region and a metric mean for a comparison: direction, range, margin, analysis set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kitsbench.errors import UsageError
from kitsbench.metrics import Metric, find

DEFAULT_ENDPOINT = ("tumor", "dice")
"""The declared primary endpoint unless another is named."""

# "Never predict a cyst" would score 1 on every cyst-free scan.
_POSITIVE_REGIONS = ("cyst",)


@dataclass(frozen=True)
class Endpoint:
    """A region and a metric.

    Attributes
    ----------
    region : str
        For example ``tumor``.
    metric : str
        For example ``dice``.
    """

    region: str
    metric: str

    @property
    def name(self) -> str:
        """``region:metric``."""
        return f"{self.region}:{self.metric}"

    @property
    def facts(self) -> Metric:
        """What is known about the metric."""
        return find(self.metric)

    @property
    def higher_is_better(self) -> bool:
        """False for distances, errors and counts of them."""
        return self.facts.higher_is_better

    @property
    def unit(self) -> str:
        """``mm``, ``ml``, ``lesions`` or nothing."""
        return self.facts.unit

    @property
    def convention(self) -> str:
        """``gt_positive`` (cases whose truth holds the region) or ``official`` (all cases)."""
        over = self.facts.mean_over
        if over == "present" or (over == "protocol" and self.region in _POSITIVE_REGIONS):
            return "gt_positive"
        return "official"

    @property
    def margin(self) -> float | None:
        """Default margin of equivalence; None where a metric has none."""
        return self.facts.margin_in(self.region)


def parse_endpoint(text: str | tuple[str, str] | Endpoint) -> Endpoint:
    """Read ``region:metric``.

    Parameters
    ----------
    text : str, tuple of two str, or Endpoint
        ``"tumor:dice"`` or ``("tumor", "dice")``.

    Returns
    -------
    Endpoint

    Raises
    ------
    UsageError
        The text has not the form ``region:metric``.
    """
    if isinstance(text, Endpoint):
        return text
    parts = tuple(text.split(":")) if isinstance(text, str) else tuple(text)
    if len(parts) != 2 or not all(isinstance(part, str) and part.strip() for part in parts):
        raise UsageError(
            f"The endpoint is {text!r}; it must be one region and one metric, "
            "for example tumor:dice."
        )
    return Endpoint(parts[0].strip(), parts[1].strip())


def cut(low: float, high: float, metric: str) -> tuple[float, float]:
    """Cut the interval of a mean where its metric ends: no Dice is below 0 or above 1."""
    facts = find(metric)
    low = low if facts.low is None else max(low, facts.low)
    return low, high if facts.high is None else min(high, facts.high)


def margin_of(
    endpoint: Endpoint, margins: float | Mapping[str, float | None] | None
) -> float | None:
    """Find the margin of an endpoint.

    Parameters
    ----------
    endpoint : Endpoint
        Which one.
    margins : float, mapping or None
        One margin, or margins by ``region:metric``; the default margin where it is silent.

    Returns
    -------
    float or None
        In units of the metric; None where equivalence is not tested.

    Raises
    ------
    UsageError
        A margin is not a positive number.
    """
    if isinstance(margins, Mapping):
        margin = margins.get(endpoint.name, endpoint.margin)
    else:
        margin = endpoint.margin if margins is None else margins
    if margin is None:
        return None
    if isinstance(margin, bool) or not isinstance(margin, (int, float)) or not margin > 0:
        raise UsageError(
            f"The margin of {endpoint.name} is {margin!r}; it must be a positive number in units "
            "of the metric, for example 0.02."
        )
    if margin == float("inf"):
        raise UsageError(f"The margin of {endpoint.name} is infinite; give a finite one.")
    return float(margin)
