"""A MONAI bundle: from the file of a scan to the file of its label map by MONAI's own words.

``python -m monai.bundle run --config_file configs/inference.json --bundle_root .`` needs MONAI and
nothing of kitsbench. MONAI lays tiles and resamples by rules of its own, so a few voxels at borders
come out otherwise.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kitsbench.errors import UsageError
from kitsbench.exporting.networks import TORCHSCRIPT
from kitsbench.files import write_json, write_text
from kitsbench.optional import require

CONFIG = "configs/inference.json"


def why_no_bundle(rules: Mapping[str, Any]) -> str:
    """What of a trial's rules MONAI's transforms have no word for; empty where they have all."""
    given, found = rules["input"], rules["decision"]
    if "label_of_channel" not in found:
        return f"labels are decided by {found['rule']}"
    if given["spacing_is"] != "mm" or given["most_voxels"] is not None:
        return "the voxel size depends on the scan"
    if given["crop_above_hu"] is not None:
        return "scans are cut to a box of bright voxels first"
    if rules["input"]["patch"] != rules["output"]["patch"]:
        return "the output of a patch is smaller than the patch"
    return ""


def write_bundle(network: Path, rules: Mapping[str, Any], card: str, folder: Path) -> None:
    """Write the folder of a bundle.

    Parameters
    ----------
    network : Path
        TorchScript.
    rules : mapping
    card : str
        Markdown.
    folder : Path
        An empty folder.

    Raises
    ------
    UsageError
        MONAI has no word for a rule, or is not installed.
    """
    if reason := why_no_bundle(rules):
        raise UsageError(
            f"{rules['architecture']} cannot be a MONAI bundle: {reason}. Take --to torchscript, "
            "whose kitsbench.json says what a program has to do."
        )
    monai = require("monai", "export")
    (folder / "models").mkdir()
    shutil.copyfile(network, folder / "models" / TORCHSCRIPT)
    write_json(folder / CONFIG, inference(rules))
    write_json(folder / "configs" / "metadata.json", _metadata(rules, str(monai.__version__)))
    write_text(folder / "docs" / "README.md", card)


def inference(rules: Mapping[str, Any]) -> dict[str, Any]:
    """The workflow of a bundle as MONAI reads it."""
    given, tiles, decision = rules["input"], rules["tiles"], rules["decision"]
    mode = {"linear": "bilinear", "nearest": "nearest", "cubic": 3}[given["interpolation"]]
    native = decision["where"] == "native"
    decide = {"_target_": "Lambdad", "keys": "pred", "func": _decision(rules)}
    back = {
        "_target_": "Invertd",
        "keys": "pred",
        "transform": "@preprocessing",
        "orig_keys": "image",
        "nearest_interp": not native,
        "to_tensor": True,
    }
    return {
        "imports": ["$import torch", "$import functools"],
        "bundle_root": ".",
        "images": ["scan.nii.gz"],
        "output_dir": "$@bundle_root + '/eval'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network": f"$torch.jit.load(@bundle_root + '/models/{TORCHSCRIPT}', "
        "map_location=@device).eval()",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": "image", "ensure_channel_first": True},
                {"_target_": "Orientationd", "keys": "image", "axcodes": "SAR"},
                {
                    "_target_": "Spacingd",
                    "keys": "image",
                    "pixdim": list(given["spacing"]),
                    "mode": mode,
                    "padding_mode": "border",
                    "scale_extent": True,
                },
                {"_target_": "CastToTyped", "keys": "image", "dtype": "$torch.float32"},
            ],
        },
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": list(given["patch"]),
            "sw_batch_size": 1,
            "overlap": tiles["overlap"],
            "mode": "gaussian" if tiles["blend"] == "gaussian" else "constant",
            "sigma_scale": tiles["sigma"],
            "padding_mode": "constant",
            "cval": given["outside_hu"],
        },
        "predict": "$lambda item: {**item, 'pred': @inferer(item['image'][None].to(@device), "
        "@network)[0].cpu()}",
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                *([back, decide] if native else [decide, back]),
                {
                    "_target_": "SaveImaged",
                    "keys": "pred",
                    "output_dir": "@output_dir",
                    "output_dtype": "$torch.uint8",
                    "output_postfix": "labels",
                    "separate_folder": False,
                },
            ],
        },
        "run": [
            "$torch.set_grad_enabled(False)",
            "$[@postprocessing(@predict(@preprocessing({'image': file}))) for file in @images]",
        ],
    }


def _decision(rules: Mapping[str, Any]) -> str:
    """Labels of probabilities, as an expression over torch; the values are those of files."""
    here = {value: name for name, value in rules["labels"].items()}
    files = {0: 0, **{v: rules["values_in_files"][name] for v, name in here.items()}}
    values = [files[label] for label in rules["decision"]["label_of_channel"]]
    if rules["output"]["kind"] == "softmax":
        return f"$lambda p: torch.tensor({values}, dtype=torch.uint8)[p.argmax(0, keepdim=True)]"
    places = list(enumerate(values))
    return (
        "$lambda p: functools.reduce(lambda out, rule: torch.where(p[rule[0]:rule[0] + 1] > 0.5, "
        f"torch.full_like(out, rule[1]), out), {[list(one) for one in places]}, "
        "torch.zeros_like(p[:1]))"
    )


def _metadata(rules: Mapping[str, Any], monai: str) -> dict[str, Any]:
    shape = list(rules["input"]["patch"])
    channels = rules["output"]["channels"]
    names = {0: "background", **{value: name for name, value in rules["labels"].items()}}
    return {
        "version": "0.1.0",
        "changelog": {"0.1.0": "exported"},
        "monai_version": monai,
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": np.__version__,
        "name": f"{rules['architecture']} ({rules['trial']})",
        "task": "segmentation of " + ", ".join(rules["labels"]),
        "description": "A network trained by kitsbench; see docs/README.md.",
        "intended_use": "Research. It was tested on the cases that docs/README.md names only.",
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "hounsfield",
                    "modality": "CT",
                    "num_channels": 1,
                    "spatial_shape": shape,
                    "dtype": "float32",
                    "value_range": list(rules["input"]["window_inside_the_model"][:2]),
                    "is_patch_data": True,
                    "channel_def": {"0": "image"},
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "probabilities",
                    "num_channels": len(channels),
                    "spatial_shape": shape,
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "is_patch_data": True,
                    "channel_def": {
                        str(i): " or ".join(names.get(v, str(v)) for v in own)
                        for i, own in enumerate(channels)
                    },
                }
            },
        },
    }
