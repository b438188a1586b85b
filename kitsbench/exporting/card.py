"""The card beside an exported network: what it is, how it was tested, how it is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kitsbench.experiments.records import TrialRecord
from kitsbench.metrics.titles import metric_name, region_name
from kitsbench.text import markdown, markdown_code


def card(
    rules: Mapping[str, Any],
    trial: TrialRecord,
    scores: Mapping[tuple[str, str, str], tuple[float, int]],
    formats: list[str],
    differences: Mapping[str, float],
) -> str:
    """Markdown with the head that model hubs read.

    Parameters
    ----------
    rules : mapping
    trial : TrialRecord
    scores : mapping of (protocol, region, metric) to (mean, number of cases)
        Of the cases that the trial's fold holds out.
    formats : list of str
    differences : mapping of str to float
        Largest difference of a probability from the trained network, by format.
    """
    known, given = trial.context, rules["input"]
    size = " × ".join(f"{edge:g}" for edge in given["spacing"])
    lines = [
        "---",
        "library_name: pytorch",
        "pipeline_tag: image-segmentation",
        "tags: [medical, ct, segmentation, kitsbench]",
        "---",
        "",
        f"# {markdown(rules['architecture'])}, trial {rules['trial']}",
        "",
        f"Segments {', '.join(map(markdown, rules['labels']))} on CT. Trained by kitsbench on "
        f"{len(known.train_cases)} cases of {markdown(known.dataset_name)} for "
        f"{markdown(known.budget.text)} with the recipe {markdown(known.recipe.name)}; fold "
        f"{trial.fold}, seed {trial.seed}. For research: it was tested on the cases below only.",
        "",
        "## Scores",
        "",
        f"Means over the {len(known.test_cases)} cases that this network never saw. A single "
        "training run says nothing about the architecture.",
        "",
        "| protocol | region | metric | mean | cases |",
        "|---|---|---|---:|---:|",
        *(
            f"| {markdown(protocol)} | {markdown(region_name(region))} | "
            f"{markdown(metric_name(metric))} | {mean:.3f} | {count} |"
            for (protocol, region, metric), (mean, count) in scores.items()
        ),
        "",
        "## Use",
        "",
        f"The network takes HU of a patch of {' × '.join(map(str, given['patch']))} voxels of "
        f"{size} {given['spacing_is']}, axes {rules['axes']}, as float32 "
        "`(B, 1, z, y, x)`, and gives probabilities `(B, C, z, y, x)`. The intensity window, the "
        "activation and mirroring are inside. `kitsbench.json` says how scans are resampled, how "
        "tiles are blended, and which label each channel is.",
        "",
        *_uses(formats),
        "Left out: " + markdown(rules["decision"]["left_out"]) + "."
        if "left_out" in rules["decision"]
        else "",
        "## How it was checked",
        "",
        *(
            f"- {name}: read back, its largest difference from the trained network is {worst:.2g} "
            "in a probability, over patches that it was not written with."
            for name, worst in differences.items()
        ),
        "",
        f"Kept settings: {markdown_code(trial.id)}, packages of its plugin: "
        + (
            ", ".join(f"{n} {v}" for n, v in trial.identity.packages.items())
            if trial.identity.packages
            else "none beside torch"
        )
        + ".",
    ]
    return "\n".join(lines) + "\n"


def _uses(formats: list[str]) -> list[str]:
    told = {
        "torchscript": '```python\nimport torch\n\nnetwork = torch.jit.load("model.ts").eval()\n'
        "probabilities = network(hu)\n```\n",
        "onnx": "```python\nimport onnxruntime\n\nsession = onnxruntime.InferenceSession("
        '"model.onnx")\n(probabilities,) = session.run(None, {"hu": hu})\n```\n',
        "monai-bundle": "```console\n$ cd monai-bundle\n$ python -m monai.bundle run --config_file "
        "configs/inference.json --bundle_root . --images \"['scan.nii.gz']\"\n```\n",
    }
    return [told[name] for name in formats]
