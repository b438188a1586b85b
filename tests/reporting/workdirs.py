"""Writes small working directories in the documented format, for the tests of several rooms."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

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
# RAS array (x, y, z) -> array of a KiTS file: slices first, then rows to the back, then to the
# left; the affine says so.
SPACING = (3.0, 1.6, 1.6)
SHAPE = (20, 72, 88)


@dataclass(frozen=True)
class Plan:
    """What a working directory shall hold."""

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


def write_workdir(folder: Path, plan: Plan) -> Path:
    """Write ``experiment.json``, trials, profiles and the dataset that the overlays need."""
    folder.mkdir(parents=True, exist_ok=True)
    n_cases = plan.folds * plan.cases_per_fold
    cases = [f"case_{i:05d}" for i in range(n_cases)]
    dataset = folder / "dataset"
    for case in cases[: max(plan.showcase, 1)]:
        write_scan(dataset / case, plan.layout, int(case[-5:]))
    ids = []
    for fold in range(plan.folds):
        for label in plan.gaps:
            for seed in range(plan.seeds):
                reason = next((f[3] for f in plan.failed if f[:3] == (label, fold, seed)), None)
                ids.append(_write_trial(folder, plan, cases, label, fold, seed, reason))
    for number, label in enumerate(plan.gaps):
        if plan.profiles:
            _json(folder / "profiles" / f"profile-{number}.json", _profile(label, number))
    _json(
        folder / "experiment.json",
        {
            "version": "0.1.0",
            "created": "2026-11-21T10:00:00+00:00",
            "command": "kitsbench run --all --seeds 2",
            "dataset": {
                "name": "phantom" if plan.synthetic else "kits19",
                "path": str(dataset),
                "layout": plan.layout,
                "labels": LABELS[plan.layout],
                "fingerprint": "0123456789abcdef",
                "n_cases": n_cases,
                "excluded": {"case_00099": "the label map has another shape than the image"},
                "synthetic": plan.synthetic,
                "note": "made by kitsbench data phantom" if plan.synthetic else "",
            },
            "protocol": next(iter(REGIONS[plan.layout])),
            "endpoint": "tumor:dice",
            "margins": {"tumor:dice": 0.02},
            "recipe": {"name": "matched", "spacing": [3.0, 1.62, 1.62], "patch": [16, 64, 64]},
            "budget": dict(zip(("text", "amount", "unit"), plan.budget, strict=True)),
            "folds": {
                "count": plan.folds,
                "used": list(range(plan.folds)),
                "split_id": "feedbeef",
            },
            "seeds": plan.seeds,
            "device": {"kind": "cpu", "name": "Test CPU", "threads": 1},
            "architectures": [_architecture(label, i) for i, label in enumerate(plan.gaps)],
            "trials": ids,
            "showcase": cases[: plan.showcase],
        },
    )
    return folder


def write_scan(folder: Path, layout: str, seed: int) -> None:
    """Write one case exactly as KiTS lays it out: slice-first arrays and a flipped affine."""
    image, label = scan(layout, seed)
    affine = np.zeros((4, 4))
    affine[0, 2] = -SPACING[2]  # third axis runs to the left
    affine[1, 1] = -SPACING[1]  # second axis runs to the back
    affine[2, 0] = SPACING[0]
    affine[3, 3] = 1
    folder.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(image, affine), folder / "imaging.nii.gz")
    nib.save(nib.Nifti1Image(label, affine), folder / "segmentation.nii.gz")


def scan(layout: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A body, two kidneys, a tumour on the patient's left kidney (and a cyst)."""
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]

    def ball(centre, radius):
        terms = zip((z, y, x), centre, radius, strict=True)
        return sum(((axis - c) / r) ** 2 for axis, c, r in terms) <= 1

    label = np.zeros(SHAPE, np.uint8)
    label[ball((10, 44, 26), (8, 9, 7)) | ball((10, 44, 62), (8, 9, 7))] = 1
    label[ball((11, 40, 69), (4, 6, 6))] = 2
    if layout == "kits23":
        label[ball((8, 50, 22), (3, 4, 4))] = 3
    generator = np.random.default_rng(seed)
    image = np.full(SHAPE, -1000, np.float32)
    image[np.broadcast_to(ball((10, 38, 44), (40, 30, 40)), SHAPE)] = 20
    for value, hounsfield in ((1, 160), (2, 90), (3, 5)):
        image[label == value] = hounsfield
    image += generator.normal(0, 12, SHAPE)
    return image.astype(np.int16), label


def _write_trial(folder, plan, cases, label, fold, seed, reason) -> str:
    number = list(plan.gaps).index(label)
    name = f"{number:02d}{fold:02d}{seed:02d}".rjust(16, "a")
    trial = folder / "trials" / name
    _json(
        trial / "trial.json",
        {
            "id": name,
            "architecture": label.split(":")[0],
            "label": label,
            "config": {},
            "version": "0.1.0",
            "distribution": "kitsbench-plugins",
            "source_hash": "ab" * 8,
            "dataset": "0123456789abcdef",
            "fold": fold,
            "seed": seed,
            "budget": plan.budget[0],
            "precision": "float32",
            "test_cases": cases[fold :: plan.folds],
        },
    )
    _json(
        trial / "status.json",
        {
            "status": "failed" if reason else "finished",
            "reason": reason,
            "message": f"{reason} in step 3" if reason else None,
            "started": "2026-11-21T10:00:00+00:00",
            "finished": "2026-11-21T10:01:00+00:00",
            "host": "host",
            "stage": "training",
        },
    )
    _json(
        trial / "environment.json",
        {"python": "3.11.7", "torch": "2.6.0", "cpu": "Test CPU", "platform": "Linux"},
    )
    if reason:
        return name
    generator = np.random.default_rng([number, fold, seed])
    _json(trial / "ledger.json", _ledger(plan, number, generator))
    _curve(generator, label in plan.gaps and plan.gaps[label], plan).to_parquet(
        trial / "curve.parquet"
    )
    tested = cases[fold :: plan.folds]
    rows = []
    run = generator.normal(0, 0.004)
    for case in tested:
        difficulty = np.random.default_rng(int(case[-5:]) + 7).normal(0, 0.05)
        for protocol, regions in REGIONS[plan.layout].items():
            for region in regions:
                rows += _case_rows(
                    plan, protocol, region, case, plan.gaps[label] + run + difficulty, generator
                )
    pd.DataFrame(rows).to_parquet(trial / "scores.parquet")
    if plan.predictions:
        for case in cases[: plan.showcase]:
            if case in tested:
                _write_prediction(folder / "dataset" / case, trial / "predictions", case, number)
    return name


def _case_rows(plan, protocol, region, case, quality, generator):
    base = {"protocol": protocol, "case": case, "region": region}
    if region == "cyst" and int(case[-5:]) % 2:
        return [
            {**base, "metric": "dice", "value": 1.0, "status": "both_empty"},
            {**base, "metric": "precision", "value": math.nan, "status": "both_empty"},
            {**base, "metric": "recall", "value": math.nan, "status": "both_empty"},
        ]
    centre = 0.9 if region.startswith("kidney") else 0.7
    values = np.clip(centre + quality + generator.normal(0, 0.02, 3), 0, 1)
    return [
        {**base, "metric": metric, "value": float(value), "status": "ok"}
        for metric, value in zip(("dice", "precision", "recall"), values, strict=True)
    ]


def _ledger(plan, number, generator):
    steps = 120 - 15 * number
    return {
        "device_seconds": 20.0 + 0.01 * number,
        "steps": steps,
        "patches": steps * 2,
        "voxels": steps * 2 * 65536,
        "flops": steps * 3e9 * (number + 1),
        "budget_spent_fraction": 1.0005,
        "overshoot_steps": 1,
        "overshoot_seconds": 0.01,
        "peak_memory_bytes": 400_000_000 * (number + 1),
        "energy_joules": None,
        "loader_wait_s": 0.3,
        "wall_s": 26.0,
        "evaluation_s": 4.0,
        "checkpoint_s": 0.2,
        "prediction_s": 1.0,
        "patches_per_s": steps * 2 / 20.0,
        "device": "cpu",
        "device_name": "Test CPU",
        "precision": "float32",
        "threads": 1,
        "resumed": 0,
    }


def _curve(generator, gap, plan):
    protocol = next(iter(REGIONS[plan.layout]))
    rows = []
    for step in range(0, 101, 5):
        fraction = step / 100
        base = {"step": step, "fraction": fraction, "device_seconds": 20 * fraction}
        loss = 1.2 * math.exp(-3 * fraction) + 0.3 + generator.normal(0, 0.02)
        rows.append({**base, "kind": "loss", "name": "loss", "value": loss})
        rows.append({**base, "kind": "lr", "name": "lr", "value": 0.01 * (1 - fraction) ** 0.9})
        if step in (25, 50, 75):
            for region in REGIONS[plan.layout][protocol]:
                rise = 1 - math.exp(-3 * fraction)
                value = (0.75 + gap) * rise + generator.normal(0, 0.01)
                rows.append({**base, "kind": "score", "name": f"{region}:dice", "value": value})
    return pd.DataFrame(rows)


def _write_prediction(case_folder, out, case, number):
    truth = nib.load(case_folder / "segmentation.nii.gz")
    label = np.asarray(truth.dataobj).astype(np.uint8)
    label = np.roll(label, number + 1, axis=1)
    if number % 2:
        label[label == 2] = 1
        label[9:13, 36:41, 66:72] = 2
    out.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(label, truth.affine, truth.header), out / f"{case}.nii.gz")


def _architecture(label, number):
    return {
        "label": label,
        "name": label.split(":")[0],
        "title": label.split(":")[0].replace("_", " ").title(),
        "paper": "A paper, 2020",
        "distribution": "kitsbench-plugins",
        "version": "0.1.0",
        "source_hash": "ab" * 8,
        "config": {"width": 0.25},
        "size": "tiny",
        "parameters": 100_000 * (number + 1),
        "paper_parameters": 16_000_000 * (number + 1) if number != 1 else None,
        "flops": 3e9 * (number + 1),
        "paper_flops": 4e11,
        "notes": ["width reduced to a quarter"],
        "status": "ok",
        "error": None,
    }


def _profile(label, number):
    return {
        "architecture": label,
        "parameters": 100_000 * (number + 1),
        "paper_parameters": 16_000_000 * (number + 1),
        "flops_forward": 1e9 * (number + 1),
        "flops_step": 3e9 * (number + 1),
        "patch": [16, 64, 64],
        "batch": 2,
        "device": "cpu",
        "device_name": "Test CPU",
        "threads": 1,
        "train_step_ms": 160.0 + 20 * number,
        "train_step_ms_low": 150.0,
        "train_step_ms_high": 190.0,
        "inference_ms": 40.0,
        "patches_per_s_compute": 12.5 - number,
        "patches_per_s_full": 12.0 - number,
        "peak_memory_bytes": 400_000_000,
        "energy_joules": None,
    }


def _json(path: Path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
