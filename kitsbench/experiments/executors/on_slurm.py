"""Executor ``slurm``: trials as jobs of a Slurm cluster, through submitit."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kitsbench.errors import UsageError
from kitsbench.experiments.executors.cluster import Ended
from kitsbench.experiments.executors.options import SlurmOptions
from kitsbench.optional import require

ASK_EVERY = 2.0  # seconds between two questions to the queue
GRACE = 10.0  # seconds that a shared file system may take to show a result
ENDED = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
}


class SlurmBackend:
    """Submits work as jobs.

    The queue is asked through ``squeue``, for all jobs at once, since that works on clusters
    without accounting too.

    Parameters
    ----------
    options : SlurmOptions
    folder : Path
        Where the jobs' own files go; every node sees it.
    cpus, gpus : int
        What a trial takes of a node.

    Raises
    ------
    UsageError
        submitit is not installed, or Slurm is not on this machine.
    """

    def __init__(self, options: SlurmOptions, folder: Path, cpus: int, gpus: int):
        submitit = require("submitit", "slurm")
        self.folder = folder.resolve()
        try:
            self._executor = submitit.AutoExecutor(self.folder / "%j", cluster=options.cluster)
        except RuntimeError as error:
            raise UsageError(
                f"Jobs cannot be submitted from here ({error}). Log in where `sbatch` is, or try "
                "things out with --executor-option cluster=local."
            ) from error
        memory = options.memory_bytes
        self._executor.update_parameters(
            name="kitsbench",
            timeout_min=options.minutes,
            cpus_per_task=cpus,
            gpus_per_node=gpus or None,
            tasks_per_node=1,
            mem_gb=None if memory is None else memory / 2**30,
            slurm_partition=options.partition,
            slurm_account=options.account,
            slurm_qos=options.qos,
            slurm_constraint=options.constraint,
            slurm_nodelist=options.nodelist,
            slurm_exclude=options.exclude,
            slurm_setup=None if options.setup is None else [options.setup],
        )
        self._local = options.cluster == "local"
        self._states: dict[str, str] = {}
        self._asked = 0.0
        self._gone: dict[str, float] = {}  # job: since when it has ended without a result

    def submit(self, work: Sequence[Any]) -> list[Any]:
        """Submit callables, several as an array; returns submitit's jobs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            if len(work) == 1:
                jobs = [self._executor.submit(work[0])]
            else:
                jobs = list(self._executor.submit_array(list(work)))
        except Exception as error:  # submitit raises what sbatch said, by its own classes
            text = " ".join(str(error).split())
            raise UsageError(f"Slurm did not take the jobs: {text[:500]}") from error
        # A job that was submitted just now may not be in the queue's answer.
        self._asked = time.monotonic()
        return jobs

    def poll(self, handle: Any) -> Ended | None:
        """How the job ended, or None while it waits or runs."""
        over = handle.done() if self._local else self._is_over(handle)
        if not over:
            return None
        if handle.paths.result_pickle.exists():
            error = handle.exception()
            if error is None:
                return Ended(handle.result())
            why = (str(error).strip().splitlines() or [""])[-1]
        else:
            state = handle.state if self._local else self._states.get(handle.job_id, "unknown")
            why = f"it left no result, and its state is {state}"
            said = (handle.stderr() or "").strip().splitlines()
            why += f" ({said[-1]})" if said else ""
        return Ended(
            None, f"job {handle.job_id} did not end well: {why}; see {handle.paths.stderr}"
        )

    def _is_over(self, job: Any) -> bool:
        if job.paths.result_pickle.exists():
            return True
        if time.monotonic() - self._asked > ASK_EVERY:
            self._asked = time.monotonic()
            self._states = queue_states()
        state = self._states.get(job.job_id, "" if self._states else "unknown")
        if state and state not in ENDED:
            self._gone.pop(job.job_id, None)
            return False
        since = self._gone.setdefault(job.job_id, time.monotonic())
        return time.monotonic() - since > GRACE

    def cancel(self, handle: Any) -> None:
        """Stop a job, queued or running."""
        handle.cancel(check=False)


def queue_states() -> dict[str, str]:
    """State of every job of this user that the queue still knows; empty if it does not answer."""
    command = ["squeue", "--me", "--noheader", "--array", "--states=all", "--format=%i|%T"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    pairs = (line.strip().partition("|") for line in done.stdout.splitlines())
    return {job: state for job, _, state in pairs if job}
