"""Which split an experiment gets: from the text of ``--split`` to folds over usable cases."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest

from kitsbench.data.datasets.dataset import open_dataset
from kitsbench.data.preparation.prepare import prepare
from kitsbench.data.splits.rules import nnunet_folds
from kitsbench.data.splits.split import make_folds
from kitsbench.errors import DataError, UsageError
from kitsbench.experiments.asked.request import Request
from kitsbench.experiments.asked.resolve import resolve
from kitsbench.experiments.plan.materials import choose_split

CASES = [f"case_{k:05d}" for k in (*range(6), 180, 181)]


def write(folder, name, tumor=4):
    label = np.zeros((9, 10, 11), np.uint8)
    label[2:8, 2:8, 2:8] = 1
    label[2 : 2 + tumor, 3:5, 3:5] = 2
    image = np.random.default_rng(0).normal(0, 200, label.shape).astype(np.int16)
    (folder / name).mkdir(parents=True)
    for file, array in (("imaging", image), ("segmentation", label)):
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), folder / name / f"{file}.nii.gz")


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """Eight small cases with KiTS19 numbers, and their store."""
    root = tmp_path_factory.mktemp("material")
    for number, name in enumerate(CASES):
        write(root / "kits" / "data", name, 1 + number // 2)
    dataset = open_dataset(root / "kits")
    store = prepare(dataset, (2.0, 2.0, 2.0), root / "store")
    return dataset, {"net": {"image": store}}, root


def choose(material, split=None, folds=None):
    dataset, stores, root = material
    request = Request(workdir=root, dataset=str(dataset.root), split=split, folds=folds)
    resolved = resolve(request, dataset.labels, "cpu")
    return choose_split(
        resolved.split, resolved.folds, dataset, stores, lambda what, done, total: None
    )


def test_the_default_is_what_it_always_was(material):
    split, folds = choose(material)
    assert split == make_folds(CASES, 5, 12345)
    assert folds == (0, 1, 2, 3, 4)
    assert choose(material, "2")[0] == make_folds(CASES, 2, 12345)


def test_rules_reach_the_experiment(material):
    assert choose(material, "nnunet:4")[0] == nnunet_folds(CASES, 4)
    split, folds = choose(material, "msan")
    assert folds == (0,)
    assert split.train(0) == CASES[:6]
    assert split.test(0) == CASES[6:]
    split, _ = choose(material, "stratified:2")
    for fold in split.folds:
        # One of each pair of equally large tumours.
        assert sorted(CASES.index(case) // 2 for case in fold) == [0, 1, 2, 3]


def test_a_file_reaches_the_experiment(material, tmp_path):
    path = tmp_path / "splits_final.json"
    path.write_text(json.dumps([{"train": CASES[:3], "val": CASES[3:5]}]))
    split, folds = choose(material, str(path))
    assert (split.train(0), split.test(0), folds) == (CASES[:3], CASES[3:5], (0,))
    path.write_text(json.dumps([{"train": CASES[:3], "val": ["case_00400"]}]))
    with pytest.raises(DataError, match="case_00400"):
        choose(material, str(path))


def test_what_cannot_be_is_said(material):
    with pytest.raises(UsageError, match="folds 0 to 0"):
        choose(material, "msan", folds=(0, 1))
    with pytest.raises(DataError, match="8 usable cases"):
        choose(material, "9")


def test_a_patient_that_is_there_twice_stops_the_experiment(tmp_path):
    write(tmp_path / "kits" / "data", "case_00001")
    write(tmp_path / "kits" / "data", "kits19_00001")
    dataset = open_dataset(tmp_path / "kits", "kits19")
    store = prepare(dataset, (2.0, 2.0, 2.0), tmp_path / "store")
    with pytest.raises(DataError, match="are one patient"):
        choose((dataset, {"net": {"image": store}}, tmp_path), "2")
