"""``kitsbench report``."""

from __future__ import annotations

import pytest
from command_line import call_kitsbench
from reporting.workdirs import Plan, write_workdir


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    plan = Plan({"a": 0.0, "b": 0.1}, folds=1, showcase=0, predictions=False)
    return write_workdir(tmp_path_factory.mktemp("cli"), plan)


def test_it_says_where_it_writes(workdir, tmp_path):
    done = call_kitsbench("report", workdir, "-o", tmp_path / "out")
    assert done.code == 0
    assert done.out.strip() == str(tmp_path / "out" / "index.html")
    assert (tmp_path / "out" / "index.html").is_file()


def test_the_working_directory_is_kitsbench_work_by_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = call_kitsbench("report")
    assert done.code == 2
    assert done.err.startswith("Error: kitsbench-work holds no experiment, so")
    assert "Traceback" not in done.err


def test_it_says_what_it_moved_out_of_the_way(tmp_path):
    workdir = write_workdir(tmp_path, Plan({"a": 0.0}, folds=1, seeds=1, predictions=False))
    (workdir / "report").mkdir()
    (workdir / "report" / "notes.txt").write_text("mine")
    done = call_kitsbench("report", workdir)
    assert done.code == 0
    assert f"it is {workdir / 'report-before-1'} now" in done.err.replace("\n", " ")
    assert (workdir / "report-before-1" / "notes.txt").read_text() == "mine"


@pytest.mark.exhaustive
def test_one_that_is_stopped_leaves_no_half_and_the_old_one_as_it_was(
    workdir, tmp_path, monkeypatch
):
    new, old = tmp_path / "new", tmp_path / "old"
    assert call_kitsbench("report", workdir, "-o", old).code == 0
    before = {file: file.read_bytes() for file in old.rglob("*") if file.is_file()}

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("kitsbench.reporting.files.beside.paper_tables", stop)
    for folder in (new, old):
        assert call_kitsbench("report", workdir, "-o", folder).code == 130
    assert not new.exists()
    assert list(tmp_path.iterdir()) == [old]
    assert {file: file.read_bytes() for file in old.rglob("*") if file.is_file()} == before


def test_a_name_that_is_not_there_is_told_with_close_ones(workdir, tmp_path):
    for words, told in (
        (("--architectures", "a,bb"), "There is no architecture 'bb' in this experiment."),
        (("--endpoint", "tumour:dice"), "Did you mean tumor:dice"),
        (("--baseline", "aa"), "Did you mean a?"),
        (("--region", "kidny"), "Did you mean kidney"),
        (("--region", "kidney"), "The endpoint is tumor:dice, and --region leaves out tumor."),
    ):
        done = call_kitsbench("report", workdir, "-o", tmp_path / "none", *words)
        assert done.code == 2, words
        assert told in done.err.replace("\n", " "), done.err
        assert "Traceback" not in done.err
    assert not (tmp_path / "none").exists()
