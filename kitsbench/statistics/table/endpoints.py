"""What a region and a metric mean for a comparison: direction, range, margin, analysis set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

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
    declared : Metric, optional
        What was declared about a metric that kitsbench does not compute, see
        :func:`kitsbench.metrics.declare`. Two endpoints of one name are equal.
    """

    region: str
    metric: str
    declared: Metric | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        """``region:metric``."""
        return f"{self.region}:{self.metric}"

    @property
    def facts(self) -> Metric:
        """What is known or was declared about the metric."""
        return find(self.metric, None if self.declared is None else {self.metric: self.declared})

    @property
    def higher_is_better(self) -> bool:
        """False for distances, errors and counts; an error where nobody has said it."""
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


def parse_endpoint(
    text: str | tuple[str, str] | Endpoint, declared: Mapping[str, Metric] | None = None
) -> Endpoint:
    """Read ``region:metric``.

    Parameters
    ----------
    text : str, tuple of two str, or Endpoint
        ``"tumor:dice"`` or ``("tumor", "dice")``. An Endpoint that carries a declaration keeps it.
    declared : mapping of str to Metric, optional
        What was declared about metrics that kitsbench does not compute, by their names.

    Returns
    -------
    Endpoint

    Raises
    ------
    UsageError
        The text has not the form ``region:metric``.
    """
    declared = declared or {}
    if isinstance(text, Endpoint):
        return text if text.declared else replace(text, declared=declared.get(text.metric))
    parts = tuple(text.split(":")) if isinstance(text, str) else tuple(text)
    if len(parts) != 2 or not all(isinstance(part, str) and part.strip() for part in parts):
        raise UsageError(
            f"The endpoint is {text!r:.60}; it must be one region and one metric, "
            "for example tumor:dice."
        )
    metric = parts[1].strip()
    return Endpoint(parts[0].strip(), metric, declared.get(metric))


def undeclared_metrics(
    metrics: Iterable[str], declared: Mapping[str, Metric] | None = None
) -> tuple[list[str], list[str]]:
    """Name the metrics that cannot be compared because nobody has said what is better.

    Parameters
    ----------
    metrics : iterable of str
        Names in a score table.
    declared : mapping of str to Metric, optional
        What was declared.

    Returns
    -------
    names : list of str
        In alphabetical order.
    notes : list of str
        One that says why they are left out; none where there is none.
    """
    names = sorted(name for name in {*metrics} if find(name, declared).better == "undeclared")
    if not names:
        return [], []
    them, is_are = ("it", "is") if len(names) == 1 else ("them", "are")
    return names, [
        f"{', '.join(names)} {is_are} left out: kitsbench does not know {them}, nor which of two "
        f"values is better. Declare {them} (--declare {names[0]}:lower:0:1)."
    ]


def cut(low: float, high: float, metric: str | Metric) -> tuple[float, float]:
    """Cut the interval of a mean where its metric ends: no Dice is below 0 or above 1."""
    facts = find(metric) if isinstance(metric, str) else metric
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
