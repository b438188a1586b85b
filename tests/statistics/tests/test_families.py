"""Corrections and equivalence against statsmodels and R."""

from __future__ import annotations

import numpy as np
import pytest
from designs import FEW
from hypothesis import given
from hypothesis import strategies as st
from references import array, close

from kitsbench import statistics as ks
from kitsbench.errors import UsageError
from kitsbench.statistics import adjust


@pytest.mark.parametrize(
    "method",
    ["bonferroni", "sidak", "holm", "holm-sidak", "hochberg", "hommel", "fdr_bh", "fdr_by"],
)
def test_every_correction(golden, method):
    for case in golden("multiple_testing")["cases"]:
        p = array(case["p"])
        if method in case["expected"]:
            close(ks.adjust(p, method).tolist(), array(case["expected"][method]).tolist())
        if method in case.get("expected_R_p_adjust", {}):
            want = np.atleast_1d(array(np.atleast_1d(case["expected_R_p_adjust"][method]).tolist()))
            close(ks.adjust(p, method).tolist(), want.tolist(), rel=1e-6)


def test_shaffer(golden):
    case = next(c for c in golden("multiple_testing")["cases"] if "shaffer" in c["name"])
    close(ks.adjust(case["p"], "shaffer").tolist(), case["expected"]["shaffer_static"])
    with pytest.raises(UsageError, match=r"4 pairs.*all pairs of a set"):
        ks.adjust([0.1] * 4, "shaffer")


def test_equivalence(golden):
    for case in golden("tost")["cases"]:
        d = np.asarray(case["differences"])
        se = d.std(ddof=1) / np.sqrt(d.size)
        p = ks.equivalence_p(d.mean(), se, d.size - 1, case["low"], case["high"])
        close(p, case["expected"]["p_tost"])
        close(p, case["expected_R"]["p"], rel=1e-6)
        assert (p < 0.05) == case["expected"]["equivalent_at_0_05"]


@FEW
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_adjusted_p_values_keep_their_order(p):
    for method in ("holm", "hommel", "fdr_bh"):
        adjusted = adjust(p, method)
        assert (adjusted >= np.asarray(p) - 1e-12).all()
        assert (adjusted <= 1).all()
        order = np.argsort(p, kind="stable")
        assert (np.diff(adjusted[order]) >= -1e-12).all()
