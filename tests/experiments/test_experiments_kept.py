"""Every experiment has a file of its own, and one of them is the latest."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from command_line import call_kitsbench
from reporting.workdirs import Plan, write_workdir
from stored_files import experiment_of, replan

from kitsbench.errors import DataError, UsageError
from kitsbench.experiments.records import find_experiment, keep_experiment, make_latest
from kitsbench.experiments.results import load_results
from kitsbench.reporting.link import lead_to

PLAN = Plan({"a": 0.0, "b": 0.1}, folds=1, seeds=1, showcase=0, predictions=False)


@pytest.fixture
def two(tmp_path):
    """A working directory with two experiments, the second about another endpoint."""
    workdir = write_workdir(tmp_path / "work", PLAN)
    first = find_experiment(workdir)
    second = replan(workdir, endpoint="kidney_and_tumor:dice")
    return workdir, first, second


def test_the_id_is_the_hash_of_what_results_depend_on(two):
    workdir, first, second = two
    assert first.id != second.id
    assert load_results(workdir).experiment == second
    assert load_results(workdir, first.id[:6]).experiment == first
    for key, value in (
        ("created", "2030-01-01T00:00:00+00:00"),
        ("command", "kitsbench run"),
        ("entrants", first.entrants[::-1]),
        ("trials", first.trials[::-1]),
        ("dataset", first.dataset.model_copy(update={"path": "/elsewhere"})),
    ):
        assert replan(workdir, endpoint=first.endpoint, **{key: value}).id == first.id, key
    for key, value in (
        ("seeds", 2),
        ("trials", first.trials[:1]),
        ("protocols", ("kits19",)),
        ("dataset", first.dataset.model_copy(update={"fingerprint": "another"})),
        ("budget", first.budget.model_copy(update={"amount": 7.0})),
        (
            "entrants",
            (first.entrants[0].model_copy(update={"source_hash": "c" * 16}), *first.entrants[1:]),
        ),
    ):
        assert replan(workdir, endpoint=first.endpoint, **{key: value}).id != first.id, key


def test_verbs_take_an_experiment_or_the_latest(two, tmp_path):
    workdir, first, second = two
    one, other = (call_kitsbench("report", workdir, *e) for e in ((), ("--experiment", first.id)))
    assert one.out.strip() == str(workdir / "experiments" / second.id / "report" / "index.html")
    assert other.out.strip() == str(workdir / "experiments" / first.id / "report" / "index.html")
    assert (workdir / "report").resolve() == (workdir / "experiments" / second.id / "report")
    for chosen, region in (((), "kidney_and_tumor"), (("--experiment", first.id), "tumor")):
        options = ("--endpoint", f"{region}:dice", *chosen, "--json")
        found = call_kitsbench("compare", workdir, *options).json
        table = call_kitsbench(
            "compare", workdir / "report" / "scores.csv", "--endpoint", f"{region}:dice",
            "--protocol", "kits19", "--fold-count", "1", "--json",
        ).json  # fmt: skip
        assert found["ranking"] == table["ranking"]
    assert call_kitsbench("claims", workdir, "--experiment", first.id, "--json").code == 0
    added = call_kitsbench(
        "leaderboard", "add", workdir, "--to", tmp_path / "board", "--experiment", first.id
    )
    assert added.code == 0, added.err
    entry = json.loads(next((tmp_path / "board").glob("*.json")).read_text())
    assert entry["endpoint"] == "tumor:dice"


@pytest.mark.parametrize("verb", ["report", "claims", "compare", "leaderboard"])
def test_an_unknown_experiment_is_answered_with_those_that_exist(two, tmp_path, verb):
    workdir, first, second = two
    words = {"leaderboard": ["leaderboard", "add", workdir, "--to", tmp_path / "board"]}
    done = call_kitsbench(*words.get(verb, [verb, workdir]), "--experiment", "nothing")
    assert done.code == 2
    assert f"Error: {workdir} has no experiment 'nothing'; it has:\n" in done.err
    for one in (first, second):
        line = f"\n{one.id}: {one.created}, a, b, phantom, 20s a trial, kits19, 2 trials"
        assert line in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "board").exists()


@pytest.mark.parametrize("verb", ["claims", "compare"])
def test_a_table_has_no_experiments(two, tmp_path, verb):
    call_kitsbench("report", two[0])
    done = call_kitsbench(verb, two[0] / "report" / "scores.csv", "--experiment", two[1].id)
    assert done.code == 2
    assert "is a score table, which has no experiments" in done.err


def test_what_names_no_experiment_is_refused_with_what_to_do(two, tmp_path):
    workdir, first, _ = two
    latest = workdir / "experiments" / "latest.json"
    latest.unlink()
    with pytest.raises(DataError, match=r"latest\.json is missing.*--experiment") as refused:
        find_experiment(workdir)
    assert first.id in str(refused.value)
    make_latest(workdir, "0123456789abcdef")
    with pytest.raises(DataError, match=r"0123456789abcdef\.json cannot be read"):
        find_experiment(workdir)
    with pytest.raises(UsageError, match="has no experiment ''"):
        find_experiment(workdir, "")
    keep_experiment(workdir, first)
    experiment_of(workdir).rename(workdir / "experiments" / "0123456789abcdef.json")
    with pytest.raises(DataError, match="not its file's name"):
        find_experiment(workdir, "0123456789abcdef")
    before = tmp_path / "before"
    before.mkdir()
    (before / "experiment.json").write_text("{}")
    with pytest.raises(DataError, match="was written by an earlier kitsbench") as refused:
        load_results(before)
    assert len(str(refused.value).splitlines()) == 2


def test_the_stable_place_leads_to_the_latest_report(two, monkeypatch):
    workdir, first, second = two
    place = workdir / "report"
    for one in (first, second):
        page = workdir / "experiments" / one.id / "report" / "index.html"
        page.parent.mkdir(parents=True)
        page.write_text(one.id)
    place.mkdir()
    (place / "scores.csv").write_text("of an earlier kitsbench")
    assert str(workdir / "report-before-1") in lead_to(workdir, first.id)
    assert (workdir / "report-before-1" / "scores.csv").read_text() == "of an earlier kitsbench"
    assert (place / "index.html").read_text() == first.id
    assert lead_to(workdir, second.id) is None
    assert (place / "index.html").read_text() == second.id
    moved = shutil.move(workdir, workdir.parent / "moved")
    assert (moved / "report" / "index.html").read_text() == second.id

    def no_links(*arguments, **options):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "symlink", no_links)
    for one in (first, second):
        assert lead_to(moved, one.id) is None
        assert not (moved / "report").is_symlink()
        assert [path.name for path in (moved / "report").iterdir()] == ["index.html"]
        leads = f'url=../experiments/{one.id}/report/index.html"'
        assert leads in (moved / "report" / "index.html").read_text()
