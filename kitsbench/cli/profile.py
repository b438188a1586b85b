"""``kitsbench profile``: parameters, FLOPs, latency, throughput, memory."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import click

from kitsbench.cli.options import (
    all_option,
    architectures_argument,
    batch_option,
    dataset_option,
    device_option,
    json_option,
    patch_option,
    size_option,
    workdir_option,
)
from kitsbench.cli.output import print_json, print_rich, say, tell
from kitsbench.errors import DataError, KitsbenchError
from kitsbench.screen import make_table

if TYPE_CHECKING:
    from kitsbench.experiments.experiment import Experiment


BRIEFLY = 0.5  # seconds a measurement at the end of a run, where many architectures wait


def profile_entrants(experiment: Experiment, after_run: bool = False) -> list[dict[str, Any]]:
    """Measure every architecture of an experiment that can be built; known figures are kept.

    Parameters
    ----------
    experiment : Experiment
    after_run : bool
        Measure briefly, and only architectures that were asked for and of which a trial has
        finished: others may hang or fail here too.

    Returns
    -------
    list of dict
        A profile each, or ``architecture`` and ``error``. They are stored in
        ``WORKDIR/profiles``.
    """
    import torch

    from kitsbench.experiments.records import ProfileRecord
    from kitsbench.isolation import each_isolated
    from kitsbench.profiling import ProfileJob, profile

    if experiment.device.type == "cuda" and not torch.cuda.is_available():
        return []  # the trials ran on nodes of a cluster
    asked = {entrant.name for entrant in experiment.entrants if entrant.asked}
    chosen = {}
    for name in dict.fromkeys(task.name for task in experiment.tasks):
        tasks = [t for t in experiment.tasks if t.name == name and not t.members]
        finished = [t for t in tasks if t.folder.read_status().status == "finished"]
        if tasks and (not after_run or (finished and name in asked)):
            chosen[name] = (finished or tasks)[0]

    def measure(name: str) -> dict[str, Any]:
        task = chosen[name]
        device = (
            (experiment.machine.slots or (("cuda:0",),))[0][0]
            if experiment.device.type == "cuda"
            else "cpu"
        )
        key = (
            task.spec.digest(),
            task.recipe.digest(),
            experiment.machine.name,
            experiment.threads,
        )
        with contextlib.suppress(DataError):  # damaged, or of before: measured anew
            known = ProfileRecord.find(experiment.request.workdir, name, key)
            if known is not None:
                return known.row()
        job = ProfileJob(
            name=name,
            location=task.location,
            spec=task.spec,
            recipe=task.recipe,
            device=device,
            precision=task.trial.identity.precision,
            threads=experiment.threads,
            stores=task.stores,
            cases=task.train_cases[:8],
            window=task.window,
            **({"seconds": BRIEFLY} if after_run else {}),
        )
        try:
            found = ProfileRecord(
                name=name, **profile(job), device_name=experiment.machine.name, key=key
            )
        except KitsbenchError as error:
            return {"architecture": name, "error": str(error)}
        found.keep(experiment.request.workdir)
        return found.row()

    # After a run as many at a time as trials were, which is how the networks were trained.
    at_once = experiment.jobs if after_run and experiment.device.type == "cpu" else 1
    return list(each_isolated(measure, chosen, at_once))


@click.command("profile")
@architectures_argument
@all_option
@dataset_option("Folder of cases to load patches from; by default the phantom.")
@device_option()
@size_option
@patch_option()
@batch_option
@workdir_option("Where data and profiles are kept.")
@json_option
def command(as_json: bool, **options: Any) -> int:
    """Measure architectures: parameters, FLOPs, training step, inference, throughput, memory.

    Each is measured with the matched recipe, in a process of its own. Throughput is given twice:
    on patches that lie on the device already, and with loading and augmentation.
    """
    from kitsbench.cli.progress import CountBar, working
    from kitsbench.experiments.asked.request import Request
    from kitsbench.experiments.experiment import plan_experiment

    request = Request(seeds=1, split="2", folds=(0,), **options)
    with CountBar() as count:
        experiment = plan_experiment(request, tell, count)
    with working("Measuring ..."):
        rows = profile_entrants(experiment)
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
    for row in (row for row in rows if "error" not in row):
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
    print_rich(make_table(columns, lines))
    first = next((row for row in rows if "error" not in row), None)
    if first:
        say(
            f"Patch {'x'.join(map(str, first['patch']))}, batch {first['batch']}, "
            f"{first['precision']}, {first['device_name']}, {first['threads']} threads; "
            "GFLOP for one patch."
        )
    for row in (row for row in rows if "error" in row):
        say(row["error"], row["architecture"], "red")
