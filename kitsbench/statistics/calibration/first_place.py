"""What P(first) is worth: how often the architecture that it points to is truly the best."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from kitsbench.statistics.calibration.generators import Design, normal
from kitsbench.statistics.calibration.situation import Measured, measured
from kitsbench.statistics.ranks.ranking import (
    bootstrap_means,
    draw,
    means_of_drawn_folds,
    rank,
    stability_of,
)

SURE = 0.95
_REPLICATES = 500


@dataclass(frozen=True)
class Field:
    """Architectures whose true means are normal with an SD of ``spread``."""

    architectures: int
    folds: int
    cases: int
    seeds: int
    tau: float
    spread: float


@dataclass(frozen=True)
class FirstPlace:
    """How often one architecture had P(first) above 0.95, and how often it was then the best.

    Attributes
    ----------
    field : Field
    experiments : int
    named : Measured
        Of all experiments.
    right : Measured
        Of those in which one was named.
    """

    field: Field
    experiments: int
    named: Measured
    right: Measured

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> FirstPlace:
        """Read what :meth:`to_dict` wrote."""
        return cls(
            Field(**plain["field"]),
            int(plain["experiments"]),
            Measured(**plain["named"]),
            Measured(**plain["right"]),
        )


FIELDS = (
    Field(5, 5, 210, 3, 0.01, 0.01),
    Field(5, 5, 210, 1, 0.01, 0.01),
    Field(5, 1, 98, 3, 0.01, 0.01),
    Field(12, 5, 210, 2, 0.02, 0.01),
)


def first_place(field: Field, experiments: int, random_seed: int) -> FirstPlace:
    """Measure what a P(first) above 0.95 is worth, as ``kitsbench compare`` computes it.

    Parameters
    ----------
    field : Field
        The situation.
    experiments : int
        How many.
    random_seed : int
        The result is a function of it, of ``experiments`` and of the field.
    """
    k = field.architectures
    design = Design(
        field.folds, field.cases // field.folds, field.seeds, (field.tau,) * k, (0.0,) * k
    )
    rng = np.random.default_rng(random_seed)
    named, right = [], []
    for _ in range(experiments):
        true = rng.normal(0, field.spread, k)
        scores = normal(rng, 1, design)[0] + true[:, None, None, None]
        methods = [tuple(part) for part in scores]
        if field.seeds > 1:
            means = bootstrap_means(methods, draw(methods, _REPLICATES, 0))
        else:
            means = means_of_drawn_folds(methods, _REPLICATES, 0)
        original = rank(scores.mean(axis=(1, 2, 3)))
        chance = stability_of(rank(means), original, means).p_first
        named.append(chance.max() > SURE)
        if named[-1]:
            right.append(chance.argmax() == true.argmax())
    return FirstPlace(
        field,
        experiments,
        measured(np.array(named, dtype=float)),
        measured(np.array(right or [0.0], dtype=float)),
    )
