"""Effect sizes against effectsize and pingouin."""

from __future__ import annotations

import numpy as np
from references import close
from score_tables import by_fold

from kitsbench import statistics as ks
from kitsbench.statistics.tests import effects


def test_effect_sizes(golden):
    for case in golden("effect_sizes")["cases"]:
        x, y = (by_fold(case[name], np.zeros(len(case["x"]))) for name in "xy")
        found, want = ks.effect_sizes(x, y), case["expected"]
        assert (found.win, found.tie, found.loss) == (want["wins"], want["ties"], want["losses"])
        close(found.rank_biserial, want["rank_biserial_paired"])
        close(found.rank_biserial, case["expected_R"]["rank_biserial_paired"], rel=1e-6)
        close(found.hodges_lehmann, want["hodges_lehmann"])
        close(found.dz, want["cohens_dz"])
        close(found.probability_better, want["paired_prob_superiority"])
        difference = np.subtract(case["x"], case["y"])
        close(effects.hodges_lehmann(difference), want["hodges_lehmann"])
