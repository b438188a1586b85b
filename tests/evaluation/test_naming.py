"""Truths and predictions are scored by the names of their labels."""

from __future__ import annotations

import json

import numpy as np
import pytest
from command_line import call_kitsbench
from save_maps import save_map

from kitsbench.errors import DataError
from kitsbench.evaluation import evaluate

SWAPPED = {"tumor": 1, "kidney": 2}
SWAP = np.array([0, 2, 1, 3], np.uint8)


def describe(folder, labels):
    folder.mkdir(parents=True, exist_ok=True)
    content = {"labels": {"background": 0, **labels}}
    (folder / "dataset.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def write(tmp_path, make_maps):
    """Write three predictions or truths with their values exchanged."""

    def save(folder, role, values=(0, 1, 2, 3)):
        for seed in range(3):
            labels = np.array(values, np.uint8)[make_maps(seed)[role == "truth"]]
            save_map(tmp_path / folder / f"case_{seed:05d}.nii.gz", labels)
        return tmp_path / folder

    return save


def values(evaluation):
    return [(row["case"], row["region"], row["metric"], row["value"]) for row in evaluation.rows]


@pytest.mark.parametrize("protocol", ["kits19", "kits23", "labels"])
@pytest.mark.parametrize("described_by", ["folder", "folder above", "fold"])
def test_the_truth_may_number_its_labels_as_it_likes(
    folders, write, tmp_path, protocol, described_by
):
    expected = values(evaluate(*folders, protocol))
    truth = write("D/labelsTr", "truth", SWAP)
    place = {"folder": truth, "folder above": tmp_path / "D", "fold": tmp_path / "D"}[described_by]
    describe(place, SWAPPED)
    asked = truth if described_by != "fold" else tmp_path / "D"
    # Predictions of nobody are numbered as the truth is; what is described says so itself.
    assert values(evaluate(write("P", "prediction", SWAP), asked, protocol)) == expected
    describe(tmp_path / "P2", {"kidney": 1, "tumor": 2})
    assert values(evaluate(write("P2", "prediction"), asked, protocol)) == expected


def test_predictions_may_be_numbered_in_another_way_than_the_truth(folders, write, tmp_path):
    expected = values(evaluate(*folders, "kits19"))
    describe(tmp_path / "P", SWAPPED)
    found = evaluate(
        write("P/fold_0/validation", "prediction", SWAP).parent.parent, folders[1], "kits19"
    )
    assert values(found) == expected
    assert (
        "Labels go by their names, not their values: predictions 1 tumor, 2 kidney." in found.notes
    )


def test_a_perfect_kidney_without_its_tumour_scores_no_tumour(tmp_path, write, make_maps):
    truth = write("D/labelsTr", "truth", SWAP)
    describe(tmp_path / "D", SWAPPED)
    for seed in range(3):
        kidney = np.where(make_maps(seed)[1] == 1, 2, 0).astype(np.uint8)
        save_map(tmp_path / "P" / f"case_{seed:05d}.nii.gz", kidney)
    dice = {row["region"]: row["mean"] for row in evaluate(tmp_path / "P", truth, "labels").summary
            if row["metric"] == "dice"}  # fmt: skip
    assert dice["kidney"] == 1
    assert dice["tumor"] == 0


def test_a_description_in_the_order_of_kits_changes_nothing(folders, tmp_path):
    before = evaluate(*folders, "kits19")
    describe(folders[1], {"kidney": 1, "tumor": 2})
    after = evaluate(*folders, "kits19")
    assert values(after) == values(before)
    assert after.notes == before.notes


def test_labels_of_another_kind_are_scored_by_their_own_names(write, tmp_path):
    truth, prediction = write("D/labelsTr", "truth"), write("P", "prediction")
    describe(tmp_path / "D", {"liver": 1, "lesion": 2})
    for protocol in ("kits19", "kits23"):
        with pytest.raises(
            DataError, match=f"Protocol {protocol} .* these labels are liver, lesion"
        ):
            evaluate(prediction, truth, protocol)
    done = call_kitsbench("evaluate", prediction, truth, "--protocol", "all")
    assert done.code == 2
    assert "--protocol labels" in done.err
    found = evaluate(prediction, truth, "labels")
    assert found.to_dict()["regions"] == ["liver", "lesion"]
    plain = {(*row[:1], *row[2:]) for row in values(found)}
    describe(tmp_path / "D", {"kidney": 1, "tumor": 2})
    known = evaluate(prediction, truth, "labels")
    kits = {(*row[:1], *row[2:]) for row in values(known) if row[1] != "cyst"}
    assert plain == kits
    describe(tmp_path / "P", {"liver": 1, "lesion": 2})
    with pytest.raises(DataError, match=r"other labels than the truth: liver, lesion is not among"):
        evaluate(prediction, truth, "labels")


def test_only_a_kidney_is_never_a_tumour(write, tmp_path):
    truth, prediction = write("D/labelsTr", "truth", (0, 1, 1)), write("P", "prediction", (0, 1, 1))
    describe(tmp_path / "D", {"kidney": 1})
    with pytest.raises(DataError, match="these labels are kidney"):
        evaluate(prediction, truth, "kits19")
    assert {row["region"] for row in evaluate(prediction, truth, "labels").rows} == {"kidney"}


def test_what_the_truth_ignores_counts_for_nobody(folders, tmp_path, make_maps):
    describe(tmp_path / "D", {"kidney": 1, "tumor": 2, "ignore": 3})
    for seed in range(3):
        prediction, truth = make_maps(seed)
        unknown = np.zeros(truth.shape, bool)
        unknown[:, :9] = True
        for folder, labels in (("P", prediction), ("T", truth)):
            cleared = np.where(unknown, 0, labels).astype(np.uint8)
            save_map(tmp_path / folder / f"case_{seed:05d}.nii.gz", cleared)
        marked = np.where(unknown, 3, truth).astype(np.uint8)
        save_map(tmp_path / "D" / "labelsTr" / f"case_{seed:05d}.nii.gz", marked)
    found = evaluate(folders[0], tmp_path / "D", "kits19")
    assert values(found) == values(evaluate(tmp_path / "P", tmp_path / "T", "kits19"))
    assert not found.problems
    assert any("ignores" in note for note in found.notes)


def test_a_folder_in_which_nobody_has_a_tumour_has_no_headline(write, tmp_path):
    truth, prediction = write("T", "truth", (0, 1, 1)), write("P", "prediction", (0, 1, 1))
    found = evaluate(prediction, truth, "kits23")
    means = {(row["region"], row["metric"]): row["mean"] for row in found.summary}
    assert means["kidney_and_mass", "dice"] > 0.5
    assert means["tumor", "dice"] is None
    assert means["mass", "surface_dice"] is None
    assert found.headline["dice"] is None
    done = call_kitsbench("evaluate", prediction, truth, "--protocol", "kits23")
    assert done.code == 0
    assert "Mean over the regions" not in done.out
    assert "1.0000" not in done.out
    assert "No truth has mass or tumor" in done.err


def test_a_description_that_does_not_hold_is_refused(folders, tmp_path):
    describe(folders[1], {"kidney": 1, "tumor": 1})
    done = call_kitsbench("evaluate", *folders, "--protocol", "kits19")
    assert done.code == 2
    assert "gives 'kidney' and 'tumor' one value" in done.err
