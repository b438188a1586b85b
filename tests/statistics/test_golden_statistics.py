"""Against answers of trusted tools: R lmerTest, statsmodels, scipy, pingouin, effectsize."""

from __future__ import annotations

import json

import numpy as np
import pytest
from score_tables import by_fold, long_table

from kitsbench import statistics as ks
from kitsbench.statistics.ranks.schemes import scheme
from kitsbench.statistics.tests import effects


@pytest.fixture
def golden(shared):
    return lambda name: json.loads((shared / "golden" / f"{name}.json").read_text())


def close(found, expected, rel=1e-9, abs=1e-12):
    assert found == pytest.approx(expected, rel=rel, abs=abs)


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


def test_one_seed_falls_back_to_the_fold_test(golden):
    case = golden("two_way_case_run")["single_seed_fallback"]
    a, b = (by_fold(case[f"scores_{name}"], case["fold"]) for name in "AB")
    found, want = ks.best_test(a, b), case["expected"]
    assert (found.test, found.scope) == ("fold t", "L1")
    close(found.estimate, np.mean(want["fold_mean_differences"]))
    close([found.t, found.df, found.p_value], [want["t"], want["df"], want["p"]])
    close([found.ci_low, found.ci_high], want["ci95"])


def test_the_whole_pipeline(golden):
    data = golden("pipeline_end_to_end")
    want = data["expected"]
    table = long_table(data["scores_method_case_seed"], data["fold"], names=data["methods"])
    found = ks.compare(table, rule=ks.Rule(alpha=data["alpha"]), margins=data["equivalence_margin"])
    assert len(found.pairs) == len(want["pairs"]) == 10
    for row, pair in zip(found.pairs, want["pairs"], strict=True):
        assert [row["a"], row["b"]] == pair["pair"]
        close(
            [row[key] for key in ("difference", "se", "df", "p_value", "p_adjusted")],
            [pair[key] for key in ("estimate", "se", "df", "p", "p_holm")],
        )
        close([row["ci_low"], row["ci_high"]], pair["ci95"])
        close(row["p_equivalence"], pair["tost_p_holm"])
        assert (row["verdict"], row["better"]) == (pair["verdict"], pair["better"])
    ranking = {row["architecture"]: row for row in found.ranking}
    close([ranking[m]["mean"] for m in data["methods"]], want["mean_score"])
    assert [ranking[m]["rank"] for m in data["methods"]] == want["rank_by_mean"]
    averaged = np.mean(data["scores_method_case_seed"], axis=2)
    assert scheme(averaged, "rank_then_mean")[1].tolist() == want["rank_then_mean"]
    schemes = found.rankings["schemes"]
    assert list(schemes["rank_then_mean"]["ranks"].values()) == want["rank_then_mean"]
    assert list(schemes["significance"]["ranks"].values()) == want["significance_rank"]
    close(schemes["rank_then_mean"]["kendall_tau"], want["kendall_tau_mean_vs_rank_then_mean"])
    wins = [sum(row["better"] == m for row in found.pairs) for m in data["methods"]]
    assert wins == want["significant_wins"]
    assert ks.rank(wins).tolist() == want["significance_rank"]
    summary = ks.summarise(table).set_index("architecture").loc[data["methods"]]
    close(summary["mean_of_fold_means"].tolist(), want["mean_of_fold_means_over_seeds"])
    close(
        summary["sd_over_folds"].tolist(),
        want["sd_over_folds_of_seed_averaged_fold_means_ddof1"],
    )


def test_nadeau_bengio(golden):
    for case in golden("corrected_resampled_t")["cases"]:
        found = ks.nadeau_bengio(case["differences"], case["n_test"] / case["n_train"])
        want = case["expected"]
        close(
            [found.mean, found.variance, found.correction, found.t, found.df, found.p_value],
            [want[k] for k in ("mean", "variance_ddof1", "correction", "t", "df", "p_two_sided")],
        )
        close([found.ci_low, found.ci_high], want["ci95"])


def test_equivalence(golden):
    for case in golden("tost")["cases"]:
        d = np.asarray(case["differences"])
        se = d.std(ddof=1) / np.sqrt(d.size)
        p = ks.equivalence_p(d.mean(), se, d.size - 1, case["low"], case["high"])
        close(p, case["expected"]["p_tost"])
        close(p, case["expected_R"]["p"], rel=1e-6)
        assert (p < 0.05) == case["expected"]["equivalent_at_0_05"]


def test_mean_and_sd_over_folds(golden):
    for case in golden("fold_summary")["cases"]:
        scores = np.asarray(case["scores_case_by_method"], dtype=float).T[:, :, None]
        table = long_table(scores, case["fold"]).dropna(subset="value")
        found, want = ks.summarise(table), case["expected"]
        close(found["mean_of_fold_means"].tolist(), want["mean_of_fold_means"])
        close(found["sd_over_folds"].tolist(), want["sd_over_folds_ddof1"])
        close(found["mean"].tolist(), want["pooled_case_mean"])
        close(found["sd_over_cases"].tolist(), want["pooled_case_sd_ddof1"])
        text = map(ks.plus_minus, found["mean_of_fold_means"], found["sd_over_folds"])
        assert list(text) == want["percent_string"]


@pytest.mark.parametrize("region", ["cyst", "tumor"])
def test_failed_and_empty_cases(golden, region):
    data = golden("missing_policy")
    want = data["expected"]
    dice = [[np.nan if v is None else v for v in row] for row in data["dice_official"]]
    table = long_table(np.array(dice)[:, :, None], np.zeros(10, int), region=region)
    table["status"] = np.ravel(data["status"])
    found = ks.summarise(table)
    close(found["mean_official"].tolist(), want["official_convention_penalised_mean"])
    close(found["mean_gt_positive"].tolist(), want["gt_positive_penalised_mean"])
    primary = (
        "gt_positive_penalised_mean" if region == "cyst" else ("official_convention_penalised_mean")
    )
    close(found["mean"].tolist(), want[primary])
    assert set(found["n_gt_positive"]) == {want["gt_positive_n"]}
    assert found["n_failed"].tolist() == want["failed"]
    assert found["n_empty_prediction"].tolist() == want["empty_prediction_on_positive"]
    close(found["detection_sensitivity"].tolist(), want["detection_sensitivity"])
    close(found["false_positive_rate"].tolist(), want["false_positive_rate_on_gt_negative"])
    if region == "cyst":
        close(found["mean_listwise"].tolist(), want["listwise_sensitivity_mean"])
        assert set(found["n_listwise"]) == {want["listwise_n"]}
        compared = ks.compare(table, "cyst:dice")
        means = {row["architecture"]: row["mean"] for row in compared.ranking}
        close([means[f"arch{m}"] for m in range(3)], want["gt_positive_penalised_mean"])
        listwise = [row["mean"] for row in compared.sensitivity["means"]]
        close(listwise, want["listwise_sensitivity_mean"])
        assert compared.sensitivity["n_cases"] == want["listwise_n"]


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


def test_power_of_a_paired_t_test(golden):
    for case in golden("power_paired_t")["cases"]:
        want = case["expected"]
        for n in (42, 210):
            se = case["sd_diff"] / np.sqrt(n)
            power = ks.paired_power(case["gap"], se, n - 1, case["alpha"])
            close(power, want[f"power_at_{n}"])
        n = want["n"]
        se = case["sd_diff"] / np.sqrt(n)
        gap = ks.smallest_detectable_gap(se, n - 1, case["alpha"], case["power"])
        close(gap, case["gap"], rel=1e-5)
