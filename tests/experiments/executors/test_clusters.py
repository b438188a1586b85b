"""Real clusters on this machine: Ray with two nodes, of which one dies, and Slurm with one."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
import time
from collections import Counter

import psutil
import pytest
from command_line import SMALL, environment, heed_interrupts, run_kitsbench, start_kitsbench
from experiments.real_clusters import free_ports

from kitsbench.errors import DataError
from kitsbench.experiments.records import LedgerRecord, Status, StopsRecord
from kitsbench.files import read_json

pytestmark = [pytest.mark.exhaustive, pytest.mark.timeout(1800)]


def arguments(plugin, phantom, workdir, seeds, *more):
    """Two trials a seed."""
    return [
        "run",
        plugin("alpha", "Smallest"),
        "--dataset",
        phantom,
        *SMALL,
        "--seeds",
        seeds,
        "--workdir",
        workdir,
        *more,
    ]


class FirstEnds(threading.Thread):
    """Notes when each trial finished, to see that none finishes a second time."""

    def __init__(self, workdir):
        super().__init__(daemon=True)
        self.workdir, self.seen, self.over = workdir, {}, threading.Event()

    def run(self):
        while not self.over.wait(0.05):
            for file in self.workdir.glob("trials/*/status.json"):
                status = Status.read(file)
                if status.status == "finished":
                    self.seen.setdefault(file.parent.name, status.finished)


def test_a_ray_cluster_that_loses_a_node_finishes_every_trial_once(
    plugin, phantom, tmp_path, monkeypatch
):
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    node = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        second = cluster.add_node(**node)
        workdir = tmp_path / "work"
        ends = FirstEnds(workdir)
        ends.start()
        options = ["--executor", "ray", "--executor-option", f"address={cluster.address}"]
        command = arguments(plugin, phantom, workdir, 2, "--budget", "60steps", *options, "--json")
        process = start_kitsbench(*command)
        pids = {p.process.pid for kind in second.all_processes.values() for p in kind}
        lost = wait_for_trial_of(pids, workdir, process)
        cluster.remove_node(second, allow_graceful=False)
        _, err = process.communicate(timeout=900)
        ends.over.set()
        assert process.returncode == 0, err
        assert "lost its worker and starts again" in err
        statuses = {
            file.parent.name: Status.read(file) for file in workdir.glob("trials/*/status.json")
        }
        assert Counter(s.status for s in statuses.values()) == {"finished": 4}
        assert lost in statuses
        ended = {name: s.finished for name, s in statuses.items()}
        assert ended == {**ended, **ends.seen}
    finally:
        cluster.shutdown()


def test_trials_run_on_a_ray_cluster_that_was_started_before(ray_head, plugin, phantom, tmp_path):
    workdir = tmp_path / "work"
    command = arguments(plugin, phantom, workdir, 3, "--folds", "0", "--budget", "8steps")
    ray = ("--executor", "ray", "--ray", "num_cpus=1", "--ray")
    done = run_kitsbench(*command, *ray, "big=1", "--ray", f"address={ray_head}", "--json")
    assert done.code == 0, done.err
    assert [trial["status"] for trial in done.json["trials"]] == ["finished"] * 3
    logs = [file.read_text() for file in workdir.glob("trials/*/log.txt")]
    assert len(logs) == 3
    assert not any("Traceback" in log for log in logs)
    # The cluster is somebody else's, and goes on.
    host, port = ray_head.split(":")
    socket.create_connection((host, int(port)), timeout=5).close()
    for more, said in (
        (
            ("big=3", "--ray", f"address={ray_head}"),
            "A trial wants 1 CPU, 3 big, and none of the 1",
        ),
        (("bigg=1", "--ray", f"address={ray_head}"), "did you mean big?"),
    ):
        wrong = run_kitsbench(*command, "--seeds", "4", *ray, *more)
        assert wrong.code == 2
        assert said in " ".join(wrong.err.split())


def test_a_wrong_address_of_a_ray_cluster_is_told_once(plugin, phantom, tmp_path):
    pytest.importorskip("ray")
    command = arguments(plugin, phantom, tmp_path / "work", 1, "--folds", "0", "--budget", "8steps")
    (nobody,) = free_ports(1)
    for address in ("no-such-host.invalid:6379", f"127.0.0.1:{nobody}"):
        ray = ("--executor", "ray", "--ray", f"address={address}")
        done = run_kitsbench(*command, *ray, "--device", "cpu", timeout=300)
        assert done.code == 2
        lines = [line for line in done.err.splitlines() if line.startswith("Error:")]
        assert len(lines) == 1
        assert f"There is no Ray cluster at '{address}'" in lines[0]
        assert done.err.strip().splitlines()[-1] == lines[0], done.err
        assert done.err.count("DNS") == 0


def wait_for_trial_of(pids, workdir, process):
    """A trial that trains under one of these processes."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and process.poll() is None:
        for file in workdir.glob("trials/*/lease.json"):
            try:
                holder = psutil.Process(read_json(file)["pid"])
                family = {parent.pid for parent in holder.parents()}
            except (OSError, ValueError, KeyError, psutil.Error):
                continue
            if family & pids and read_status(file.parent) == "running":
                return file.parent.name
        time.sleep(0.05)
    raise AssertionError(f"no trial ran on the second node: {process.communicate()[1]}")


def read_status(folder):
    try:
        return Status.read(folder / "status.json").status
    except DataError:  # it is not there yet
        return None


def test_slurm_finishes_every_trial_and_one_whose_job_is_cancelled(
    slurm, plugin, phantom, tmp_path
):
    workdir = tmp_path / "work"
    ends = FirstEnds(workdir)
    ends.start()
    command = arguments(plugin, phantom, workdir, 1, "--budget", "60steps", "--executor", "slurm")
    process = start_kitsbench(*command)
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and process.poll() is None:
        running = [f for f in workdir.glob("trials/*") if read_status(f) == "running"]
        if running:
            break
        time.sleep(0.05)
    # The node's daemon is told to kill the job, as when the node is taken away.
    jobs = subprocess.run(
        ["squeue", "--me", "-h", "-r", "-t", "running", "-o", "%i"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    subprocess.run(["scancel", "--signal=KILL", jobs[0]], check=True)
    _, err = process.communicate(timeout=900)
    ends.over.set()
    assert process.returncode == 0, err
    assert "lost its worker and starts again" in err
    statuses = {f.parent.name: Status.read(f) for f in workdir.glob("trials/*/status.json")}
    assert Counter(s.status for s in statuses.values()) == {"finished": 2}
    for name, finished in ends.seen.items():
        assert statuses[name].finished == finished
    # A time that no partition allows is refused in Slurm's own words.
    wrong = run_kitsbench(*command, "--seeds", "3", "--executor-option", "partition=none")
    assert wrong.code == 2
    assert "partition" in wrong.err
    assert "Traceback" not in wrong.err


def test_ctrl_c_cancels_the_jobs(slurm, plugin, phantom, tmp_path):
    workdir = tmp_path / "work"
    command = arguments(
        plugin, phantom, workdir, 1, "--budget", "100000steps", "--executor", "slurm"
    )
    process = start_kitsbench(*command, preexec_fn=heed_interrupts)
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and process.poll() is None:
        if any(read_status(f) == "running" for f in workdir.glob("trials/*")):
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "goes on from here" in err
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        left = subprocess.run(
            ["squeue", "--me", "-h"], capture_output=True, text=True, check=True
        ).stdout.strip()
        if not left:
            break
        time.sleep(0.5)
    assert left == ""


def submitted(workdir):
    """Numbers of the jobs that were ever submitted."""
    return {file.parent.name for file in workdir.glob("jobs/*/*_submitted.pkl")}


def wait_for(condition, process, seconds=900):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.2)
    return found


def steps_kept(workdir):
    """Steps of the newest checkpoint of any trial."""
    names = [file.name for file in workdir.glob("trials/*/checkpoint/step-*")]
    return max((int(name.split("-")[1]) for name in names), default=0)


def test_a_command_that_is_killed_and_started_again_adopts_its_jobs(
    slurm, plugin, phantom, tmp_path
):
    workdir = tmp_path / "work"
    ends = FirstEnds(workdir)
    ends.start()
    command = arguments(plugin, phantom, workdir, 2, "--budget", "2000steps", "--executor", "slurm")
    first = start_kitsbench(*command)
    wait_for(lambda: any(read_status(f) == "running" for f in workdir.glob("trials/*")), first)
    first.kill()
    first.communicate()
    second = start_kitsbench(*command)
    # Slurm's controller goes too, for longer than a job without news would be waited for.
    time.sleep(20)
    slurm.kill("slurmctld")
    time.sleep(15)
    slurm.start("slurmctld")
    _, err = second.communicate(timeout=1500)
    ends.over.set()
    assert second.returncode == 0, err
    assert "lost its worker" not in err
    assert len(submitted(workdir)) == 4
    statuses = {f.parent.name: Status.read(f) for f in workdir.glob("trials/*/status.json")}
    assert Counter(s.status for s in statuses.values()) == {"finished": 4}
    for name, finished in ends.seen.items():
        assert statuses[name].finished == finished
    for log in workdir.glob("trials/*/log.txt"):
        assert "Traceback" not in log.read_text()
    # What the second one has watched to its end needs not be found again.
    assert len(list(workdir.glob("jobs/*.json"))) < 4


def test_three_time_limits_do_not_end_a_trial_that_gets_further(slurm, plugin, phantom, tmp_path):
    workdir = tmp_path / "work"
    command = [
        *arguments(plugin, phantom, workdir, 1, "--budget", "300s", "--folds", "0"),
        *("--executor", "slurm", "--slurm", "time=2", "--executor-option", "retries=1"),
    ]
    process = start_kitsbench(*command)
    while process.poll() is None:
        # Slurm lets a job that asks to be started again wait for two minutes.
        for job in queue("--states=pending"):
            update = ["scontrol", "update", f"JobId={job}", "StartTime=now"]
            subprocess.run(update, capture_output=True, check=False)
        time.sleep(1)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert err.count("hit the time limit of its job (2 min); goes on from its checkpoint") >= 3
    (file,) = workdir.glob("trials/*/stops.json")
    steps = [stop.step for stop in StopsRecord.read(file).stops]
    assert len(steps) >= 3
    assert steps == sorted(set(steps))
    assert read_status(file.parent) == "finished"
    assert LedgerRecord.read(file.parent / "ledger.json").resumed >= 3


def test_three_preemptions_do_not_end_a_trial(slurm, plugin, phantom, tmp_path):
    workdir = tmp_path / "work"
    command = [
        *arguments(plugin, phantom, workdir, 1, "--budget", "60s", "--folds", "0"),
        *("--checkpoint-every", "1", "--executor", "slurm", "--executor-option", "retries=0"),
    ]
    process = start_kitsbench(*command)
    for _ in range(3):
        before = steps_kept(workdir)
        wait_for(lambda before=before: steps_kept(workdir) > before, process)
        urgent = ["sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null"]
        subprocess.run([*urgent, "--wrap=true"], check=True, capture_output=True)
        wait_for(lambda: queue("--states=running", "--partition=main") == [], process)
        for job in wait_for(lambda: queue("--states=pending", "--partition=main"), process):
            subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=False)
    _, err = process.communicate(timeout=1200)
    assert process.returncode == 0, err
    assert "has started it again; goes on from its checkpoint at step" in err
    assert len(submitted(workdir)) == 2  # one of them looked at the node
    (file,) = workdir.glob("trials/*/stops.json")
    assert len(StopsRecord.read(file).stops) == 3
    assert read_status(file.parent) == "finished"


def queue(*options):
    """Numbers of this user's jobs."""
    command = ["squeue", "--me", "-h", "-r", "-o", "%i", *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
