"""Other rankings against challengeR and the program of KiTS."""

from __future__ import annotations

import numpy as np
from references import array, close

from kitsbench.statistics.ranks.schemes import SCHEMES, kits_ranking, scheme


def test_ranking_schemes_equal_those_of_challenger(golden):
    for case in golden("ranking")["cases"]:
        scores, higher = array(case["scores"]).T, case["higher_is_better"]
        if case["na_treat"] == 0:
            scores = np.nan_to_num(scores, nan=0.0)
        want = case["expected_challengeR"]
        for name in SCHEMES:
            theirs = want[f"aggregate_{name}" if name.endswith("then_rank") else name]
            values, ranks = scheme(scores, name, higher)
            close(values.tolist(), theirs["score"])
            assert ranks.tolist() == theirs["rank"], (case["name"], name)


def test_rankings_of_kits(golden):
    data = golden("ranking")
    for case in data["kits21_23_ranking"]:
        means = np.array(case["means"])
        mean_ranks, ranks = kits_ranking(means[:, :3], means[:, 3:])
        for team, want in case["expected_official"].items():
            index = int(team.removeprefix("team"))
            close(mean_ranks[index], want["mean_rank"])
            assert ranks[index] == want["final_rank"]
