"""The two-way test: against R lmerTest, and what holds for every design."""

from __future__ import annotations

import numpy as np
from designs import MANY, designs, pair
from hypothesis import given
from references import close
from score_tables import by_fold

from kitsbench import statistics as ks
from kitsbench.statistics import two_way_test


def test_two_way_test_equals_the_closed_form_and_lmertest(golden):
    data = golden("two_way_case_run")
    for case in data["cases"]:
        fold = case["fold"]
        found = ks.two_way_test(
            by_fold(case["scores_A_case_by_seed"], fold),
            by_fold(case["scores_B_case_by_seed"], fold),
        )
        want = case["expected"]
        for mine, theirs in {
            "estimate": "estimate",
            "v_case": "V_case",
            "v_run": "V_run",
            "v_residual": "V_resid",
            "df_case": "df_case",
            "df_run": "df_run",
            "df_residual": "df_resid",
            "se": "se",
            "df": "df",
            "t": "t",
            "p_value": "p",
            "floored": "floored",
        }.items():
            close(getattr(found, mine), want[theirs])
        close([found.ci_low, found.ci_high], want["ci95"])
        reference = case.get("expected_R_lmerTest")
        if reference and not reference["singular"]:
            close(found.se, reference["se"], rel=1e-4)
            close(found.p_value, reference["p"], rel=1e-4)
            close(found.df, reference["df"], rel=1e-2)


def test_the_floor_keeps_the_variance_above_each_component():
    rng = np.random.default_rng(0)
    floored = 0
    for _ in range(200):
        a, b = ([rng.normal(size=(4, 3)) for _ in range(2)] for _ in range(2))
        found = two_way_test(a, b)
        floored += found.floored
        assert found.se**2 >= max(found.v_case, found.v_run) - 1e-12
    assert floored > 10


@MANY
@given(designs())
def test_the_conservative_error_is_the_larger_one(design):
    a, b = pair(design)
    if a[0].shape[1] > 1 and sum(map(len, a)) > len(a):
        assert two_way_test(a, b, conservative=True).se >= two_way_test(a, b).se - 1e-12
