"""What was asked for is kept, and more can be asked for: every option, whatever it is."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
from stored_files import damage, put

from kitsbench.errors import DataError, UsageError
from kitsbench.experiments.asked.again import (
    Design,
    RequestRecord,
    add_to,
    go_on_with,
    keep_request,
    read_request,
)
from kitsbench.experiments.asked.predictions import Predictions
from kitsbench.experiments.asked.request import Request
from kitsbench.experiments.asked.search_space import read_tuning
from kitsbench.registry import parse_request
from kitsbench.training.budget import Budget

OWN = "0123456789abcdef"
# A value for every option that is not the default; a new option wants one here.
OTHER = {
    "architectures": ("a", "b:width=0.5"), "dataset": "/data", "layout": "kits21",
    "recipe": "matched", "budget": Budget(1e18 / 3, "flops"), "max_memory": 2**40,
    "compile": True, "precision": "float32", "folds": (0, 2), "split": "90:10", "seeds": 4,
    "device": "cuda:0", "executor": "slurm", "executor_options": {"partition": "gpu", "cpus": 3},
    "jobs": 2, "world_size": 2, "size": "small", "tta": "mirror", "patch": (8, 16, 16),
    "spacing": (3.0, 0.8, 0.8), "batch": 3, "protocol": "kits19", "endpoint": "tumor:dice",
    "timeout": 60.0, "stall": 90.0, "checkpoint_every": 5.0,
    "tuning": read_tuning(4, {"budget": "5steps", "warmup": [0.0, 0.1]}), "strict": True,
    "predictions": (Predictions("made", Path("/maps"), ("KiTS19", "own CT"), 2.5),),
    "allow_leak": True, "contents": {"0.5": "sha256:" + 64 * "0"},  # of a file of that name
}  # fmt: skip
DESIGN = Design(OWN, (0, 1), 2, Budget(8.0, "steps"))
BEFORE = Request(Path("work"), ("a", "b"), seeds=2, budget=Budget(8.0, "steps"))


def kept(request, names=(("a", {}), ("b", {"width": "0.5"})), file=Path("request.json")):
    keep_request(file, OWN, request, names)
    return read_request(file, request.workdir)


def test_every_option_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain = Request(Path("work"), ("a", "b:width=0.5"))
    assert kept(plain) == plain
    left_out = {"workdir", "command", "all_installed"}
    for field in fields(Request):
        if field.name in OTHER:
            request = replace(plain, **{field.name: OTHER[field.name]})
            assert kept(request) == request, field.name
        elif field.name not in left_out:
            assert field.default is not None or kept(plain) == plain
    full = Request(Path("work"), **OTHER)
    assert kept(full) == full


def test_names_of_files_mean_the_same_in_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    request = Request(Path("work"), ("mine.py",), dataset="scans", split="folds.json")
    found = kept(request, [("mine.py", {"width": "0.5"})])
    assert found.architectures == (f"{tmp_path / 'mine.py'}:width=0.5",)
    assert (found.dataset, found.split) == (str(tmp_path / "scans"), str(tmp_path / "folds.json"))
    assert kept(Request(Path("work"), dataset="phantom"), [("a", {})]).dataset == "phantom"


def test_paths_of_any_letters_are_kept_with_what_was_in_the_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    odd, held = str(tmp_path / "a, b=c 'ä' \"d\".pt"), "sha256:" + 64 * "0"
    names = [(f"{tmp_path}/x,y.py", {"weights": odd, "width": "2"})]
    file = tmp_path / "request.json"
    keep_request(file, OWN, Request(Path("work")), names, {odd: held, "/other": held})
    found = read_request(file, tmp_path)
    assert [parse_request(text) for text in found.architectures] == names
    assert found.contents == {odd: held}
    keep_request(file, OWN, found, [("a", {})])  # which names no file any more
    assert read_request(file, tmp_path).contents == {}


def test_what_all_stood_for_is_kept_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = kept(Request(Path("work"), all_installed=True), [("a", {}), ("b", {})])
    assert (found.architectures, found.all_installed) == (("a", "b"), False)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("schema_version", [2], "A newer kitsbench wrote it"),
        ("options.seeds", ["two"], "the key options.seeds is wrong"),
        ("options.seeds", [True], "the key options.seeds is wrong"),
        ("options.patch", [[1, 2]], "the key options.patch.2 is wrong"),
        ("options.budget", [{"amount": 0.0, "unit": "steps"}], "must be positive"),
        ("options.budget", [{"amount": 1.0, "unit": "euros"}], "cannot be read"),
        ("options.colour", ["red"], "the key options.colour is not known"),
        ("options", [], "the key options is missing"),
    ],
)
def test_a_damaged_file_is_refused_with_what_to_do(tmp_path, key, value, said):
    file = tmp_path / "request.json"
    keep_request(file, OWN, BEFORE, [("a", {})])
    damage(file, lambda content: put(content, key, *value))
    with pytest.raises(DataError) as refused:
        read_request(file, tmp_path)
    assert said in str(refused.value)
    assert str(file) in str(refused.value)
    assert "whole command" in str(refused.value) or "update this one" in str(refused.value)


def test_an_option_that_was_not_known_then_has_its_default(tmp_path):
    file = tmp_path / "request.json"
    keep_request(file, OWN, BEFORE, [("a", {})])
    damage(file, lambda content: put(content, "options.strict"))
    assert read_request(file, tmp_path).strict is False
    assert json.loads(file.read_text())["experiment"] == RequestRecord.read(file).experiment == OWN


def test_architectures_and_folds_are_added_and_the_rest_takes_its_place():
    found = add_to(BEFORE, {"architectures": ("c", "a"), "folds": (1, 3), "seeds": 5}, DESIGN)
    assert (found.architectures, found.folds, found.seeds) == (("a", "b", "c"), (0, 1, 3), 5)
    assert found.budget == BEFORE.budget
    assert add_to(BEFORE, {"folds": "all"}, DESIGN).folds == "all"
    other = add_to(BEFORE, {"budget": Budget(9.0, "steps")}, DESIGN)
    assert (other.budget.amount, other.folds, other.architectures) == (9.0, (0, 1), ("a", "b"))
    assert add_to(BEFORE, {"split": "3"}, DESIGN).folds is None


def test_what_was_left_open_stays_what_it_came_to():
    """Another machine, or another kitsbench, would choose another budget."""
    open_ = Request(Path("work"), ("a",))
    for found in (add_to(open_, {"all_installed": True}, DESIGN), go_on_with(open_, {}, DESIGN)):
        assert (found.folds, found.seeds, found.budget) == ((0, 1), 2, DESIGN.budget)
    assert go_on_with(open_, {}, replace(DESIGN, folds=())).folds is None


def test_options_of_an_executor_go_with_it():
    own = {"cpus": 2, "time": "4h", "sbatch": {"partition": "gpu", "gres": "gpu:1"}}
    before = replace(BEFORE, executor="slurm", executor_options=own)
    more = {"time": "8h", "sbatch": {"gres": "gpu:2"}}
    assert go_on_with(before, {"executor_options": more}, DESIGN).executor_options == {
        "cpus": 2, "time": "8h", "sbatch": {"partition": "gpu", "gres": "gpu:2"},
    }  # fmt: skip
    assert go_on_with(before, {"executor": "local"}, DESIGN).executor_options == {}


def test_a_search_needs_the_shared_recipe():
    paper = replace(BEFORE, recipe="paper")
    with pytest.raises(UsageError, match="--tune searches around the shared recipe"):
        add_to(paper, {"tuning": read_tuning(2, {})}, DESIGN)


def test_label_maps_of_another_name_are_added_and_those_of_the_same_take_the_place():
    first, other = Predictions("a", Path("/a")), Predictions("b", Path("/b"))
    before = replace(BEFORE, predictions=(first,))
    assert add_to(before, {"predictions": (other,)}, DESIGN).predictions == (first, other)
    again = replace(first, folder=Path("/c"))
    assert add_to(before, {"predictions": (again,)}, DESIGN).predictions == (again,)
