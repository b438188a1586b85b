"""``kitsbench profile``: parameters, FLOPs, latency, throughput, memory."""

from __future__ import annotations

from typing import Any

import click

from kitsbench.cli.options import (
    all_option,
    architectures_argument,
    batch_option,
    compile_option,
    dataset_option,
    device_option,
    json_option,
    patch_option,
    precision_option,
    size_option,
    workdir_option,
)
from kitsbench.cli.output import print_json, print_rich, say, tell
from kitsbench.text.screen import make_table


@click.command("profile")
@architectures_argument
@all_option
@dataset_option("Folder of cases to load patches from; by default the phantom.")
@device_option()
@precision_option
@compile_option
@size_option
@patch_option()
@batch_option
@workdir_option("Where data and profiles are kept.")
@json_option
def command(as_json: bool, compile: bool, **options: Any) -> int:
    """Measure architectures: parameters, FLOPs, training step, inference, throughput, memory.

    Each is measured with the matched recipe, in a process of its own. Throughput is given twice:
    on patches that lie on the device already, and with loading and augmentation. With --compile
    the training step is measured both ways. Of a system that was trained elsewhere the prediction
    of one scan is measured.
    """
    from kitsbench.cli.profiles import profile_entrants, profile_systems
    from kitsbench.cli.progress import CountBar, working
    from kitsbench.experiments.asked.request import Request
    from kitsbench.experiments.experiment import plan_experiment

    request = Request(seeds=1, split="2", folds=(0,), **options)
    with CountBar() as count:
        experiment = plan_experiment(request, tell, count, costs=False)
    with working("Measuring ..."):
        rows = [*profile_entrants(experiment, compile=compile), *profile_systems(experiment)]
    rows += [{"architecture": e.name, "error": e.error} for e in experiment.entrants if e.error]
    if as_json:
        print_json(rows)
    else:
        _print(rows)
    return 1 if any("error" in row for row in rows) else 0


def _print(rows: list[dict[str, Any]]) -> None:
    columns = [
        "architecture",
        "parameters",
        "GFLOP\nforward",
        "GFLOP\nstep",
        "step ms\n(quartiles)",
        "inference\nms",
        "patches/s\ncompute",
        "patches/s\nwith data",
        "peak\nMiB",
    ]
    lines = []
    networks = [row for row in rows if "parameters" in row]
    for row in networks:
        full = row["patches_per_s_full"]
        flops = [row["flops_forward"], row["flops_step"]]
        lines.append(
            (
                row["architecture"],
                f"{row['parameters']:,}",
                *("?" if value is None else f"{value / 1e9:.2f}" for value in flops),
                f"{row['train_step_ms']:.0f} ({row['train_step_ms_low']:.0f}-"
                f"{row['train_step_ms_high']:.0f})",
                f"{row['inference_ms']:.0f}",
                f"{row['patches_per_s_compute']:.1f}",
                "" if full is None else f"{full:.1f}",
                f"{row['peak_memory_bytes'] / 2**20:.0f}",
            )
        )
    if lines:
        print_rich(make_table(columns, lines))
    first = next(iter(networks), None)
    if first:
        say(
            f"Patch {'x'.join(map(str, first['patch']))}, batch {first['batch']}, "
            f"{first['precision']}, {first['device_name']}, {first['threads']} threads; "
            "GFLOP for one patch."
        )
    for row in (row for row in rows if "seconds" in row):
        say(
            f"{row['seconds']:.2f} s for a scan of {row['voxels']:,} voxels ({row['case']}), the "
            f"first time {row['seconds_first']:.2f} s; peak memory "
            f"{row['peak_memory_bytes'] / 2**20:.0f} MiB, {row['device_name']}.",
            row["architecture"],
        )
    for row in (row for row in rows if "error" in row):
        say(row["error"], row["architecture"], "red")
