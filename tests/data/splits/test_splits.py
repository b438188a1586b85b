"""Splits by name and from files: the rules that others published, and what is refused."""

from __future__ import annotations

import json
import pickle
import shlex
import subprocess
import sys
import unicodedata
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scans import case, kidneys

from kitsbench.data.datasets.dataset import open_dataset
from kitsbench.data.splits.files import export_split, import_split
from kitsbench.data.splits.rules import (
    check_rule,
    choose_rule,
    hold_out,
    is_rule,
    nnunet_folds,
    stratified_folds,
    tumor_volumes,
)
from kitsbench.data.splits.split import Split, make_folds
from kitsbench.errors import DataError, UsageError

KITS19 = [f"case_{k:05d}" for k in range(210)]
KITS21 = [f"case_{k:05d}" for k in range(300)]


@pytest.mark.parametrize(("count", "folds"), [(210, 5), (17, 5), (489, 5), (6, 2), (5, 5)])
def test_the_nnunet_rule_is_that_of_scikit_learn(count, folds):
    selection = pytest.importorskip("sklearn.model_selection")
    cases = [f"case_{k:05d}" for k in range(count)]
    split = nnunet_folds(reversed(cases), folds)
    rule = selection.KFold(folds, shuffle=True, random_state=12345)
    for fold, (train, test) in enumerate(rule.split(cases)):
        assert split.train(fold) == [cases[k] for k in train]
        assert split.test(fold) == [cases[k] for k in test]


def test_the_nnunet_rule_is_that_of_nnunet():
    peer = pytest.importorskip("nnunetv2.utilities.crossval_split")
    expected = peer.generate_crossval_split(KITS19, seed=12345, n_splits=5)
    split = choose_rule("nnunet", KITS19)
    assert [split.test(k) for k in range(5)] == [sorted(map(str, f["val"])) for f in expected]
    assert choose_rule("attention_vnet", KITS19) == split
    assert {(len(split.train(k)), len(split.test(k))) for k in range(5)} == {(168, 42)}


def test_the_nnunet_rule_never_changes():
    """Known without scikit-learn, too."""
    assert nnunet_folds(KITS19).id == "4791f74b49efdf7e"
    assert nnunet_folds([f"c{k}" for k in range(6)], 3).folds == (
        ("c3", "c5"),
        ("c0", "c4"),
        ("c1", "c2"),
    )


def test_published_hold_outs():
    msan = choose_rule("msan", KITS19)
    assert msan.train(0) == KITS19[:180]
    assert msan.test(0) == KITS19[180:190]
    assert len(msan.folds) == 1
    assert len(msan.cases) == 190  # the last 20 are in neither part
    for name, sizes in (("scau_unet", (270, 30)), ("cascade_classifier", (240, 60))):
        split = choose_rule(name, KITS21)
        assert (len(split.train(0)), len(split.test(0))) == sizes
    assert choose_rule("90:10", KITS21) == choose_rule("scau_unet", KITS21)
    # Shuffled: not simply the last ones.
    assert choose_rule("90:10", KITS21).test(0) != KITS21[-30:]


@given(
    cases=st.lists(st.text(min_size=1, max_size=5), min_size=2, max_size=50, unique=True),
    train=st.integers(1, 99),
    seed=st.integers(0, 9),
)
def test_a_hold_out_uses_every_case_once(cases, train, seed):
    split = hold_out(cases, train, 100 - train, seed)
    assert sorted(split.train(0) + split.test(0)) == sorted(cases)
    assert abs(len(split.test(0)) - len(cases) * (100 - train) / 100) <= 1
    assert hold_out(reversed(cases), train, 100 - train, seed) == split


@given(
    volumes=st.lists(st.floats(0, 2000), min_size=4, max_size=60),
    folds=st.integers(2, 4),
)
def test_stratified_folds_are_alike(volumes, folds):
    named = {f"case_{k:05d}": volume for k, volume in enumerate(volumes)}
    split = stratified_folds(named, folds)
    assert split.cases == sorted(named)
    order = sorted(named, key=lambda name: (named[name], name))
    rank = {name: place for place, name in enumerate(order)}
    sizes = [len(fold) for fold in split.folds]
    assert max(sizes) - min(sizes) <= 1
    for fold in split.folds:
        # No fold holds two of a group of neighbours in volume, and none lacks a whole group.
        groups = sorted(rank[name] // folds for name in fold)
        assert len(set(groups)) == len(groups)
        assert set(range(len(volumes) // folds)) <= set(groups)


def test_stratified_folds_have_closer_means_than_shuffled_ones():
    rng = np.random.default_rng(0)
    volumes = {name: float(v) for name, v in zip(KITS19, rng.lognormal(3.4, 1.6, 210), strict=True)}

    def spread(split):
        return np.std([np.mean([np.log(volumes[c]) for c in fold]) for fold in split.folds])

    shuffled = [spread(make_folds(KITS19, 5, seed)) for seed in range(20)]
    assert spread(stratified_folds(volumes)) < min(shuffled)


def test_volumes_are_those_of_the_masks(folder):
    big = kidneys()
    big[5:8, 5:9, 3:9] = 2
    case(folder / "data", "case_00002", label=big)
    found = tumor_volumes(open_dataset(folder))
    expected = np.count_nonzero(big == 2) * 3 * 2 * 2 / 1000
    assert found["case_00002"] == pytest.approx(expected)
    assert found["case_00000"] == pytest.approx(np.count_nonzero(kidneys() == 2) * 12 / 1000)


def test_files_of_nnunet_come_and_go(tmp_path):
    split = nnunet_folds(KITS19[:12], 3)
    path = tmp_path / "splits_final.json"
    export_split(split, path)
    content = json.loads(path.read_text())
    assert set(content[0]) == {"train", "val"}
    assert import_split(path, KITS19).id == split.id  # a cross-validation keeps its id
    held = choose_rule("msan", KITS19)
    export_split(held, path)
    assert choose_rule(str(path), KITS19) == held
    (tmp_path / "own.json").write_text(json.dumps(held.to_dict()))
    assert choose_rule(str(tmp_path / "own.json"), KITS19) == held


SPLIT = [
    {"train": ["case_0", "case_1"], "val": ["M\u00fc"]},
    {"train": ["M\u00fc"], "val": ["case_0"]},
]
CASES = ["case_0", "case_1", "M\u00fc"]


@pytest.mark.parametrize(
    "spell",
    [
        lambda name: name,
        lambda name: f"{name}.nii.gz",
        lambda name: f"{name}_0000.NII.GZ",
        lambda name: unicodedata.normalize("NFD", name).upper(),
    ],
)
@pytest.mark.parametrize("mark", ["utf-8", "utf-8-sig", "utf-16"])
def test_names_in_a_split_are_matched_to_the_cases(tmp_path, spell, mark):
    path = tmp_path / "SPLITS.JSON"
    spelled = [{key: [spell(n) for n in names] for key, names in fold.items()} for fold in SPLIT]
    path.write_bytes(json.dumps(spelled, ensure_ascii=False).encode(mark))
    split = choose_rule(str(path), CASES)
    assert split.folds == (("M\u00fc",), ("case_0",))
    assert split.train(0) == ["case_0", "case_1"]
    path.write_text(json.dumps(SPLIT))
    assert choose_rule(str(path), CASES).id == split.id


def test_two_names_of_one_case_in_a_split_are_refused(tmp_path):
    path = tmp_path / "s.json"
    path.write_text('[{"train": ["a", "A.nii.gz"], "val": ["b"]}]')
    with pytest.raises(DataError, match=r"'A.nii.gz' and 'a' both mean the case a"):
        import_split(path, ["a", "b"])


def test_data_lists_of_monai_are_splits(tmp_path):
    path = tmp_path / "list.json"

    def listed(*names, image="data/{}/imaging.nii.gz", label="data/{}/segmentation.nii.gz"):
        return [{"image": image.format(n), "label": label.format(n)} for n in names]

    entries = listed(*CASES)
    for fold, entry in zip((0, 1, 1), entries, strict=True):
        entry["fold"] = fold
    path.write_text(json.dumps({"training": entries, "testing": []}))
    assert choose_rule(str(path), CASES).folds == (("case_0",), ("M\u00fc", "case_1"))
    for image, label in (
        ("imagesTr/{}_0000.nii.gz", "labelsTr/{}.nii.gz"),
        ("./imagesTr/{}.nii.gz", "./labelsTr/{}.nii.gz"),
        (".\\{}\\image.nii.gz", ".\\{}\\label.nii.gz"),
    ):
        parts = (("training", CASES[1:]), ("validation", CASES[:1]))
        lists = {key: listed(*names, image=image, label=label) for key, names in parts}
        path.write_text(json.dumps(lists))
        split = choose_rule(str(path), CASES)
        assert (split.test(0), split.train(0)) == (["case_0"], ["M\u00fc", "case_1"])
    for broken, words in (
        ({"training": listed(*CASES)}, "no split.*fold"),
        ({"training": [{"image": 3}]}, "malformed"),
        ({"training": [3]}, "malformed"),
        ({"training": "all"}, "no list"),
        ({"training": [{**entries[0], "fold": "one"}]}, "malformed"),
        ({"training": [{**entries[0], "fold": 1}, {**entries[1], "fold": 3}]}, "no split"),
    ):
        path.write_text(json.dumps(broken))
        with pytest.raises(DataError, match=words):
            choose_rule(str(path), CASES)


class Fires:
    """A pickle that writes a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_is_never_read_and_can_be_converted(tmp_path):
    path = tmp_path / "splits_final.pkl"
    path.write_bytes(pickle.dumps(Fires(tmp_path / "fired")))
    for ask in (check_rule, lambda text: choose_rule(text, CASES)):
        with pytest.raises(DataError, match="may run any code"):
            ask(str(path))
    assert not (tmp_path / "fired").exists()
    # As nnU-Net 1 writes it; the command of the message makes what nnU-Net 2 writes.
    folds = [OrderedDict((k, np.array(names)) for k, names in fold.items()) for fold in SPLIT]
    path.write_bytes(pickle.dumps(folds))
    with pytest.raises(DataError) as refused:
        check_rule(str(path))
    command = str(refused.value).splitlines()[-1]
    subprocess.run([sys.executable, *shlex.split(command)[1:]], check=True)
    assert json.loads(path.with_suffix(".json").read_text()) == SPLIT


BROKEN = [
    ("{", "cannot be read as JSON"),
    ("[]", "no split"),
    ("7", "no split"),
    ('[{"train": ["a"]}]', "fold 0 is malformed"),
    ('[{"train": "abc", "val": ["d"]}]', "fold 0 is malformed"),
    ('[{"train": ["a"], "val": ["a"]}]', "case a is trained on and tested in fold 0"),
    ('[{"train": [], "val": ["a"]}]', "trains on no case"),
    ('[{"train": ["a"], "val": []}]', "fold 0 is empty"),
    ('[{"train": ["a"], "val": ["b"]}, {"train": ["a"], "val": ["b"]}]', "case b is in fold 0 and"),
    ('{"folds": [["a"], "bc"]}', "malformed"),
    ('{"folds": [["a"]], "training": [["b"], ["c"]]}', "for 2 of its 1 folds"),
    ('{"folds": [["a"]]}', "needs at least 2"),
    ('[{"train": ["a"], "val": ["zz"]}]', "names 1 cases that cannot be used here: zz"),
]


@pytest.mark.parametrize(("text", "reason"), BROKEN)
def test_files_that_are_no_split_say_why(tmp_path, text, reason):
    path = tmp_path / "split.json"
    path.write_text(text)
    with pytest.raises(DataError, match=reason) as error:
        import_split(path, ["a", "b", "c", "bc"])
    assert str(path) in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no file .*none\.json"):
        choose_rule(str(tmp_path / "none.json"), KITS19)


@pytest.mark.parametrize(
    ("text", "cases", "reason"),
    [
        ("nnunett", KITS19, "not known"),
        ("1", KITS19, "cannot be made"),
        ("nnunet:900", KITS19, "cannot be made"),
        ("attention_vnet", KITS19[:200], "210 cases of KiTS19"),
        ("attention_vnet", KITS21, "210 cases of KiTS19"),
        ("msan", KITS19[:100], "100 of the first and 0"),
        ("0:10", KITS19, "cannot be split"),
        ("stratified", KITS19, "needs the masks"),
        ("mlperf", KITS19, "do not come with kitsbench"),
    ],
)
def test_rules_that_do_not_fit_say_why(text, cases, reason):
    with pytest.raises(UsageError, match=reason):
        choose_rule(text, cases)


def test_what_looks_like_a_rule():
    for text in ("5", "nnunet", "nnunet:3", "stratified", "msan", "90:10", "a/b.json", "mlperf"):
        assert is_rule(text)
    for text in ("", "nnunett", "five", "90:", ":10", "-1", "2.5", "msan x"):
        assert not is_rule(text)


def test_a_list_that_says_what_a_cross_validation_does_is_one():
    plain = Split((("a", "b"), ("c",)))
    listed = Split((("a", "b"), ("c",)), (("c",), ("b", "a")))
    assert listed == plain
    assert listed.id == plain.id
    other = Split((("a", "b"), ("c",)), (("c",), ("a",)))
    assert other.id != plain.id
    assert Split.from_dict(json.loads(json.dumps(other.to_dict()))) == other
    assert (other.fold_of("c"), other.fold_of("zz")) == (1, None)
