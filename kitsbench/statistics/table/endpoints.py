"""What a region and a metric mean for a comparison: direction, range, margin, analysis set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kitsbench.errors import UsageError

DEFAULT_ENDPOINT = ("tumor", "dice")
"""The declared primary endpoint unless another is named."""

LOWER_IS_BETTER = (
    "hd95_mm",
    "hd95_pooled_mm",
    "assd_mm",
    "volume_error_ml",
    "lesion_false_positives",
)
UNIT_INTERVAL = ("dice", "surface_dice", "precision", "recall", "lesion_sensitivity")
_UNITS = {"_mm": "mm", "_ml": "ml"}
# Precision and recall have no value where the truth is empty, so they are defined on the cases
# that hold the region. "Never predict a cyst" would score 1 on every cyst-free scan.
_POSITIVE_METRICS = ("precision", "recall", "lesion_sensitivity")
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
    def higher_is_better(self) -> bool:
        """False for distances and volume errors."""
        return self.metric not in LOWER_IS_BETTER and not self.metric.endswith(tuple(_UNITS))

    @property
    def unit(self) -> str:
        """``mm``, ``ml`` or nothing."""
        return next((unit for end, unit in _UNITS.items() if self.metric.endswith(end)), "")

    @property
    def convention(self) -> str:
        """``gt_positive`` (cases whose truth holds the region) or ``official`` (all cases)."""
        if self.metric in _POSITIVE_METRICS or self.region in _POSITIVE_REGIONS:
            return "gt_positive"
        return "official"

    @property
    def margin(self) -> float | None:
        """Default margin of equivalence; None where a metric has none.

        0.02 for Dice and surface Dice of tumours, masses and cysts, 0.01 where the kidney is
        part of the region: about a quarter of the gap between the winner of KiTS19 (.851) and
        the agreement of two annotators (.923).
        """
        if self.metric not in ("dice", "surface_dice"):
            return None
        return 0.01 if self.region.startswith("kidney") else 0.02


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
    return (max(low, 0.0), min(high, 1.0)) if metric in UNIT_INTERVAL else (low, high)


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
