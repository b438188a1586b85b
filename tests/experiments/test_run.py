"""The main job through the command line: what it leaves, what it says, what it survives."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time

import pandas as pd
import pytest
from command_line import SMALL, call_kitsbench, start_kitsbench

from kitsbench.experiments.plan import description
from kitsbench.experiments.records import TrialRecord, experiment_file
from kitsbench.experiments.results import load_results


def one_fold(phantom, budget):
    """Options of a run that trains each architecture once."""
    return ("--dataset", phantom, *SMALL, "--folds", "0", "--seeds", "1", "--budget", budget)


def test_a_run_ends_with_every_trial_finished_and_a_report(finished):
    _, workdir, done = finished
    assert done.code == 0, done.err
    document = done.json
    assert len(document["trials"]) == 8
    assert {t["status"] for t in document["trials"]} == {"finished"}
    assert {t["ledger"]["steps"] for t in document["trials"]} == {8}
    assert {row["architecture"] for row in document["ranking"]} == {"alpha", "beta"}
    assert (workdir / "report" / "index.html").stat().st_size > 10_000


def test_each_trial_leaves_the_documented_files(finished):
    _, workdir, done = finished
    for trial in done.json["trials"]:
        folder = workdir / "trials" / trial["id"]
        names = {path.name for path in folder.iterdir()}
        assert {
            "trial.json",
            "status.json",
            "ledger.json",
            "environment.json",
            "curve.parquet",
            "scores.parquet",
            "checkpoint",
            "predictions",
        } <= names
        assert "lease.json" not in names
        scores = pd.read_parquet(folder / "scores.parquet")
        assert set(scores["protocol"]) == {"kits19", "labels"}
        assert set(scores["case"]) == set(
            TrialRecord.read(folder / "trial.json").context.test_cases
        )
        labels = scores[scores["protocol"] == "labels"]
        assert set(labels["region"]) == {"kidney", "tumor"}
        curve = pd.read_parquet(folder / "curve.parquet")
        assert {"loss", "lr", "score"} <= set(curve["kind"])


def test_every_case_is_scored_once_by_each_architecture_and_seed(finished):
    _, workdir, _ = finished
    scores = load_results(workdir).scores
    one = scores[
        (scores.protocol == "kits19") & (scores.region == "tumor") & (scores.metric == "dice")
    ]
    assert (one.groupby(["architecture", "seed", "case"]).size() == 1).all()
    assert one["case"].nunique() == 6


def test_the_same_command_again_trains_nothing(finished):
    arguments, workdir, first = finished
    ledgers = {p: p.stat().st_mtime_ns for p in workdir.glob("trials/*/ledger.json")}
    again = call_kitsbench(*arguments)
    assert again.code == 0
    assert {p: p.stat().st_mtime_ns for p in workdir.glob("trials/*/ledger.json")} == ledgers
    assert [t["id"] for t in again.json["trials"]] == [t["id"] for t in first.json["trials"]]


def test_another_seed_adds_trials_and_keeps_the_others(finished):
    arguments, _, first = finished
    arguments = [
        "3" if a == "2" and arguments[i - 1] == "--seeds" else a for i, a in enumerate(arguments)
    ]
    plan = call_kitsbench(*arguments, "--dry-run")
    assert plan.code == 0, plan.err
    states = [t["status"] for t in plan.json["trials"]]
    assert states.count("finished") == 8
    assert states.count("pending") == 4
    assert {t["id"] for t in first.json["trials"]} < {t["id"] for t in plan.json["trials"]}


@pytest.mark.parametrize("change", [("--budget", "9steps"), ("--batch", "3")])
def test_what_a_trial_is_decides_its_identity(finished, change):
    arguments, _, first = finished
    plan = call_kitsbench(*arguments, *change, "--dry-run").json
    assert not {t["id"] for t in plan["trials"]} & {t["id"] for t in first.json["trials"]}


def test_jobs_and_order_do_not_change_identities(finished):
    arguments, _, first = finished
    swapped = [arguments[0], arguments[2], arguments[1], *arguments[3:]]
    plan = call_kitsbench(*swapped, "--jobs", "2", "--dry-run").json
    assert {t["id"] for t in plan["trials"]} == {t["id"] for t in first.json["trials"]}


@pytest.mark.parametrize(
    ("more", "whole"),
    [
        (["--seeds", "3"], {"--seeds": "3"}),
        (["--budget", "9steps"], {"--budget": "9steps"}),
        (["gamma"], {"gamma": None}),
    ],
)
def test_adding_is_asking_for_everything_at_once(finished, plugin, monkeypatch, more, whole):
    arguments, workdir, first = finished
    gamma = plugin("gamma", "Smallest")
    monkeypatch.chdir(gamma.parent)  # names of files mean the same in any folder
    everything = [*arguments, *(f"{gamma}" for key in whole if key == "gamma")]
    for option, value in whole.items():
        if option in everything:
            everything[everything.index(option) + 1] = value
        elif option != "gamma":
            everything += [option, value]
    plan = call_kitsbench(*everything, "--dry-run").json
    more = ["gamma.py" if word == "gamma" else word for word in more]
    added = call_kitsbench("run", "--add", *more, "--workdir", workdir, "--dry-run", "--json")
    assert added.code == 0, added.err
    assert added.json["trials"] == plan["trials"]
    assert added.json["experiment"] == plan["experiment"]
    assert added.json["adds_to"] == first.json["experiment"]
    assert f"Experiment {plan['experiment']} is {first.json['experiment']} of " in added.err


def test_an_experiment_goes_on_by_its_id_alone(finished):
    _, workdir, first = finished
    own = first.json["experiment"]
    asked, record = workdir / "experiments" / own / "request.json", experiment_file(workdir, own)
    before = asked.read_bytes()
    words = ("run", "--workdir", workdir, "--json")
    how = ("--jobs", "1", "--stall", "77", "--timeout", "999", "--device", "cpu")
    again = call_kitsbench(*words, "--experiment", own[:6], *how)
    assert again.code == 0, again.err
    assert again.json["experiment"] == own
    # How this call ran says nothing of what is asked for.
    assert asked.read_bytes() == before
    assert "--stall" not in json.loads(record.read_text())["command"]
    words = (*words, "--dry-run")
    plan = call_kitsbench(*words, "--experiment", own)
    assert (plan.json["experiment"], plan.json["adds_to"]) == (own, own)
    assert {t["id"] for t in again.json["trials"]} == {t["id"] for t in first.json["trials"]}
    assert f"Experiment {own} of " in again.err
    for more, said in (
        (["--experiment", own, "--seeds", "3"], "--seeds was given besides. Say --add"),
        (["--add"], f"`kitsbench run --experiment {own}` does what is left of it"),
        (["--add", "--seeds", "1"], "has 2 seeds, and --add --seeds 1 would take some away"),
        (["--add", "--jobs", "2"], "and nothing to add"),
        (["--experiment", "nothing"], "has no experiment 'nothing'; it has:"),
    ):
        refused = call_kitsbench(*words, *more)
        assert refused.code == 2
        assert said in " ".join(refused.err.split())
        assert "Traceback" not in refused.err


@pytest.mark.exhaustive
def test_a_run_killed_with_sigkill_gives_the_same_scores(finished, tmp_path):
    arguments, whole, _ = finished
    workdir = tmp_path / "work"
    arguments = [str(workdir) if a == whole else str(a) for a in arguments]
    process = start_kitsbench(
        *arguments,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    # In the middle: a checkpoint of a trial that is not finished lies there.
    while time.monotonic() < deadline and process.poll() is None:
        if any(
            not (p.parent.parent / "scores.parquet").exists()
            for p in workdir.glob("trials/*/checkpoint/step-*")
        ):
            break
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = len(list(workdir.glob("trials/*/scores.parquet")))
    assert before < 8
    done = call_kitsbench(*arguments)
    assert done.code == 0, done.err
    for folder in (whole / "trials").iterdir():
        expected = pd.read_parquet(folder / "scores.parquet")
        found = pd.read_parquet(workdir / "trials" / folder.name / "scores.parquet")
        pd.testing.assert_frame_equal(found, expected, check_exact=True)


@pytest.mark.slow
def test_failures_are_contained_and_named(plugin, phantom, tmp_path):
    module = "architectures.broken"
    importless = plugin("importless", "NoSuchClass", module)
    done = call_kitsbench(
        "run",
        plugin("good", "Smallest"),
        plugin("raises", "RaisesInForward", module),
        plugin("nan", "GivesNan", module),
        plugin("hungry", "EatsMemory", module),
        importless,
        *one_fold(phantom, "4steps"),
        "--max-memory",
        "1500MiB",
        "--workdir",
        tmp_path / "work",
        "--json",
    )
    assert done.code == 1, done.err
    reasons = {t["architecture"]: (t["status"], t["reason"]) for t in done.json["trials"]}
    assert reasons == {
        "good": ("finished", None),
        "raises": ("failed", "plugin error"),
        "nan": ("failed", "non-finite loss"),
        "hungry": ("failed", "out-of-memory"),
    }
    ledgers = {t["architecture"]: t["ledger"] for t in done.json["trials"]}
    assert ledgers["good"]["steps"] == 4
    assert ledgers["nan"]["steps"] == 1  # what a failed one has spent is known as well
    assert ledgers["nan"]["device_seconds"] > 0
    assert [b["architecture"] for b in done.json["broken"]] == ["importless"]
    assert "NoSuchClass" in done.json["broken"][0]["error"]
    page = (tmp_path / "work" / "report" / "index.html").read_text()
    for words in ("plugin error", "non-finite loss", "out-of-memory", "NoSuchClass"):
        assert words in page
    # A failed architecture is in the ranking with its missed cases, not absent.
    assert {row["architecture"] for row in done.json["ranking"]} == set(reasons)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_each_process_of_a_trial_is_held_to_the_memory_limit(plugin, phantom, tmp_path, processes):
    arguments = (
        "run",
        plugin("large", "TakesThreeGibibytes", "architectures.broken"),
        *one_fold(phantom, "2steps"),
        "--world-size",
        processes,
        "--workdir",
        tmp_path / "work",
        "--json",
    )
    done = call_kitsbench(*arguments, "--max-memory", "1500MiB")
    assert done.code == 1, done.err
    (trial,) = done.json["trials"]
    assert (trial["status"], trial["reason"]) == ("failed", "out-of-memory")


@pytest.mark.exhaustive
def test_memory_that_runs_out_in_one_process_of_a_trial_is_named(plugin, phantom, tmp_path):
    module = "architectures.broken"
    done = call_kitsbench(
        "run",
        plugin("first", "EatsMemoryInTheFirst", module),
        plugin("second", "EatsMemoryInTheSecond", module),
        *one_fold(phantom, "2steps"),
        "--world-size",
        "2",
        "--workdir",
        tmp_path / "work",
        "--json",
    )
    assert done.code == 1, done.err
    for trial in done.json["trials"]:
        assert (trial["status"], trial["reason"]) == ("failed", "out-of-memory"), trial["message"]
        assert "memory of the machine ran out" in trial["message"]


@pytest.mark.slow
def test_a_trial_that_kills_itself_or_never_ends_stops_nobody(
    plugin, phantom, tmp_path, monkeypatch
):
    monkeypatch.setattr(description, "COST_TIMEOUT", 8.0)  # what never ends is counted as well
    module = "architectures.broken"
    done = call_kitsbench(
        "run",
        plugin("killer", "KillsItself", module),
        plugin("endless", "NeverEnds", module),
        plugin("good", "Smallest"),
        *one_fold(phantom, "4steps"),
        "--timeout",
        "10",
        "--workdir",
        tmp_path / "work",
        "--json",
    )
    assert done.code == 1, done.err
    reasons = {t["architecture"]: t["reason"] for t in done.json["trials"]}
    assert reasons == {"killer": "killed", "endless": "timeout", "good": None}


@pytest.mark.slow
def test_ensembles_share_the_trials_of_their_members(plugin, phantom, tmp_path):
    done = call_kitsbench(
        "run",
        plugin("mean_of_two", "Mean"),
        plugin("vote_of_two", "Vote"),
        "residual_unet",
        *one_fold(phantom, "3steps"),
        "--workdir",
        tmp_path / "work",
        "--json",
    )
    assert done.code == 0, done.err
    trials = {t["architecture"]: t for t in done.json["trials"]}
    assert set(trials) == {
        "mean_of_two",
        "vote_of_two",
        "residual_unet",
        "scau_unet",
    }
    assert trials["mean_of_two"]["ledger"]["steps"] == 0
    results = load_results(tmp_path / "work")
    assert set(results.scores["architecture"]) == set(trials)
    # What members predicted is kept for their ensembles, and no longer.
    assert not list((tmp_path / "work").glob("trials/*/probabilities"))
    ensemble = results.experiment.entrant("mean_of_two")
    parts = [results.experiment.entrant(name).parameters for name in ensemble.members]
    assert len(parts) == 2
    assert ensemble.parameters == sum(parts)
    page = (tmp_path / "work" / "report" / "index.html").read_text().replace("<wbr>", "")
    assert "ensemble: mean of residual_unet and scau_unet" in page
    assert "trained as a member of mean_of_two and vote_of_two only" in page
    assert page.count("trained as a member") == 2  # ranking and costs; not where it was asked for


def test_test_time_mirroring_is_scored_beside_and_trains_nothing(finished, tmp_path):
    arguments, whole, first = finished
    workdir = shutil.copytree(whole, tmp_path / "work")
    arguments = [workdir if a == whole else a for a in arguments] + ["--folds", "0", "--seeds", "1"]
    before = {p: p.stat().st_mtime_ns for p in workdir.glob("trials/*/checkpoint/step-*")}
    done = call_kitsbench(*arguments, "--tta", "mirror")
    assert done.code == 0, done.err
    assert {p: p.stat().st_mtime_ns for p in workdir.glob("trials/*/checkpoint/step-*")} == before
    old = {t["id"] for t in first.json["trials"]}
    new = [t for t in done.json["trials"] if t["id"] not in old]
    assert [t["architecture"] for t in new] == ["alpha+mirror", "beta+mirror"]
    identity = TrialRecord.read(workdir / "trials" / new[0]["id"] / "trial.json").identity
    assert identity.tta == ((2,),)  # the matched recipe of a CPU mirrors left to right
    assert identity.members[0] in old
    scores = load_results(workdir).scores
    one = scores[(scores.protocol == "kits19") & (scores.metric == "dice")]
    means = one.groupby("architecture")["value"].mean()
    assert means["alpha+mirror"] != means["alpha"]
    page = (workdir / "report" / "index.html").read_text()
    assert "averaged over 2 mirror images" in page
    # The recipe mirrors nothing at test time, so asking for that adds nothing.
    plan = call_kitsbench(*arguments, "--tta", "none", "--dry-run").json
    assert {t["id"] for t in plan["trials"]} < old


def test_folders_that_were_exchanged_are_nobodys_results(finished, tmp_path):
    """Neither a plan nor a run takes them for its own, or writes before it says so."""
    arguments, whole, first = finished
    workdir = shutil.copytree(whole, tmp_path / "work", symlinks=True)
    arguments = [workdir if a == whole else a for a in arguments]
    one, other = (workdir / "trials" / t["id"] for t in first.json["trials"][:2])
    one.rename(workdir / "aside")
    other.rename(one)
    (workdir / "aside").rename(other)
    kept = {f: f.read_bytes() for f in (workdir / "experiments").glob("*.json")}
    for more in (["--dry-run"], [], ["--protocol", "kits21"]):
        done = call_kitsbench(*arguments, *more)
        assert done.code == 2
        assert done.out == ""
        assert f"Error: {one / 'trial.json'}: the key id is '{other.name}'" in done.err
        assert {f: f.read_bytes() for f in (workdir / "experiments").glob("*.json")} == kept


def test_another_protocol_on_a_finished_directory_trains_nothing(finished, tmp_path):
    arguments, whole, first = finished
    workdir = shutil.copytree(whole, tmp_path / "work", symlinks=True)
    arguments = [workdir if a == whole else a for a in arguments] + ["--protocol", "kits21"]
    kinds = ("ledger.json", "status.json", "model.safetensors")
    before = {f: f.stat().st_mtime_ns for kind in kinds for f in workdir.rglob(kind)}
    plan = call_kitsbench(*arguments, "--dry-run").json
    assert {t["status"] for t in plan["trials"]} == {"unscored"}
    assert plan["estimate"]["device_seconds"] == 0
    done = call_kitsbench(*arguments)
    assert done.code == 0, done.err
    assert "8 trained and to be scored" in done.err
    assert {f: f.stat().st_mtime_ns for f in before} == before
    assert [t["id"] for t in done.json["trials"]] == [t["id"] for t in first.json["trials"]]
    assert done.json["experiment"] != first.json["experiment"]
    assert set(load_results(workdir).scores["protocol"]) == {"kits21", "labels"}
    earlier = load_results(workdir, first.json["experiment"]).scores
    pd.testing.assert_frame_equal(earlier, load_results(whole).scores, check_exact=True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "No architecture was named"),
        (["run", "unet4d"], "Did you mean"),
        (["run", "unet3d:colour=red"], "colour"),
        (["run", "unet3d", "--budget", "soon"], "budget 'soon'"),
        (["run", "unet3d", "--max-memory", "lots"], "11GiB"),
        (["run", "unet3d", "--folds", "a"], "folds 'a'"),
        (["run", "unet3d", "--patch", "16,16"], "patch '16,16'"),
        (["run", "unet3d", "--dataset", "/no/such/folder"], "neither a folder"),
        (["run", "unet3d", "--device", "cuda"], "CUDA"),
        (["ran", "unet3d"], "Did you mean 'run'"),
    ],
)
def test_wrong_usage_says_what_to_do(tmp_path, arguments, words):
    import torch

    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    where = ["--workdir", tmp_path / "work"] if arguments[0] == "run" else []
    done = call_kitsbench(*arguments, *where)
    assert done.code == 2
    assert words.lower() in done.err.lower()
    assert "Traceback" not in done.err
    assert done.out == ""


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("tumor", "one region and one metric"),
        ("tumour:dice", "no region 'tumour'; it has kidney_and_tumor, tumor"),
        ("tumor:diec", "no metric 'diec'; it has dice, precision, recall"),
    ],
)
def test_an_endpoint_without_scores_is_told_before_training(finished, tmp_path, endpoint, words):
    arguments, workdir, _ = finished
    arguments = [tmp_path / "work" if a == workdir else a for a in arguments]
    done = call_kitsbench(*arguments, "--endpoint", endpoint)
    assert done.code == 2
    assert words in done.err
    assert not (tmp_path / "work" / "trials").exists()


def test_a_configuration_file_sets_options_and_the_command_line_goes_before(
    plugin, phantom, tmp_path
):
    config = tmp_path / "run.toml"
    config.write_text(
        f'architectures = ["{plugin("alpha", "Smallest")}"]\ndataset = "{phantom}"\n'
        'spacing = 9\npatch = [16, 16, 16]\nsplit = 2\nseeds = 3\nbudget = "4steps"\n'
        "folds = [0]\n"
    )
    base = ["run", "--config", config, "--workdir", tmp_path / "work", "--dry-run", "--json"]
    assert len(call_kitsbench(*base).json["trials"]) == 3
    assert len(call_kitsbench(*base, "--seeds", "1").json["trials"]) == 1
    config.write_text('colour = "red"\n')
    done = call_kitsbench(*base)
    assert done.code == 2
    assert "colour" in done.err
