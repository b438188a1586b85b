"""Friedman's test and what follows it, against scikit-posthocs and R."""

from __future__ import annotations

import numpy as np
import pytest
from references import array, close

from kitsbench.errors import DataError
from kitsbench.statistics.ranks.demsar import cliques, critical_difference, friedman


def test_friedman_and_what_follows_it(golden):
    for case in golden("friedman_nemenyi")["cases"]:
        scores, want, r = array(case["scores"]), case["expected"], case["expected_R"]
        found = friedman(scores, case["higher_is_better"])
        assert found.n == case["n_used"]
        close(found.mean_ranks.tolist(), want["mean_ranks"])
        close([found.chi2, found.p_value], [want["chi2"], want["p"]])
        close(
            [found.iman_davenport_f, found.iman_davenport_p],
            [want["iman_davenport_F"], want["iman_davenport_p"]],
        )
        assert list(found.iman_davenport_df) == want["iman_davenport_df"]
        close(found.kendall_w, want["kendall_W"])
        close(found.nemenyi.ravel().tolist(), np.ravel(want["nemenyi_p"]).tolist())
        close(found.nemenyi.ravel().tolist(), np.ravel(r["nemenyi_p"]).tolist(), rel=1e-6, abs=1e-9)
        k = scores.shape[1]
        close(critical_difference(k, found.n, 0.05), r["cd_0.05"], rel=1e-6)
        close(critical_difference(k, found.n, 0.10), r["cd_0.10"], rel=1e-6)
        close(critical_difference(k, found.n, 0.05), want["cd_005"], rel=2e-3)


def test_friedman_at_the_edges():
    same = friedman(np.ones((5, 3)))
    assert (same.chi2, same.p_value, same.kendall_w) == (0, 1, 0)
    assert (same.nemenyi == 1).all()
    perfect = friedman(np.arange(3.0) + np.zeros((4, 1)))
    assert perfect.kendall_w == pytest.approx(1)
    assert perfect.iman_davenport_p == 0
    with pytest.raises(DataError, match="1 complete cases"):
        friedman([[1.0, 2.0], [np.nan, 1.0]])


def test_cliques_are_maximal_runs():
    assert cliques([1.0, 1.5, 3.0, 3.4, 3.9], 0.8) == [[0, 1], [2, 3], [3, 4]]
    assert cliques([3.0, 1.0, 2.0], 5) == [[1, 2, 0]]
    assert cliques([1.0, 2.0], 0.5) == []
