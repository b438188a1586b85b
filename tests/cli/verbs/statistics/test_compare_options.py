"""``kitsbench compare``: its options, and score tables that are wrong in every usual way."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from command_line import call_kitsbench

from kitsbench.statistics.calibration.simulation import simulate

NAMES = ["deep", "plain", "wide"]


def table(folds=5, cases=8, seeds=2, names=NAMES, region="tumor", metric="dice", gain=0.0):
    k = len(names)
    scores = simulate(
        np.random.default_rng(1), 1, k, folds, cases, seeds, shifts=[gain] + [0] * (k - 1)
    )
    m, f, c, s = np.indices(scores.shape[1:]).reshape(4, -1)
    return pd.DataFrame(
        {
            "architecture": np.asarray(names, dtype=object)[m],
            "fold": f,
            "seed": s,
            "case": [f"case_{x:05d}" for x in f * cases + c],
            "region": region,
            "metric": metric,
            "value": scores[0].ravel().round(4),
            "status": "ok",
        }
    )


@pytest.fixture
def write(tmp_path):
    def write(frame, name="scores.csv"):
        frame.to_csv(tmp_path / name, index=False)
        return tmp_path / name

    return write


def invoke(*arguments):
    return call_kitsbench("compare", *arguments)


def as_json(*arguments):
    return invoke(*arguments, "--json").json


def refused(*arguments):
    done = invoke(*arguments)
    assert (done.code, done.out) == (2, "")
    return done.err


# -- eleven hostile tables ------------------------------------------------------------------


def test_duplicate_rows(write):
    frame = table()
    message = refused(write(pd.concat([frame, frame[5:6]])))
    assert "line 242 repeats" in message
    assert "line 7: architecture deep, fold 0, seed 1, case case_00002" in message


def test_missing_cells(write):
    message = refused(write(table().drop(index=5)))
    assert "architecture deep, fold 0, seed 1 has no row for case case_00002" in message
    assert "a row with the status failed" in message
    empty = table()
    empty.loc[5, "value"] = np.nan
    assert "line 7: column 'value' is empty, but the status is ok" in refused(write(empty))


def test_text_in_values(write):
    frame = table().astype({"value": object})
    frame.loc[3, "value"] = "good"
    assert "line 5: column 'value' holds 'good', which is no number" in refused(write(frame))


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_values(write, value):
    frame = table(metric="hd95_mm")
    frame.loc[3, "value"] = value
    message = refused(write(frame), "--endpoint", "tumor:hd95_mm")
    assert "line 5: column 'value' is infinite" in message
    assert "diagonal" in message


def test_one_case(write):
    found = as_json(write(table(1, 1, 2)))
    assert [pair["verdict"] for pair in found["pairs"]] == ["inconclusive"] * 3
    assert {pair["p_value"] for pair in found["pairs"]} == {None}
    assert "a single case allows no test" in found["pairs"][0]["sentence"]


def test_one_seed(write):
    folds, split = as_json(write(table(5, 8, 1))), as_json(write(table(1, 40, 1)))
    assert (folds["test"], folds["scope"]) == ("fold t", "L1")
    assert split["scope"] == "L0"
    for pair in split["pairs"]:
        assert "nothing can be said about the architectures" in pair["sentence"]
    assert any("For a verdict train 3 seeds" in text for text in split["warnings"])


def test_unequal_seeds(write):
    frame = table(seeds=3)
    found = as_json(write(frame[(frame["architecture"] != "wide") | (frame["seed"] < 2)]))
    seeds = {(pair["a"], pair["b"]): pair["n_seeds"] for pair in found["pairs"]}
    assert seeds == {("deep", "plain"): 3, ("deep", "wide"): 2, ("plain", "wide"): 2}
    assert any("missing runs are not imputed" in text for text in found["warnings"])


def test_a_case_in_two_folds(write):
    frame = table()
    frame.loc[(frame["case"] == "case_00000") & (frame["architecture"] == "wide"), "fold"] = 3
    message = refused(write(frame))
    assert "puts case case_00000 into fold 3" in message
    assert "one split" in message


@pytest.mark.parametrize("value", [0.75, 0.0])
def test_constant_scores_and_all_zeros(write, value):
    found = as_json(write(table().assign(value=value)), "--demsar")
    assert {pair["verdict"] for pair in found["pairs"]} == {
        "not_learned" if value == 0 else "inconclusive"
    }
    said = "scored the same on every case" if value else "no better than an empty prediction"
    assert said in found["pairs"][0]["sentence"]
    assert [row["rank"] for row in found["ranking"]] == [1, 1, 1]
    assert any("constant scores" in text for text in found["warnings"])
    assert any("has learned the region" in text for text in found["warnings"]) == (value == 0)
    assert found["demsar"]["friedman_p"] == 1
    assert invoke(write(table().assign(value=value)), "--rankings", "--demsar").code == 0


def test_one_of_three_failed_everywhere(write):
    frame = table(gain=0.6)
    frame.loc[frame["architecture"] == "wide", ["value", "status"]] = [np.nan, "failed"]
    found = as_json(write(frame))
    rows = {row["architecture"]: row for row in found["ranking"]}
    assert (rows["wide"]["mean"], rows["wide"]["failure_rate"], rows["wide"]["rank"]) == (0, 1, 3)
    for pair in found["pairs"]:
        judged = "wide" not in (pair["a"], pair["b"])
        assert ("No verdict, because of failed predictions" in pair["sentence"]) == (not judged)
        if not judged:
            assert (pair["verdict"], pair["better"]) == ("inconclusive", None)
    assert found["sensitivity"]["n_cases"] == 0
    assert any("100 % of the predictions of wide failed" in text for text in found["warnings"])


# -- options --------------------------------------------------------------------------------


@pytest.mark.parametrize(("test", "name"), [("wilcoxon", "Wilcoxon"), ("permutation", "sign-flip")])
def test_tests_over_cases_print_their_scope(write, test, name):
    file = write(table(gain=0.6))
    found = as_json(file, "--test", test)
    assert found["scope"] == "L0"
    assert found["test"].startswith(name)
    assert found["pairs"][0]["p_value"] != as_json(file)["pairs"][0]["p_value"]
    for pair in found["pairs"]:
        assert "scope L0); nothing can be said about the architectures." in pair["sentence"]
        assert pair["robust_to_training_set"] is None
    assert any(text.startswith(f"Asked for: {name}") for text in found["warnings"])
    assert "scope L0" in invoke(file, "--test", test).out


def test_mean_ranks_on_request(write):
    file = write(table(gain=0.6))
    assert as_json(file)["demsar"] is None
    found = as_json(file, "--demsar")["demsar"]
    assert found["scope"] == "L0"
    assert found["mean_ranks"][0]["architecture"] == "deep"
    for pair in found["pairs"]:
        apart = abs(pair["rank_difference"]) >= found["critical_difference"]
        assert apart == (pair["p_nemenyi"] <= 0.05)
        together = any({pair["a"], pair["b"]} <= set(group) for group in found["groups"])
        assert together == (not apart)
    output = invoke(file, "--demsar").out
    assert "Nemenyi's critical difference" in output
    assert "scope L0, the trained models" in output


def test_rankings_by_other_schemes(write):
    both = [table(gain=0.3), table(gain=0.3, region="kidney_and_tumor")]
    frame = pd.concat(both).assign(protocol="kits19")
    found = as_json(write(frame))
    assert set(found["rankings"]["schemes"]) == {
        "mean_then_rank", "median_then_rank", "rank_then_mean", "rank_then_median", "significance",
    }  # fmt: skip
    assert [row["fold"] for row in found["rankings"]["leave_one_fold_out"]] == [0, 1, 2, 3, 4]
    by_mean = {row["architecture"]: row["rank"] for row in found["ranking"]}
    assert found["rankings"]["schemes"]["mean_then_rank"]["ranks"] == by_mean
    counts = found["rankings"]["bootstrap"]["rank_counts"]
    for row in found["ranking"]:
        assert sum(counts[row["architecture"]]) == 1000
    composite = frame.groupby(["architecture", "region"])["value"].mean().groupby(level=0).mean()
    official = {row["architecture"]: row["composite"] for row in found["official"]["rows"]}
    assert official == pytest.approx(composite.to_dict())
    output = invoke(write(frame), "--rankings").out
    assert "Rank by other schemes" in output
    assert "By the rule of kits19" in output


def test_the_ranking_of_kits23(write):
    parts = [
        table(region=region, metric=metric, gain=0.3 if metric == "dice" else -0.3)
        for region in ("kidney_and_mass", "mass", "tumor")
        for metric in ("dice", "surface_dice")
    ]
    frame = pd.concat(parts).assign(protocol="kits23")
    rows = as_json(write(frame))["official"]["rows"]
    means = frame.groupby(["metric", "architecture"])["value"].mean().unstack(0)
    expected = means.rank(ascending=False, method="min").mean(axis=1)
    assert {r["architecture"]: r["mean_rank"] for r in rows} == pytest.approx(expected.to_dict())
    assert [r["rank"] for r in rows] == [1, 2, 3]
    only_dice = frame[frame["metric"] == "dice"]
    assert as_json(write(only_dice))["official"] is None


def test_cross_checks_of_a_pair(write):
    pair = as_json(write(table(seeds=3, gain=0.8)))["pairs"][0]
    assert pair["ci_bootstrap_low"] == pytest.approx(pair["ci_low"], abs=0.03)
    assert pair["ci_bootstrap_high"] == pytest.approx(pair["ci_high"], abs=0.03)
    total = sum(pair[f"posterior_{name}"] for name in ("a_better", "equivalent", "b_better"))
    assert total == pytest.approx(1)
    assert pair["better"] == "deep"
    assert pair["robust_to_training_set"] == (pair["p_nadeau_bengio_adjusted"] < 0.05)
    # With two seeds the percentile interval would be too short, so there is none.
    assert as_json(write(table(seeds=2)))["pairs"][0]["ci_bootstrap_low"] is None


@pytest.fixture
def cases(tmp_path):
    names = [f"case_{index:05d}" for index in range(40)]
    frame = pd.DataFrame({"case": names, "tumor_volume_ml": np.arange(40.0), "cyst": "no"})
    frame.loc[:9, "cyst"] = "yes"
    frame.loc[39, "tumor_volume_ml"] = np.nan
    frame.to_csv(tmp_path / "cases.csv", index=False)
    return tmp_path / "cases.csv"


def test_declared_strata(write, cases):
    frame = table(gain=0.6)
    file = write(frame)
    options = ("--cases", cases, "--stratum", "tumor_volume_ml:10,30", "--stratum", "cyst")
    rows = as_json(file, *options)["strata"]
    sizes = {(row["stratum"], row["level"]): row["n_cases"] for row in rows}
    assert sizes == {
        ("tumor_volume_ml:10,30", "< 10"): 10,
        ("tumor_volume_ml:10,30", "10 to 30"): 20,
        ("tumor_volume_ml:10,30", ">= 30"): 9,
        ("tumor_volume_ml:10,30", "unknown"): 1,
        ("cyst", "no"): 30,
        ("cyst", "yes"): 10,
    }
    small = frame[frame["case"] < "case_00010"].groupby("architecture")["value"].mean()
    means = {row["architecture"]: row["mean"] for row in rows[0]["means"]}
    assert means == pytest.approx(small.to_dict())
    p = [pair["p_value"] for row in rows for pair in row["pairs"] if pair["p_value"] is not None]
    q = [pair["p_adjusted"] for row in rows for pair in row["pairs"] if pair["p_value"] is not None]
    assert q == pytest.approx(pd.Series(q).where(np.array(q) >= np.array(p)).tolist())
    assert not any("verdict" in pair for row in rows for pair in row["pairs"])
    assert "Declared strata, exploratory" in invoke(file, *options).out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stratum", "cyst"], "no table of cases was given"),
        (["--cases", "CASES"], "no stratum and no cluster; declare one"),
        (
            ["--cases", "CASES", "--stratum", "age"],
            "no column 'age'; it has tumor_volume_ml, cyst",
        ),
        (["--cases", "CASES", "--stratum", "tumor_volume_ml"], "different values; declare where"),
        (["--cases", "CASES", "--stratum", "cyst:3"], "'yes', which is no number"),
        (["--cases", "CASES", "--stratum", "cyst:3,2"], "rising numbers"),
        (["--cases", "scores.csv", "--stratum", "cyst"], "There is no file scores.csv"),
    ],
)
def test_strata_that_cannot_be(write, cases, options, message):
    options = [str(cases) if text == "CASES" else text for text in options]
    assert message in refused(write(table(seeds=1)), *options)


def test_cases_named_twice(write, cases):
    frame = pd.read_csv(cases)
    pd.concat([frame, frame[:1]]).to_csv(cases, index=False)
    message = refused(write(table(seeds=1)), "--cases", cases, "--stratum", "cyst")
    assert "the case case_00000 twice" in message


def test_strata_measured_on_a_dataset(write, phantom):
    frame = table(1, 6, 2)
    found = as_json(write(frame), "--cases", phantom, "--stratum", "kidney_hu:-500,1000")
    # The phantom names its cases as the table does.
    assert [(row["level"], row["n_cases"]) for row in found["strata"]] == [("-500 to 1000", 6)]


def test_figures(write, tmp_path):
    file = write(table(gain=0.5))
    result = invoke(file, "--demsar", "--figures", tmp_path / "figures")
    drawn = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert drawn == ["critical_differences.svg", "forest.svg", "rank_bubbles.svg"]
    assert "wrote" in result.err
    text = (tmp_path / "figures" / "critical_differences.svg").read_text()
    assert text.startswith("<svg")
    assert all(name in text for name in [*NAMES, "CD "])
    assert "is a file" in refused(file, "--figures", file)


def test_shaffer_needs_all_pairs(write):
    file = write(table())
    assert as_json(file, "--correction", "shaffer")["correction"] == "shaffer"
    # Four architectures make three pairs with a baseline, as many as three make altogether.
    for names in ([*NAMES, "tall"], [*NAMES, "tall", "thin"]):
        wrong = (write(table(names=names)), "--correction", "shaffer", "--baseline", "deep")
        assert "all pairs of a set" in refused(*wrong)
