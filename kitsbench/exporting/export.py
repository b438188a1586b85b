"""A trial's network, carried out of kitsbench."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from kitsbench.errors import UsageError
from kitsbench.experiments.predict import OpenTrial, open_trials
from kitsbench.experiments.tables import SCORES, read_table
from kitsbench.experiments.trial.folder import TrialFolder
from kitsbench.exporting.bundle import write_bundle
from kitsbench.exporting.card import card
from kitsbench.exporting.networks import (
    ONNX,
    TORCHSCRIPT,
    WEIGHTS,
    Run,
    check_equal,
    write_onnx,
    write_safetensors,
    write_torchscript,
)
from kitsbench.exporting.patch_model import PatchModel, example, predictor_of
from kitsbench.exporting.rules import RULES, rules_of
from kitsbench.files import write_folder, write_json, write_text

FORMATS = ("torchscript", "onnx", "monai-bundle", "safetensors")
CARD = "README.md"
# Largest difference of a probability. Of the first each kernel may add up in its own order; the
# second runs the same kernels, and the last the same network.
MOST = {"onnx": 1e-3, "torchscript": 1e-5, "safetensors": 0.0}
_METRICS = ("dice", "precision", "recall")


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes
    ----------
    folder : Path
    differences : dict of str to float
        Largest difference of a probability from the trained network, by format.
    """

    folder: Path
    differences: dict[str, float]


def export_trial(
    folder: Path,
    out: Path,
    formats: Sequence[str],
    plugins: Sequence[Path] = (),
    tell: Callable[[str], None] = lambda line: None,
) -> Exported:
    """Write a trial's network for other programs, and hold it against what was trained.

    Parameters
    ----------
    folder : Path
        Of a finished trial.
    out : Path
        Folder to write; must not be there yet, or be empty.
    formats : sequence of str
        Some of :data:`FORMATS`.
    plugins : sequence of Path
        Plugins' files, for trials of architectures that are not installed.
    tell : callable
        Gets what a user should know.

    Returns
    -------
    Exported

    Raises
    ------
    UsageError
        The network is no function of a patch of a CT, a package is missing, or ``out`` is taken.
    DataError
        The trial has no weights.
    KitsbenchError
        It cannot be written in a format, or reads back as another network.
    """
    if unknown := [name for name in formats if name not in FORMATS]:
        raise UsageError(f"There is no format '{unknown[0]}'; take {', '.join(FORMATS)}.")
    if not formats:
        raise UsageError(f"No format was given; take {', '.join(FORMATS)}.")
    if os.path.lexists(out) and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there already; name a folder that is not, or an empty one.")
    opened = open_trials([folder], torch.device("cpu"), plugins=plugins)
    trial = opened.trials[0]
    if isinstance(opened.trained, tuple):
        raise UsageError(
            f"{trial.name} was trained elsewhere and predicts as it does; there is no network of "
            "kitsbench to export."
        )
    for remark in opened.remarks:
        tell(remark)
    predictor = predictor_of(opened.trained, trial.name)
    model = PatchModel(predictor).eval()
    (spacing,) = opened.spacings[0].values()
    rules = rules_of(opened.trained, predictor, trial, spacing, opened.hows[0])
    if "left_out" in rules["decision"]:
        tell(f"Left out: {rules['decision']['left_out']}.")
    differences: dict[str, float] = {}
    wanted = list(dict.fromkeys(formats))

    def write(place: Path) -> None:
        runs: dict[str, Run] = {}
        needed = "torchscript" in wanted or "monai-bundle" in wanted
        script = place / TORCHSCRIPT
        if needed:
            runs["torchscript"] = write_torchscript(model, example(predictor), rules, script)
        if "onnx" in wanted:
            runs["onnx"] = write_onnx(model, example(predictor), rules, place / ONNX)
        if "safetensors" in wanted:
            runs["safetensors"] = write_safetensors(model, rules, place / WEIGHTS)
        patches = [example(predictor, seed) for seed in (1, 2)]
        for name, run in runs.items():
            differences[name] = check_equal(run, model, patches, MOST[name], name)
        text = card(rules, trial, _scores(opened, folder), wanted, differences)
        if "monai-bundle" in wanted:
            bundle = place / "monai-bundle"
            bundle.mkdir()
            write_bundle(script, rules, text, bundle)
        if needed and "torchscript" not in wanted:
            script.unlink()
        write_json(place / RULES, rules)
        write_text(place / CARD, text)

    write_folder(out, write, last=CARD)
    return Exported(out, differences)


def _scores(opened: OpenTrial, folder: Path) -> dict[tuple[str, str, str], tuple[float, int]]:
    """Means of the held-out cases, as the trial's own table has them."""
    place = TrialFolder(folder.parent.parent, opened.trials[0].id)
    file = place.scores if place.scores.is_file() else folder / place.scores.name
    table: Any = read_table(file, SCORES)
    shown = table[table["metric"].isin(_METRICS) & table["value"].notna()]
    return {
        (str(protocol), str(region), str(metric)): (float(rows["value"].mean()), len(rows))
        for (protocol, region, metric), rows in shown.groupby(
            ["protocol", "region", "metric"], sort=False
        )
    }
