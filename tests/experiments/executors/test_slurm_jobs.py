"""What Slurm is asked for, and jobs that outlive the process that submitted them.

The programs of Slurm are stood in for by scripts that note what they are given: here it matters
what is said to Slurm, and how its answers are read. ``test_clusters.py`` has a real one.
"""

from __future__ import annotations

import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from command_line import call_kitsbench, environment

from kitsbench.cli.views.run_cost import cost_of
from kitsbench.errors import DataError, UsageError
from kitsbench.experiments.asked.request import joined
from kitsbench.experiments.executors.cluster import ClusterExecutor, Ended, Unanswered
from kitsbench.experiments.executors.on_slurm import SlurmBackend
from kitsbench.experiments.executors.options import read_cluster_words, read_options
from kitsbench.experiments.executors.sbatch_names import check_names
from kitsbench.experiments.executors.slurm_options import slurm_seconds
from kitsbench.experiments.executors.work import Terms, Work, how_far, in_words
from kitsbench.experiments.experiment import plan_experiment, run_experiment
from kitsbench.experiments.plan.estimate import foresee
from kitsbench.experiments.records import JobRecord
from kitsbench.training.budget import Budget

IDS = [f"{number:016x}" for number in range(3)]
SBATCH = """#!/bin/sh
[ -e {folder}/down ] && echo "sbatch: error: Unable to contact slurm controller" >&2 && exit 1
number=$(ls {folder} | grep -c '^script')
cp "$1" {folder}/script$number
echo "Submitted batch job $((7 + number))"
"""
SQUEUE = "#!/bin/sh\n[ -e {folder}/down ] && exit 1\ncat {folder}/queue\n"


class Slurm:
    """The folder of the stand-ins."""

    def __init__(self, folder):
        self.folder = folder
        self.queue()

    def queue(self, *lines):
        """Let ``squeue`` say this."""
        (self.folder / "queue").write_text("".join(f"{line}\n" for line in lines))

    def scripts(self):
        """What was submitted."""
        return [file.read_text() for file in sorted(self.folder.glob("script*"))]

    def answers(self, yes):
        """Let the controller of Slurm answer, or not."""
        (self.folder / "down").unlink(missing_ok=True)
        if not yes:
            (self.folder / "down").touch()


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, text in {"sbatch": SBATCH, "squeue": SQUEUE, "srun": "#!/bin/sh\n"}.items():
        file = folder / name
        file.write_text(text.format(folder=folder))
        file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return Slurm(folder)


def options(*words, **others):
    return read_options("slurm", joined(others, read_cluster_words("slurm", words, ())))


def backend(tmp_path, *words, throttle=None, gpus=0):
    return SlurmBackend(options(*words), tmp_path / "jobs", 4, gpus, throttle)


def test_every_option_reaches_sbatch(slurm, tmp_path):
    words = (
        "gres=gpu:a100:1", "qos=low", "--reservation=kidneys", "exclusive", "mail_type=END",
        "time=1-02:30:00", "warning=5min", "job-name=kits", "setup=module load cuda",
        "setup=source 'my env'/bin/activate", "container=apptainer exec --nv /shared/kits.sif",
        "srun=--container-image=/shared/kits.sqsh --mpi=none",
    )  # fmt: skip
    backend(tmp_path, *words, throttle=2).submit([print] * 3, IDS)
    (script,) = slurm.scripts()
    lines = script.splitlines()
    for line in (
        "--gres=gpu:a100:1", "--qos=low", "--reservation=kidneys", "--exclusive", "--time=1590",
        "--mail-type=END", "--signal=USR2@300", "--requeue", "--array=0-2%2", "--cpus-per-task=4",
    ):  # fmt: skip
        assert f"#SBATCH {line}" in lines
    assert not any("gpus" in line for line in lines)
    (name,) = (line for line in lines if "--job-name" in line)
    assert name.startswith("#SBATCH --job-name=kits-")
    command = lines.index(next(line for line in lines if line.startswith("srun")))
    assert lines.index("module load cuda") < lines.index("source 'my env'/bin/activate") < command
    assert "--container-image=/shared/kits.sqsh --mpi=none" in lines[command]
    assert " apptainer exec --nv /shared/kits.sif python3 -u -m submitit" in lines[command]


def test_who_may_not_be_started_again_says_so(slurm, tmp_path):
    assert options("no-requeue").requeues is False
    backend(tmp_path, "no_requeue", "python=/opt/python", gpus=2).submit([print], IDS[:1])
    (script,) = slurm.scripts()
    assert "#SBATCH --no-requeue\n" in script
    assert "#SBATCH --requeue\n" not in script
    assert "#SBATCH --gpus-per-node=2\n" in script
    assert "/opt/python -u -m submitit" in script


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["array=0-3"], "--jobs says how many"),
        (["signal=USR1@60"], "warning=5min"),
        (["nodes=2"], "one node"),
        (["comment=a\n#SBATCH --uid=0"], "line break"),
        (["p=gpu"], "long name"),
        (["=gpu"], "long name"),
        (["partition"], "has no value"),
        (["partition=a\n#SBATCH --uid=0"], "line break"),
        (["qos="], "is empty|has no value"),
        (["time=soon"], "4:00:00"),
        (["time=1min", "warning=2min"], "leaves nothing"),
        (["warning=9steps"], "must be a time"),
        (["container=apptainer 'exec"], "no command"),
        (["memory=2GiB", "mem=4G"], "both ask for memory"),
    ],
)
def test_what_sbatch_would_get_wrong_is_refused(words, told):
    with pytest.raises(UsageError, match=told):
        options(*words)
    with pytest.raises(UsageError, match="both ask for GPUs"):
        options("gres=gpu:1", gpus="1")


def test_words_of_a_cluster_are_for_its_executor(plugin, tmp_path):
    for executor, words in (
        ("local", ["--slurm", "qos=low"]),
        ("slurm", ["--ray", "num_gpus=1"]),
    ):
        done = call_kitsbench(
            "run", plugin("alpha", "Smallest"), "--executor", executor, *words,
            "--workdir", tmp_path,
        )  # fmt: skip
        assert done.code == 2
        assert f"is for --executor {words[0][2:]}; the executor is {executor}" in done.err
    given = read_cluster_words("ray", (), ("num_gpus=2", "num_cpus=4", "big-card=0.5"))
    ray = read_options("ray", given)
    assert (ray.gpus, ray.cpus, ray.resources) == (2, 4, {"big-card": 0.5})
    for wrong in ("GPU=1", "card=-1", "card=many"):
        with pytest.raises(UsageError, match=wrong.partition("=")[0]):
            read_options("ray", read_cluster_words("ray", (), (wrong,)))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("4h", 14400), ("90", 5400), ("90:30", 5430), ("4:00:00", 14400), ("1-12", 129600),
     ("2-01:30", 178200), ("90min", 5400)],
)  # fmt: skip
def test_a_wall_time_is_read_as_slurm_reads_it(text, seconds):
    assert slurm_seconds(text) == seconds


def test_times_are_told_as_people_say_them():
    said = [in_words(s) for s in (45, 60, 5400, 14400, 88200)]
    assert said == ["45 s", "1 min", "1 h 30 min", "4 h", "24 h 30 min"]


def test_jobs_are_found_again_by_whoever_comes_next(slurm, tmp_path):
    first = backend(tmp_path)
    first.submit([print] * 3, IDS)
    records = [JobRecord.read(tmp_path / "jobs" / f"{name}.json") for name in IDS]
    assert [record.job for record in records] == ["7_0", "7_1", "7_2"]
    name = records[0].name
    # The process that submitted them is gone. One runs, one waits to start again, one has ended.
    slurm.queue(
        f"7_0|RUNNING|{name}", f"7_1|PENDING|{name}", f"7_2|FAILED|{name}", "9|RUNNING|mine"
    )
    found = backend(tmp_path).submit([print] * 3, IDS)
    assert [handle.job.job_id for handle in found] == ["7_0", "7_1", "8"]
    assert len(slurm.scripts()) == 2
    # Numbers are given out again: a job of another name is somebody else's.
    slurm.queue("7_0|RUNNING|mine", f"7_1|RUNNING|{name}")
    found = backend(tmp_path).submit([print] * 2, IDS[:2])
    assert [handle.job.job_id for handle in found] == ["9", "7_1"]
    # What has been told is not found again, nor what another job has taken the place of.
    first.forget(found[1])
    assert not (tmp_path / "jobs" / f"{IDS[1]}.json").exists()
    first.files.forget(records[0])
    assert JobRecord.read(tmp_path / "jobs" / f"{IDS[0]}.json").job == "9"


def test_a_job_whose_number_nobody_heard_is_found_by_its_name(slurm, tmp_path):
    before = backend(tmp_path)
    records = before.files.intend(IDS[:2])
    slurm.queue(f"5_0|PENDING|{records[0].name}", f"5_1|RUNNING|{records[0].name}")
    found = backend(tmp_path).submit([print] * 2, IDS[:2])
    assert [handle.job.job_id for handle in found] == ["5_0", "5_1"]
    assert JobRecord.read(tmp_path / "jobs" / f"{IDS[1]}.json").job == "5_1"
    assert slurm.scripts() == []


def test_nothing_is_submitted_while_slurm_does_not_answer(slurm, tmp_path):
    (handle,) = backend(tmp_path).submit([print], IDS[:1])
    slurm.answers(False)
    again = backend(tmp_path)
    with pytest.raises(Unanswered, match="squeue does not answer"):
        again.submit([print], IDS[:1])
    with pytest.raises(Unanswered, match="Unable to contact"):
        again.submit([print], IDS[1:2])
    again._asked = -1e9  # the queue is asked at once
    assert again.poll(handle) is None  # no answer is no news
    slurm.answers(True)
    slurm.queue(f"7|RUNNING|{handle.record.name}")
    assert again.submit([print], IDS[:1])[0].job.job_id == "7"
    assert len(slurm.scripts()) == 1
    (tmp_path / "jobs" / f"{IDS[0]}.json").write_text("{}")
    with pytest.raises(DataError, match="schema_version"):
        again.submit([print], IDS[:1])


class CutShort:
    """A backend whose jobs reach their time limit; each gets as far as it is told."""

    lasting = True

    def __init__(self, steps):
        self.steps, self.submitted = list(steps), 0

    def submit(self, work, trials):
        self.submitted += len(work)
        return list(work)

    def poll(self, work):
        if not self.steps:
            return Ended(work())
        folder = work.task.folder.checkpoints / f"step-{self.steps.pop(0):08d}"
        folder.mkdir(parents=True, exist_ok=True)
        return Ended(None, "job 7 left no result", "TIMEOUT")

    def cancel(self, work):
        pass

    def forget(self, work):
        pass


@pytest.mark.parametrize("steps", [(1, 1, 2, 3, 3), (1, 1, 1, 1)])
def test_a_time_limit_counts_where_nothing_was_gained(base, tmp_path, steps):
    experiment = plan_experiment(replace(base, workdir=tmp_path / "work", folds=(0,)))
    cluster, events = CutShort(steps), []
    executor = ClusterExecutor(cluster, "cpu", retries=1, terms=Terms(14400.0))
    run_experiment(experiment, executor, events.append)
    cut = [event.message for event in events if event.kind == "cut"]
    assert cut[0] == "hit the time limit of its job (4 h); goes on from its checkpoint at step 1"
    status = experiment.tasks[0].folder.read_status()
    if steps[-1] > 1:
        assert len(cut) == len(steps)
        assert status.status == "finished"
        return
    assert cluster.submitted == 3
    assert (status.status, status.reason) == ("failed", "killed")
    assert status.message.startswith(
        "It hit the time limit of its job (4 h), 2 times in a row without getting any further."
    )


class Cancelled(CutShort):
    """A backend of which somebody cancels the jobs."""

    def poll(self, work):
        return Ended(None, "job 7 left no result", "CANCELLED")


def test_what_somebody_cancels_is_not_submitted_again(base, tmp_path):
    experiment = plan_experiment(replace(base, workdir=tmp_path / "work", folds=(0,)))
    cluster = Cancelled(())
    run_experiment(experiment, ClusterExecutor(cluster, "cpu"), lambda event: None)
    status = experiment.tasks[0].folder.read_status()
    assert cluster.submitted == 1
    assert (status.status, status.reason) == ("failed", "killed")
    assert "somebody has cancelled it; the same command goes on" in status.message


def _trains(task):
    found = task.folder.read_progress()
    return found is not None and found.stage == "train"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "says", "code"),
    [(signal.SIGUSR2, "('cut', 'was told to make room after", 0), (signal.SIGTERM, "", 143)],
)
def test_a_job_that_is_told_to_end_keeps_its_steps(base, tmp_path, number, says, code):
    request = replace(base, workdir=tmp_path / "work", folds=(0,), budget=Budget(10**6, "steps"))
    (task,) = plan_experiment(request).tasks
    (task.workdir / "experiments").mkdir(exist_ok=True)
    file = tmp_path / "work.pkl"
    file.write_bytes(pickle.dumps(Work(task, "cpu", terms=Terms(36000.0, 120.0))))
    code_text = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb'))())"
    job = subprocess.Popen(
        [sys.executable, "-c", code_text, str(file)],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 300
        while not _trains(task) and time.monotonic() < deadline:
            assert job.poll() is None
            time.sleep(0.1)
        assert how_far(task) == (0, 0)
        # As Slurm does: every process of the job is told, those that keep the trial as well.
        process = psutil.Process(job.pid)
        for one in [*process.children(recursive=True), process]:
            one.send_signal(number)
        out, _ = job.communicate(timeout=300)
    finally:
        job.kill()
    assert job.returncode == code
    assert out.startswith(says)
    assert how_far(task)[0] > 0
    status = task.folder.read_status()
    assert (status.status, status.reason) == ("running", None)
    assert "the same command goes on from there" in status.message


def test_the_walk_through_names_the_cost_that_a_plan_tells(base, tmp_path):
    experiment = plan_experiment(replace(base, workdir=tmp_path / "work", folds=(0,)))
    two_hours = Budget.parse("2h")
    tasks = [replace(experiment.tasks[0], budget=two_hours)] * (12 * 5 * 3)
    (line,) = cost_of(foresee(tasks, [], two_hours, world_size=1, jobs=8))
    page = Path(__file__).parents[3] / "docs" / "clusters.md"
    assert f"180 of 180 trials would run.\n{line}\n" in page.read_text(encoding="utf-8")


HELPFUL = """#!/bin/sh
case "$1" in
--help) printf '      --gres=list\\n      --partition=partition\\n      --qos=qos\\n';;
--site-gpu|--nice) echo "slurm 23" ;;
*) echo "sbatch: unrecognized option '$1'" >&2; exit 1 ;;
esac
"""


def test_what_sbatch_has_no_option_for_is_told_with_the_nearest(slurm):
    (slurm.folder / "sbatch").write_text(HELPFUL)
    check_names(options("gres=gpu:1", "partition=gpu", "site-gpu=2", "nice"))
    for word, near in (
        ("gress=gpu:1", "did you mean gres?"),
        ("partion=gpu", "did you mean partition?"),
        ("tme=4h", "did you mean time?"),
        ("nothing-like-it=1", "sbatch --help"),
    ):
        name = word.partition("=")[0]
        with pytest.raises(UsageError, match=re.escape(near)) as refused:
            check_names(options(word))
        assert f"sbatch has no option '{name}'" in str(refused.value)
    check_names(options("gress=gpu:1", cluster="local"))  # which asks no sbatch


@pytest.mark.skipif(shutil.which("sbatch") is None, reason="Slurm is not installed")
def test_the_sbatch_of_this_machine_knows_its_own_options(tmp_path, monkeypatch):
    file = tmp_path / "slurm.conf"  # without one it says nothing at all
    lines = ("ClusterName=k", "SlurmctldHost=localhost", "AuthType=auth/none", "CredType=cred/none",
             "NodeName=localhost CPUs=1", "PartitionName=main Nodes=localhost")  # fmt: skip
    file.write_text("\n".join(lines) + "\n")
    monkeypatch.setenv("SLURM_CONF", str(file))
    check_names(options("gres=gpu:1", "qos=low", "comment=a", "mail-type=END", "exclusive"))
    with pytest.raises(UsageError, match=r"sbatch has no option 'gress'.*did you mean gres"):
        check_names(options("gress=gpu:1"))
