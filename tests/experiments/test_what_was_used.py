"""Which cases and which labels a run works with is said before it trains, and by all it leaves."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from command_line import call_kitsbench
from scans import case, ct, kidneys, save

from kitsbench.experiments.results import load_results
from kitsbench.leaderboard.entries import make_entries
from kitsbench.reporting.analysis import analyse
from kitsbench.reporting.first_screen.answer import headline
from kitsbench.reporting.terminal import terminal_table

SMALL = ("--spacing", "3", "--patch", "16", "--split", "2", "--folds", "0", "--seeds", "1",
         "--batch", "1", "--device", "cpu", "--budget", "2steps", "--jobs", "1")  # fmt: skip


@pytest.fixture
def kits(tmp_path):
    """Write cases in the layout of KiTS19 and KiTS23: some with cysts, the others as they are."""

    def write(cysts, masks=None):
        for number, cyst in enumerate(cysts):
            label = kidneys(cyst=bool(cyst)) if cyst or masks is None else masks
            case(tmp_path / "some" / "data", f"case_{number:05d}", label=label)
        return tmp_path / "some"

    return write


@pytest.fixture
def nnunet(tmp_path):
    """Write an nnU-Net dataset whose masks are numbered in some way."""

    def write(labels, values=(0, 1, 2), **more):
        root = tmp_path / "named"
        for seed in range(4):
            save(root / f"imagesTr/c{seed}_0000.nii.gz", ct(seed=seed))
            mask = np.array(values, np.uint8)[kidneys()]
            save(root / f"labelsTr/c{seed}.nii.gz", mask)
        (root / "dataset.json").write_text(json.dumps({"labels": labels, **more}))
        return root

    return write


@pytest.fixture
def run(plugin, tmp_path):
    """Run one small architecture on a dataset."""

    def call(dataset, *more):
        where = ("--dataset", dataset, "--workdir", tmp_path / "work")
        return call_kitsbench("run", plugin("alpha", "Smallest"), *where, *SMALL, *more)

    return call


@pytest.mark.parametrize("verb", ["run", "info", "prepare", "export"])
def test_a_part_of_kits23_is_not_taken_for_kits19(kits, run, tmp_path, verb):
    folder = kits([1, 0, 0, 1, 0, 1])
    out = ("-o", tmp_path / "Dataset001_A")
    done = run(folder) if verb == "run" else None
    done = done or call_kitsbench("data", verb, folder, *(out if verb != "info" else ()))
    assert done.code == 2
    *_, first, second = done.err.strip().splitlines()
    assert "3 of 6 masks hold label 3, a cyst" in first
    assert "kits19 was guessed" in first
    assert "--layout kits23" in second
    assert not (tmp_path / "work" / "trials").exists()


def test_a_layout_that_cannot_be_is_the_first_thing_that_verify_says(kits):
    done = call_kitsbench("data", "verify", kits([1, 0, 0]))
    assert done.code == 2
    assert done.out.startswith("error: 1 of 3 masks hold label 3")
    assert call_kitsbench("data", "verify", kits([1, 0, 0]), "--layout", "kits23").code == 0


def test_one_odd_mask_among_many_is_damaged(kits):
    done = call_kitsbench("data", "info", kits([1] + 20 * [0]), "--json")
    assert done.code == 0
    assert (done.json["n_cases"], done.json["n_excluded"]) == (20, 1)


def test_cases_that_were_set_aside_are_told_before_training(kits, run):
    folder = kits([1, 0, 0, 1, 0, 1])
    told = "3 of 6 cases set aside: the mask holds label 3 (case_00000, case_00003, case_00005)."
    done = run(folder, "--layout", "kits19", "--dry-run")
    assert done.code == 0
    assert told in " ".join(done.out.split())
    done = run(folder, "--layout", "kits19", "--dry-run", "--json")
    assert done.json["dataset"]["n_cases"] == 3
    assert sorted(done.json["dataset"]["excluded"]) == ["case_00000", "case_00003", "case_00005"]


def test_only_what_was_used_counts_and_nobody_with_a_tumour_gives_no_headline(kits, run, tmp_path):
    folder = kits([1, 0, 0, 0, 1], np.minimum(kidneys(), 1))
    done = run(folder, "--layout", "kits19", "--json")
    assert done.code == 0, done.err
    assert "Dataset: some, 3 cases, split into 2 folds." in done.err
    assert "2 of 5 cases set aside: the mask holds label 3 (case_00000, case_00004)." in done.err
    assert "No case of some has a tumor at the voxel size of training" in done.err
    assert done.json["dataset"]["n_cases"] == 3
    assert len(done.json["dataset"]["excluded"]) == 2
    report = (tmp_path / "work/report/report.md").read_text()
    assert "3 cases (2 set aside)" in report
    assert "2 of 5 cases set aside" in report
    assert "1.000" not in report.split("## ")[0]
    (published,) = make_entries(tmp_path / "work")
    entry = published.entry
    assert entry.dataset.n_cases == 3
    assert all(s.mean is None for s in entry.scores if (s.region, s.metric) == ("tumor", "dice"))
    analysis = analyse(load_results(tmp_path / "work"))
    text = headline(analysis)
    assert "No test case has a tumour, so there is nothing to find" in text
    assert "1.000" not in text
    assert terminal_table(analysis.results)
    means = analysis.summary[analysis.summary["region"] == "tumor"]
    assert means.loc[means["metric"] == "dice", "mean"].isna().all()


@pytest.mark.slow
def test_labels_by_name_hold_from_training_to_evaluation(nnunet, run, tmp_path):
    dataset = nnunet({"background": 0, "tumor": 1, "kidney": 2}, (0, 2, 1))
    done = run(dataset, "--json")
    assert done.code == 0, done.err
    results = load_results(tmp_path / "work")
    assert results.experiment.dataset.labels == {"kidney": 1, "tumor": 2}
    scores = results.scores.set_index(["protocol", "case", "region", "metric"])["value"]
    folder = results.trials[0].folder.path
    for file in (folder / "predictions").glob("*.nii.gz"):
        name = file.name.removesuffix(".nii.gz")
        found = np.asarray(nibabel.load(file).dataobj)
        truth = np.asarray(nibabel.load(dataset / "labelsTr" / file.name).dataobj)
        for label, value in (("tumor", 1), ("kidney", 2)):
            overlap = 2 * ((found == value) & (truth == value)).sum()
            dice = overlap / ((found == value).sum() + (truth == value).sum())
            assert scores["labels", name, label, "dice"] == pytest.approx(dice)
    # Scored as files they give the same, and so do label maps that `predict` writes.
    out = tmp_path / "out.csv"
    ways = [(folder / "predictions", dataset / "labelsTr")]
    scans = sorted((dataset / "imagesTr").glob("*.nii.gz"))
    own = ("--plugin", results.trials[0].record.context.location)
    done = call_kitsbench("predict", folder, *scans, "-o", tmp_path / "maps", *own)
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "maps/dataset.json").read_text()) == {
        "labels": {"background": 0, "kidney": 2, "tumor": 1}
    }
    cases = ",".join(results.trials[0].record.context.test_cases)
    for predictions, truth in ways:
        done = call_kitsbench("evaluate", predictions, truth, "--protocol", "kits19", "--cases",
                              cases, "-o", out, "--json")  # fmt: skip
        assert done.code == 0, done.err
        for row in done.json["cases"]:
            mine = scores["kits19", row["case"], row["region"], row["metric"]]
            assert row["value"] is None or row["value"] == pytest.approx(mine)
    # Another order beside them is refused before anything is segmented.
    (tmp_path / "maps/dataset.json").write_text('{"labels": {"kidney": 1, "tumor": 2}}')
    done = call_kitsbench("predict", folder, *scans, "-o", tmp_path / "maps", "--overwrite", *own)
    assert done.code == 2
    assert "1 tumor, 2 kidney cannot lie beside it" in done.err


def test_a_dataset_without_kidney_and_tumour_is_scored_by_its_own_names(nnunet, run, tmp_path):
    dataset = nnunet({"0": "background", "1": "liver", "2": "spleen"})
    told = "The labels are liver, spleen, not kidney and tumor, so no protocol of KiTS applies"
    for words in (["--protocol", "kits19"], ["--endpoint", "tumor:dice"]):
        done = run(dataset, "--dry-run", *words)
        assert done.code == 2
        assert "tumor" in done.err.splitlines()[-1] or "--protocol labels" in done.err
    done = run(dataset, "--dry-run")
    assert done.code == 0
    assert told in done.err
    done = run(dataset)
    assert done.code == 0, done.err
    assert told in done.err
    assert "Mean liver Dice" in " ".join(done.out.split())
    assert "umour" not in done.out
    results = load_results(tmp_path / "work")
    assert set(results.scores["protocol"]) == {"labels"}
    assert set(results.scores["region"]) == {"liver", "spleen"}
    report = (tmp_path / "work/report/report.md").read_text()
    assert "Spleen" in report
    # Its pictures and its board speak of these labels as well.
    page = (tmp_path / "work/report/index.html").read_text(encoding="utf-8")
    assert "liver blue; spleen orange" in page
    assert "the liver Dice of the whole scan" in page
    boards = tmp_path / "boards"
    for words in (("add", tmp_path / "work", "--to", boards / "livers"), ("check", boards)):
        done = call_kitsbench("leaderboard", *words)
        assert done.code == 0, done.out + done.err
    assert call_kitsbench("leaderboard", "render", boards).code == 0
    table = (boards / "livers.md").read_text(encoding="utf-8")
    assert "Liver Dice" in table
    assert "Spleen Dice" in table


def test_voxels_to_ignore_are_refused_before_training(nnunet, run):
    done = run(nnunet({"kidney": 1, "tumor": 2, "ignore": 3}), "--dry-run")
    assert done.code == 2
    first, second = done.err.strip().splitlines()[-2:]
    assert "has voxels labelled 'ignore'" in first
    assert "dataset.json" in second
