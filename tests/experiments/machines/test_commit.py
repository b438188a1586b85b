"""Which commit of kitsbench has trained a trial."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from reporting.workdirs import Plan, write_workdir
from stored_files import change

from kitsbench.experiments.machines.commit import checkout_commit
from kitsbench.experiments.records import EnvironmentRecord
from kitsbench.experiments.results import load_results
from kitsbench.reporting import setup
from kitsbench.reporting.analysis import analyse


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_checkout_says_its_commit_and_whether_it_was_changed(tmp_path):
    def git(*words):
        who = ("-c", "user.name=A", "-c", "user.email=a@example.org")
        done = subprocess.run(
            ["git", "-C", tmp_path, *who, *words], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    package = tmp_path / "kitsbench"
    package.mkdir()
    source = package / "__init__.py"
    source.write_text("")
    assert checkout_commit(package) is None
    git("init", "-q")
    assert checkout_commit(package) is None  # nothing was committed
    git("add", ".")
    git("commit", "-q", "-m", "first")
    commit = git("rev-parse", "HEAD")
    assert checkout_commit(package) == commit
    (tmp_path / "notes.txt").write_text("beside the package")
    assert checkout_commit(package) == commit
    source.write_text("changed = True")
    assert checkout_commit(package) == f"{commit}-changed"
    inner = package / "inner"
    inner.mkdir()
    assert checkout_commit(inner) is None  # of another repository's depths nothing is said


def test_the_report_names_the_commit_where_it_is_known(tmp_path):
    workdir = write_workdir(tmp_path, Plan({"a": 0.0}, folds=1, seeds=1, predictions=False))
    (file,) = workdir.glob("trials/*/environment.json")
    assert "commit" not in file.read_text()  # as before the word came
    rows = dict(setup.provenance(analyse(load_results(workdir))).rows)
    assert rows["kitsbench"] == "planned by 0.1.0, trained by 0.1.0"
    change(file, EnvironmentRecord, commit="0123abc-changed")
    rows = dict(setup.provenance(analyse(load_results(workdir))).rows)
    assert rows["kitsbench"] == "planned by 0.1.0, trained by 0.1.0 (commit 0123abc-changed)"
