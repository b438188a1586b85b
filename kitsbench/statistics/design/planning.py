"""Plans: what a design of cases, folds and seeds can detect, before it is run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from kitsbench.errors import UsageError
from kitsbench.statistics.design.power import POWER, Components, smallest_detectable_gap
from kitsbench.statistics.tests.folds_and_cases import FOLD_T, FOLDS_FOR_A_FOLD_TEST, PAIRED_T
from kitsbench.statistics.tests.twoway import TWO_WAY

SEEDS = (1, 2, 3, 5, 10)
# Two-sided 5 %, 80 % power: 1.96 + 0.84 = 2.80 standard errors with known variance; 2.85 at the
# degrees of freedom of usual designs (about 60). Other levels are scaled from there.
_STANDARD_ERRORS = 2.85
_MOST_SEEDS = 10_000


def design_se(cases: int, folds: int, seeds: float, components: Components) -> float:
    """Standard error of a difference of means in a balanced design.

    ``SE^2 = 2 case_sd^2 / N + 2 noise_sd^2 / (N S) + 2 tau^2 / (F S)``.

    Parameters
    ----------
    cases, folds : int
        N and F.
    seeds : float
        S; may be infinite.
    components : Components
        Standard deviations.
    """
    c = components
    return float(
        np.sqrt(
            2 * c.case_sd**2 / cases
            + 2 * c.noise_sd**2 / (cases * seeds)
            + 2 * c.seed_sd**2 / (folds * seeds)
        )
    )


def planned_gap(
    cases: int,
    folds: int,
    seeds: float,
    components: Components,
    alpha: float = 0.05,
    power: float = POWER,
) -> float:
    """Smallest gap that a design can detect: about 2.85 standard errors.

    Parameters
    ----------
    cases, folds : int
        Size of the design.
    seeds : float
        Seeds per architecture and fold; may be infinite.
    components : Components
        Standard deviations.
    alpha, power : float
        Level and power.
    """
    normal = stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power)
    usual = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    factor = _STANDARD_ERRORS * normal / usual
    return float(factor * design_se(cases, folds, seeds, components))


def plan(
    cases: int,
    folds: int,
    seeds: int,
    components: Sequence[Components] = (Components(seed_sd=0.01), Components(seed_sd=0.02)),
    alpha: float = 0.05,
    power: float = POWER,
    gap: float | None = None,
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
        Two-sided level and power.
    gap : float, optional
        A gap to detect; the answer then says how many seeds it needs.

    Returns
    -------
    dict
        ``cases, folds, seeds, alpha, power, gap, smallest_detectable_gap`` (of the first
        scenario) and ``scenarios``: per scenario the components, ``se``, ``test``, ``scope``,
        ``smallest_detectable_gap``, ``by_seeds``, ``unlimited_seeds``, ``seeds_needed`` (None:
        no number of seeds is enough, or no gap was given), ``enough`` (whether some number is).

    Raises
    ------
    UsageError
        A size is not positive, there are more folds than cases, or a level lies outside (0, 1).
    """
    _check_design(cases, folds, seeds, components, alpha, power, gap)
    scenarios = [_scenario(cases, folds, seeds, c, alpha, power, gap) for c in components]
    return {
        "cases": cases,
        "folds": folds,
        "seeds": seeds,
        "alpha": alpha,
        "power": power,
        "gap": gap,
        "smallest_detectable_gap": scenarios[0]["smallest_detectable_gap"],
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


def _scenario(
    cases: int,
    folds: int,
    seeds: int,
    components: Components,
    alpha: float,
    power: float,
    gap: float | None,
) -> dict[str, Any]:
    def at(number: float) -> float:
        return planned_gap(cases, folds, number, components, alpha, power)

    test, scope = _planned_test(cases, folds, seeds)
    se = design_se(cases, folds, seeds, components)
    result: dict[str, Any] = {
        "case_sd": components.case_sd,
        "noise_sd": components.noise_sd,
        "seed_sd": components.seed_sd,
        "se": se,
        "test": test,
        "scope": scope,
        "smallest_detectable_gap": at(seeds),
        "by_seeds": [
            {
                "seeds": number,
                "test": _planned_test(cases, folds, number)[0],
                "scope": _planned_test(cases, folds, number)[1],
                "smallest_detectable_gap": at(number),
            }
            for number in sorted({*SEEDS, seeds})
        ],
        "unlimited_seeds": at(np.inf),
        "fold_test_gap": None,
    }
    if test == FOLD_T:
        # With few folds the t quantile is larger than the rule of thumb has it.
        result["fold_test_gap"] = smallest_detectable_gap(se, folds - 1, alpha, power)
    needed = None
    if gap is not None and at(np.inf) < gap:
        counts = range(2, _MOST_SEEDS)
        needed = next((number for number in counts if at(number) <= gap), None)
    result["seeds_needed"] = needed
    result["enough"] = None if gap is None else needed is not None
    return result


def _planned_test(cases: int, folds: int, seeds: int) -> tuple[str, str]:
    """Test and scope that :func:`~kitsbench.statistics.best_test` will find on such a table."""
    if seeds >= 2 and cases > folds:
        return TWO_WAY, "L1"
    if folds >= FOLDS_FOR_A_FOLD_TEST:
        return FOLD_T, "L1"
    return PAIRED_T, "L0"
