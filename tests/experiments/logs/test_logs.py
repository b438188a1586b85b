"""TensorBoard and MLflow get what a trial tells, as their own readers read it back."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pandas as pd
import pytest

from kitsbench.errors import UsageError
from kitsbench.experiments.asked.again import read_request
from kitsbench.experiments.executors.events import Event
from kitsbench.experiments.experiment import plan_experiment
from kitsbench.experiments.logs import LOGGERS, Logs, check_loggers, follow
from kitsbench.experiments.logs.scalars import scalars_of
from kitsbench.experiments.logs.to_mlflow import PLACE, TRIAL
from kitsbench.experiments.records import Status, find_experiment, request_file
from kitsbench.experiments.trial.folder import TrialFolder
from kitsbench.experiments.trial.telling import live_curve

EventAccumulator = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator"
).EventAccumulator
pytest.importorskip("mlflow")


def rows(steps, loss=1.0, batch_s=0.5):
    """The curve of a trial after so many steps."""
    found = []
    for step in range(steps):
        where = [step, step / 10, batch_s * (step + 1)]
        found.append([*where, "loss", "loss", loss / (step + 1)])
        found.append([*where, "loss", "a:b / ..", 0.25])
        found.append([*where, "loss", "a_b _..", 0.5])  # the same tag by the rules of the tools
        found.append([*where, "gradient", "gradient norm", float("inf") if step == 1 else 2.0])
        found.append([*where, "lr", "lr", 0.1])
    return found


@pytest.fixture
def task(tmp_path):
    return make_task(tmp_path, "0123456789abcdef")


def make_task(tmp_path, name):
    folder = TrialFolder(tmp_path / "work", name)
    folder.path.mkdir(parents=True)
    folder.set_status("running")
    context = SimpleNamespace(
        tuning=None,
        dataset_name="phantom",
        recipe=SimpleNamespace(name="matched"),
        budget=SimpleNamespace(text="10steps"),
    )
    trial = SimpleNamespace(
        id=folder.path.name, name="net:key=[x]/../y", fold=1, seed=2, context=context
    )
    return SimpleNamespace(
        id=trial.id,
        trial=trial,
        folder=folder,
        device="cpu",
        recipe=SimpleNamespace(batch=2),
        protocols=("kits19",),
    )


def write(task, found, half=""):
    lines = "".join(json.dumps(row) + "\n" for row in found)
    live_curve(task.folder).write_text(lines + half, encoding="utf-8")


def read_tensorboard(workdir):
    """{tag: [(step, value)]} of the only run, by TensorBoard's own reader."""
    (folder,) = (workdir / "tensorboard").iterdir()
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return {
        tag: [(one.step, one.value) for one in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """A database of MLflow without runs, whose making takes seconds."""
    from kitsbench.experiments.logs.to_mlflow import MLflow

    folder = tmp_path_factory.mktemp("mlflow")
    MLflow(folder)
    return folder / "mlflow.db"


@pytest.fixture
def with_database(empty_database, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "work").mkdir(exist_ok=True)
    shutil.copy(empty_database, tmp_path / "work" / "mlflow.db")


def read_mlflow(workdir):
    """The only run, and {key: [(step, value)]}, by MLflow's own client."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{workdir / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("kitsbench")
    (run,) = client.search_runs([experiment.experiment_id])
    history = {
        key: sorted(
            (one.step, one.value) for one in client.get_metric_history(run.info.run_id, key)
        )
        for key in run.data.metrics
    }
    return run, history


def look(name, task, end=None, tell=print):
    """Let a new process follow the trial: what it knows is what the store has."""
    logger = follow._Logger(name, task.folder.path.parent.parent, tell)
    logger.look([task], {} if end is None else {task.id: end}, last=True)
    logger.close()
    return logger


def expected(steps):
    """What the tools shall hold of the losses."""
    return [(step, pytest.approx(1.0 / (step + 1), rel=1e-6)) for step in range(steps)]


def test_tensorboard_reads_back_what_was_told(task):
    write(task, rows(3), half='[3, 0.3, 2.0, "lo')
    look("tensorboard", task)
    workdir = task.folder.path.parent.parent
    found = read_tensorboard(workdir)
    assert found["loss/loss"] == expected(3)
    assert [step for step, _ in found["gradient_norm"]] == [0, 2]
    assert found["loss/a_b_"] == [(0, 0.25), (1, 0.25), (2, 0.25)]
    # Two patches in half a second of the device.
    assert found["patches_per_s"] == [(1, 4.0), (2, 4.0)]
    (folder,) = (workdir / "tensorboard").iterdir()
    assert folder.name.endswith("-01234567")
    assert "/" not in folder.name


def test_a_trial_that_goes_on_has_one_run_and_no_step_twice_in_tensorboard(task):
    workdir = task.folder.path.parent.parent
    write(task, rows(4))
    look("tensorboard", task)
    write(task, rows(3))  # from a checkpoint: it takes steps again
    look("tensorboard", task)
    write(task, rows(6))
    look("tensorboard", task, "finished")
    look("tensorboard", task, "finished")
    found = read_tensorboard(workdir)
    assert found["loss/loss"] == expected(6)
    assert [step for step, _ in found["lr"]] == list(range(6))


def test_mlflow_reads_back_what_was_told_and_a_trial_goes_on_in_its_run(task, with_database):
    workdir = task.folder.path.parent.parent
    write(task, rows(4))
    look("mlflow", task, "killed")
    run, found = read_mlflow(workdir)
    assert run.info.status == "KILLED"
    write(task, rows(3))
    look("mlflow", task)
    write(task, rows(6))
    look("mlflow", task)
    run, found = read_mlflow(workdir)
    assert run.info.status == "RUNNING"
    look("mlflow", task, "finished")
    run, found = read_mlflow(workdir)
    assert run.info.status == "FINISHED"
    assert found["loss/loss"] == [(step, 1.0 / (step + 1)) for step in range(6)]
    assert [step for step, _ in found["patches_per_s"]] == [1, 2, 3, 4, 5]
    assert run.info.run_name == "net:key=[x]/../y fold 1 seed 2"
    assert run.data.params["architecture"] == "net:key=[x]/../y"
    assert run.data.params["budget"] == "10steps"
    assert run.data.tags[TRIAL] == task.id
    assert PLACE in run.data.tags


def test_mlflow_writes_where_the_environment_says(task, with_database, monkeypatch):
    workdir = task.folder.path.parent.parent
    elsewhere = workdir.parent / "other"
    elsewhere.mkdir()
    (workdir / "mlflow.db").rename(elsewhere / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere / 'mlflow.db'}")
    write(task, rows(2))
    look("mlflow", task, "finished")
    assert not (workdir / "mlflow.db").exists()
    assert read_mlflow(elsewhere)[1]["loss/loss"] == [(0, 1.0), (1, 0.5)]


def test_a_logger_that_fails_says_so_once_and_what_is_missing_comes_later(
    task,
):
    workdir = task.folder.path.parent.parent
    (workdir / "tensorboard").write_text("a file where a folder belongs")
    write(task, rows(2))
    said = []
    logger = follow._Logger("tensorboard", workdir, said.append)
    for _ in range(3):
        logger.look([task], {}, last=True)
    assert len(said) == 1
    assert said[0].startswith("--log tensorboard fails: ")
    assert "Training goes on" in said[0]
    (workdir / "tensorboard").unlink()
    logger.look([task], {}, last=False)  # not before its time
    assert not (workdir / "tensorboard").exists()
    logger.not_before = 0.0
    logger.look([task], {}, last=False)
    logger.close()
    assert len(said) == 1
    assert read_tensorboard(workdir)["loss/loss"] == expected(2)


def test_one_trial_that_cannot_be_written_holds_up_no_other(tmp_path):
    tasks = [make_task(tmp_path, f"{number}" * 16) for number in (1, 2, 3)]
    workdir = tmp_path / "work"
    for one in tasks:
        write(one, rows(2))
    look("tensorboard", tasks[1], "finished")
    (own,) = (workdir / "tensorboard").iterdir()
    shutil.rmtree(own)
    own.write_text("a file where the folder of this trial belongs")
    said = []
    logger = follow._Logger("tensorboard", workdir, said.append)
    for _ in range(3):
        logger.look(tasks, {}, last=False)
    assert len(said) == 1
    assert said[0].startswith(f"--log tensorboard fails for trial {tasks[1].id}: ")
    assert "The others are written" in said[0]
    assert len([folder for folder in own.parent.iterdir() if folder.is_dir()]) == 2
    own.unlink()
    logger.sick[tasks[1].id] = 0.0  # its time has come
    logger.look(tasks, {}, last=False)
    logger.close()
    assert len(said) == 1
    assert own.is_dir()
    # What nothing can be read of is no reason to fail.
    tasks[0].folder.curve.write_bytes(b"no parquet")
    look("tensorboard", tasks[0])


def test_a_server_that_is_away_ends_no_run(task, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(follow, "LOOK_EVERY", 0.05)
    write(task, rows(2))
    said = []
    with Logs(("mlflow",), task.folder.path.parent.parent, said.append) as logs:
        heard = []
        notify = logs.beside(heard.append)
        notify(Event(task, "started"))
        notify(Event(task, "finished"))
    assert [event.kind for event in heard] == ["started", "finished"]
    assert len(said) == 2
    assert said[0].startswith("--log mlflow fails: ")
    assert "the same command writes what is missing" in said[1]


def test_what_was_trained_before_is_written_when_it_is_asked_for(finished, tmp_path):
    _, workdir, done = finished
    copy = tmp_path / "work"
    shutil.copytree(workdir, copy)
    record = find_experiment(copy)
    request = read_request(request_file(copy, record.id), copy)
    tasks = plan_experiment(request, costs=False).tasks
    assert {task.id for task in tasks} == {trial["id"] for trial in done.json["trials"]}
    with Logs(("tensorboard",), copy, print) as logs:
        logs.follow(tasks)
    folders = sorted((copy / "tensorboard").iterdir())
    assert len(folders) == len(tasks) == 8
    one = tasks[0]
    (folder,) = (found for found in folders if found.name.endswith(one.id[:8]))
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    curve = pd.read_parquet(one.folder.curve)
    losses = curve[(curve["kind"] == "loss") & (curve["name"] == "loss")]
    read = {event.step: event.value for event in found.Scalars("loss/loss")}
    assert list(read) == list(losses["step"])
    assert list(read.values()) == pytest.approx(list(losses["value"]), rel=1e-6)
    assert "held_out/tumor_dice" in found.Tags()["scalars"]
    (event,) = found.Scalars("held_out/tumor_dice")
    scores = pd.read_parquet(one.folder.scores)
    own = scores[(scores["protocol"] == "kits19") & (scores["region"] == "tumor")]
    mean = own.loc[own["metric"] == "dice", "value"].mean()
    assert event.value == pytest.approx(mean, abs=1e-6)
    assert event.step == curve["step"].max()
    began = Status.read(one.folder.path / "status.json").started
    assert pd.Timestamp(event.wall_time, unit="s", tz="UTC") >= pd.Timestamp(began)


def test_a_missing_package_is_told_with_the_command_that_brings_it(monkeypatch):
    import importlib

    known = importlib.import_module

    def without(name, package=None):
        if name.split(".")[0] in ("tensorboard", "mlflow", "alembic"):
            raise ImportError(f"No module named '{name}'")
        return known(name, package)

    monkeypatch.setattr("kitsbench.optional.importlib.import_module", without)
    for name in LOGGERS:
        with pytest.raises(UsageError, match=rf"kitsbench\[{name}\]"):
            check_loggers([name])
    check_loggers([])


def test_a_trial_that_nobody_began_has_nothing_to_log(task):
    assert scalars_of(task) == []
    look("tensorboard", task, "failed")
    assert not (task.folder.path.parent.parent / "tensorboard").exists()


def test_none_is_no_logger(task):
    def heard(event):
        return None

    check_loggers(["none"])
    with Logs(("none",), task.folder.path, print) as logs:
        assert logs.beside(heard) is heard
