"""Claims of papers against working directories and score tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from command_line import call_kitsbench
from reporting.workdirs import Plan, trained_elsewhere, write_workdir

from kitsbench.claims import Evidence, check_claims, read_registry
from kitsbench.experiments.asked.claimed import match_pair

IDS = [
    "CL-000-1", "CL-000-3", "CL-001-1", "CL-001-2", "CL-001-3",
    "CL-002-1", "CL-002-3", "CL-003-1", "CL-004-1", "CL-004-2",
]  # fmt: skip


def scores(means, regions=("tumor",), folds=5, cases=8, seeds=2, noise=0.01, protocol="labels"):
    """A long table; ``means`` by architecture, a number or one by region."""
    rng = np.random.default_rng(0)
    rows = []
    for region in regions:
        hard = rng.normal(0, 0.05, (folds, cases))
        for name, mean in means.items():
            level = mean[region] if isinstance(mean, dict) else mean
            for fold, case, seed in np.ndindex(folds, cases, seeds):
                value = level + hard[fold, case] + rng.normal(0, noise)
                rows.append((name, fold, seed, f"case_{fold}_{case}", region, np.clip(value, 0, 1)))
    columns = ["architecture", "fold", "seed", "case", "region", "value"]
    return pd.DataFrame(rows, columns=columns).assign(metric="dice", protocol=protocol, status="ok")


def verdict(claim, table, mode="matched", **evidence):
    registry = tuple(c for c in read_registry() if c.id == claim)
    return check_claims(registry, Evidence(table, mode=mode, **evidence))[0]


def test_the_registry_holds_every_claim():
    registry = read_registry()
    assert [claim.id for claim in registry] == IDS
    for claim in registry:
        assert claim.statement.endswith(".")
        assert claim.figure
        assert claim.conditions


def test_a_claim_that_holds_is_replicated():
    found = verdict(
        "CL-004-2", scores({"cascade_classifier": 0.7, "cascade_classifier:staging=off": 0.5})
    )
    assert (found["verdict"], found["reason"]) == ("replicated", "Every step holds.")
    step = found["steps"][0]
    assert (step["outcome"], step["scope"], step["n_seeds"]) == ("holds", "L1", 2)
    assert step["difference"] == pytest.approx(0.2, abs=0.01)
    assert found["mode"] == "matched"
    assert found["smallest_detectable_gap"] is None


def test_the_opposite_contradicts():
    table = scores({"cascade_classifier": 0.5, "cascade_classifier:staging=off": 0.7})
    found = verdict("CL-004-2", table)
    assert found["verdict"] == "contradicted"
    assert "the claim has it the other way" in found["reason"]
    assert found["steps"][0]["ci_high"] < 0


def test_equivalence_contradicts():
    # A hundred cases: with fewer, a miss that none of them shows may outweigh the margin.
    pair = {"cascade_classifier": 0.6, "cascade_classifier:staging=off": 0.6}
    found = verdict("CL-004-2", scores(pair, cases=20, noise=0.005))
    assert found["verdict"] == "contradicted"
    assert "equivalent within the margin" in found["reason"]


def test_an_open_comparison_says_what_it_could_have_found():
    table = scores({"cascade_classifier": 0.6, "cascade_classifier:staging=off": 0.6}, noise=0.2)
    found = verdict("CL-004-2", table)
    assert found["verdict"] == "not settled"
    assert found["smallest_detectable_gap"] > 0.02
    assert f"could detect about {found['smallest_detectable_gap']:.3f}" in found["reason"]


def test_one_training_run_settles_nothing():
    pair = {"cascade_classifier": 0.7, "cascade_classifier:staging=off": 0.5}
    found = verdict("CL-004-2", scores(pair, folds=1, cases=40, seeds=1))
    assert found["verdict"] == "not settled"
    assert "so few training runs say nothing about architectures (scope L0)" in found["reason"]


def test_failed_predictions_settle_nothing():
    table = scores({"cascade_classifier": 0.7, "cascade_classifier:staging=off": 0.7}, noise=0.005)
    mine = table.index[table["architecture"] == "cascade_classifier:staging=off"]
    table.loc[mine[:20], ["value", "status"]] = [np.nan, "failed"]
    found = verdict("CL-004-2", table)
    assert found["verdict"] == "not settled"
    assert "too many predictions of cascade_classifier:staging=off failed" in found["reason"]


def test_every_step_must_hold():
    better = {"tumor": 0.70, "kidney": 0.80}
    plain = {"tumor": 0.60, "kidney": 0.90}
    levels = {"msan_v2": plain, "msan_v2:deep_supervision=on": better}
    holds = scores(levels, ("tumor", "kidney"))
    found = verdict("CL-001-2", holds)
    assert found["verdict"] == "replicated"
    # The paper's gap on the tumour is smaller than this one, that on the kidney as well.
    assert not any(step["below_paper"] for step in found["steps"])
    kidney_too = scores({"msan_v2": 0.6, "msan_v2:deep_supervision=on": 0.7}, ("tumor", "kidney"))
    found = verdict("CL-001-2", kidney_too)
    assert found["verdict"] == "contradicted"
    assert [step["outcome"] for step in found["steps"]] == ["holds", "contradicted"]
    assert "kidney" in found["reason"]


def test_a_gap_below_the_papers_is_said():
    levels = {"scau_unet": 0.70, "residual_unet": 0.65, "scau_unet:attention=off": 0.60}
    found = verdict("CL-003-1", scores(levels, ("kidney", "tumor", "cyst")))
    assert found["verdict"] == "replicated"
    assert found["steps"][0]["below_paper"]
    assert "smaller than the paper's" in found["reason"]


def test_several_regions_are_averaged_over_those_a_case_has():
    levels = {"scau_unet": 0.7, "residual_unet": 0.5, "scau_unet:attention=off": 0.5}
    table = scores(levels, ("kidney", "tumor", "cyst"), seeds=2)
    lacks = (table["region"] == "cyst") & (table["fold"] > 0)
    table.loc[lacks, ["value", "status"]] = [1.0, "both_empty"]
    step = verdict("CL-003-1", table)["steps"][0]
    kept = table[~lacks].groupby(["architecture", "case"])["value"].mean().groupby(level=0).mean()
    assert step["difference"] == pytest.approx(kept["scau_unet"] - kept["residual_unet"])
    assert step["n_cases"] == 40


def test_what_is_missing_is_named():
    found = verdict("CL-001-1", scores({"msan_v1": 0.7, "unet3d": 0.6}))
    assert found["verdict"] == "not tested"
    assert "scores of msan_v2" in found["missing"]
    assert "dice of kidney" in found["missing"]
    assert [step["outcome"] for step in found["steps"]][:2] == ["not tested", "holds"]


def test_recipes_that_cannot_speak_to_a_claim():
    levels = {"attention_vnet:resolution=low": 0.5, "attention_vnet": 0.6,
              "attention_vnet_assembly": 0.7}  # fmt: skip
    table = scores(levels, ("tumor", "kidney"))
    found = verdict("CL-000-1", table, mode="matched")
    assert found["verdict"] == "not tested"
    assert found["missing"] == ["training by the recipe paper (here: matched)"]
    found = verdict("CL-000-1", table, mode="paper")
    assert (found["verdict"], found["mode"]) == ("replicated", "paper")


def test_synthetic_scans_test_no_claim():
    pair = {"cascade_classifier": 0.7, "cascade_classifier:staging=off": 0.5}
    found = verdict("CL-004-2", scores(pair), synthetic=True)
    assert found["verdict"] == "not tested"
    assert "synthetic" in found["missing"][0]
    assert found["steps"][0]["outcome"] == "holds"
    # Nor do they speak against one: the difference is shown, and no more is said of it.
    turned = dict(zip(pair, reversed(pair.values()), strict=True))
    (step,) = verdict("CL-004-2", scores(turned), synthetic=True)["steps"]
    assert "minus cascade_classifier:staging=off is -0.198" in step["sentence"]
    assert step["sentence"].endswith("in tumor dice (scope L1).")


def test_that_a_network_has_learned_nothing_stands_beside_its_difference():
    nothing = {"cascade_classifier": 0.4, "cascade_classifier:staging=off": 0.004}
    for synthetic in (True, False):
        (step,) = verdict("CL-004-2", scores(nothing), synthetic=synthetic)["steps"]
        empty = "; cascade_classifier:staging=off is not told from an empty prediction (scope L1)."
        assert step["sentence"].endswith(empty)
    (step,) = verdict("CL-004-2", scores(dict.fromkeys(nothing, 0.004)))["steps"]
    assert "; neither is told from an empty prediction" in step["sentence"]


MEANS_OF_FIVE = [
    ("matched", "boundary_aware_five+mirror", "boundary_aware"),
    ("paper", "boundary_aware_five", "boundary_aware+unmirrored"),
]


@pytest.mark.parametrize(("mode", "higher", "lower"), MEANS_OF_FIVE)
def test_the_mean_of_five_gets_a_verdict_in_either_mode(mode, higher, lower):
    table = scores({lower: 0.5, higher: 0.7}, ("tumor", "kidney_and_tumor"), protocol="kits19")
    found = verdict("CL-002-1", table, mode=mode)
    assert found["verdict"] == "replicated"
    assert {(s["higher"], s["lower"]) for s in found["steps"]} == {(higher, lower)}
    other = verdict("CL-002-1", table, mode={"paper": "matched"}.get(mode, "paper"))
    assert other["verdict"] == "not tested"


def test_the_baseline_of_msan_is_trained_by_its_recipe_where_each_has_its_papers():
    levels = {"msan_v2": 0.8, "msan_v1": 0.7, "unet3d:paper_recipe=msan": 0.6, "unet3d": 0.9}
    found = verdict("CL-001-1", scores(levels, ("tumor", "kidney")), mode="paper")
    assert found["verdict"] == "replicated"
    assert verdict("CL-001-1", scores(levels, ("tumor", "kidney")))["verdict"] == "contradicted"


@pytest.mark.parametrize(
    ("known", "pair", "lacking"),
    [
        (["unet3d", "msan_v1"], ("msan_v1", "unet3d"), []),
        (["unet3d:width=0.5", "msan_v1:width=0.5"], ("msan_v1:width=0.5", "unet3d:width=0.5"), []),
        (["unet3d:size=tiny", "unet3d", "msan_v1"], ("msan_v1", "unet3d"), []),
        (["unet3d:width=0.5", "msan_v1"], None, ["msan_v1 and unet3d at the same size"]),
        (["unet3d:padding=valid", "msan_v1"], None, ["unet3d"]),
        (["unet3d+mirror", "U-Net (ours)", "a:b:c", ""], None, ["msan_v1", "unet3d"]),
    ],
)
def test_which_labels_a_claim_means(known, pair, lacking):
    assert match_pair("msan_v1", "unet3d", known) == (pair, lacking)


# -- the command line -----------------------------------------------------------------------


def invoke(*arguments):
    return call_kitsbench("claims", *arguments)


def test_a_working_directory(tmp_path):
    gaps = {"cascade_classifier": 0.2, "cascade_classifier:staging=off": 0.0}
    plan = Plan(gaps, folds=4, synthetic=False, predictions=False, profiles=False)
    workdir = write_workdir(tmp_path / "work", plan)
    before = sorted(path.name for path in workdir.rglob("*"))
    rows = {row["id"]: row for row in invoke(workdir, "--json").json}
    assert list(rows) == IDS
    assert rows["CL-004-2"]["verdict"] == "replicated"
    assert (rows["CL-004-2"]["mode"], rows["CL-004-2"]["dataset"]) == ("matched", "kits19")
    assert {row["verdict"] for name, row in rows.items() if name != "CL-004-2"} == {"not tested"}
    assert sorted(path.name for path in workdir.rglob("*")) == before
    output = invoke(workdir).out
    assert "dataset kits19, recipe matched" in output
    assert "CL-004-2: Every step holds." in output
    assert "CL-004-1: Missing: scores of cascade_classifier:classifier=off." in output
    refused = invoke(workdir, "--recipe", "paper")
    assert refused.code == 2
    assert "knows its recipe" in refused.err


def test_what_was_trained_elsewhere_is_no_evidence(tmp_path):
    gaps = {"cascade_classifier": 0.2, "cascade_classifier:staging=off": 0.0}
    outside = {"cascade_classifier": trained_elsewhere()}
    plan = Plan(gaps, folds=4, synthetic=False, predictions=False, elsewhere=outside)
    rows = invoke(write_workdir(tmp_path / "work", plan), "--json").json
    (row,) = (row for row in rows if row["id"] == "CL-004-2")
    assert row["verdict"] == "not tested"
    assert row["missing"] == ["scores of cascade_classifier"]


def test_a_score_table(tmp_path):
    file = tmp_path / "scores.csv"
    scores({"cascade_classifier": 0.7, "cascade_classifier:staging=off": 0.5}).to_csv(file)
    told = invoke(file, "--recipe", "paper", "--json").json[-1]
    assert (told["verdict"], told["mode"]) == ("replicated", "paper")
    untold = invoke(file, "--json").json[-1]
    assert untold["verdict"] == "not tested"
    assert "(here: not told)" in untold["missing"][0]


def test_without_an_experiment_the_claims_are_listed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kitsbench-work" / "profiles").mkdir(parents=True)  # as `profile` leaves it
    result = invoke("--json")
    assert [row["verdict"] for row in result.json] == ["not tested"] * len(IDS)
    assert "There is no experiment in kitsbench-work" in result.err
    absent = invoke(tmp_path / "none")
    assert absent.code == 2
    assert "name the working directory" in absent.err
    assert invoke("--alpha", "7").code == 2


def test_claims_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mine.toml"
    text = """
        [[claim]]
        id = "MINE-1"
        paper = "mine"
        statement = "Mine is better."
        figure = "a lot"
        conditions = "my cases"
        modes = ["matched"]
        [[claim.step]]
        higher = "mine"
        lower = "unet3d"
        region = "tumor"
    """
    file.write_text(text)
    assert [row["id"] for row in invoke("--registry", file, "--json").json] == ["MINE-1"]
    for wrong, message in (
        (text.replace("matched", "best"), "claim.0.modes.0 is wrong"),
        (text.replace("figure", "figures"), "figure"),
        (text + 'metric = "hd95_mm"', "'hd95_mm' is none of the metrics dice, precision, recall"),
        (text.replace("[[claim.step", 'in_paper = {other = "x"}\n[[claim.step'), "names 'other'"),
        (text + text, "MINE-1 twice"),
        ("[[claim", "is no TOML"),
    ):
        file.write_text(wrong)
        refused = invoke("--registry", file)
        assert refused.code == 2
        assert message in refused.err
    said = text.replace("modes", 'unavailable = "It wants 90 cases."\n        modes')
    file.write_text(said)
    assert invoke("--registry", file, "--json").json[0]["missing"][0] == "It wants 90 cases."
    refused = invoke("--registry", tmp_path / "none.toml")
    assert refused.code == 2
    assert "cannot be read" in refused.err
