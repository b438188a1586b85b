"""A system, and label maps that were given, beside architectures that are trained."""

from __future__ import annotations

import json
import shutil

import nibabel
import numpy as np
import pandas as pd
import pytest
from command_line import call_kitsbench

from kitsbench.experiments.records import find_experiment
from kitsbench.experiments.results import load_results

KEYS = ["protocol", "case", "region", "metric"]
MISSING: list[str] = []


@pytest.fixture(scope="module")
def maps(finished, tmp_path_factory):
    """Label maps of one of the trained architectures, one of them missing."""
    _, workdir, done = finished
    folder = tmp_path_factory.mktemp("maps") / "made"
    folder.mkdir()
    for trial in done.json["trials"]:
        if trial["architecture"] == "beta" and trial["seed"] == 0:
            for file in (workdir / "trials" / trial["id"] / "predictions").iterdir():
                shutil.copy(file, folder)
    (first,) = (t for t in trials_of(workdir, "beta") if (t.fold, t.seed) == (0, 0))
    MISSING[:] = first.record.context.test_cases[-1:]
    (folder / f"{MISSING[0]}.nii.gz").unlink()
    return folder


@pytest.fixture(scope="module")
def together(finished, plugin, maps, tmp_path_factory):
    """A fold of the finished run once more, with a system and two folders of label maps."""
    arguments, old, _ = finished
    workdir = tmp_path_factory.mktemp("together") / "work"
    shutil.copytree(old, workdir)
    arguments = [
        "run",
        plugin("bright", "Bright", "architectures.elsewhere"),
        *(workdir if word == old else word for word in arguments[1:]),
        "--predictions",
        f"made={maps},trained_on=a hospital's scans,hours=12.5",
        "--predictions",
        f"nobody_knows={maps}",
        *("--folds", "0"),
    ]
    return arguments, workdir, call_kitsbench(*arguments)


def trials_of(workdir, name):
    return [trial for trial in load_results(workdir).trials if trial.name == name]


def page(workdir):
    return (workdir / "report" / "report.md").read_text(encoding="utf-8")


def test_all_stand_in_one_report_and_those_known_to_be_fair_in_one_ranking(together):
    _, workdir, done = together
    assert done.code == 0, done.err
    assert {row["architecture"] for row in done.json["ranking"]} == {
        "alpha",
        "beta",
        "bright",
        "made",
    }
    summary = pd.read_csv(workdir / "report" / "summary.csv")
    assert set(summary["architecture"]) == {"alpha", "beta", "bright", "made", "nobody_knows"}


def test_the_table_of_the_report_is_compared_as_the_report_compares_it(together):
    _, workdir, _ = together
    by_report = json.loads((workdir / "report" / "comparison.json").read_text())
    again = call_kitsbench("compare", workdir / "report" / "scores.csv", "--json").json
    of_folder = call_kitsbench("compare", workdir, "--json").json
    for found in (again, of_folder):
        names = {row["architecture"] for row in found["ranking"]}
        assert names == {"alpha", "beta", "bright", "made"}
    assert [p["sentence"] for p in of_folder["pairs"]] == [
        p["sentence"] for p in by_report["pairs"]
    ]
    assert any(
        note.startswith("nobody_knows may know the test scans") for note in again["warnings"]
    )


def test_a_system_runs_once_in_a_fold_without_a_budget(together):
    _, workdir, _ = together
    own = trials_of(workdir, "bright")
    assert [(trial.fold, trial.seed) for trial in own] == [(0, 0)]
    assert {trial.seed for trial in trials_of(workdir, "alpha")} == {0, 1}
    for trial in own:
        assert trial.record.identity.budget == (0.0, "none")
        assert not trial.record.identity.preparation
        assert trial.ledger.device_seconds == trial.ledger.steps == 0
        assert trial.ledger.inference_cases == len(trial.record.context.test_cases) == 3
        assert trial.ledger.inference_s > 0
        assert trial.ledger.inference_peak_memory_bytes > 0


def test_what_a_system_gives_is_scored_as_it_is(together, phantom):
    """Its label maps lie on the scans, and hold what its rule says."""
    _, workdir, _ = together
    trial = trials_of(workdir, "bright")[0]
    case = trial.record.context.test_cases[0]
    made = nibabel.load(trial.folder.predictions / f"{case}.nii.gz")
    scan = nibabel.load(next(phantom.rglob(f"{case}/imaging.nii.gz")))
    np.testing.assert_array_equal(made.affine, scan.affine)
    hu, labels = np.asarray(scan.dataobj), np.asarray(made.dataobj)
    assert labels.any()
    assert (hu[labels > 0] > 120).all()
    assert (hu[labels == 2] < 150).all()
    truth = np.asarray(nibabel.load(next(phantom.rglob(f"{case}/segmentation.nii.gz"))).dataobj)
    both = np.count_nonzero((labels > 0) & (truth > 0))
    dice = 2 * both / (np.count_nonzero(labels) + np.count_nonzero(truth))
    scores = pd.read_parquet(trial.folder.scores).set_index(
        ["protocol", "case", "region", "metric"]
    )
    found = scores.loc[("kits19", case, "kidney_and_tumor", "dice"), "value"]
    assert found == pytest.approx(dice)


def test_given_label_maps_score_what_their_maker_scored_and_a_missing_one_is_missed(together):
    _, workdir, _ = together
    scores = load_results(workdir).scores
    scores = scores[(scores["seed"] == 0) & (scores["metric"] == "dice")]
    keys = ["protocol", "case", "region"]
    made = scores[scores["architecture"] == "made"].set_index(keys)
    maker = scores[scores["architecture"] == "beta"].set_index(keys).loc[made.index]
    missed = made.index.get_level_values("case") == MISSING[0]
    pd.testing.assert_series_equal(made.loc[~missed, "value"], maker.loc[~missed, "value"])
    assert set(made.loc[missed, "status"]) == {"failed"}
    assert (made.loc[missed, "value"] == 0).all()


def test_the_report_says_what_each_was_trained_on_and_what_it_cost(together):
    _, workdir, _ = together
    text = page(workdir)
    assert "a hospital's scans" in text
    assert "12.5 h, as reported" in text
    assert "elsewhere, unknown" in text
    assert "bright (trained elsewhere on nothing)" in text
    assert "says nothing about architectures" in text
    rows = [line for line in text.splitlines() if line.startswith("| nobody")]
    assert any("nobody says what it was trained on" in row for row in rows)


def test_pairs_with_a_system_say_that_no_verdict_on_architectures_follows(together):
    _, workdir, _ = together
    pairs = json.loads((workdir / "report" / "comparison.json").read_text())["pairs"]
    assert len(pairs) == 6
    for pair in pairs:
        outside = {"bright", "made"} & {pair["a"], pair["b"]}
        assert ("not under this budget" in pair["sentence"]) == bool(outside)


def test_the_experiment_says_who_was_trained_elsewhere_and_others_know_no_such_key(together):
    _, workdir, done = together
    known = done.json["elsewhere"]
    assert known["made"]["trained_on"] == ["a hospital's scans"]
    assert (known["made"]["missing"], known["made"]["hours"]) == (1, 12.5)
    assert [name for name, told in known.items() if told["apart"]] == ["nobody_knows"]
    record = find_experiment(workdir)
    stored = {e["name"]: e for e in record.model_dump(mode="json")["entrants"]}
    assert "elsewhere" not in stored["alpha"]
    assert stored["bright"]["elsewhere"]["kind"] == "system"
    assert f"1 of 3 test cases have no label map ({MISSING[0]})" in done.err


def test_the_same_command_again_runs_nothing(together):
    arguments, _, _ = together
    plan = call_kitsbench(*arguments, "--dry-run")
    assert {trial["status"] for trial in plan.json["trials"]} == {"finished"}
    budgets = {trial["architecture"]: trial["budget"] for trial in plan.json["trials"]}
    assert budgets["bright"] == budgets["made"] == "none"
    assert budgets["alpha"] == "8steps"


def test_an_experiment_is_asked_for_again_with_its_label_maps_and_more_are_added(together, maps):
    _, workdir, done = together
    first = done.json["experiment"]
    same = ("run", "--experiment", first, "--workdir", workdir, "--dry-run", "--json")
    plan = call_kitsbench(*same).json
    assert [t["id"] for t in plan["trials"]] == [t["id"] for t in done.json["trials"]]
    more = call_kitsbench(*same, "--add", "--predictions", f"third={maps},trained_on=nothing").json
    names = {trial["architecture"] for trial in more["trials"]}
    assert names == {"alpha", "beta", "bright", "made", "nobody_knows", "third"}


def test_neither_budget_nor_recipe_changes_who_was_trained_elsewhere(together):
    arguments, _, done = together
    plan = call_kitsbench(*arguments, "--budget", "9steps", "--batch", "3", "--dry-run").json
    before = {t["id"] for t in done.json["trials"] if t["architecture"] in ("bright", "made")}
    states = {t["id"]: t["status"] for t in plan["trials"]}
    assert before <= set(states)
    assert {states[trial] for trial in before} == {"finished"}
    assert "pending" in states.values()  # those that train


def test_a_label_map_that_changed_is_another_trial(together, maps, tmp_path):
    arguments, _, done = together
    other = tmp_path / "made"
    shutil.copytree(maps, other)
    for file in other.glob("*.nii.gz"):  # a trial is named by those of its fold
        image = nibabel.load(file)
        voxels = np.asarray(image.dataobj).copy()
        voxels[0, 0, 0] = 1
        nibabel.save(nibabel.Nifti1Image(voxels, image.affine, image.header), file)
    arguments = [
        f"made={other},trained_on=a hospital's scans,hours=12.5"
        if str(word).startswith("made=")
        else word
        for word in arguments
    ]
    plan = call_kitsbench(*arguments, "--dry-run").json
    before = {t["id"] for t in done.json["trials"]}
    new = {t["architecture"] for t in plan["trials"] if t["id"] not in before}
    assert new == {"made"}


def test_a_system_predicts_other_scans_as_it_did_in_the_run(together, phantom, plugin, tmp_path):
    _, workdir, _ = together
    trial = trials_of(workdir, "bright")[0]
    case = trial.record.context.test_cases[0]
    scan = next(phantom.rglob(f"{case}/imaging.nii.gz"))
    done = call_kitsbench(
        "predict",
        trial.id,
        scan,
        *("-o", tmp_path / "out", "--workdir", workdir, "--device", "cpu"),
        *("--plugin", plugin("bright", "Bright", "architectures.elsewhere")),
    )
    assert done.code == 0, done.err
    again = np.asarray(nibabel.load(tmp_path / "out" / f"{case}.nii.gz").dataobj)
    kept = np.asarray(nibabel.load(trial.folder.predictions / f"{case}.nii.gz").dataobj)
    np.testing.assert_array_equal(again, kept)


def test_given_label_maps_predict_nothing(together, phantom, tmp_path):
    _, workdir, _ = together
    trial = trials_of(workdir, "made")[0]
    scan = next(phantom.rglob("case_00000/imaging.nii.gz"))
    done = call_kitsbench("predict", trial.id, scan, "-o", tmp_path, "--workdir", workdir)
    assert done.code == 2
    assert "are label maps that were given" in done.err


def test_lost_label_maps_and_scores_are_made_again_and_an_allowed_leak_stays_marked(together):
    arguments, workdir, _ = together
    lost = [trials_of(workdir, name)[0] for name in ("bright", "made")]
    before = [pd.read_parquet(trial.folder.scores) for trial in lost]
    for trial in lost:
        trial.folder.scores.unlink()
        shutil.rmtree(trial.folder.predictions)
    done = call_kitsbench(*arguments, "--allow-leak")
    assert done.code == 0, done.err
    for trial, old in zip(lost, before, strict=True):
        new = pd.read_parquet(trial.folder.scores).sort_values(KEYS, ignore_index=True)
        pd.testing.assert_frame_equal(old.sort_values(KEYS, ignore_index=True), new)
    assert "nobody_knows" in {row["architecture"] for row in done.json["ranking"]}
    pairs = json.loads((workdir / "report" / "comparison.json").read_text())["pairs"]
    told = [p["sentence"] for p in pairs if "nobody_knows" in (p["a"], p["b"])]
    assert len(told) == 4
    assert all("nobody_knows may know the test scans" in sentence for sentence in told)


def test_a_board_shows_who_was_trained_elsewhere_apart(together, tmp_path):
    _, workdir, _ = together
    board = tmp_path / "boards" / "board"
    done = call_kitsbench("leaderboard", "add", workdir, "--to", board)
    assert done.code == 0, done.err
    assert "made: stands apart: trained elsewhere on a hospital's scans" in done.err
    # One folder of label maps under two names is one result.
    checked = call_kitsbench("leaderboard", "check", board.parent)
    assert checked.code == 2
    assert "nobody_knows.json: its scores of fold 0, seed 0 are those of made.json" in checked.out
    for file in board.glob("nobody_knows*"):
        file.unlink()
    checked = call_kitsbench("leaderboard", "check", board.parent)
    assert checked.code == 0, checked.out
    (page,) = call_kitsbench("leaderboard", "render", board.parent).out.split()
    above, _, below = (board.parent / "board.md").read_text().partition("## Trained elsewhere")
    assert page.endswith("board.md")
    assert ("`alpha`" in above, "`bright`" in above) == (True, False)
    rows = [line for line in below.splitlines() if line.startswith("| `")]
    assert len(rows) == 2
    assert sum("12.5 h, as reported" in row for row in rows) == 1
