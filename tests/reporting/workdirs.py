"""Writes small working directories as a run leaves them, for the tests of several rooms.

Every file goes through the class that a run writes it by, so that nothing here can invent a key.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from architectures import Smallest
from reporting.drawn_scans import write_prediction, write_scan

from kitsbench.experiments.asked.resolve import DATASET
from kitsbench.experiments.machines.environment import PACKAGES
from kitsbench.experiments.plan.entrant import NO_RECIPE
from kitsbench.experiments.records import (
    BudgetNote,
    DatasetNote,
    DeviceNote,
    ElsewhereRecord,
    EntrantRecord,
    EnvironmentRecord,
    ExperimentRecord,
    FoldsNote,
    LedgerRecord,
    LooksRecord,
    PlannedTrial,
    ProfileRecord,
    Status,
    TrialContext,
    TrialIdentity,
    TrialRecord,
    UntilNote,
    find_experiment,
    keep_experiment,
    profile_key,
)
from kitsbench.experiments.rounds import Rounds
from kitsbench.experiments.tables import CURVE, SCORES, write_table
from kitsbench.experiments.trial.folder import TrialFolder
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.files import digest
from kitsbench.numerics import NUMERICS
from kitsbench.recipe import Recipe
from kitsbench.spec import Task
from kitsbench.training.budget import NO_BUDGET, Budget
from kitsbench.training.ledger import StageRow
from kitsbench.training.meters.device_speed import WORKLOAD, DeviceSpeed

REGIONS = {
    "kits19": {"kits19": ["kidney_and_tumor", "tumor"], "labels": ["kidney", "tumor"]},
    "kits23": {
        "kits23": ["kidney_and_mass", "mass", "tumor"],
        "labels": ["kidney", "tumor", "cyst"],
    },
}
LABELS = {
    "kits19": {"kidney": 1, "tumor": 2},
    "kits23": {"kidney": 1, "tumor": 2, "cyst": 3},
}
RECIPE = Recipe("matched", spacing=(3.0, 1.62, 1.62), patch=(16, 64, 64))
CONFIG: dict[str, str | float] = {"size": "tiny", "width": 0.25}
FINGERPRINT, SPLIT = "0123456789abcdef", "feedbeeffeedbeef"
DEVICE = "Test CPU"
TORCH = "2.6.0"
BEGAN, ENDED = "2026-11-21T10:00:00+00:00", "2026-11-21T10:01:00+00:00"


@dataclass(frozen=True)
class Plan:
    """What a working directory shall hold.

    Attributes
    ----------
    gaps : dict of str to float
        Architectures by their display names, and how much better than 0.7 each scores.
    failed : tuple of (str, int, int, str)
        Name, fold and seed of trials that failed, and the reason.
    showcase : int
        Cases that the report shows.
    budget : (str, float, str)
        Text, amount and unit.
    curve_points : int
        Steps at which each trial wrote down its loss.
    elsewhere : mapping of str to ElsewhereRecord
        What is known of those of ``gaps`` that were trained elsewhere; they run once in a fold.
    """

    gaps: dict[str, float]
    folds: int = 3
    seeds: int = 2
    cases_per_fold: int = 4
    failed: tuple[tuple[str, int, int, str], ...] = ()
    layout: str = "kits19"
    showcase: int = 1
    predictions: bool = True
    budget: tuple[str, float, str] = ("20s", 20.0, "seconds")
    profiles: bool = True
    synthetic: bool = True
    elsewhere: Mapping[str, ElsewhereRecord] = field(default_factory=dict)
    curve_points: int = 21

    @property
    def cases(self) -> list[str]:
        """Every case of the dataset."""
        return [f"case_{number:05d}" for number in range(self.folds * self.cases_per_fold)]

    @property
    def note(self) -> BudgetNote:
        """The budget as files tell it."""
        text, amount, unit = self.budget
        return BudgetNote.model_validate({"text": text, "amount": amount, "unit": unit})

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return "phantom" if self.synthetic else "kits19"


def write_workdir(folder: Path, plan: Plan) -> Path:
    """Write an experiment, trials, profiles and the dataset that the overlays need."""
    folder.mkdir(parents=True, exist_ok=True)
    for case in plan.cases[: max(plan.showcase, 1)]:
        write_scan(folder / "dataset" / case, plan.layout, int(case[-5:]))
    failed = {entry[:3]: entry[3] for entry in plan.failed}
    trials = [
        _write_trial(folder, plan, name, fold, seed, failed.get((name, fold, seed)))
        for seed in range(plan.seeds)
        for fold in range(plan.folds)
        for name in plan.gaps
        if not (seed and name in plan.elsewhere)
    ]
    for number, name in enumerate(plan.gaps if plan.profiles else ()):
        _profile(plan, name, number).keep(folder)
    keep_experiment(folder, _experiment(folder, plan, trials))
    return folder


def look_until_decided(
    workdir: Path, plan: Plan, question: str = "pairs", **until: object
) -> LooksRecord:
    """Let a working directory be one that stopped by itself, by the looks that its trials give.

    Parameters
    ----------
    workdir : Path
        As :func:`write_workdir` wrote it, with all of the fixed design.
    plan : Plan
    question : str
    **until : object
        Other words of the experiment's.
    """
    old = find_experiment(workdir)
    note = UntilNote(
        **{
            "question": question,
            "named": None,
            "pairs": (),
            "looks": tuple(range(2, plan.seeds + 1)),
            "spending": "obrien-fleming",
            "alpha": 0.05,
            "futility": 0.05,
            "share": 0.5,
            **until,
        }
    )
    same = set(ExperimentRecord.model_fields) - {"schema_version", "id", "plan", "until"}
    record = ExperimentRecord.of(**{key: getattr(old, key) for key in same}, until=note)
    keep_experiment(workdir, record)
    spec = Smallest().spec({}, Task(patch=(16, 16, 16)))
    tasks = []
    for one in record.trials:
        trial = TrialRecord.read(TrialFolder(workdir, one.id).trial)
        tasks.append(
            TrialTask(
                workdir=workdir,
                trial=trial,
                location=trial.context.location,
                spec=spec,
                recipe=trial.context.recipe,
                budget=Budget(plan.note.amount, plan.note.unit),
                stores={},
                train_cases=trial.context.train_cases,
                test_cases=trial.context.test_cases,
                cases={},
                window=trial.context.window,
                protocols=record.protocols,
            )
        )
    return Rounds(workdir, record, tasks).run(lambda trials: None)


def trained_elsewhere(**known: object) -> ElsewhereRecord:
    """What a plan knows of a folder of label maps that may be compared, or ``known`` instead."""
    usual = {"kind": "predictions", "trained_on": ("other folds",), "leak": None}
    usual |= {"allowed": False, "hours": None, "missing": 0}
    return ElsewhereRecord.model_validate(usual | known)


def broken_entrant(name: str, error: str) -> EntrantRecord:
    """An architecture that could not take part."""
    whole = entrant_record(name, 0)
    missing = dict.fromkeys(("size", "patch", "parameters", "flops"))
    missing |= dict.fromkeys(("paper_parameters", "paper_flops", "paper_patch"))
    return whole.model_copy(
        update={**missing, "status": "broken", "error": error, "config": {}, "notes": ()}
    )


def config_of(name: str) -> dict[str, str | float]:
    """Settings of an architecture, with those that its display name says."""
    said = name.partition(":")[2].split(",")  # other names have a colon, too
    named = [setting.split("=", 1) for setting in said if "=" in setting]
    return CONFIG | {key: _setting(value) for key, value in named}


def _setting(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def entrant_record(name: str, number: int) -> EntrantRecord:
    """Provenance, size and cost of an architecture; of the second the paper's size is unknown."""
    architecture = name.split(":")[0]
    return EntrantRecord(
        name=name,
        architecture=architecture,
        title=architecture.replace("_", " ").title(),
        paper="A paper, 2020",
        distribution="kitsbench-plugins",
        version="0.1.0",
        source_hash="ab" * 8,
        status="ok",
        error=None,
        config=config_of(name),
        size="tiny",
        notes=("width reduced to a quarter",),
        members=(),
        combine=None,
        asked=True,
        tta=None,
        recipe=None,
        patch=RECIPE.patch,
        parameters=100_000 * (number + 1),
        flops=3_000_000_000 * (number + 1),
        paper_parameters=16_000_000 * (number + 1) if number != 1 else None,
        paper_flops=400_000_000_000,
        paper_patch=RECIPE.patch,
    )


def trial_record(plan: Plan, name: str, fold: int, seed: int) -> TrialRecord:
    """What a trial is, and what one wants to know about it."""
    note, recipe, here = plan.note, RECIPE, name not in plan.elsewhere
    if not here:
        note, recipe = BudgetNote.model_validate(NO_BUDGET.to_dict()), NO_RECIPE
    tested = plan.cases[fold :: plan.folds]
    identity = TrialIdentity(
        architecture=name.split(":")[0],
        config=config_of(name),
        version="0.1.0",
        source_hash="ab" * 8,
        spec=digest(name),
        dataset=FINGERPRINT,
        preparation={"image": "cd" * 8} if here else {},
        split=SPLIT,
        fold=fold,
        seed=seed,
        recipe=recipe.digest(),
        budget=(note.amount, note.unit),
        precision="float32",
        device_class=_speed().device_class if note.unit == "seconds" else None,
        members=(),
        numerics=NUMERICS,
        compile=False,
        tta=None,
    )
    context = TrialContext(
        name=name,
        distribution="kitsbench-plugins",
        dataset_name=plan.dataset,
        recipe=recipe,
        budget=note,
        location=name.split(":")[0],
        labels=tuple(LABELS[plan.layout].items()),
        patch=RECIPE.patch if here else None,
        window=(-80.0, 300.0, 100.0, 0.0125),
        spacing=(3.0, 1.62, 1.62),
        train_cases=tuple(case for case in plan.cases if here and case not in tested),
        train_patients=(),
        test_cases=tuple(tested),
        curve_cases=tuple(tested[: DATASET.curve_cases]),
        tuning=None,
    )
    return TrialRecord.of(identity, context)


def _experiment(folder: Path, plan: Plan, trials: list[PlannedTrial]) -> ExperimentRecord:
    return ExperimentRecord.of(
        version="0.1.0",
        created=BEGAN,
        command="kitsbench run --all --seeds 2",
        dataset=DatasetNote(
            name=plan.dataset,
            path=str(folder / "dataset"),
            layout=plan.layout,
            labels=LABELS[plan.layout],
            fingerprint=FINGERPRINT,
            n_cases=len(plan.cases),
            excluded={"case_00099": "the label map has another shape than the image"},
            synthetic=plan.synthetic,
            note="made by kitsbench data phantom" if plan.synthetic else "",
        ),
        protocol=next(iter(REGIONS[plan.layout])),
        protocols=tuple(REGIONS[plan.layout]),
        endpoint="tumor:dice",
        recipe=RECIPE,
        recipe_mode="matched",
        budget=plan.note,
        max_memory=None,
        folds=FoldsNote(count=plan.folds, used=tuple(range(plan.folds)), split_id=SPLIT),
        seeds=plan.seeds,
        device=DeviceNote(
            kind="cpu", name=DEVICE, threads=1, jobs=1, world_size=1, executor="local"
        ),
        entrants=tuple(
            entrant_record(name, number).model_copy(update={"elsewhere": plan.elsewhere.get(name)})
            for number, name in enumerate(plan.gaps)
        ),
        trials=tuple(trials),
        showcase=tuple(plan.cases[: plan.showcase]),
        tuning=None,
    )


def _write_trial(
    workdir: Path, plan: Plan, name: str, fold: int, seed: int, reason: str | None
) -> PlannedTrial:
    number = list(plan.gaps).index(name)
    trial = trial_record(plan, name, fold, seed)
    folder = TrialFolder(workdir, trial.id)
    trial.write(folder.trial)
    _status(reason).write(folder.path / "status.json")
    _environment(trial.id).write(folder.environment)
    planned = PlannedTrial(id=trial.id, name=name, fold=fold, seed=seed)
    if reason:
        return planned
    generator = np.random.default_rng([number, fold, seed])
    spent = _ledger(trial.id, number)
    if name in plan.elsewhere:
        nothing = {"device_seconds": 0.0, "steps": 0, "patches": 0, "voxels": 0.0, "flops": 0.0}
        spent = spent.model_copy(update={**nothing, "patches_per_s": 0.0, "stages": ()})
        if plan.elsewhere[name].kind == "system":
            asked = {"inference_s": 6.0, "inference_cases": plan.cases_per_fold}
            spent = spent.model_copy(update=asked)
    spent.write(folder.ledger)
    write_table(folder.curve, _curve(generator, plan.gaps[name], plan), CURVE)
    rows = []
    run = generator.normal(0, 0.004)
    for case in trial.context.test_cases:
        difficulty = np.random.default_rng(int(case[-5:]) + 7).normal(0, 0.05)
        quality = plan.gaps[name] + run + difficulty
        known: dict[str, list[Mapping[str, object]]] = {}
        for protocol, regions in REGIONS[plan.layout].items():
            for region in regions:
                drawn = _case_rows(protocol, region, case, quality, generator)
                # The same voxels have the same scores by whichever protocol.
                own = known.setdefault(region, drawn)
                rows += [{**row, "protocol": protocol} for row in own]
    write_table(folder.scores, pd.DataFrame(rows), SCORES)
    if plan.predictions:
        for case in plan.cases[: plan.showcase]:
            if case in trial.context.test_cases:
                write_prediction(workdir / "dataset" / case, folder.predictions, case, number)
    return planned


def end_trial(
    folder: TrialFolder, trial: TrialRecord, scores: pd.DataFrame | None, seconds: float = 20.0
) -> None:
    """Write what a trial leaves that ended with scores, or without any.

    Parameters
    ----------
    folder : TrialFolder
    trial : TrialRecord
    scores : DataFrame or None
        As of :data:`~kitsbench.experiments.tables.SCORES`; None of one that failed.
    seconds : float
        On the device.
    """
    trial.write(folder.trial)
    _environment(trial.id).write(folder.environment)
    if scores is not None:
        own = {"device_seconds": seconds, "steps": int(trial.context.budget.amount)}
        spent = _ledger(trial.id, 0).model_copy(update=own)
        spent.write(folder.ledger)
        write_table(folder.scores, scores, SCORES)
    _status(None if scores is not None else "out-of-memory").write(folder.path / "status.json")


def _status(reason: str | None) -> Status:
    return Status.model_validate(
        {
            "status": "failed" if reason else "finished",
            "reason": reason,
            "message": f"{reason} in step 3" if reason else None,
            "started": BEGAN,
            "finished": ENDED,
            "host": "host",
        }
    )


def _speed() -> DeviceSpeed:
    return DeviceSpeed(
        device_class=f"cpu: {DEVICE}, 1 threads",
        host="host",
        threads=1,
        speed_gflops=57.0,
        low=55.0,
        high=59.0,
        steps=80,
        seconds=5.0,
        workload=WORKLOAD,
    )


def _environment(trial: str) -> EnvironmentRecord:
    return EnvironmentRecord(
        trial=trial,
        kitsbench=("0.1.0",),
        python="3.11.7",
        platform="Linux",
        packages={**dict.fromkeys(PACKAGES), "torch": TORCH},
        device="cpu",
        device_name=DEVICE,
        cpu_name=DEVICE,
        cuda=None,
        cudnn=None,
        driver=None,
        power_cap_w=None,
        settings={"matmul_precision": "highest"},
        cores=2,
        threads=1,
        speed=_speed(),
    )


def _case_rows(
    protocol: str, region: str, case: str, quality: float, generator: np.random.Generator
) -> list[Mapping[str, object]]:
    base = {"protocol": protocol, "case": case, "region": region}
    if region == "cyst" and int(case[-5:]) % 2:
        return [
            {**base, "metric": "dice", "value": 1.0, "status": "both_empty"},
            {**base, "metric": "precision", "value": math.nan, "status": "both_empty"},
            {**base, "metric": "recall", "value": math.nan, "status": "both_empty"},
        ]
    centre = 0.9 if region.startswith("kidney") else 0.7
    dice, precision, _ = np.clip(centre + quality + generator.normal(0, 0.02, 3), 0, 1)
    # Dice is the harmonic mean of the two.
    precision = max(precision, dice / (2 - dice))
    recall = dice * precision / (2 * precision - dice) if dice else 0.0
    values = (dice, precision, recall)
    return [
        {**base, "metric": metric, "value": float(value), "status": "ok"}
        for metric, value in zip(("dice", "precision", "recall"), values, strict=True)
    ]


def _ledger(trial: str, number: int) -> LedgerRecord:
    steps, seconds = max(120 - 15 * number, 15), 20.0 + 0.01 * number
    flops = 6e9 * (number + 1)
    stage = StageRow(
        name="train",
        from_step=0,
        from_seconds=0.0,
        from_fraction=0.0,
        steps=steps,
        device_seconds=seconds,
        flops=steps * flops,
        flops_per_step=flops,
        optimiser="adamw",
        lr=1e-3,
        schedule="polynomial",
        trained_parameters=100_000 * (number + 1),
        frozen_parameters=0,
        ended_by="budget",
        ended_because="the budget was spent",
    )
    return LedgerRecord(
        trial=trial,
        device_seconds=seconds,
        steps=steps,
        patches=steps * 2,
        voxels=float(steps * 2 * math.prod(RECIPE.patch or ())),
        flops=steps * flops,
        budget_spent_fraction=1.0005,
        overshoot_steps=1.0,
        overshoot_seconds=0.01,
        peak_memory_bytes=400_000_000 * (number + 1),
        peak_reserved_bytes=400_000_000 * (number + 1),
        inference_peak_memory_bytes=400_000_000 * (number + 1),
        energy_joules=None,
        loader_wait_s=0.3,
        evaluation_s=4.0,
        checkpoint_s=0.2,
        prediction_s=1.0,
        wall_s=26.0,
        resumed=0,
        accumulation=1,
        compiled=False,
        layout="channels_last_3d",
        warm_up_s=0.0,
        skipped_steps=0,
        patches_per_s=steps * 2 / 20.0,
        stages=(stage,),
        lr_reductions=(),
        device="cpu",
        device_name=DEVICE,
        precision="float32",
        threads=1,
    )


def _curve(generator: np.random.Generator, gap: float, plan: Plan) -> pd.DataFrame:
    protocol = next(iter(REGIONS[plan.layout]))
    rows = []
    for step in np.linspace(0, 100, plan.curve_points).round(6):
        fraction = float(step) / 100
        base = {"step": round(step), "fraction": fraction, "device_seconds": 20 * fraction}
        loss = 1.2 * math.exp(-3 * fraction) + 0.3 + generator.normal(0, 0.02)
        rows.append({**base, "kind": "loss", "name": "loss", "value": loss})
        rows.append({**base, "kind": "lr", "name": "lr", "value": 0.01 * (1 - fraction) ** 0.9})
        if step in (25, 50, 75):
            for region in REGIONS[plan.layout][protocol]:
                rise = 1 - math.exp(-3 * fraction)
                value = max((0.75 + gap) * rise + generator.normal(0, 0.01), 0.0)
                rows.append({**base, "kind": "score", "name": f"{region}:dice", "value": value})
    return pd.DataFrame(rows)


def _profile(plan: Plan, name: str, number: int) -> ProfileRecord:
    identity = trial_record(plan, name, 0, 0).identity
    return ProfileRecord(
        name=name,
        parameters=100_000 * (number + 1),
        flops_forward=1_000_000_000 * (number + 1),
        flops_step=3_000_000_000 * (number + 1),
        patch=(16, 64, 64),
        voxels=65536,
        batch=2,
        device="cpu",
        device_name=DEVICE,
        precision="float32",
        threads=1,
        train_step_ms=160.0 + 20 * number,
        train_step_ms_low=150.0,
        train_step_ms_high=190.0,
        inference_ms=40.0,
        patches_per_s_compute=12.5 - 0.5 * number,
        patches_per_s_full=12.0 - 0.5 * number,
        peak_memory_bytes=400_000_000,
        energy_joules=None,
        key=profile_key(identity, DEVICE, 1, TORCH, None),
    )
