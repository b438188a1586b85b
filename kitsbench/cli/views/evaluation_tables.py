"""Scores of a folder as people read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kitsbench.cli.output import print_table, say
from kitsbench.metrics import METRICS, find

if TYPE_CHECKING:
    from kitsbench.evaluation import Evaluation


def print_evaluations(evaluations: Sequence[Evaluation]) -> None:
    """Print the means by region and metric: of one protocol, or of several side by side."""
    n_cases = len({row["case"] for row in evaluations[0].rows})
    if len(evaluations) == 1:
        say(f"{evaluations[0].protocol.title}; {n_cases} cases scored")
        say("")
        _print_one(evaluations[0])
    else:
        say(f"Mean scores of the same predictions; {n_cases} cases scored")
        say("")
        _print_side_by_side(evaluations)
    _print_variants(evaluations)
    for evaluation in evaluations:
        for metric, value in evaluation.headline.items():
            if value is not None:
                name = f"{evaluation.protocol.name}: " if len(evaluations) > 1 else ""
                say(f"{name}Mean over the regions: {metric} {value:.4f}")
    for evaluation in evaluations:
        for row in evaluation.detection:
            line = _detection_line(row)
            if line:
                name = f"{evaluation.protocol.name}, " if len(evaluations) > 1 else ""
                say(name + line)


def _print_one(evaluation: Evaluation) -> None:
    rows, shown = [], None
    for row in evaluation.summary:
        cells = [_number(row[key], row["metric"]) for key in ("mean", "std")]
        rows.append(
            ["" if row["region"] == shown else row["region"], row["metric"], *cells, row["n"]]
        )
        shown = row["region"]
    print_table(["region", "metric", "mean", "SD", "cases"], rows)


def _print_side_by_side(evaluations: Sequence[Evaluation]) -> None:
    means = {
        (row["region"], row["metric"], evaluation.protocol.name): row["mean"]
        for evaluation in evaluations
        for row in evaluation.summary
    }
    rows, shown = [], None
    regions = [region.name for e in evaluations for region in e.protocol.regions]
    for region in dict.fromkeys(regions):
        for metric in dict.fromkeys(m for r, m, _ in means if r == region):
            cells = [
                _number(means.get((region, metric, e.protocol.name)), metric) for e in evaluations
            ]
            rows.append(["" if region == shown else region, metric, *cells])
            shown = region
    print_table(["region", "metric", *(e.protocol.name for e in evaluations)], rows)
    say("Regions of one name are not the same voxels under every rule:")
    for evaluation in evaluations:
        parts = "; ".join(
            f"{region.name} = labels {', '.join(map(str, region.labels))}"
            for region in evaluation.protocol.regions
        )
        say(f"  {evaluation.protocol.name}: {parts}")


def _number(value: float | None, metric: str) -> str:
    digits = 2 if find(metric).unit else 4
    return "" if value is None else f"{value:.{digits}f}"


def _print_variants(evaluations: Sequence[Evaluation]) -> None:
    """Name the variant of every distance, because tools differ in it."""
    metrics = {row["metric"] for evaluation in evaluations for row in evaluation.summary}
    say("")
    for name, metric in METRICS.items():
        if name in metrics and metric.unit == "mm":
            say(f"{name}: {metric.meaning}")


def _detection_line(row: dict[str, Any]) -> str:
    """Say what was found, where there is something to say."""
    line = f"{row['region']}: predicted in {row['n_found']} of {row['n_present']} cases with it"
    if row["n_absent"]:
        line += f", in {row['n_false_positive']} of {row['n_absent']} without"
    if "n_lesions" in row:
        line += f"; {row['n_lesions_found']:g} of {row['n_lesions']:g} lesions found"
        if row["false_positives_per_case"] is not None:
            line += f", {row['false_positives_per_case']:.2f} false positives per case"
    elif not row["n_absent"] and row["n_found"] == row["n_present"]:
        return ""
    if row["n_failed"]:
        line += f"; {row['n_failed']} failed"
    return line
