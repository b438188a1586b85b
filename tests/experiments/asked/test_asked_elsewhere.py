"""What was merged from elsewhere runs nothing that was not named here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import call_kitsbench
from reporting.workdirs import Plan, write_workdir
from stored_files import change

from kitsbench.errors import UsageError
from kitsbench.experiments.asked.again import RequestRecord, keep_request
from kitsbench.experiments.asked.elsewhere import name_again
from kitsbench.experiments.asked.request import Request
from kitsbench.experiments.records import find_experiment, request_file

OWN = "0123456789abcdef"


def again(architectures, given, **options):
    before = Request(Path("work"), architectures, **options)
    return name_again(before, given, OWN, "/mnt/other")


def test_files_are_named_by_their_path_or_by_their_name(tmp_path):
    mine = str(tmp_path / "net.py")
    before = ("unet3d", "/there/net.py:width=0.5,weights=a:b.pt")
    for given in (mine, f"{mine}:width=0.5,weights=a:b.pt"):
        found, said = again(before, {"architectures": (given,), "jobs": 2})
        assert found.architectures == ("unet3d", f"{mine}:width=0.5,weights=a:b.pt")
        assert said == {"jobs": 2}
    more = (mine, "vnet", f"{mine}:width=2")
    found, said = again(before, {"architectures": more})
    assert said == {"architectures": more[1:]}
    found, said = again(("/a/net.py", "/b/net.py"), {"architectures": ("/b/net.py", "/a/net.py")})
    assert (found.architectures, said) == (("/a/net.py", "/b/net.py"), {})


@pytest.mark.parametrize(
    ("before", "given"),
    [
        (("/there/net.py",), ()),
        (("/there/net.py",), ("other.py",)),
        (("/there/net.py", "/there/other.py"), ("net.py",)),
        (("/a/net.py", "/b/net.py"), ("net.py",)),
        (("/there/net.py",), ("here/net.py", "there/net.py")),
    ],
)
def test_a_file_that_was_not_named_is_refused(before, given):
    with pytest.raises(UsageError) as refused:
        again(before, {"architectures": given})
    assert f"`kitsbench run --experiment {OWN}`: your" in str(refused.value)
    assert ".py would be imported)" in str(refused.value)


def test_options_of_a_cluster_are_dropped_and_asked_for():
    theirs = {"executor": "slurm", "executor_options": {"setup": "rm -rf ~"}}
    with pytest.raises(UsageError, match="started by slurm with setup=rm -rf ~"):
        again(("a",), {"executor_options": {"time": "8h"}}, **theirs)
    found, said = again(("a",), {"executor": "slurm"}, **theirs)
    assert (found.executor, found.executor_options, said) == ("slurm", {}, {"executor": "slurm"})
    found, _ = again(("a",), {"executor": "local"}, **theirs)
    assert (found.executor, found.executor_options) == ("local", {})


def test_nothing_is_asked_where_only_installed_ones_train_here():
    assert again(("a", "b:width=2"), {"jobs": 2})[1] == {"jobs": 2}


def test_a_merged_experiment_asks_before_it_imports_or_submits(tmp_path):
    plan = Plan({"a": 0.0}, folds=2, seeds=1, showcase=0, predictions=False, profiles=False,
                failed=(("a", 1, 0, "out-of-memory"),))  # fmt: skip
    there, here = write_workdir(tmp_path / "there", plan), tmp_path / "here"
    own = find_experiment(there)
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    request = Request(there, executor="slurm", executor_options={"setup": "touch ran"})
    keep_request(request_file(there, own.id), own.id, request, [(str(tmp_path / "evil.py"), {})])
    assert "merged_from" not in json.loads(request_file(there, own.id).read_text())
    # What the other directory says about itself counts for nothing.
    change(request_file(there, own.id), RequestRecord, merged_from="")
    assert call_kitsbench("trials", "merge", there, "--workdir", here, "--yes").code == 0
    assert RequestRecord.read(request_file(here, own.id)).merged_from == str(there.resolve())
    failed = next(trial.id for trial in own.trials if trial.fold == 1)
    for words in (
        ("run", "--add", "unet3d", "--dry-run"),
        ("run", "--experiment", own.id, "--jobs", "2", "--dry-run"),
        ("trials", "retry", failed),
    ):
        refused = call_kitsbench(*words, "--workdir", here)
        said = " ".join(refused.err.split())
        assert refused.code == 2, said
        assert f"Experiment {own.id} was merged from {there.resolve()}, and nothing" in said
        assert f"your evil.py as ARCH ({tmp_path / 'evil.py'} would be imported)" in said
        assert "would be started by slurm with setup=touch ran)" in said
    assert not (tmp_path / "ran").exists()
