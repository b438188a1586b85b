"""Executor ``slurm``: trials as jobs of a Slurm cluster, through submitit."""

from __future__ import annotations

import contextlib
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from kitsbench.errors import UsageError
from kitsbench.experiments.executors.cluster import Ended, Unanswered
from kitsbench.experiments.executors.job_files import JobFiles
from kitsbench.experiments.executors.slurm_options import SlurmOptions
from kitsbench.experiments.executors.slurm_queue import Queued, ask_accounts, ask_queue
from kitsbench.experiments.records import JobRecord
from kitsbench.optional import require

ASK_EVERY = 2.0  # seconds between two questions to the queue
GRACE = 10.0  # seconds that a shared file system may take to show a result
LARGEST_ARRAY = 1000  # jobs; a Slurm that nobody configured takes one more


@dataclass
class _Job:
    """A job: as submitit knows it, and as it is written down; a probe is not."""

    job: Any
    record: JobRecord | None


class SlurmBackend:
    """Submits work as jobs.

    Parameters
    ----------
    options : SlurmOptions
    folder : Path
        Where the jobs' own files go; every node sees it.
    cpus, gpus : int
        What a trial takes of a node; with no GPUs the options may still ask for some.
    throttle : int or None
        Jobs of an array that run at the same time.

    Raises
    ------
    UsageError
        submitit is not installed, or Slurm is not on this machine.
    """

    def __init__(
        self,
        options: SlurmOptions,
        folder: Path,
        cpus: int,
        gpus: int,
        throttle: int | None = None,
    ):
        self._submitit = require("submitit", "slurm")
        self.folder, self._local = folder.resolve(), options.cluster == "local"
        self.lasting = not self._local
        if not self._local and shutil.which("squeue") is None:
            raise UsageError(
                "Jobs cannot be submitted from here (squeue is not on the PATH). Log in where "
                "`sbatch` and `squeue` are, or try things out with --executor-option cluster=local."
            )
        self.files = JobFiles(self.folder, options.cluster, options.prefix)
        try:
            self._executor = self._submitit.AutoExecutor(
                self.folder / "%j",
                cluster=options.cluster,
                slurm_python=options.launcher,
                local_python=options.launcher,
            )
        except RuntimeError as error:
            raise UsageError(
                f"Jobs cannot be submitted from here ({error}). Log in where `sbatch` is, or try "
                "things out with --executor-option cluster=local."
            ) from error
        memory = options.memory_bytes
        self._executor.update_parameters(
            timeout_min=options.minutes,
            cpus_per_task=cpus,
            gpus_per_node=gpus or None,
            tasks_per_node=1,
            mem_gb=None if memory is None else memory / 2**30,
            local_setup=list(options.setup) or None,
            slurm_setup=list(options.setup) or None,
            slurm_signal_delay_s=options.warning_seconds,
            slurm_array_parallelism=throttle or LARGEST_ARRAY,
            slurm_srun_args=options.srun_words or None,
            slurm_additional_parameters=options.further,
        )
        self._queue: dict[str, Queued] | None = None
        self._asked = 0.0
        self._gone: dict[str, float] = {}  # job: since when it has ended without a result

    def submit(self, work: Sequence[Any], trials: Sequence[str] = ()) -> list[Any]:
        """Submit callables, several as an array; returns a handle each.

        A trial that a job works on, whoever has submitted it, gets the handle of that job.

        Raises
        ------
        Unanswered
            Slurm does not answer, so it is not known what it has got.
        UsageError
            It does not take the jobs.
        """
        with self.files.alone():
            if not trials:  # a probe, which nobody asks for again
                return [_Job(job, None) for job in self._send(list(work), self.files.prefix)]
            known = self._at_work(trials)
            new = [one for one in zip(trials, work, strict=True) if one[0] not in known]
            for begin in range(0, len(new), LARGEST_ARRAY):
                known |= self._submit_new(new[begin : begin + LARGEST_ARRAY])
        return [known[trial] for trial in trials]

    def _submit_new(self, new: Sequence[tuple[str, Any]]) -> dict[str, _Job]:
        records = self.files.intend([trial for trial, _ in new])
        try:
            jobs = self._send([work for _, work in new], records[0].name)
        except UsageError as error:
            # An answer that was lost may have been a yes: then the name finds the jobs again.
            queue = {} if self._local else ask_queue()
            if queue is None:
                raise Unanswered(str(error)) from error
            if all(one.name != records[0].name for one in queue.values()):
                for record in records:
                    self.files.forget(record)
            raise
        named = [self.files.name(r, job.job_id) for r, job in zip(records, jobs, strict=True)]
        return {r.trial: _Job(job, r) for r, job in zip(named, jobs, strict=True)}

    def _send(self, work: list[Any], name: str) -> list[Any]:
        self._executor.update_parameters(name=name)
        try:
            if len(work) == 1:
                jobs = [self._executor.submit(work[0])]
            else:
                jobs = list(self._executor.submit_array(work))
        except Exception as error:  # submitit raises what sbatch said, by its own classes
            text = " ".join(str(error).split())
            raise UsageError(f"Slurm did not take the jobs: {text[:500]}") from error
        # A job that was submitted just now may not be in the queue's answer.
        self._asked = time.monotonic()
        return jobs

    def _at_work(self, trials: Sequence[str]) -> dict[str, _Job]:
        """Jobs that work on trials by now, by what is written down and in the queue."""
        records = [r for r in map(self.files.read, trials) if r is not None]
        if not records:
            return {}
        number: Callable[[JobRecord], str | None] = self._local_number
        if not self._local:
            queue = ask_queue()
            if queue is None:
                raise Unanswered("squeue does not answer, and jobs of before may be in the queue")
            number = _finder(queue)
        found = {}
        for record in records:
            if (job := number(record)) is not None:
                named = record if record.job == job else self.files.name(record, job)
                kind = self._submitit.LocalJob if self._local else self._submitit.SlurmJob
                found[record.trial] = _Job(kind(self.folder / "%j", job, [0]), named)
        return found

    def _local_number(self, record: JobRecord) -> str | None:
        return record.job if record.job is not None and self._process(record.job) else None

    def _process(self, job: str) -> psutil.Process | None:
        """The process of a local job, unless its number is another's by now."""
        with contextlib.suppress(psutil.Error, ValueError):
            process = psutil.Process(int(job))
            if process.status() != psutil.STATUS_ZOMBIE and str(self.folder) in " ".join(
                process.cmdline()
            ):
                return process
        return None

    def poll(self, handle: _Job) -> Ended | None:
        """How the job ended, or None while it waits or runs."""
        job, state = handle.job, ""
        if not (self._is_over_here(job) if self._local else self._is_over(job)):
            return None
        if job.paths.result_pickle.exists():
            error = job.exception()
            if error is None:
                return Ended(job.result())
            why = (str(error).strip().splitlines() or [""])[-1]
        else:
            state = self._last_state(job)
            why = f"it left no result, and its state is {state or 'unknown'}"
            said = (job.stderr() or "").strip().splitlines()
            why += f" ({said[-1]})" if said else ""
        why = f"job {job.job_id} did not end well: {why}; see {job.paths.stderr}"
        return Ended(None, why, state)

    def _is_over_here(self, job: Any) -> bool:
        if job.paths.result_pickle.exists():
            return True
        own = getattr(job, "_process", None)
        return bool(job.done()) if own is not None else self._process(job.job_id) is None

    def _is_over(self, job: Any) -> bool:
        if job.paths.result_pickle.exists():
            return True
        if time.monotonic() - self._asked > ASK_EVERY:
            self._asked = time.monotonic()
            self._queue = ask_queue()
        if self._queue is None:  # no answer is no news
            return False
        known = self._queue.get(job.job_id)
        if known is not None and known.alive:
            self._gone.pop(job.job_id, None)
            return False
        since = self._gone.setdefault(job.job_id, time.monotonic())
        return time.monotonic() - since > GRACE

    def _last_state(self, job: Any) -> str:
        if self._local:
            return "FINISHED"
        known = (self._queue or {}).get(job.job_id)
        return known.state if known is not None else ask_accounts(job.job_id)

    def cancel(self, handle: _Job) -> None:
        """Stop a job, queued or running."""
        if self._local and getattr(handle.job, "_process", None) is None:
            if (process := self._process(handle.job.job_id)) is not None:
                process.send_signal(signal.SIGINT)
            return
        handle.job.cancel(check=False)

    def forget(self, handle: _Job) -> None:
        """Its end has been told: whoever comes next submits the trial anew."""
        if handle.record is not None:
            self.files.forget(handle.record)


def _finder(queue: dict[str, Queued]) -> Callable[[JobRecord], str | None]:
    """Finds the number of a job in the queue by what is written down; None where it is over."""
    by_name = {(one.name, job.partition("_")[2]): job for job, one in queue.items() if one.alive}

    def find(record: JobRecord) -> str | None:
        # By the name alone: numbers are given out again, and mean something on one cluster only.
        index = "" if record.index is None else str(record.index)
        return by_name.get((record.name, index))

    return find
