"""The two-way case x training-run analysis: closed form, for a pair and for one architecture.

Cases and training runs are both random. All cases of a fold are scored by one trained model, so a
shift of that model is shared by all of them and does not average out over cases; it is a variance
component of its own. With seeds as readers this is the multi-reader multi-case analysis of
diagnostic studies, and it agrees with REML and Satterthwaite degrees of freedom on balanced data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from kitsbench.statistics.table.blocks import Array
from kitsbench.statistics.tests.samples import NOISE, case_means, methods_of, size_of

TWO_WAY = "two-way case x run t"


@dataclass(frozen=True)
class TestResult:
    """An estimate with its test against 0.

    Attributes
    ----------
    test : str
        Name of the test.
    scope : str
        ``L0`` (these trained models) or ``L1`` (architectures under this protocol).
    estimate, se, df, t, p_value : float
        NaN where there is no test; an SE of 0 gives ``t`` infinite and a p-value of 0, or 1
        where the estimate is 0 as well.
    ci_low, ci_high : float
        Bounds of the ``1 - alpha`` interval.
    n_cases, n_folds, n_seeds : int
        Size of the data; the smallest number of seeds where it differs.
    v_case, v_run, v_residual : float
        Variance of the estimate by source; NaN outside the two-way test.
    df_case, df_run, df_residual : float
        Their degrees of freedom.
    floored : bool
        Whether the sum of the components was below one of them, which then counts.
    contradicted : bool
        Whether the test, one of ranks, points the other way than the estimate.
    """

    __test__ = False  # not a class of tests, whatever a test runner thinks of its name

    test: str
    scope: str
    estimate: float
    se: float
    df: float
    t: float
    p_value: float
    ci_low: float
    ci_high: float
    n_cases: int
    n_folds: int
    n_seeds: int
    v_case: float = float("nan")
    v_run: float = float("nan")
    v_residual: float = float("nan")
    df_case: float = float("nan")
    df_run: float = float("nan")
    df_residual: float = float("nan")
    floored: bool = False
    contradicted: bool = False


@dataclass(frozen=True)
class Component:
    """A mean square, its degrees of freedom, and its weight in the variance of the mean."""

    mean_square: float
    df: float
    weight: float

    @property
    def variance(self) -> float:
        """Contribution to the variance of the estimate."""
        return self.mean_square * self.weight


def case_component(blocks: Sequence[Array]) -> Component:
    """Mean square between cases within folds.

    Parameters
    ----------
    blocks : sequence of ndarray, shape (cases,)
        One value per case (seed-averaged score or difference), per fold.
    """
    n = sum(len(block) for block in blocks)
    df = n - len(blocks)
    # Within folds: their means differ by the networks that scored them, which is not the cases'
    # doing.
    squares = sum(float(((block - block.mean()) ** 2).sum()) for block in blocks)
    return Component(squares / df if df else 0.0, df, 1 / n)


def run_component(blocks: Sequence[Array]) -> Component:
    """Mean square between the training runs of one architecture within folds.

    Parameters
    ----------
    blocks : sequence of ndarray, shape (cases, seeds)
        Scores per fold.
    """
    n = sum(len(block) for block in blocks)
    squares, df, weight = 0.0, 0, 0.0
    for block in blocks:
        means = block.mean(axis=0)
        squares += float(((means - means.mean()) ** 2).sum())
        df += len(means) - 1
        # The mean over cases weighs a fold by its cases, and its networks are others than those of
        # any other fold.
        weight += (len(block) / n) ** 2 / len(means)
    return Component(squares / df if df else 0.0, df, weight)


def residual_component(blocks: Sequence[Array]) -> Component:
    """Mean square of case x run within folds, for one architecture.

    Parameters
    ----------
    blocks : sequence of ndarray, shape (cases, seeds)
        Scores per fold.
    """
    n = sum(len(block) for block in blocks)
    squares, df, weight = 0.0, 0, 0.0
    for block in blocks:
        rest = (
            block
            - block.mean(axis=0, keepdims=True)
            - block.mean(axis=1, keepdims=True)
            + block.mean()
        )
        squares += float((rest**2).sum())
        df += (block.shape[0] - 1) * (block.shape[1] - 1)
        weight += block.shape[0] / (n * n * block.shape[1])
    return Component(squares / df if df else 0.0, df, weight)


def joined(components: Sequence[Component]) -> tuple[float, float]:
    """Sum of the variances of independent methods, and its degrees of freedom.

    The degrees of freedom are Satterthwaite's for equal mean squares: 2 F (S - 1) where both
    methods have S seeds in F folds, fewer where a method with few seeds dominates the sum.
    """
    variance = sum(component.variance for component in components)
    used = [component for component in components if component.df > 0]
    if not used:
        return variance, 0.0
    # By the weights alone. With the mean squares that were seen, which have few degrees of freedom
    # and vary widely, a method that looks quiet by chance would hardly count.
    df = sum(c.weight for c in used) ** 2 / sum(c.weight**2 / c.df for c in used)
    return variance, df


def can_analyse(a: Sequence[Array], b: Sequence[Array] | None = None) -> bool:
    """Whether each method has a second run somewhere and some fold has a second case."""
    second_case = any(len(block) > 1 for block in a)
    return second_case and all(run_component(blocks).df > 0 for blocks in methods_of(a, b))


def two_way_test(
    a: Sequence[Array],
    b: Sequence[Array] | None = None,
    alpha: float = 0.05,
    conservative: bool = False,
    case: Component | None = None,
) -> TestResult:
    """Two-way case x run random-effects t-test of a pair, or the interval of one architecture.

    Parameters
    ----------
    a, b : sequence of ndarray, shape (cases, seeds)
        Scores of the two architectures, one array per fold, the same cases in the same order.
        Seeds are not paired; their number may differ between architectures and folds. Without
        ``b`` the mean of ``a`` is estimated.
    alpha : float
        1 minus the level of the confidence interval.
    conservative : bool
        Do not subtract the residual that the case and the run component both contain.
    case : Component, optional
        Of clusters of cases, where cases depend on each other; by default that of the cases.

    Returns
    -------
    TestResult

    Notes
    -----
    ``SE^2 = max(V_case + V_run - V_residual, V_case, V_run)`` with Satterthwaite degrees of
    freedom. The floor is used where the sampling of the components makes their sum too small.
    """
    methods, cases = methods_of(a, b), case_means(a, b)
    # Cases are paired, so what makes a case hard for both cancels in the difference. Seeds are not:
    # the runs of two methods share nothing, and their variances add.
    case = case_component(cases) if case is None else case
    v_run, df_run = joined([run_component(method) for method in methods])
    v_residual, df_residual = joined([residual_component(method) for method in methods])
    v_case = case.variance
    # A case's mean over seeds holds a part of the residual, and a run's mean over cases holds the
    # same part: their sum has it twice.
    taken = 0.0 if conservative else v_residual
    # Each of the three is an estimate, so the difference may come out below one of its parts or
    # below 0. A true variance cannot: what would make it so is noise, and is cut off.
    raw = v_case + v_run - taken
    se2 = max(raw, v_case, v_run)
    parts = [(v_case, case.df), (v_run, df_run), (taken, df_residual)]
    # The residual's variance adds up here too, though it is subtracted above; what has no degrees
    # of freedom has no say.
    spread = sum(v * v / d for v, d in parts if d > 0)
    # The approximation falls below 1 where the residual exceeds both other components, which
    # happens by chance in very small tables; a t distribution needs one degree of freedom.
    df = max(se2 * se2 / spread if spread > 0 else case.df, 1.0)
    # The estimate weighs every case alike, whatever the size of its fold.
    result = t_result(
        TWO_WAY,
        "L1",
        float(np.concatenate(cases).mean()),
        float(np.sqrt(se2)),
        df,
        alpha,
        **size_of(a, b),
    )
    return TestResult(
        **{
            **result.__dict__,
            "v_case": v_case,
            "v_run": v_run,
            "v_residual": v_residual,
            "df_case": case.df,
            "df_run": df_run,
            "df_residual": df_residual,
            "floored": raw < se2,
        }
    )


def t_result(
    test: str,
    scope: str,
    estimate: float,
    se: float,
    df: float,
    alpha: float,
    *,
    n_cases: int,
    n_folds: int,
    n_seeds: int,
) -> TestResult:
    """Complete an estimate with its t statistic, p-value and interval.

    Parameters
    ----------
    test, scope : str
        As in :class:`TestResult`.
    estimate, se, df : float
        Of the quantity; ``df`` at least 1, or NaN where there is no test.
    alpha : float
        1 minus the level of the interval.
    n_cases, n_folds, n_seeds : int
        Size of the data.
    """
    if np.isfinite(se) and se < NOISE:
        # Decimal scores leave differences of 1e-17 where there are none.
        se, estimate = 0.0, 0.0 if abs(estimate) < NOISE else estimate
        t = float(np.copysign(np.inf, estimate)) if estimate else 0.0
        p, half = (0.0 if estimate else 1.0), 0.0
    else:
        t = estimate / se
        p = float(2 * special.stdtr(df, -abs(t)))
        half = float(special.stdtrit(df, 1 - alpha / 2)) * se
    return TestResult(
        test,
        scope,
        estimate,
        se,
        df,
        t,
        p,
        estimate - half,
        estimate + half,
        n_cases=n_cases,
        n_folds=n_folds,
        n_seeds=n_seeds,
    )
