"""A dataset that numbers its labels in another way gives what it would give in the way of KiTS."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from scans import ct, kidneys, save

from kitsbench.data.datasets.dataset import open_dataset
from kitsbench.data.exchange.nnunet import export_nnunet
from kitsbench.data.inspection.covariates import measure_cases
from kitsbench.data.inspection.describe import measure
from kitsbench.data.inspection.verify import verify
from kitsbench.data.preparation.prepare import prepare, store_id
from kitsbench.data.splits.rules import tumor_volumes
from kitsbench.errors import DataError

ORDERS = {
    "kits": {"kidney": 1, "tumor": 2, "cyst": 3},
    "swapped": {"tumor": 1, "kidney": 2, "cyst": 3},
    "gaps": {"Tumour": 40, "Cysts": 7, "Kidney": 12},
    "regions": {"kidney": [1, 2, 3], "masses": [2, 3], "tumor": 3},
}
VALUES = {
    "kits": [0, 1, 2, 3],
    "swapped": [0, 2, 1, 3],
    "gaps": [0, 12, 40, 7],
    "regions": [0, 1, 3, 2],
}


@pytest.fixture
def make(tmp_path):
    """Write one and the same dataset with its labels numbered in some way."""

    def write(order: str, labels=None):
        root = tmp_path / order
        for seed in range(2):
            mask = np.array(VALUES[order], np.uint8)[kidneys(cyst=seed == 0)]
            save(root / f"imagesTr/a{seed}_0000.nii.gz", ct(seed=seed))
            save(root / f"labelsTr/a{seed}.nii.gz", mask)
        description = {"labels": {"background": 0, **(labels or ORDERS[order])}}
        (root / "dataset.json").write_text(json.dumps(description))
        return open_dataset(root)

    return write


@pytest.fixture
def reference(make):
    return make("kits")


@pytest.mark.parametrize("order", ["swapped", "gaps", "regions"])
def test_every_door_knows_labels_by_name(make, reference, tmp_path, order):
    dataset = make(order)
    assert dataset.labels == reference.labels
    assert "were mapped by name to 1 kidney, 2 tumor, 3 cyst" in dataset.note
    assert not verify(dataset).findings
    assert measure(dataset).cases == measure(reference).cases
    assert measure_cases(dataset).equals(measure_cases(reference))
    assert tumor_volumes(dataset) == tumor_volumes(reference)
    stores = [prepare(each, (3.0, 2.0, 2.0), tmp_path / "out") for each in (dataset, reference)]
    assert stores[0].id != stores[1].id
    for case in ("a0", "a1"):
        mine, theirs = (store.case(case) for store in stores)
        np.testing.assert_array_equal(mine.label, theirs.label)
        assert mine.foreground.keys() == theirs.foreground.keys()
    export_nnunet(dataset, tmp_path / "raw" / "Dataset001_A")
    exported = open_dataset(tmp_path / "raw" / "Dataset001_A")
    assert (exported.labels, exported.on_disk) == (reference.labels, {})
    masks = [nibabel.load(each.cases[0].label).dataobj for each in (exported, reference)]
    np.testing.assert_array_equal(*masks)


def test_the_way_of_numbering_is_part_of_what_a_dataset_is(make, reference):
    assert reference.on_disk == {}
    same = make("kits", {"kidney": 1, "tumour": 2, "cyst": 3})
    assert same.fingerprint == reference.fingerprint
    # The same files under another description are other data.
    other = make("kits", {"kidney": 2, "tumor": 1, "cyst": 3})
    assert other.fingerprint != reference.fingerprint
    spacing = (3.0, 2.0, 2.0)
    assert store_id(other, spacing) != store_id(reference, spacing)
    assert reference.select(["a0"]).names == reference.names
    assert other.select(["a0"]).names == other.names


def test_a_mask_with_an_unnamed_value_is_told_in_the_values_of_its_files(make):
    dataset = make("swapped", {"tumor": 1, "kidney": 2})
    (finding,) = verify(dataset).errors
    assert finding.case == "a0"
    assert finding.what == "the mask holds label 3"
    assert finding.rule == "This dataset's labels are 0, 1 tumor, 2 kidney."


def test_voxels_to_ignore_are_exported_and_not_trained_on(make, tmp_path):
    dataset = make("kits", {"kidney": 1, "tumor": 2, "ignore": 3})
    assert dataset.labels == {"kidney": 1, "tumor": 2}
    assert not verify(dataset).findings
    with pytest.raises(
        DataError, match="labelled 'ignore', and no loss here leaves them out"
    ) as no:
        prepare(dataset, (3.0, 2.0, 2.0), tmp_path / "out")
    assert len(str(no.value).splitlines()) == 2
    export_nnunet(dataset, tmp_path / "raw" / "Dataset001_A")
    exported = open_dataset(tmp_path / "raw" / "Dataset001_A")
    assert exported.names == dataset.names
    masks = [nibabel.load(each.cases[0].label).dataobj for each in (exported, dataset)]
    np.testing.assert_array_equal(*masks)
