"""One trial from beginning to end: train, predict the held-out cases, score them.

This is what an executor runs in a process of its own. Whatever goes wrong ends up in the trial's
``status.json``; what was done before is kept and found again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import torch
from torch import nn

from kitsbench.devices.layout import layouts_of
from kitsbench.devices.peaks import peak_memory, reset_peaks
from kitsbench.devices.use import use_device
from kitsbench.errors import ContractError, DataError, KitsbenchError, shorten, telling
from kitsbench.experiments.machines.environment import (
    describe_environment,
    device_class,
    device_name,
)
from kitsbench.experiments.records import EnvironmentRecord, LedgerRecord
from kitsbench.experiments.tables import CURVE, SCORES, write_table
from kitsbench.experiments.trial.kept_maps import keep_maps
from kitsbench.experiments.trial.kept_scores import is_done
from kitsbench.experiments.trial.lease import Lease, LeaseTaken
from kitsbench.experiments.trial.ranks import open_team
from kitsbench.experiments.trial.remembered import remembering
from kitsbench.experiments.trial.rescoring import score_again
from kitsbench.experiments.trial.scoring import (
    CaseReader,
    Report,
    runs_beside,
    score_cases,
    score_trial,
)
from kitsbench.experiments.trial.sitting import Stopwatch
from kitsbench.experiments.trial.systems import outside_of
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.experiments.trial.telling import Teller
from kitsbench.experiments.trial.trained import (
    Beat,
    check_packages,
    load_members,
    make_trained,
    note_adaptation,
    open_stores,
    plugin_of,
)
from kitsbench.experiments.trial.watchdog import Watchdog
from kitsbench.files import disk_trouble
from kitsbench.inference.case import Trained
from kitsbench.registry.module_search import INSTALLED, STANDARD
from kitsbench.training.failures import (
    ROOM,
    Reason,
    TrialFailure,
    device_trouble,
    is_interruption,
    is_out_of_memory,
    may_be_memory,
    memory_trouble,
)
from kitsbench.training.job import Job, Outcome
from kitsbench.training.ledger import Ledger
from kitsbench.training.loop import train
from kitsbench.training.meters.device_speed import device_speed
from kitsbench.training.meters.memory import cap_memory, memory_left
from kitsbench.training.teams.distributed import Team


def run_trial(task: TrialTask, report: Report = lambda stage, fraction: None) -> str:
    """Run a trial and record how it ended.

    Parameters
    ----------
    task : TrialTask
    report : callable
        Called with the stage (``train``, ``score``) and its progress, and with the stage ``beat``
        in between.

    Returns
    -------
    str
        ``finished``, ``failed``, ``taken`` when another process works on it, or ``lost`` when its
        lease went away and nobody else has it.
    """
    folder, process, home = task.folder, os.getpid(), _working_directory()
    held: Lease | None = None
    try:
        with folder.lease() as lease:
            held = lease
            trained = folder.read_status().status == "finished"
            if trained and is_done(task):
                return "finished"
            fail = folder.failing()

            def give_up(message: str) -> None:
                # Who was suspended may wake up when another process has the trial.
                lease.give_up(lambda: fail("timeout", message))

            watching = Watchdog(task.stall, folder.hang, give_up)
            with watching as watchdog, Teller(task) as teller:

                def beat() -> None:
                    if os.getpid() != process:
                        os._exit(0)  # forked by the plugin's code: the trial has one process
                    watchdog.beat()
                    _check_place(home)
                    report("beat", 0.0)

                def progress(stage: str, fraction: float) -> None:
                    report(stage, fraction)
                    beat()
                    lease.check()
                    if stage == "score":
                        teller.score(fraction)

                work = partial(_score_again if trained else _from_the_beginning, task)
                return _attempt(partial(work, progress, beat, lease, teller), fail, lease)
    except LeaseTaken:
        return "taken" if held is None or held.is_anothers() else "lost"
    except OSError as error:  # the lease itself could not be written
        folder.failing()(*explain(error))
        traceback.print_exc(file=sys.stderr)
        return "failed"


def _from_the_beginning(
    task: TrialTask, report: Report, beat: Beat, lease: Lease, teller: Teller
) -> None:
    folder = task.folder
    task.trial.write(folder.trial)
    folder.set_status("running")
    teller.begin()
    _run(task, report, beat, teller)
    beat()
    # The beats of a lease are seconds apart, in which somebody may have removed it.
    if not lease.while_ours(lambda: folder.set_status("finished")):
        raise LeaseTaken(task.id)


def _score_again(task: TrialTask, report: Report, beat: Beat, lease: Lease, teller: Teller) -> None:
    teller.begin()
    device = torch.device(task.device)
    use_device(device, task.threads)
    if task.max_memory is not None:
        cap_memory(device, task.max_memory)
    score_again(task, device, report, beat)


def _attempt(work: Callable[[], None], fail: Callable[[Reason, str], object], lease: Lease) -> str:
    process = os.getpid()
    try:
        work()
        return "finished"
    except LeaseTaken:
        raise
    except BaseException as error:
        if os.getpid() != process:
            os._exit(0)  # forked by the plugin's code, and not the one that speaks for the trial
        reason = explain(error)
        # Files that go away under its hands may be the work of whoever has taken the trial over.
        ours = lease.while_ours(lambda: fail(*reason))
        # After that, since foreign code may have put anything in the place of this stream.
        with contextlib.suppress(Exception):
            traceback.print_exc(file=sys.stderr)
        if not ours:
            raise LeaseTaken(lease.file.parent.name) from error
        if not isinstance(error, Exception):
            raise
        return "failed"


def _working_directory() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


def _check_place(home: str | None) -> None:
    now = _working_directory()
    if now != home:
        raise TrialFailure(
            "plugin error",
            f"its code changed the working directory to {now}. Leave it as it is, and build paths "
            "from __file__.",
        )


def explain(error: BaseException) -> tuple[Reason, str]:
    """Reason and one sentence for an exception that ended a trial."""
    try:
        reason, message = _explain(error)
        if reason in get_args(Reason):
            return reason, shorten(message)
    except BaseException:  # its own code fails when it is asked, so it is foreign
        return "plugin error", telling(error)
    return "plugin error", f"it names '{shorten(str(reason), 100)}' as the reason: {telling(error)}"


def _explain(error: BaseException) -> tuple[Reason, str]:
    if isinstance(error, TrialFailure):
        return error.reason, str(error)
    if is_out_of_memory(error) or (may_be_memory(error) and memory_left() < ROOM):
        return "out-of-memory", memory_trouble(error)
    if isinstance(error, ContractError):
        return "plugin error", str(error)
    if isinstance(error, DataError):
        return "data error", str(error)
    if is_interruption(error):
        return "killed", "It was interrupted; the same command goes on from its last checkpoint."
    if (trouble := device_trouble(error)) is not None:
        return trouble
    if isinstance(error, OSError) and error.errno == errno.EBADF:
        return "plugin error", f"its code closed files that were not its own ({telling(error)})."
    if full := disk_trouble(error):
        return "disk error", full
    if isinstance(error, KitsbenchError):
        return "internal error", str(error)
    # Hooks are called under guard; a network's own methods are called in many places.
    foreign = not isinstance(error, Exception) or any(map(_is_foreign, _files(error)))
    return ("plugin error" if foreign else "internal error"), telling(error)


def _files(error: BaseException) -> Iterator[Path]:
    """Files of the code that an exception came through."""
    trace = error.__traceback__
    while trace is not None:
        yield Path(trace.tb_frame.f_code.co_filename)
        trace = trace.tb_next


def _is_foreign(file: Path) -> bool:
    """Whether code is neither the harness's nor of what is installed beside it."""
    if "<" in str(file) or file.is_relative_to(Path(__file__).parents[2]):
        return False
    return not INSTALLED & set(file.parts) and not any(file.is_relative_to(s) for s in STANDARD)


def _run(task: TrialTask, report: Report, beat: Beat, teller: Teller) -> None:
    watch = Stopwatch(task.folder.ledger)
    device = torch.device(task.device)
    use_device(device, task.threads)
    folder = task.folder
    _describe_environment(task, device)
    if task.max_memory is not None:
        cap_memory(device, task.max_memory)
    cases = CaseReader(task)
    curve: list[dict[str, Any]]
    outside = outside_of(task, device, cases) if task.elsewhere else None
    if outside is not None:
        ledger, curve = Ledger(), []
    elif task.members:
        trained, ledger = load_members(task, device, beat), Ledger()
        curve = []
    else:
        outcome = _train(task, device, cases, report, beat, watch, teller)
        ledger, curve = outcome.ledger, outcome.curve
        trained = make_trained(task, outcome.network, device, beat)
    _write_spent(task, device, ledger, curve, watch)  # scoring may fail
    teller.trained(ledger)
    began, before = watch.predicts(), (cases.scoring_s, cases.predicting_s)
    reset_peaks(device)
    by = outside or remembering(task, trained)
    scores = score_trial(task, by, cases, report, seen=teller.case)
    if isinstance(by, Trained):
        note_adaptation(by, ledger)
    else:
        by.close(ledger)
    watch.predicted(
        began,
        cases.scoring_s - before[0],
        cases.predicting_s - before[1],
        runs_beside(task),
    )
    ledger.prediction_s = time.perf_counter() - began
    ledger.inference_peak_memory_bytes = max(
        ledger.inference_peak_memory_bytes, peak_memory(device)
    )
    write_table(folder.scores, scores, SCORES)
    folder.partial_scores.unlink(missing_ok=True)
    _write_spent(task, device, ledger, curve, watch)
    if outside is None:
        _keep_maps(task, trained, cases)
        _write_ledger(task, device, ledger, watch)  # with the time that the maps took


def _keep_maps(task: TrialTask, trained: Trained, cases: CaseReader) -> None:
    """Keep what is only looked at: nobody is charged for it, and no score is lost by it."""
    try:
        keep_maps(task, trained, cases)
    except (TrialFailure, DataError, OSError) as error:
        print(f"The report will show no maps of its inside: {error}", file=sys.stderr, flush=True)


def _write_spent(
    task: TrialTask,
    device: torch.device,
    ledger: Ledger,
    curve: list[dict[str, Any]],
    watch: Stopwatch,
) -> None:
    """Write the ledger and the curve."""
    # An ensemble has no curve; its empty table still has the columns' types.
    write_table(task.folder.curve, pd.DataFrame(curve, columns=list(CURVE)), CURVE)
    _write_ledger(task, device, ledger, watch)


def _write_ledger(task: TrialTask, device: torch.device, ledger: Ledger, watch: Stopwatch) -> None:
    LedgerRecord(
        trial=task.id,
        **{
            **vars(ledger),
            "stages": tuple(ledger.stages),
            "lr_reductions": tuple(ledger.lr_reductions),
        },
        device=device.type,
        device_name=device_name(device),
        precision=task.trial.identity.precision,
        threads=task.threads,
        sittings=watch.sittings(),
    ).write(task.folder.ledger)


def _describe_environment(task: TrialTask, device: torch.device) -> None:
    """Write down on what the trial runs, and keep by which versions it was begun."""
    file, known = task.folder.environment, describe_environment(device, task.threads)
    versions = [known.pop("kitsbench")]
    # An upgrade between an interruption and the resumption must not pass for the version that
    # trained it all.
    with contextlib.suppress(DataError):
        versions = list(dict.fromkeys([*EnvironmentRecord.read(file).kitsbench, *versions]))
    speed = device_speed(
        device, device_class(device, task.threads), task.threads, task.workdir / "devices"
    )
    EnvironmentRecord(trial=task.id, kitsbench=tuple(versions), speed=speed, **known).write(file)


def _train(
    task: TrialTask,
    device: torch.device,
    cases: CaseReader,
    report: Report,
    beat: Beat,
    watch: Stopwatch,
    teller: Teller,
) -> Outcome:
    def evaluate(network: nn.Module) -> dict[str, float]:
        trained = make_trained(task, network, device, beat)
        values: dict[str, list[float]] = {}
        curve_cases = task.trial.context.curve_cases
        for rows in score_cases(task, trained, cases, curve_cases, task.protocols[:1]):
            for row in rows:
                if row["metric"] == "dice" and row["value"] is not None:
                    values.setdefault(f"{row['region']}:dice", []).append(row["value"])
        return {name: float(np.mean(found)) for name, found in values.items()}

    # Before anything is derived from scans, which is kept under the versions of the packages.
    check_packages(task)
    # Before the clock runs: what is trained on is what was prepared.
    for store in open_stores(task).values():
        store.verify(task.train_cases, beat)
    watch.starts_training()
    with open_team(task.devices, _train_beside, task, explain) as team:
        job = _make_job(task, device, team)

        def progress(fraction: float, ledger: Ledger) -> None:
            watch.steps(ledger)
            report("train", fraction)
            teller.step(fraction, ledger)

        def cut_short(error: BaseException, ledger: Ledger, curve: list[dict[str, Any]]) -> None:
            if isinstance(error, LeaseTaken):
                return  # the folder is another process's now
            watch.trained(ledger, team.size)
            # Where the disk is full this fails too, and the error that is on its way says why.
            with contextlib.suppress(OSError):
                _write_spent(task, device, ledger, curve, watch)

        outcome = train(job, progress, evaluate, cut_short, teller.train)
        watch.trained(outcome.ledger, team.size)
        return outcome


def _train_beside(task: TrialTask, rank: int, team: Team) -> None:
    """What the other processes of a trial on several devices do."""
    with open(task.folder.log, "a", encoding="utf-8", errors="replace") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    device = torch.device(task.devices[rank])
    use_device(device, task.threads)
    if task.max_memory is not None:
        cap_memory(device, task.max_memory)
    train(_make_job(task, device, team), evaluate=lambda network: {})


def _make_job(task: TrialTask, device: torch.device, team: Team) -> Job:
    check_packages(task)
    return Job(
        architecture=plugin_of(task),
        spec=task.spec,
        stores=open_stores(task),
        cases=task.train_cases,
        recipe=task.recipe,
        window=task.window,
        budget=task.budget,
        seed=task.trial.seed,
        fold=task.trial.fold,
        device=device,
        precision=task.trial.identity.precision,
        folder=task.folder.checkpoints,
        checkpoint_every=task.checkpoint_every,
        compile=task.trial.identity.compile,
        max_memory=task.max_memory,
        team=team,
        source=task.trial.identity.code,
        layouts=layouts_of(task.workdir),
        files=task.files,
    )
