"""One trial from beginning to end: train, predict the held-out cases, score them.

This is what an executor runs in a process of its own. Whatever goes wrong ends up in the trial's
``status.json``; what was done before is kept and found again.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from kitsbench.data.preparation.store import PreparedCase, PreparedStore
from kitsbench.errors import ContractError, DataError
from kitsbench.evaluation import score_case
from kitsbench.experiments.machines.environment import (
    describe_environment,
    device_class,
    device_name,
)
from kitsbench.experiments.trial.lease import Lease, LeaseTaken
from kitsbench.experiments.trial.ranks import open_team
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.experiments.trial.watchdog import Watchdog
from kitsbench.files import disk_trouble, read_json, write_json
from kitsbench.inference.case import Trained, segment
from kitsbench.inference.sliding import MeanPredictor, Predictor
from kitsbench.registry import load
from kitsbench.scans.geometry import Axes, spacing_of
from kitsbench.scans.nifti import canonical, read_header, read_label
from kitsbench.scans.writing import write_label
from kitsbench.training.budget import Ledger
from kitsbench.training.checkpoint import latest_checkpoint, load_checkpoint
from kitsbench.training.device_speed import calibration
from kitsbench.training.distributed import Team
from kitsbench.training.failures import TrialFailure, is_out_of_memory, plugin_code
from kitsbench.training.job import Job, Outcome
from kitsbench.training.loop import train
from kitsbench.training.memory import cap_memory, peak_memory
from kitsbench.training.networks import build_network

CURVE_CASES = 2  # held-out cases that are scored along the budget

Report = Callable[[str, float], None]
Beat = Callable[[], None]


def run_trial(task: TrialTask, report: Report = lambda stage, fraction: None) -> str:
    """Run a trial and record how it ended.

    Parameters
    ----------
    task : TrialTask
    report : callable
        Called with the stage (``train``, ``score``) and its progress.

    Returns
    -------
    str
        ``finished``, ``failed``, or ``taken`` when another process works on it.
    """
    folder = task.folder
    try:
        with folder.lease() as lease:
            if folder.read_status()["status"] == "finished":
                return "finished"

            def give_up(message: str) -> None:
                # Who was suspended may wake up when another process has the trial.
                lease.give_up(lambda: folder.try_status("failed", "timeout", message))

            with Watchdog(task.stall, folder.hang, give_up) as watchdog:

                def progress(stage: str, fraction: float) -> None:
                    watchdog.beat()
                    lease.check()
                    report(stage, fraction)

                return _attempt(task, progress, watchdog.beat, lease)
    except LeaseTaken:
        return "taken"
    except OSError as error:  # the lease itself could not be written
        folder.try_status("failed", *explain(error))
        traceback.print_exc(file=sys.stderr)
        return "failed"


def _attempt(task: TrialTask, report: Report, beat: Beat, lease: Lease) -> str:
    folder = task.folder
    try:
        folder.write("trial.json", task.trial)
        folder.set_status("running")
        _run(task, report, beat)
        folder.set_status("finished")
        return "finished"
    except LeaseTaken:
        raise
    except BaseException as error:
        traceback.print_exc(file=sys.stderr)
        reason = explain(error)
        # Files that go away under its hands may be the work of whoever has taken the trial over.
        if not lease.while_ours(lambda: folder.try_status("failed", *reason)):
            raise LeaseTaken(folder.path.name) from error
        if not isinstance(error, Exception):
            raise
        return "failed"


def explain(error: BaseException) -> tuple[str, str]:
    """Reason and one sentence for an exception that ended a trial."""
    if isinstance(error, TrialFailure):
        return error.reason, str(error)
    if is_out_of_memory(error):
        return "out-of-memory", str(error).splitlines()[0][:300] or "Memory ran out."
    if isinstance(error, ContractError):
        return "plugin error", str(error)
    if isinstance(error, DataError):
        return "data error", str(error)
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        return "killed", "It was interrupted; the same command goes on from its last checkpoint."
    if trouble := disk_trouble(error):
        return "disk error", trouble
    text = str(error).strip().splitlines()
    return "internal error", f"{type(error).__name__}: {text[0] if text else 'no message'}"


def _run(task: TrialTask, report: Report, beat: Beat) -> None:
    torch.set_num_threads(task.threads)
    device = torch.device(task.device)
    folder = task.folder
    known = describe_environment(device, task.threads)
    bound = device_class(device, task.threads)
    known["calibration"] = calibration(device, bound, task.threads, task.workdir / "devices")
    folder.write("environment.json", known)
    if task.max_memory is not None:
        cap_memory(device, task.max_memory)
    cases = _CaseReader(task)
    if task.members:
        trained, ledger = _ensemble(task, device, beat), Ledger()
        curve: list[dict[str, Any]] = []
    else:
        outcome = _train(task, device, cases, report, beat)
        ledger, curve = outcome.ledger, outcome.curve
        trained = _trained(task, outcome.network, device, beat)
    _write_spent(task, device, ledger, curve)  # scoring may fail
    began = time.perf_counter()
    scores = _score(task, trained, cases, report)
    ledger.prediction_s = time.perf_counter() - began
    ledger.peak_memory_bytes = max(ledger.peak_memory_bytes, peak_memory(device))
    folder.write_table("scores.parquet", scores)
    folder.partial_scores.unlink(missing_ok=True)
    _write_spent(task, device, ledger, curve)


def _write_spent(
    task: TrialTask, device: torch.device, ledger: Ledger, curve: list[dict[str, Any]]
) -> None:
    """Write the ledger and the curve."""
    # An ensemble has no curve; its empty table still has the columns' types.
    table = pd.DataFrame(curve, columns=list(_CURVE)).astype(_CURVE)
    task.folder.write_table("curve.parquet", table)
    task.folder.write(
        "ledger.json",
        {
            **ledger.to_dict(),
            "device": device.type,
            "device_name": device_name(device),
            "precision": task.trial["precision"],
            "threads": task.threads,
        },
    )


_CURVE = {
    "step": "int64",
    "fraction": "float64",
    "device_seconds": "float64",
    "kind": "str",
    "name": "str",
    "value": "float64",
}


@dataclass
class _CaseReader:
    """Prepared volumes and truths of the held-out cases, opened when they are needed."""

    task: TrialTask
    stores: dict[str, PreparedStore] = field(default_factory=dict)

    def volumes(self, case: str, folders: dict[str, Path]) -> dict[str, PreparedCase]:
        found = {}
        for grid, path in folders.items():
            if str(path) not in self.stores:
                self.stores[str(path)] = PreparedStore.open(path)
            found[grid] = self.stores[str(path)].case(case)
        return found

    def truth(self, case: str) -> tuple[np.ndarray, tuple[float, float, float]]:
        """Labels on the scan's own voxels, turned to (z, y, x), and their spacing in mm."""
        path = self.task.cases[case].label
        assert path is not None
        header = read_header(path, case)
        return read_label(header), spacing_of(canonical(header)[0])


def _train(
    task: TrialTask, device: torch.device, cases: _CaseReader, report: Report, beat: Beat
) -> Outcome:
    def evaluate(network: nn.Module) -> dict[str, float]:
        trained = _trained(task, network, device, beat)
        values: dict[str, list[float]] = {}
        for case in task.trial["curve_cases"]:
            for row in _score_case(task, trained, cases, case, task.protocols[0])[0]:
                if row["metric"] == "dice" and row["value"] is not None:
                    values.setdefault(f"{row['region']}:dice", []).append(row["value"])
        return {name: float(np.mean(found)) for name, found in values.items()}

    with open_team(task.devices, _train_beside, task, explain) as team:
        job = _make_job(task, device, team)

        def progress(fraction: float, ledger: Ledger) -> None:
            report("train", fraction)

        def cut_short(error: BaseException, ledger: Ledger, curve: list[dict[str, Any]]) -> None:
            if isinstance(error, LeaseTaken):
                return  # the folder is another process's now
            # Where the disk is full this fails too, and the error that is on its way says why.
            with contextlib.suppress(OSError):
                _write_spent(task, device, ledger, curve)

        return train(job, progress, evaluate, cut_short)


def _train_beside(task: TrialTask, rank: int, team: Team) -> None:
    """What the other processes of a trial on several devices do."""
    with open(task.folder.log, "a", encoding="utf-8", errors="replace") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    torch.set_num_threads(task.threads)
    device = torch.device(task.devices[rank])
    if task.max_memory is not None:
        cap_memory(device, task.max_memory)
    train(_make_job(task, device, team), evaluate=lambda network: {})


def _make_job(task: TrialTask, device: torch.device, team: Team) -> Job:
    return Job(
        architecture=load(task.location).architecture,
        spec=task.spec,
        stores={grid: PreparedStore.open(path) for grid, path in task.stores.items()},
        cases=task.train_cases,
        recipe=task.recipe,
        window=task.window,
        budget=task.budget,
        seed=int(task.trial["seed"]),
        fold=int(task.trial["fold"]),
        device=device,
        precision=str(task.trial["precision"]),
        folder=task.folder.checkpoints,
        checkpoint_every=task.checkpoint_every,
        compile=bool(task.trial.get("compile")),
        max_memory=task.max_memory,
        team=team,
    )


def _trained(task: TrialTask, network: nn.Module, device: torch.device, beat: Beat) -> Trained:
    architecture = load(task.location).architecture
    predictor = Predictor(
        network,
        task.spec,
        task.window,
        task.recipe.inference,
        device,
        str(task.trial["precision"]),
        tiles=4 if device.type == "cuda" else 2,
        tick=beat,
    )
    return Trained(architecture, task.spec, (predictor,), ((architecture, task.spec),))


def load_trained(task: TrialTask, device: torch.device, beat: Beat = lambda: None) -> Trained:
    """Read a trial's trained weights back.

    Parameters
    ----------
    task : TrialTask
    device : torch.device
    beat : callable
        Called after each forward pass of a prediction.

    Raises
    ------
    DataError
        It has no whole checkpoint.
    """
    if task.members:
        return _ensemble(task, device, beat)
    found = latest_checkpoint(task.folder.checkpoints)
    if found is None:
        raise DataError(
            f"Trial {task.id} ({task.trial['label']}) has no checkpoint; run it to the end first."
        )
    registered = load(task.location)
    trial = task.trial
    network = build_network(
        registered.architecture, task.spec, int(trial["seed"]), int(trial["fold"]), device
    )
    model, _, _ = load_checkpoint(found)
    prefix = "average." if any(name.startswith("average.") for name in model) else "model."
    network.load_state_dict(
        {name.removeprefix(prefix): v for name, v in model.items() if name.startswith(prefix)}
    )
    network.eval()
    return _trained(task, network, device, beat)


def _ensemble(task: TrialTask, device: torch.device, beat: Beat) -> Trained:
    members = [load_trained(member, device, beat) for member in task.members]
    trained = Trained(
        load(task.location).architecture,
        task.spec,
        [member.predictors[0] for member in members],
        [(member.architecture, member.spec) for member in members],
    )
    axes = task.trial.get("tta")
    return trained if axes is None else mirrored(trained, [tuple(own) for own in axes])


def mirrored(trained: Trained, axes: Sequence[tuple[int, ...]]) -> Trained:
    """The same networks, each averaged over mirror images along its axes (empty for none)."""
    found: list[Predictor | MeanPredictor] = []
    for predictor, own in zip(trained.predictors, axes, strict=True):
        assert isinstance(predictor, Predictor)  # a mean is made of mirrored ones
        found.append(replace(predictor, rule=replace(predictor.rule, mirror=own)))
    return replace(trained, predictors=found)


def _score_case(
    task: TrialTask, trained: Trained, cases: _CaseReader, case: str, *protocols: str
) -> tuple[list[dict[str, Any]], np.ndarray, dict[str, Any]]:
    """Predict one held-out case and score it: rows, the label map on disk axes, its geometry."""
    sources = [member.stores for member in task.members] or [task.stores]
    volumes = [cases.volumes(case, folders) for folders in sources]
    with plugin_code("decode"):
        labels = segment(trained, volumes)
    native = next(iter(volumes[0].values())).native
    truth, spacing = cases.truth(case)
    turned = Axes(tuple(native["order"]), tuple(native["flipped"])).to_zyx(labels)
    named = {name for name, _ in task.spec.labels}
    rows = []
    for protocol in protocols:
        for row in score_case(turned, truth, spacing, protocol):
            # A dataset without cysts says nothing about how well they are found.
            if protocol != "labels" or row["region"] in named:
                rows.append({"protocol": protocol, "case": case, **row})
    return rows, labels, native


def _weights(task: TrialTask) -> list[str]:
    """Hashes of the weights that a trial is scored with."""
    newest = [latest_checkpoint(t.folder.checkpoints) for t in task.members or [task]]
    return [str(read_json(c / "SHA256.json")["model.safetensors"]) for c in newest if c is not None]


def _score(task: TrialTask, trained: Trained, cases: _CaseReader, report: Report) -> pd.DataFrame:
    """Score every held-out case; rows of a case that was scored before a kill are kept."""
    part, weights = task.folder.partial_scores, _weights(task)
    scored: dict[str, list[dict[str, Any]]] = {}
    # After a damaged checkpoint the training was repeated from the one before, and on most
    # devices that gives other weights.
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        kept = read_json(part)
        scored = dict(kept["scored"]) if kept["weights"] == weights else {}
    for index, case in enumerate(task.test_cases):
        report("score", index / len(task.test_cases))
        prediction = task.folder.predictions / f"{case}.nii.gz"
        if case in scored and (prediction.exists() or not task.keep_predictions):
            continue
        scored[case], labels, native = _score_case(task, trained, cases, case, *task.protocols)
        if task.keep_predictions:
            write_label(prediction, labels, native)
        write_json(part, {"weights": weights, "scored": scored})
    rows = [row for case in task.test_cases for row in scored[case]]
    columns = ["protocol", "case", "region", "metric", "value", "status"]
    return pd.DataFrame(rows, columns=columns)
