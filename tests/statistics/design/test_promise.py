"""The power that a plan promises: against scores, against closed forms, and what must hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import special

from kitsbench.statistics import Components, paired_power
from kitsbench.statistics.calibration.promises import Request, pilot, promise
from kitsbench.statistics.design.power import components_of
from kitsbench.statistics.design.promise import Design
from kitsbench.statistics.tests.families import adjust
from kitsbench.statistics.tests.joint import folds_test, joint_test
from kitsbench.statistics.tests.moments import moments_of_many


def found_power(design, gap, experiments, seed=3):
    """Scores of many experiments, tested as a comparison tests them."""
    rng, c = np.random.default_rng(seed), design.components
    k, f, s = design.architectures, design.folds, design.seeds
    n = design.cases // f
    normal = rng.standard_normal
    y = c.case_sd * normal((experiments, k, f, n, 1))
    y = y + c.noise_sd * normal((experiments, k, f, n, s))
    y += c.seed_sd * normal((experiments, k, f, 1, s))
    y[:, 0] += gap
    first, second = np.triu_indices(k, 1)
    test = joint_test if f * (s - 1) >= 2 else folds_test
    found = test(moments_of_many(y), first, second)
    p = 2 * special.stdtr(found.df, -np.abs(found.estimate) / found.se)
    hit = (adjust(p, "holm") < 0.05) & (found.estimate > 0)
    return hit[:, first == 0].mean()


@pytest.mark.parametrize("architectures", [2, 5])
@pytest.mark.parametrize(
    ("cases", "folds", "seeds"), [(210, 5, 2), (42, 1, 3), (60, 5, 1), (98, 2, 5)]
)
def test_the_promise_is_kept(cases, folds, seeds, architectures):
    design = Design(cases, folds, seeds, architectures, Components(0.06, 0.06, 0.02))
    gap = design.detectable_gap(0.7)
    assert design.power(gap) == pytest.approx(0.7, abs=0.01)
    assert found_power(design, gap, 600) == pytest.approx(0.7, abs=0.06)


def test_one_pair_with_many_runs_is_a_t_test():
    design = Design(400, 1, 60, 2, Components(0.06, 0.05, 0.001))
    gap = 3 * design.se
    assert design.power(gap) == pytest.approx(paired_power(gap, design.se, 399), abs=0.02)


def test_power_rises_with_everything_that_costs():
    base = Components(seed_sd=0.02)
    power = Design(98, 2, 3, 3, base).power(0.05)
    assert power < Design(98, 2, 3, 3, base).power(0.06)
    assert power < Design(98, 2, 5, 3, base).power(0.05)
    assert power < Design(210, 2, 3, 3, base).power(0.05)
    assert power > Design(98, 2, 3, 8, base).power(0.05)


def test_where_nothing_can_be_said_nothing_is_promised():
    design = Design(98, 1, 2, 2, Components())
    assert np.isnan(design.power(0.5))
    assert np.isnan(design.detectable_gap())


def a_table(kind, advantage=0.0, run_sd=0.0):
    rng = np.random.default_rng(4)
    shape = (3, 6, 60, 4)  # architectures, folds, cases, seeds
    case = advantage + rng.normal(1.6, 0.8, (1, 6, 60, 1))
    run = rng.normal(0, run_sd, (3, 6, 1, 4))
    if kind == "additive":
        return special.expit(case) + rng.normal(0, 0.03, shape) + run
    return special.expit(case + rng.normal(0, 0.2, shape) + run)


def components(scores, bounded=True):
    return components_of([tuple(part) for part in scores], bounded)


def test_a_pilot_tells_how_scores_near_1_scatter():
    same = components(a_table("additive", run_sd=0.03))
    assert same.noise_bend == pytest.approx(0, abs=0.1)
    assert same.ahead(0.05).seed_sd == pytest.approx(same.seed_sd, rel=0.02)
    found = components(a_table("logit", run_sd=0.1))
    ahead = components(a_table("logit", 0.4, 0.1))
    told = found.ahead(ahead.mean - found.mean)
    assert 0.03 < ahead.mean - found.mean < 0.06
    assert told.noise_sd == pytest.approx(ahead.noise_sd, rel=0.07)
    assert told.seed_sd == pytest.approx(ahead.seed_sd, rel=0.07)
    assert ahead.seed_sd < 0.85 * found.seed_sd
    unbounded = components(a_table("logit", run_sd=0.1), bounded=False)
    assert unbounded.ahead(0.05) == unbounded
    assert unbounded.noise_sd == found.noise_sd


def test_the_promise_for_bounded_scores_is_kept_where_sds_alone_fall_short():
    request = Request("specification", 5, 10, 210, 1, 0.02, 0.8)
    kept = promise(request, 1000, 0)
    assert kept.found.passed
    known = pilot("specification", 0.02)
    alone = Design(210, 10, 1, 5, replace(known, mean=None))
    assert alone.power(kept.gap) < 0.74
