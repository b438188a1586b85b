"""What a program must do before and after an exported network, as plain data and in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kitsbench.architecture import Architecture
from kitsbench.data.preparation.volumes import How
from kitsbench.default_hooks import region_order
from kitsbench.experiments.plan.entrants import task_of
from kitsbench.experiments.records import TrialRecord
from kitsbench.exporting.patch_model import decides_plainly
from kitsbench.inference.case import Trained
from kitsbench.inference.sliding import Predictor

RULES = "kitsbench.json"
"""File of the rules, beside the network."""
AXES = "(z, y, x), towards superior, anterior, right: the axis codes SAR"


def rules_of(
    trained: Trained,
    predictor: Predictor,
    trial: TrialRecord,
    spacing: tuple[float, float, float],
    how: How,
) -> dict[str, Any]:
    """The rules of one trial.

    Parameters
    ----------
    trained : Trained
    predictor : Predictor
    trial : TrialRecord
    spacing : tuple of float
        Of the voxels that the network was trained on, (z, y, x) in mm; multiples of the scan's own
        where ``how`` says so.
    how : How
        How scans are prepared.
    """
    head, rule = predictor.spec.primary, predictor.rule
    return {
        "format": 1,
        "architecture": trial.name,
        "trial": trial.id,
        "plugin": _plugin(trial),
        "axes": AXES,
        "input": {
            "what": "HU of a CT at the voxel size below, float32, (B, 1, z, y, x)",
            "patch": list(predictor.spec.grids[0].shape),
            "spacing": list(spacing),
            "spacing_is": "multiples of the scan's own" if how.own else "mm",
            "interpolation": how.preparation.interpolation,
            "crop_above_hu": how.preparation.crop_above,
            "most_voxels": None if how.fit is None else list(how.fit),
            "outside_hu": predictor.window[0],
            "window_inside_the_model": list(predictor.window),
        },
        "output": {
            "what": "probabilities, float32, (B, C, z, y, x), of the middle of the patch",
            "patch": list(head.shape),
            "kind": head.kind,
            "channels": [list(values) for values in head.channels],
        },
        "tiles": {
            "overlap": rule.overlap,
            "blend": rule.blend,
            "sigma": rule.sigma,
            "mirrored_inside_the_model": list(rule.mirror),
        },
        "decision": _decision(trained, predictor),
        "labels": dict(predictor.spec.labels),
        "values_in_files": trial.context.names.written(),
    }


def _plugin(trial: TrialRecord) -> dict[str, Any]:
    """What makes the network in kitsbench: plugin, settings, and the task that they were for."""
    identity, context = trial.identity, trial.context
    task = task_of(context.recipe, context.labels)
    file = context.location.endswith(".py")
    return {
        "name": Path(context.location).name if file else identity.architecture,
        "distribution": context.distribution,
        "version": identity.version,
        "source_hash": identity.source_hash,
        "packages": dict(identity.packages),
        "settings": dict(identity.config),
        "task": {
            "labels": [list(pair) for pair in task.labels],
            "patch": None if task.patch is None else list(task.patch),
            "spacing": None if task.spacing is None else list(task.spacing),
        },
    }


def _decision(trained: Trained, predictor: Predictor) -> dict[str, Any]:
    """How labels follow from probabilities, and what is left out."""
    head = predictor.spec.primary
    found: dict[str, Any] = {"where": predictor.rule.decide}
    if not decides_plainly(trained.architecture):
        found["rule"] = "the plugin's own decode(), which is not in this folder"
    elif head.kind == "softmax":
        found["rule"] = "the label of the likeliest channel"
        found["label_of_channel"] = [values[0] for values in head.channels]
    else:
        found["rule"] = "in the order of the channels, where a probability is above one half"
        found["label_of_channel"] = region_order(head)
    if type(trained.architecture).postprocess is not Architecture.postprocess:
        found["left_out"] = "the plugin's own postprocess() of the label map"
    return found
