"""The card beside an exported network: what it is, how it was tested, how it is used."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from kitsbench.experiments.records import TrialContext, TrialRecord
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
        *_head(rules, known, scores),
        "",
        f"# {markdown(rules['architecture'])}, trial {rules['trial']}",
        "",
        f"Segments {', '.join(map(markdown, rules['labels']))} on CT. Trained by kitsbench on "
        f"{len(known.train_cases)} cases of {markdown(known.dataset_name)} for "
        f"{markdown(known.budget.text)} with the recipe {markdown(known.recipe.name)}; fold "
        f"{trial.fold}, seed {trial.seed}. For research: it was tested on the cases below only.",
        "",
        "Before you upload it: write `license` into the head of this file. What the weights may be "
        "used for depends on the scans that they were trained on, which this file cannot know.",
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
        *_uses(formats, rules),
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


def _head(
    rules: Mapping[str, Any],
    known: TrialContext,
    scores: Mapping[tuple[str, str, str], tuple[float, int]],
) -> list[str]:
    """The head in YAML; its values are JSON, which is YAML and quotes whatever stands in names."""
    results = [
        {
            "task": {"type": "image-segmentation"},
            "dataset": {
                "name": f"{known.dataset_name}, held-out fold ({protocol})",
                "type": known.dataset_name,
            },
            "metrics": [
                {
                    "type": metric,
                    "name": f"{region_name(region)} {metric_name(metric)}, mean of {count} cases",
                    "value": mean,
                }
            ],
        }
        for (protocol, region, metric), (mean, count) in scores.items()
    ]
    index = [{"name": f"{rules['architecture']} ({rules['trial'][:8]})", "results": results}]
    head = {
        "library_name": "pytorch",
        "pipeline_tag": "image-segmentation",
        "tags": ["medical", "ct", "segmentation", "kidney", "kitsbench"],
        "metrics": list(dict.fromkeys(metric for _, _, metric in scores)),
        "model-index": index,
    }
    return ["---", *(f"{key}: {_yaml(value)}" for key, value in head.items()), "---"]


_PAIR = re.compile(r"\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}")


def _yaml(value: Any) -> str:
    """JSON that is YAML as well: there, two escapes are no single letter."""
    return _PAIR.sub(lambda pair: str(json.loads(f'"{pair[0]}"')), json.dumps(value))


def _uses(formats: list[str], rules: Mapping[str, Any]) -> list[str]:
    made = rules["plugin"]
    told = {
        "torchscript": '```python\nimport torch\n\nnetwork = torch.jit.load("model.ts").eval()\n'
        "probabilities = network(hu)\n```\n",
        "onnx": "```python\nimport onnxruntime\n\nsession = onnxruntime.InferenceSession("
        '"model.onnx")\n(probabilities,) = session.run(None, {"hu": hu})\n```\n',
        "monai-bundle": "With torch, MONAI, nibabel and fire installed:\n\n"
        "```console\n$ cd monai-bundle\n$ python -m monai.bundle run --config_file "
        "configs/inference.json --bundle_root . --images \"['scan.nii.gz']\"\n```\n",
        "safetensors": f"The weights alone, for the plugin {markdown_code(made['name'])} of "
        f"{markdown(' '.join(filter(None, (made['distribution'], made['version']))))}, whose "
        "network takes what lies inside the intensity window, as `kitsbench.json` says, and gives "
        f"logits:\n\n```python\n{_REBUILT}```\n",
    }
    return [told[name] for name in formats]


_REBUILT = """\
import json

from safetensors.torch import load_file

from kitsbench import registry
from kitsbench.spec import Task

made = json.load(open("kitsbench.json"))["plugin"]
labels = tuple((name, value) for name, value in made["task"]["labels"])
patch, spacing = (made["task"][key] and tuple(made["task"][key]) for key in ("patch", "spacing"))
plugin = registry.load(made["name"]).architecture
network = plugin.build(plugin.spec(made["settings"], Task(labels, patch, spacing)))
network.load_state_dict(load_file("model.safetensors"))
"""
