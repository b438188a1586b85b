"""The joint analysis of all architectures: against the parts it is made of, and what must hold."""

from __future__ import annotations

import numpy as np
import pytest
from references import close
from scipy import special, stats

from kitsbench.statistics import two_way_test
from kitsbench.statistics.calibration.simulation import simulate
from kitsbench.statistics.tests.families import exceeds_p, within_p
from kitsbench.statistics.tests.folds_and_cases import mean_of_folds
from kitsbench.statistics.tests.joint import folds_test, joint_test
from kitsbench.statistics.tests.moments import moments_of, moments_of_many

ONE = (np.array([0]), np.array([1]))


def methods(y):
    """Blocks of one experiment, (architectures, folds, cases, seeds)."""
    return [tuple(blocks) for blocks in y]


def test_many_experiments_at_once_are_each_by_itself():
    y = simulate(np.random.default_rng(0), 5, 4, 3, 8, 3)
    first, second = np.triu_indices(4, 1)
    many = joint_test(moments_of_many(y), first, second)
    over = folds_test(moments_of_many(y), first, second)
    for index, one in enumerate(y):
        alone = joint_test(moments_of(methods(one)), first, second)
        for name in ("estimate", "se", "df", "skew", "v_case", "v_run", "v_residual"):
            np.testing.assert_allclose(getattr(many, name)[index], getattr(alone, name), rtol=1e-9)
        alone = folds_test(moments_of(methods(one)), first, second)
        np.testing.assert_allclose(over.se[index], alone.se)


def test_a_pair_has_the_standard_error_of_the_mixed_model(golden):
    for case in golden("two_way_case_run")["cases"]:
        fold = np.array(case["fold"])
        a, b = (
            tuple(np.array(case[f"scores_{n}_case_by_seed"])[fold == f] for f in np.unique(fold))
            for n in "AB"
        )
        found, want = joint_test(moments_of([a, b]), *ONE), case["expected"]
        close(found.estimate[0], want["estimate"])
        close(found.se[0], want["se"])
        # Run variances may differ, which costs degrees of freedom where they seem to. The runs
        # count for more there, and may have a little more degrees of freedom than the cases.
        assert 0.9 * want["df"] < found.df[0] < 1.001 * want["df"]
        assert (
            0.999 * want["p"] < 2 * special.stdtr(found.df[0], -abs(want["t"])) < want["p"] + 0.01
        )


def test_unlike_run_variances_cost_degrees_of_freedom():
    rng = np.random.default_rng(1)
    base = rng.normal(0, 0.01, (2, 5, 40, 2))
    like = base + rng.normal(0, 0.05, (2, 5, 1, 2))
    unlike = base + rng.normal(0, 0.05, (2, 5, 1, 2)) * np.array([1, 0.01])[:, None, None, None]
    df = [joint_test(moments_of(methods(y)), *ONE).df[0] for y in (like, unlike)]
    assert df[1] < 4 < df[0]
    assert df[1] < two_way_test(*methods(unlike)).df


def test_runs_that_scatter_alike_are_pooled():
    # Runs two hundredths above and below the mean of their fold, for every architecture.
    y = np.random.default_rng(3).normal(0.7, 0.01, (12, 5, 20, 2)) + np.array([-0.02, 0.02])
    first, second = np.triu_indices(12, 1)
    moments = moments_of(methods(y))
    found = joint_test(moments, first, second)
    pooled = 2 * moments.run.square.mean() * moments.run.weight[0]
    np.testing.assert_allclose(found.v_run, pooled)
    y[0] += np.random.default_rng(0).normal(0, 0.2, (5, 1, 2))  # and one that does not
    moments = moments_of(methods(y))
    found = joint_test(moments, first, second)
    np.testing.assert_allclose(
        found.v_run, moments.run.variance[first] + moments.run.variance[second]
    )
    assert found.df[first == 0].max() < found.df[first != 0].min()


def test_few_runs_that_lie_close_together_are_not_believed():
    # Four architectures of ten runs, one of them noisy, and one of three runs that agree by chance.
    rng = np.random.default_rng(6)
    y = [
        (rng.normal(0.7, 0.01, (60, 10)) + rng.normal(0, sd, 10),) for sd in (0.03, 0.03, 0.03, 0.2)
    ]
    quiet = rng.normal(0.7, 0.01, (60, 3))
    moments = moments_of([(quiet - quiet.mean(axis=0) + 0.7,), *y])
    pairs = np.zeros(4, dtype=int), np.arange(1, 5)
    found = joint_test(moments, *pairs)
    usual = moments.run.square.mean() * moments.run.weight[0]
    assert (found.v_run - moments.run.variance[1:] > 0.7 * usual).all()
    # With as many runs as the others it is believed.
    ten = rng.normal(0.7, 0.01, (60, 10))
    moments = moments_of([(ten - ten.mean(axis=0) + 0.7,), *y])
    np.testing.assert_allclose(joint_test(moments, *pairs).v_run, moments.run.variance[1:])


@pytest.mark.parametrize("sizes", [[5, 5, 5, 5], [400, 5, 5, 5, 5, 5, 5, 5, 5, 5]])
def test_folds_are_weighed_by_their_cases(sizes):
    rng = np.random.default_rng(2)
    a = tuple(rng.normal(0.8, 0.1, (n, 1)) for n in sizes)
    b = tuple(rng.normal(0.8, 0.1, (n, 1)) for n in sizes)
    found = folds_test(moments_of([a, b]), *ONE)
    d = np.concatenate(a) - np.concatenate(b)
    assert found.estimate[0] == pytest.approx(d.mean())
    means = np.array([x.mean() - y.mean() for x, y in zip(a, b, strict=True)])
    if len({*sizes}) == 1:
        want = stats.ttest_1samp(means, 0)
        assert found.df[0] == pytest.approx(len(sizes) - 1)
        assert found.estimate[0] / found.se[0] == pytest.approx(want.statistic)
    else:
        assert found.df[0] < 2  # one fold has nearly all cases


def test_the_variance_over_unequal_folds_is_unbiased():
    rng = np.random.default_rng(4)
    sizes = np.array([40, 10, 20, 5, 25.0])
    values = rng.normal(0, 1 / np.sqrt(sizes), (200_000, 5))
    estimate, variance, df = mean_of_folds(values, sizes / sizes.sum())
    # The mean of all cases has the variance 1 / cases; the extra factor may only make it larger.
    assert 1 <= variance.mean() * sizes.sum() < 1.4
    assert estimate.var() * sizes.sum() == pytest.approx(1, abs=0.02)
    assert 1 < df < 4


def test_statements_about_a_margin():
    estimate, se, df = np.array([0.05, 0.0, 0.03]), np.array([0.01, 0.005, 0.02]), np.full(3, 50.0)
    exceeds = exceeds_p(estimate, se, df, 0.02)
    assert exceeds == pytest.approx([2 * stats.t.sf(3, 50), 1, 2 * stats.t.sf(0.5, 50)])
    within = within_p(estimate, se, df, 0.02, np.zeros(3))
    assert within == pytest.approx([1, 2 * stats.t.sf(4, 50), 1])
    # A few misses of one make the difference skewed: less is sure on their side.
    assert within_p(estimate, se, df, 0.02, np.full(3, 0.6))[1] > 5 * within[1]


def test_few_misses_are_not_equivalence():
    """Two of 210 cases are missed; five would be worth the margin, and may be the usual number."""
    rng = np.random.default_rng(0)
    base = 0.85 + rng.normal(0, 0.05, (1, 1, 210, 1)) + rng.normal(0, 0.002, (2, 1, 210, 3))
    base[1, 0, :2] = 0
    moments = moments_of(methods(base))
    found = joint_test(moments, *ONE)
    numbers = (found.estimate, found.se, found.df, 0.02)
    assert within_p(*numbers, np.zeros(1))[0] < 0.06
    assert within_p(*numbers, found.skew)[0] > 0.2
