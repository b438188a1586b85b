"""Labels are known by their names, whatever numbers a dataset gives them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from kitsbench.errors import DataError
from kitsbench.scans.label_names import (
    IGNORED,
    LabelNames,
    check_named,
    name_labels,
    near,
    read_label_names,
)

KIDNEY = {"kidney": [1, 2, 3]}


@pytest.fixture
def described(tmp_path):
    """Write a dataset.json with some labels, and read them."""

    def read(labels, **more):
        file = tmp_path / "dataset.json"
        file.write_text(json.dumps({"labels": labels, **more}), encoding="utf-8")
        return read_label_names(file)

    return read


@pytest.mark.parametrize(
    ("labels", "on_disk"),
    [
        ({"background": 0, "kidney": 1, "tumor": 2}, {}),
        ({"0": "background", "1": "kidney", "2": "tumour"}, {}),
        ({"background": 0, "tumor": 1, "kidney": 2}, {1: 2, 2: 1}),
        ({"0": "background", "2": "Kidneys", "1": "Renal_Tumour"}, {1: 2, 2: 1}),
        ({"TUMOUR": 5, "Kidney": 9}, {5: 2, 9: 1}),
        ({"kidney": 1, "cyst": 2, "tumor": 3}, {1: 1, 2: 3, 3: 2}),
        ({"cyst": 1, "tumor": 2, "kidney": 3}, {1: 3, 2: 2, 3: 1}),
    ],
)
def test_the_labels_of_kits_have_its_values(described, labels, on_disk):
    names = described(labels)
    assert names.labels.items() <= {"kidney": 1, "tumor": 2, "cyst": 3}.items()
    assert names.on_disk == on_disk
    assert names.of_kits


def test_a_map_is_exchanged_and_exchanged_back(described):
    names = described({"kidney": 1, "cyst": 2, "tumor": 3})
    stored = np.asfortranarray(np.random.default_rng(0).integers(0, 4, (3, 4, 5), np.uint8))
    here = stored.copy(order="K")
    names.read(here[::-1])
    np.testing.assert_array_equal(here, np.array([0, 1, 3, 2])[stored])
    np.testing.assert_array_equal(names.write(here), stored)
    assert names.told() == "1 kidney, 2 cyst, 3 tumor"
    assert names.written() == {"kidney": 1, "cyst": 2, "tumor": 3}


@pytest.mark.parametrize(
    "labels",
    [
        {"kidney": 1},
        {"kidney": 4, "cyst": 2},
        {"liver": 1, "tumor": 2},
        {"spleen": 1, "kidney": 2, "tumor": 3},
        {"whole tumor": [1, 2, 3], "core": [2, 3], "enhancing": 3},
    ],
)
def test_other_labels_keep_their_names_and_values(described, labels):
    names = described(labels)
    assert set(names.labels) == set(labels)
    assert not names.of_kits
    assert names.on_disk == {}


@pytest.mark.parametrize(
    ("labels", "order", "told"),
    [
        ({**KIDNEY, "masses": [2, 3], "tumor": 2}, [1, 3, 2], "1 kidney, 2 tumor, 3 cyst"),
        ({**KIDNEY, "masses": [2, 3], "tumor": 3}, [1, 2, 3], "1 kidney, 2 cyst, 3 tumor"),
        ({"kidney_and_tumor": [1, 2], "tumor": [1]}, [2, 1], "1 tumor, 2 kidney"),
        ({**KIDNEY, "mass": [2, 3], "tumor": 2, "cyst": 3}, None, "1 kidney, 2 tumor, 3 cyst"),
        ({**KIDNEY, "tumor": [2, 3]}, [1, 3], "1 kidney, 2 tumor, 3 tumor"),
    ],
)
def test_a_value_in_several_regions_is_called_like_the_smallest(described, labels, order, told):
    more = {} if order is None else {"regions_class_order": order}
    names = described({"background": 0, **labels}, **more)
    assert names.told() == told
    assert names.of_kits
    if order is not None:  # as nnU-Net writes them
        assert sorted(names.written().values()) == sorted(order)


def test_voxels_that_nobody_labelled_are_no_label(described):
    names = described({"kidney": 1, "tumor": 2, "ignore": 3})
    assert names.ignores
    assert names.labels == {"kidney": 1, "tumor": 2}
    found = np.array([[[0, 1, 2, 3]]], np.uint8)
    names.read(found)
    assert found.tolist() == [[[0, 1, 2, IGNORED]]]
    assert names.told() == "1 kidney, 2 tumor, 3 ignored"


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"tumor": 1, "tumour": 2, "kidney": 3}, "names one label twice, 'tumor' and 'tumour'"),
        ({"kidney": 1, "Kidney ": 2}, "names one label twice, 'kidney' and 'Kidney'"),
        ({"1": "spleen", "2": "Spleen"}, "names one label twice, 'spleen' and 'Spleen'"),
        ({"kidney": -1, "tumor": 2}, "gives 'kidney' the value -1; values are 0 to 255"),
        ({"-1": "kidney"}, "gives 'kidney' the value -1"),
        ({"kidney": 300}, "the value 300"),
        ({"kidney": 1.0, "tumor": 2}, "gives 'kidney' the value '1.0', which is no whole number"),
        ({"kidney": True}, "the value 'True', which is no whole number"),
        ({"kidney": "one"}, "which is no whole number"),
        ({"1.5": "kidney"}, "which is no whole number"),
        ({"kidney": None}, "which is no whole number"),
        ({"kidney": [1, "2"]}, "which is no whole number"),
        ({"kidney": 1, "tumor": 1}, "gives 'kidney' and 'tumor' one value, 1"),
        ({"kidney": []}, "they must be some, each once"),
        ({"kidney": [1, 2], "tumor": [1, 2]}, "neither of which holds the other"),
        ({"left": [1, 2], "right": [2, 3]}, "neither of which holds the other"),
        ({"background": 0}, "names no label beside the background"),
        ({}, "names no label beside the background"),
        ([], "does not name its labels"),
        ({"kidney": 0, "tumor": 1}, "0 and 'background' are one"),
        ({"background": 1, "kidney": 2}, "0 and 'background' are one"),
        ({"kidney": 1, "ignore": 2, "tumor": 3}, "gives 'ignore' the value 2"),
        ({"kidney": 1, "": 2}, "a name is 1 to 80 printable characters"),
        ({"kidney": 1, "\x1b[2J": 2}, "a name is 1 to 80 printable characters"),
        ({"kidney": 1, "a:b": 2}, "without a colon"),
    ],
)
def test_labels_without_one_name_and_one_value_are_refused_in_two_lines(described, labels, words):
    with pytest.raises(DataError) as caught:
        described(labels)
    first, second = str(caught.value).splitlines()
    assert "dataset.json" in first
    assert words in first
    assert second.startswith("Expected is such as")


@pytest.mark.parametrize("order", [[1, 2], [1, 1, 2], "1", [1, 3, 1]])
def test_an_order_of_regions_that_is_none_is_refused(described, order):
    labels = {"kidney": [1, 2, 3], "masses": [2, 3], "tumor": 2}
    with pytest.raises(DataError, match="regions_class_order"):
        described(labels, regions_class_order=order)


def test_files_without_a_description_are_told(tmp_path):
    with pytest.raises(DataError, match=r"dataset\.json is missing"):
        read_label_names(tmp_path / "dataset.json")
    for content in ("{", "[1]", '{"labels": {"kidney": 1, "kidney": 2}}'):
        (tmp_path / "dataset.json").write_text(content)
        with pytest.raises(DataError, match=r"dataset\.json .*\nExpected"):
            read_label_names(tmp_path / "dataset.json")


def test_the_nearest_description_above_a_file_counts(tmp_path):
    file = tmp_path / "fold_0" / "validation" / "a.nii.gz"
    assert near(file) is None
    (tmp_path / "fold_0" / "validation").mkdir(parents=True)
    (tmp_path / "dataset.json").write_text('{"labels": {"tumor": 1, "kidney": 2}}')
    assert near(file).told() == "1 tumor, 2 kidney"
    # Another program's file of that name says nothing.
    (tmp_path / "fold_0" / "dataset.json").write_text('{"author": "nobody"}')
    assert near(file).told() == "1 tumor, 2 kidney"
    (tmp_path / "fold_0" / "validation" / "dataset.json").write_text('{"labels": {"liver": 7}}')
    assert near(file).told() == "7 liver"
    assert near(tmp_path / "fold_0" / "validation" / "a" / "b" / "c" / "d.nii") is None


def test_a_folder_of_label_maps_is_named_once(tmp_path):
    swapped = LabelNames({"kidney": 1, "tumor": 2}, {1: 2, 2: 1})
    name_labels(tmp_path, swapped)
    assert read_label_names(tmp_path / "dataset.json") == swapped
    name_labels(tmp_path, swapped)
    with pytest.raises(DataError, match=r"1 tumor, 2 kidney.*\nChoose another folder"):
        check_named(tmp_path, LabelNames({"kidney": 1, "tumor": 2}))


def test_values_go_by_name_between_datasets():
    theirs = LabelNames({"spleen": 3, "liver": 1})
    found = theirs.onto(LabelNames({"liver": 7, "spleen": 2, "aorta": 1}))
    assert found.on_disk == {3: 2, 1: 7}
    with pytest.raises(DataError, match="liver is not among kidney, tumor"):
        theirs.onto(LabelNames({"kidney": 1, "tumor": 2}))
