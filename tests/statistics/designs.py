"""Designs of any shape, for rules that hold for every score table."""

from __future__ import annotations

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from score_tables import by_fold

FEW = settings(max_examples=8)
MANY = settings(max_examples=50)
ARCHITECTURES, STEPS = st.integers(2, 4), st.integers(1, 1000)


@st.composite
def designs(draw, architectures=ARCHITECTURES, steps=STEPS):
    """Scores (architectures, cases, seeds) and the fold of each case; coarse steps make ties."""
    sizes = draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))
    seeds, step = draw(st.integers(1, 4)), draw(steps)
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    shape = (draw(architectures), sum(sizes), seeds)
    return np.round(rng.uniform(0, 1, shape) * step) / step, np.repeat(np.arange(len(sizes)), sizes)


def pair(design):
    scores, fold = design
    return by_fold(scores[0], fold), by_fold(scores[1], fold)


def fields(result):
    return np.array(
        [result.estimate, result.se, result.df, result.p_value, result.ci_low, result.ci_high]
    )
