"""``kitsbench profile``: parameters, FLOPs, latency, throughput, memory."""

from __future__ import annotations

from pathlib import Path
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
    out_option,
    patch_option,
    precision_option,
    size_option,
    workdir_option,
)
from kitsbench.cli.output import print_json, tell
from kitsbench.cli.values import PATH, Memory
from kitsbench.errors import UsageError


@click.command("profile")
@architectures_argument
@all_option
@dataset_option("Folder of cases to load patches from; by default the phantom.")
@device_option()
@precision_option
@compile_option
@size_option
@click.option(
    "--scan",
    "scans",
    type=click.Choice(["median", "largest"]),
    multiple=True,
    help="Predict a scan of that size of KiTS as well: its time by parts, and its peak of memory.",
)
@click.option(
    "--memory",
    is_flag=True,
    help="Measure peak memory against patch and batch as well.",
)
@click.option(
    "--max-memory",
    type=Memory(),
    help="With --memory: search the largest batch and the largest patch that train, and that "
    "predict, in so much, e.g. 2GiB.",
)
@click.option(
    "--also",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    multiple=True,
    help="A row in this precision as well.",
)
@patch_option()
@batch_option
@workdir_option("Where data and profiles are kept.")
@out_option(
    "Write what was measured to a file as well: FILE.json, FILE.csv, or FILE.benchmark.json, which "
    "`pytest-benchmark compare` reads.",
    multiple=True,
    folder=False,
)
@click.option(
    "--compare",
    "old",
    type=PATH,
    metavar="OLD.json",
    help="Print ratios to what -o has written before, and mark what is more than noise.",
)
@json_option
def command(
    as_json: bool,
    compile: bool,
    scans: tuple[str, ...],
    memory: bool,
    max_memory: int | None,
    also: tuple[str, ...],
    out: tuple[Path, ...],
    old: Path | None,
    **options: Any,
) -> int:
    """Measure architectures: parameters, FLOPs, training step, inference, throughput, memory.

    Each is measured with the matched recipe, in a process of its own, and once more where other
    processes kept the machine busy. A training step is split into its parts. Throughput is given
    three times: with real data, on patches that lie on the device already, and of the loader
    alone. With --compile the training step is measured both ways. Of a system that was trained
    elsewhere the prediction of one scan is measured. With --compare the same is measured again and
    set beside what an earlier call wrote.
    """
    from kitsbench.cli.profiles import Asked, members_of, profile_entrants, profile_systems
    from kitsbench.cli.progress import CountBar, working
    from kitsbench.cli.views.profile_files import check_outputs, read_profiles, write_profiles
    from kitsbench.cli.views.profile_view import (
        comparison_content,
        print_comparison,
        print_profiles,
    )
    from kitsbench.experiments.asked.request import Request
    from kitsbench.experiments.experiment import plan_experiment
    from kitsbench.reporting.words import listing

    check_outputs(out)
    if max_memory is not None and not memory:
        raise UsageError("--max-memory is what --memory searches for: give --memory too.")
    before = None if old is None else read_profiles(old)
    request = Request(seeds=1, split="2", folds=(0,), **options)
    with CountBar() as count:
        experiment = plan_experiment(request, tell, count, costs=False)
    with working("Measuring ..."):
        asked = Asked(
            compile, tuple(dict.fromkeys(scans)), memory, max_memory, also, fresh=old is not None
        )
        rows = [*profile_entrants(experiment, asked), *profile_systems(experiment)]
    rows += [{"architecture": e.name, "error": e.error} for e in experiment.entrants if e.error]
    for name, members in members_of(experiment).items():
        tell(
            f"it predicts with {listing(members)}, which are measured each by itself; its own scan "
            "takes what all of theirs take.",
            name,
        )
    for file in out:
        write_profiles(file, rows)
    if as_json:
        print_json(
            rows if before is None else {"profiles": rows, **comparison_content(before, rows)}
        )
    else:
        print_profiles(rows)
        if before is not None:
            print_comparison(before, rows)
    return 1 if any("error" in row for row in rows) else 0
