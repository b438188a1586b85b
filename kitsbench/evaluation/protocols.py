"""What each protocol scores: regions, their tolerances, metrics, and who enters the mean."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kitsbench.errors import DataError, UsageError
from kitsbench.metrics import METRICS as FACTS
from kitsbench.scans.label_names import KITS, LabelNames

LABELS = {"background": 0, **KITS}
"""Label values of a KiTS map; KiTS19 has no cyst."""

METRICS = {name: metric.meaning for name, metric in FACTS.items()}
"""Name of every metric and what it is."""

SURFACE_METRICS = tuple(name for name, metric in FACTS.items() if metric.surfaces)
"""Metrics that need the surfaces of both masks."""

ALL = "all"
"""In place of a protocol's name: every one of them, side by side."""


@dataclass(frozen=True)
class Region:
    """A set of labels that is scored together.

    Attributes
    ----------
    name : str
        As in JSON and tables, e.g. ``kidney_and_mass``.
    labels : tuple of int
        Label values that belong to the region.
    tolerance_mm : float
        Distance in mm within which two surfaces count as the same (surface Dice).
    lesion : bool
        Whether its connected pieces are lesions that can be found or missed.
    """

    name: str
    labels: tuple[int, ...]
    tolerance_mm: float = 1.0
    lesion: bool = False


@dataclass(frozen=True)
class Protocol:
    """A scoring rule.

    Attributes
    ----------
    name : str
        ``kits19``, ``kits21``, ``kits23`` or ``labels``.
    title : str
        One line for people.
    regions : tuple of Region
        In the order of every table.
    metrics : tuple of str
        What is computed unless the user asks otherwise; keys of :data:`METRICS`.
    gt_positive : bool
        Whether means run over the cases whose truth has the region (true), or over all cases
        with the official values for empty masks (false), unless the metric itself says which
        (``mean_over`` of a :class:`~kitsbench.metrics.Metric`).
    """

    name: str
    title: str
    regions: tuple[Region, ...]
    metrics: tuple[str, ...]
    gt_positive: bool = False

    @property
    def labels(self) -> tuple[int, ...]:
        """Label values that a map may hold."""
        return tuple(sorted({0} | {label for region in self.regions for label in region.labels}))


# The tolerances are the organisers' inter-annotator constants (kits23, configuration/labels.py;
# kits21 uses the same three since its final version).
_HIERARCHY = (
    Region("kidney_and_mass", (1, 2, 3), 1.0330772532390826),
    Region("mass", (2, 3), 1.1328796488598762, lesion=True),
    Region("tumor", (2,), 1.1498198361434828, lesion=True),
)
_VOLUMETRIC = ("dice", "precision", "recall")
_WITH_SURFACE = ("dice", "surface_dice", "precision", "recall")

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "kits19",
            "KiTS19: kidney and tumor (label > 0), tumor (label > 1)",
            # The official script compares with > 0 and > 1, so on a KiTS21/23 map a cyst
            # counts as tumor. The tolerances are not KiTS19's own (it has none) but those of
            # the same structures in KiTS23, for whoever asks for surface Dice.
            (
                Region("kidney_and_tumor", (1, 2, 3), _HIERARCHY[0].tolerance_mm),
                Region("tumor", (2, 3), _HIERARCHY[2].tolerance_mm, lesion=True),
            ),
            _VOLUMETRIC,
        ),
        Protocol(
            "kits21",
            "KiTS21: hierarchical regions",
            _HIERARCHY,
            _WITH_SURFACE,
        ),
        Protocol("kits23", "KiTS23: hierarchical regions", _HIERARCHY, _WITH_SURFACE),
        Protocol(
            "labels",
            "Each label by itself",
            (
                Region("kidney", (1,)),
                Region("tumor", (2,), lesion=True),
                Region("cyst", (3,), lesion=True),
            ),
            _VOLUMETRIC,
            gt_positive=True,
        ),
    )
}
"""Every protocol by its name."""

STORED_METRICS = tuple(
    name for name in METRICS if any(name in protocol.metrics for protocol in PROTOCOLS.values())
)
"""Metrics that some protocol has unless the user asks otherwise: those that runs store."""

SAMPLED_PROTOCOL = "kits21"
"""The protocol whose organisers score against sampled annotations rather than one mask."""


def get_protocol(name: str | Protocol) -> Protocol:
    """Return the protocol of that name.

    Parameters
    ----------
    name : str or Protocol
        ``kits19``, ``kits21``, ``kits23`` or ``labels``; a protocol is returned as it is.

    Raises
    ------
    UsageError
        There is no such protocol.
    """
    if isinstance(name, Protocol):
        return name
    if name not in PROTOCOLS:
        close = difflib.get_close_matches(str(name).lower(), PROTOCOLS, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise UsageError(
            f"There is no protocol '{name}'.{hint} The protocols are {', '.join(PROTOCOLS)}; "
            "kitsbench evaluate also takes all, for every one of them."
        )
    return PROTOCOLS[name]


def get_protocols(name: str) -> list[Protocol]:
    """Return the protocol of that name, or every protocol where the name is ``all``.

    Raises
    ------
    UsageError
        There is no such protocol.
    """
    return list(PROTOCOLS.values()) if name == ALL else [get_protocol(name)]


def for_labels(protocol: str | Protocol, labels: Mapping[str, int]) -> Protocol:
    """A protocol for the labels of a dataset; those of KiTS need what KiTS has.

    Parameters
    ----------
    protocol : str or Protocol
        As for :func:`get_protocol`. ``labels`` scores whatever labels there are.
    labels : mapping of str to int
        Values by name.

    Raises
    ------
    UsageError
        There is no such protocol.
    DataError
        It scores kidney and tumor, and the dataset has other labels.
    """
    protocol = get_protocol(protocol)
    if LabelNames(dict(labels)).of_kits:
        return protocol
    if protocol.name != "labels":
        raise DataError(
            f"Protocol {protocol.name} scores kidney, tumor and cyst; these labels are "
            f"{', '.join(labels)}.\nScore each of them by its own name: --protocol labels."
        )
    lesions = {region.name for region in protocol.regions if region.lesion}
    regions = (Region(name, (v,), lesion=name in lesions) for name, v in labels.items())
    return replace(protocol, regions=tuple(regions))


def check_metrics(metrics: Sequence[str] | None, protocol: Protocol) -> tuple[str, ...]:
    """Return the metrics asked for, or the protocol's own.

    Raises
    ------
    UsageError
        A name is not in :data:`METRICS`, or the list is empty.
    """
    if metrics is None:
        return protocol.metrics
    unknown = [name for name in metrics if name not in METRICS]
    if unknown or not metrics:
        close = difflib.get_close_matches(unknown[0], METRICS, n=1) if unknown else []
        hint = f" Did you mean '{close[0]}'?" if close else ""
        found = f"There is no metric '{unknown[0]}'.{hint}" if unknown else "No metric was named."
        raise UsageError(f"{found} The metrics are {', '.join(METRICS)}.")
    return tuple(dict.fromkeys(metrics))
