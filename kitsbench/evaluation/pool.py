"""Score many cases in several processes, each of which holds one case at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from multiprocessing import get_context
from multiprocessing.process import BaseProcess

import numpy as np

from kitsbench.evaluation.cases import CaseFiles, CaseScores, Task, score_files
from kitsbench.evaluation.folder_scores import Problem
from kitsbench.isolation import die_with_parent

MOST_JOBS = 8
# A process takes three times the label maps at most, each a byte a voxel, and its libraries.
_BYTES_PER_VOXEL, _BYTES_PER_PROCESS = 2 * 3, 200 * 2**20


def score_cases(
    files: Sequence[CaseFiles],
    task: Task,
    jobs: int | None,
    known: Mapping[str, CaseScores],
) -> Iterator[tuple[str, CaseScores]]:
    """Score cases as they come; those already known come first.

    Parameters
    ----------
    files : sequence of CaseFiles
        The cases.
    task : Task
        What to compute.
    jobs : int or None
        Processes; None: as many as there are cores and memory for.
    known : mapping
        Scores from earlier, by case.

    Yields
    ------
    tuple of (str, CaseScores)
        In any order. A case whose process was killed twice, the second time with no other case
        at work, has a problem and no rows.
    """
    left = []
    for file in files:
        if file.case in known:
            yield file.case, known[file.case]
        else:
            left.append(file)
    jobs = jobs_that_fit(left) if jobs is None else jobs
    # A process takes about as long to start as a case to score.
    jobs = min(jobs, len(left) // 2)
    if jobs < 2:
        for file in left:
            try:
                yield file.case, score_files(file, task)
            except MemoryError:
                yield file.case, _lost(file, NO_MEMORY)
        return
    while left:
        lost = set()
        for file, scores in _score_in(jobs, left, task):
            if isinstance(scores, str):
                lost.add(file.case)
            else:
                yield file.case, scores
        # With one process the others go as well, and whatever was waiting. Work is begun in
        # order, so the cause is among the first; alone, each shows whether it was.
        again = [file for file in left if file.case in lost]
        for file in again[:jobs]:
            ((_, scores),) = _score_in(1, [file], task)
            yield file.case, _lost(file, scores) if isinstance(scores, str) else scores
        left = again[jobs:]


def _score_in(
    jobs: int, files: Sequence[CaseFiles], task: Task
) -> Iterator[tuple[CaseFiles, CaseScores | str]]:
    """Score cases in new processes; the reason for what was not done for want of one or memory."""
    context = get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=die_with_parent) as pool:
        futures, lost = {}, []
        try:
            for file in files:
                try:
                    futures[pool.submit(score_files, file, task)] = file
                # Before all were submitted; a process may also be killed while another is started.
                except (BrokenProcessPool, OSError):
                    lost.append(file)
            processes = list((getattr(pool, "_processes", None) or {}).values())
            for future in as_completed(futures):
                try:
                    yield futures[future], future.result()
                except (BrokenProcessPool, MemoryError):
                    lost.append(futures[future])
            if lost:
                reason = _why_ended(processes)
                yield from ((file, reason) for file in lost)
            _end_stuck(pool)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _end_stuck(pool: ProcessPoolExecutor) -> None:
    """End the processes of a pool of which one was killed, when all that was asked for is there.

    It may have held the lock of the queue; the others would wait for it for ever, and the pool for
    them, which notices a dead process only while work is open.
    """
    processes = list((getattr(pool, "_processes", None) or {}).values())
    if any(process.exitcode is not None for process in processes):
        for process in processes:
            process.kill()


NO_MEMORY = "memory ran out, or its process was killed for that; give it more and run it again"
_KNOWN_AFTER = 2.0  # seconds until a process that is gone has its exit code
_ENDED = "its process ended with exit code "


def _why_ended(processes: Sequence[BaseProcess]) -> str:
    """Why the processes of a pool are gone: one that ended by itself was not killed for memory."""
    # The pool's own thread waits for them, too: who asks at the same moment is told of none.
    until = time.monotonic() + _KNOWN_AFTER
    while any(process.exitcode is None for process in processes) and time.monotonic() < until:
        time.sleep(0.01)
    code = max((process.exitcode or 0 for process in processes), default=0)
    if code <= 0:  # a signal, or none of them is gone
        return NO_MEMORY
    return (
        f"{_ENDED}{code} before it had scored anything, and said why above. Where a script of "
        'yours calls this, what it does has to stand below `if __name__ == "__main__":`, since '
        "each process reads it again"
    )


def is_lost(reason: str) -> bool:
    """Whether a case has no scores only for want of a process or memory: another try may do."""
    return reason == NO_MEMORY or reason.startswith(_ENDED)


def _lost(file: CaseFiles, reason: str) -> CaseScores:
    return CaseScores(problem=asdict(Problem(file.case, str(file.truth.path), reason)))


def jobs_that_fit(files: Sequence[CaseFiles]) -> int:
    """Processes to use where nobody says: by cores and by free memory, eight at most."""
    import psutil

    if not files:
        return 1
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        cores = os.cpu_count() or 1
    voxels = max(int(np.prod(file.truth.shape)) for file in files)
    need = voxels * _BYTES_PER_VOXEL + _BYTES_PER_PROCESS
    return max(1, min(MOST_JOBS, cores, int(0.8 * psutil.virtual_memory().available / need)))
