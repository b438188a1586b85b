"""Plans: what a design of cases, folds and seeds can detect, before it is run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kitsbench.errors import UsageError
from kitsbench.statistics.design.power import POWER, Components
from kitsbench.statistics.design.promise import Design
from kitsbench.statistics.design.scope import advice, allows_verdict
from kitsbench.statistics.tests.folds_and_cases import FOLD_T, PAIRED_T
from kitsbench.statistics.tests.joint import FEWEST_RUN_DF
from kitsbench.statistics.tests.twoway import TWO_WAY

SEEDS = (1, 2, 3, 5, 10)
GAPS = 13
"""Points of a power curve."""
_UNLIMITED = 1000
_MOST_ARCHITECTURES = 50


def plan(
    cases: int,
    folds: int,
    seeds: int,
    components: Sequence[Components] = (Components(seed_sd=0.01), Components(seed_sd=0.02)),
    alpha: float = 0.05,
    power: float = POWER,
    gap: float | None = None,
    architectures: int = 2,
) -> dict[str, Any]:
    """Plan an experiment.

    Parameters
    ----------
    cases, folds, seeds : int
        Size of the design; ``folds`` is 1 for a hold-out split.
    components : sequence of Components
        One scenario each; by default those of simulated KiTS-like tumour Dice, with a seed SD of
        0.01 and 0.02, since that of KiTS is not known.
    alpha, power : float
        Two-sided level of the family, and power.
    gap : float, optional
        A gap to detect; the answer then says its power and how many seeds it needs.
    architectures : int
        How many are compared. The promise is for finding one that is better than all others, which
        are equal, among all pairs, corrected by Holm.

    Returns
    -------
    dict
        ``cases, folds, seeds, architectures, alpha, power, gap, smallest_detectable_gap`` (of the
        first scenario), ``advice`` (what a design without verdicts lacks, else None) and
        ``scenarios``: per scenario the components, ``se``, ``test``, ``scope``,
        ``smallest_detectable_gap``, ``power_at_gap``, ``by_seeds``, ``unlimited_seeds``, ``curve``
        (power by gap for the design), ``seeds_needed`` (None: no number of seeds is enough, or no
        gap was given), ``enough`` (whether some number is). What a design cannot tell is None.

    Raises
    ------
    UsageError
        A size is not positive, there are more folds than cases, or a level lies outside (0, 1).
    """
    _check_design(cases, folds, seeds, components, alpha, power, gap)
    if not 2 <= architectures <= _MOST_ARCHITECTURES:
        raise UsageError(
            f"The plan has {architectures} architectures; it needs 2 to {_MOST_ARCHITECTURES}."
        )
    scenarios = [
        _scenario(cases, folds, seeds, architectures, c, alpha, power, gap) for c in components
    ]
    return {
        "cases": cases,
        "folds": folds,
        "seeds": seeds,
        "architectures": architectures,
        "alpha": alpha,
        "power": power,
        "gap": gap,
        "smallest_detectable_gap": scenarios[0]["smallest_detectable_gap"],
        "advice": advice(folds, seeds) or None,
        "scenarios": scenarios,
    }


def _check_design(
    cases: int,
    folds: int,
    seeds: int,
    components: Sequence[Components],
    alpha: float,
    power: float,
    gap: float | None,
) -> None:
    for name, number in (("cases", cases), ("folds", folds), ("seeds", seeds)):
        if number < 1:
            raise UsageError(f"The plan has {number} {name}; it needs at least 1.")
    if folds > cases:
        raise UsageError(f"The plan has {folds} folds for {cases} cases; a fold needs a case.")
    for name, level in (("alpha", alpha), ("power", power)):
        if not 0 < level < 1:
            raise UsageError(f"{name} is {level}; it must lie between 0 and 1.")
    if power <= alpha:
        raise UsageError(f"The power is {power}; it must be larger than alpha ({alpha}).")
    if gap is not None and not (np.isfinite(gap) and gap > 0):
        raise UsageError(f"The gap is {gap}; it must be a positive number, for example 0.02.")
    if not components:
        raise UsageError("The plan has no scenario; give at least one set of components.")
    for c in components:
        found = (c.case_sd, c.noise_sd, c.seed_sd)
        if not all(np.isfinite(sd) and sd >= 0 for sd in found):
            raise UsageError(f"The standard deviations are {found}; none may be negative.")
        if c.mean is not None and not 0 < c.mean < 1:
            raise UsageError(f"The mean score is {c.mean}; it must lie between 0 and 1.")
        if c.mean is not None and gap is not None and c.mean + gap >= 1:
            raise UsageError(
                f"A gap of {gap:g} above a mean score of {c.mean:.3g} lies beyond 1, the best."
            )
        if not all(np.isfinite(bend) and bend >= 0 for bend in (c.noise_bend, c.seed_bend)):
            raise UsageError(
                f"The bends are {c.noise_bend} and {c.seed_bend}; none may be negative."
            )


def _scenario(
    cases: int,
    folds: int,
    seeds: int,
    architectures: int,
    components: Components,
    alpha: float,
    power: float,
    gap: float | None,
) -> dict[str, Any]:
    def design(number: int) -> Design:
        return Design(cases, folds, number, architectures, components)

    def at(number: int) -> float | None:
        return _number(design(number).detectable_gap(power, alpha))

    own = design(seeds)
    test, scope = planned_test(cases, folds, seeds)
    by_seeds, widest = [], 0.0
    for number in sorted({*SEEDS, seeds}):
        name, reach = planned_test(cases, folds, number)
        found = at(number)
        widest = max(widest, found or 0.0)
        row = {"seeds": number, "test": name, "scope": reach, "smallest_detectable_gap": found}
        if gap is not None:
            row["power_at_gap"] = _number(design(number).power(gap, alpha))
        by_seeds.append(row)
    unlimited = at(_UNLIMITED)
    widest = max(1.5 * (_number(own.detectable_gap(power, alpha)) or widest), gap or 0.0)
    result: dict[str, Any] = {
        "case_sd": components.case_sd,
        "noise_sd": components.noise_sd,
        "seed_sd": components.seed_sd,
        "mean": components.mean,
        "noise_bend": components.noise_bend,
        "seed_bend": components.seed_bend,
        "se": own.se,
        "test": test,
        "scope": scope,
        "smallest_detectable_gap": at(seeds),
        "power_at_gap": None if gap is None else _number(own.power(gap, alpha)),
        "by_seeds": by_seeds,
        "unlimited_seeds": unlimited,
        "curve": [
            {"gap": float(x), "power": _number(own.power(float(x), alpha))}
            for x in np.linspace(0, widest, GAPS)
        ],
    }
    needed = None
    if gap is not None and unlimited is not None and unlimited < gap:
        needed = _seeds_needed(design, gap, power, alpha)
    result["seeds_needed"] = needed
    result["enough"] = None if gap is None else needed is not None
    return result


def _seeds_needed(
    design: Callable[[int], Design], gap: float, power: float, alpha: float
) -> int | None:
    """Fewest seeds with which the gap is found; they rise until it is, then are bisected."""

    def enough(number: int) -> bool:
        return design(number).power(gap, alpha) >= power  # false where it is NaN

    low, high = 0, 1
    while not enough(high):
        low, high = high, 2 * high
        if high > _UNLIMITED:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def planned_test(cases: int, folds: int, seeds: int) -> tuple[str, str]:
    """Test and scope that a comparison will find on such a table."""
    if not allows_verdict(folds, seeds):
        return PAIRED_T, "L0"
    if folds * (seeds - 1) >= FEWEST_RUN_DF and cases > folds:
        return TWO_WAY, "L1"
    return FOLD_T, "L1"


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
