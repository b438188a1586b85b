"""Sequential p-values: valid over all looks, never rising, whatever is missing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from kitsbench.statistics.looks.clock import LEVELS, Clock, codes, information


def walk(clock, moments, share=0.5):
    """The tables after each look at these (cases, runs, last)."""
    history, found = np.zeros(1, dtype=np.int64), []
    for cases, runs, last in moments:
        code = codes(*(np.array([x]) for x in (share, cases, runs, last)))
        history = clock.advance(history, code)
        found.append(clock.table(int(history[0])))
    return found


ROUNDS = [(1.0, k / 5, k == 5) for k in range(1, 6)]


@pytest.mark.parametrize("kind", ["obrien-fleming", "pocock"])
def test_the_error_over_all_looks_is_kept_where_looks_share_most_or_nothing(kind):
    rng = np.random.default_rng(1)
    runs = rng.standard_normal((200_000, 5)).cumsum(axis=1) / np.arange(1, 6)
    for share in (0.0, 0.3, 0.5, 0.9):
        tables = walk(Clock(kind, 0.5), ROUNDS, share)
        # A mean over cases that stay and runs that are added, in units of the whole plan's.
        cases = rng.standard_normal((len(runs), 1))
        estimate = cases * np.sqrt(share) + runs * np.sqrt(5 * (1 - share))
        known = information(share, 1.0, np.arange(1, 6) / 5)
        p = np.ones(len(runs))
        for k, table in enumerate(tables):
            p = np.minimum(p, table.level(estimate[:, k] * np.sqrt(known[k])))
        for level in (0.05, 0.005):
            assert (p < level).mean() < level * 1.07
        assert (p < 0.05).mean() > (0.03 if share == 0.9 else 0.045)


def test_bounds_of_a_smaller_level_lie_further_out():
    for table in walk(Clock("obrien-fleming", 0.5), ROUNDS):
        bound = table.bounds[-1]
        known = np.isfinite(bound)
        assert (np.diff(bound[known]) > 0).all()
        back = table.level(table.bound(LEVELS[5:40]))
        asked = np.isfinite(table.bound(LEVELS[5:40]))
        assert back[asked] == pytest.approx(LEVELS[5:40][asked], rel=1e-6)


def test_alpha_is_spent_by_information_and_not_by_the_counter():
    late = walk(Clock("obrien-fleming", 0.5), [(1.0, 0.1, False)] * 3 + [(1.0, 0.6, False)])
    once = walk(Clock("obrien-fleming", 0.5), [(1.0, 0.1, False), (1.0, 0.6, False)])
    assert [table.fraction for table in late[:3]] == pytest.approx([2 / 11] * 3)
    assert late[-1].spent == pytest.approx(once[-1].spent)
    # Looks at the same scores spend nothing and so can show nothing.
    assert np.isinf(late[1].bounds[-1]).all()


def test_a_last_look_spends_what_is_left_though_runs_are_missing():
    tables = walk(Clock("pocock", 0.5), [(1.0, 0.4, False), (1.0, 0.7, True)])
    assert tables[-1].fraction == 1
    assert tables[-1].spent == pytest.approx(LEVELS)
    stands = walk(Clock("pocock", 0.5), [(1.0, 0.4, False), (1.0, 0.4, True)])
    assert np.isfinite(stands[-1].bounds[-1][5:30]).all()


def test_without_more_than_one_look_the_sequential_p_value_is_the_p_value():
    (table,) = walk(Clock("obrien-fleming", 0.5), [(1.0, 1.0, True)])
    z = np.linspace(0, 5, 40)
    assert table.level(z) == pytest.approx(2 * special.ndtr(-z), rel=1e-6)
