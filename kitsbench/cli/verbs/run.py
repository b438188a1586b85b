"""``kitsbench run``: plan, train, predict, score, compare, report."""

from __future__ import annotations

import shlex
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from kitsbench.cli.config_file import config_option, predictions_section, sections
from kitsbench.cli.help import Grouped
from kitsbench.cli.options import (
    all_option,
    architectures_argument,
    batch_option,
    compile_option,
    dataset_option,
    device_option,
    endpoint_option,
    experiment_option,
    folds_option,
    futility_option,
    jobs_option,
    json_option,
    layout_option,
    log_option,
    patch_option,
    precision_option,
    protocol_option,
    recipe_option,
    size_option,
    spacing_option,
    spending_option,
    split_option,
    strict_option,
    tta_option,
    was_given,
    workdir_option,
)
from kitsbench.cli.output import stopped, tell
from kitsbench.cli.values import Interval, Memory, Number, Seconds, Spend, Whole
from kitsbench.errors import UsageError

if TYPE_CHECKING:
    from kitsbench.experiments.asked.request import Request
    from kitsbench.experiments.plan.estimate import Forecast

WORDS = "kitsbench.words"
"""In a context's ``meta``: the words of the call, where they do not stand in ``sys.argv``."""
EXPERIMENT = "kitsbench.experiment"
"""There: id of the experiment that was run."""


GROUPS = {
    "What is compared": (
        "--all", "--dataset", "--layout", "--strict", "--predictions", "--allow-leak", "--add",
        "--experiment",
    ),
    "How it is trained": (
        "--budget", "--recipe", "--size", "--patch", "--spacing", "--batch", "--precision",
        "--compile", "--max-memory", "--tune",
    ),
    "How it is tested": ("--folds", "--split", "--seeds", "--protocol", "--endpoint", "--tta"),
    "When it stops": (
        "--until", "--question", "--max-seeds", "--max-hours", "--spending", "--futility",
    ),
    "Where it runs": (
        "--workdir", "--device", "--jobs", "--world-size", "--executor", "--slurm", "--ray",
        "--executor-option", "--timeout", "--stall", "--checkpoint-every",
    ),
    "What is said": ("--log", "--dry-run", "--price-per-hour", "--yes", "--json", "--config"),
}  # fmt: skip
EXAMPLES = {
    "Every installed architecture on a phantom, to see what comes out": "kitsbench run --all",
    "Two on your KiTS download, two hours a trial": (
        "kitsbench run unet3d nnunet_plain --dataset kits19 --budget 2h"
    ),
    "What that would take, before it begins": (
        "kitsbench run unet3d --dataset kits19 --budget 2h --dry-run"
    ),
    "More seeds for what has run": "kitsbench run --add --seeds 5",
    "Seed after seed until every pair is decided, five at most": (
        "kitsbench run --all --dataset kits19 --until decided --max-seeds 5"
    ),
    "On a cluster": ("kitsbench run --all --dataset kits19 --executor slurm --slurm gres=gpu:1"),
}


@click.command("run", cls=Grouped, groups=GROUPS, examples=EXAMPLES)
@architectures_argument
@all_option
@dataset_option("Folder of cases; without it the built-in phantom is used.")
@layout_option
@recipe_option("One shared recipe for all, or each architecture's own.", default="matched")
@click.option(
    "--budget",
    type=Spend(),
    help="90s, 10min, 2h, 20000steps, 5e9voxels or 3e17flops a trial.",
)
@click.option(
    "--max-memory",
    type=Memory(),
    help="Most memory a trial may use, e.g. 11GiB; batches that need more are taken in parts.",
)
@compile_option
@precision_option
@folds_option("all (the default), or indices such as 0,2; on the phantom the default is 0.")
@split_option(
    "Number of folds, a rule (kfold, nnunet, stratified, attention_vnet, msan, 90:10 ...), or "
    "a splits_final.json; with /N, N inner folds for means over folds."
)
@click.option("--seeds", type=Whole(1, 1000), help="Training runs per architecture and fold.")
@click.option(
    "--until",
    type=click.Choice(["decided"]),
    help="Run in rounds of a seed over all folds, look after each, and spend nothing on what is "
    "decided; the error of all looks together is kept.",
)
@click.option(
    "--question",
    metavar="pairs|top|baseline:NAME|claim:ID",
    help="What shall be decided: every pair (the default), who leads, each against one, or what a "
    "claim compares.",
)
@click.option(
    "--max-seeds",
    type=Whole(1, 50),
    help="With --until decided: seeds at most, by default 5.",
)
@click.option(
    "--max-hours",
    type=Number(0.0001, 1e9),
    help="With --until decided: device hours after which no further round begins.",
)
@spending_option
@futility_option
@device_option(several=True)
@click.option(
    "--executor",
    type=click.Choice(["local", "ray", "slurm"]),
    default="local",
    show_default=True,
    help="Where trials run: on this machine, or on a cluster that sees the working directory.",
)
@click.option(
    "--executor-option",
    multiple=True,
    metavar="KEY=VALUE",
    help="What a trial asks of the cluster, e.g. partition=gpu; may be given several times.",
)
@click.option(
    "--slurm",
    multiple=True,
    metavar="KEY[=VALUE]",
    help="Any option of sbatch, e.g. gres=gpu:1 or exclusive; also time=4h, setup='module load "
    "cuda', container='apptainer exec --nv image.sif'. May be given several times.",
)
@click.option(
    "--ray",
    multiple=True,
    metavar="KEY=VALUE",
    help="address=HOST:PORT of a Ray cluster, and what a trial takes of a node: num_cpus, "
    "num_gpus, memory, or a resource of your own. May be given several times.",
)
@click.option(
    "--world-size",
    type=Whole(1, 4096),
    default=1,
    show_default=True,
    help="Devices that train one trial together; they share each batch.",
)
@jobs_option(
    "Trials at the same time; by default one a GPU, on a CPU one a core, at most 4, and on "
    "a cluster as many as it lets run.",
    default=None,
)
@size_option
@tta_option(
    "Score the trained networks with this test-time augmentation as well; nothing is trained "
    "again for it."
)
@patch_option()
@spacing_option()
@batch_option
@protocol_option("Scoring rule, e.g. kits19; by default the dataset's own.")
@endpoint_option(
    "region:metric that the verdicts are about; by default tumor:dice, and for a dataset without "
    "tumors its first label.",
    default=None,
)
@click.option(
    "--tune",
    type=Whole(0),
    metavar="N",
    help="Let every architecture try N settings of the recipe in each fold, on cases set aside "
    "from the training set, and train with the best.",
)
@click.option("--timeout", type=Seconds(1), help="Seconds a trial may take in all.")
@click.option(
    "--stall",
    type=Seconds(1),
    default=1800.0,
    show_default=True,
    help="Seconds without progress after which a trial is stopped.",
)
@click.option(
    "--checkpoint-every",
    type=Interval(),
    metavar="TIME",
    help="Time between two checkpoints, such as 5min or 300 (seconds); by default 10min, or a "
    "fiftieth of the budget where that takes longer.",
)
@log_option
@strict_option("A damaged case is an error, not set aside.")
@click.option(
    "--predictions",
    multiple=True,
    metavar="NAME=FOLDER[,trained_on=...][,hours=...]",
    help="Label maps that were made elsewhere take part under NAME: FOLDER has one a case. Say "
    "what their networks were trained on (names with + between). May be given several times.",
)
@click.option(
    "--allow-leak",
    is_flag=True,
    help="Compare who was trained on scans of the test, or on nobody knows what, like the others.",
)
@workdir_option("Where data, trials and the report are kept.")
@click.option(
    "--add",
    is_flag=True,
    help="Add to an experiment: architectures, --folds, --seeds (how many in all) or another "
    "--budget. What is not said stays as it was.",
)
@experiment_option
@click.option(
    "--price-per-hour",
    type=Number(0, 1e9),
    metavar="PRICE",
    help="Of a device, in your currency: what the run will cost is said with its estimate.",
)
@click.option("--dry-run", is_flag=True, help="Prepare the data, print the plan, train nothing.")
@click.option(
    "--yes", is_flag=True, help="Do not ask, whatever it takes; asked beyond 24 device hours."
)
@json_option
@config_option
def command(
    dry_run: bool, yes: bool, as_json: bool, price_per_hour: float | None, **options: Any
) -> int:
    """Train, score and compare architectures under one budget, and write the report.

    ARCH is a name from `kitsbench list` or a plugin's FILE.py. Run the same command again and
    finished trials are kept: only what is missing is done. --add asks for what an experiment has
    and more, --experiment alone for the same again. Exit code 0 if all is fine, 1 if some trials
    failed, 2 for wrong usage or input.
    """
    from kitsbench.cli.progress import CountBar, calmly, working
    from kitsbench.cli.trial_bars import TrialBars
    from kitsbench.isolation.kept import begin_early

    with working("Starting ..."):  # importing torch takes a few seconds
        begin_early()
        from kitsbench.cli.views.added import ask_again, kept_executor, told
        from kitsbench.cli.views.run_cost import go_on
        from kitsbench.cli.views.run_view import announce, conclude
        from kitsbench.experiments.accounts.clock import Clock
        from kitsbench.experiments.executors.choose import choose_executor
        from kitsbench.experiments.executors.company import Company
        from kitsbench.experiments.experiment import (
            check_stored,
            forecast,
            plan_experiment,
            run_experiment,
        )
        from kitsbench.experiments.logs import Logs, check_loggers
        from kitsbench.experiments.trial.kept_scores import is_done
        from kitsbench.isolation import stops_at_signals

        clock = Clock(_since_start())

    add, name = options.pop("add"), options.pop("experiment")
    source = click.get_current_context().get_parameter_source("executor")
    if (add or name is not None) and source is click.core.ParameterSource.DEFAULT:
        options["executor"] = kept_executor(options["workdir"], name)  # whose words are given here
    request, asked, before = _request(options), None, None
    if add or name is not None:
        request, asked, before = ask_again(request, name, add)
    check_loggers(request.log)  # before hours are spent
    try:
        with stops_at_signals():
            with CountBar() as count, calmly("Reading plugins and preparing data ..."):
                experiment = plan_experiment(request, tell, count, clock=clock)
            for line in told(before, experiment.record):
                tell(line)
            if not experiment.studies:  # a search decides what the trials are
                check_stored(experiment)
            if dry_run:
                from kitsbench.cli.views.dry_run import print_plan

                print_plan(experiment, as_json, before, price_per_hour)
                return 0
            if before is None or experiment.record.id != before.id:
                asked = None  # another experiment is asked for as it is run
            announce(experiment)
            with calmly("Estimating ..."), clock.spend("device"):
                left = forecast(experiment)
            with clock.spend(""):  # a user may think for long
                goes_on = go_on(left, yes, price_per_hour)
            if not goes_on:
                tell("Nothing was trained; what was prepared is kept.")
                return 128 + signal.SIGINT
            clock.foresee(_seconds(left))
            with Company(request.workdir, experiment.record.id, tell):
                open_trials = [task for task in experiment.tasks if not is_done(task)]
                executor = choose_executor(request, experiment.machine)
                searched = request.tuning.trials * len(experiment.studies) if request.tuning else 0
                record, total = experiment.record, searched + len(open_trials)
                with (
                    Logs(request.log, request.workdir, tell) as logs,
                    TrialBars(
                        total,
                        record.endpoint,
                        record.protocol,
                        left.after,
                        hidden=record.until is not None,
                    ) as bars,
                ):
                    logs.follow(experiment.tasks)
                    heard = logs.beside(bars)
                    experiment = run_experiment(
                        experiment, executor, heard, asked=asked, clock=clock, tell=tell
                    )
                    logs.follow(experiment.tasks)  # which a search for settings has planned now
                click.get_current_context().meta[EXPERIMENT] = experiment.record.id
                return conclude(experiment, as_json, clock)
    except KeyboardInterrupt as error:
        return stopped(error, request.lasting)


def _seconds(left: Forecast) -> float | None:
    """What is estimated until the end of the call; None where a part of it is not known."""
    hours = left.wall_hours
    known = hours is not None and not left.unknown and left.basis != "none"
    return 3600 * hours if hours is not None and known else None


def _since_start() -> float:
    """Seconds since this process began, where it was started for this call alone."""
    import psutil

    context = click.get_current_context().find_root()
    return max(time.time() - psutil.Process().create_time(), 0.0) if context.obj else 0.0


def _question(text: str | None) -> tuple[str | None, tuple[tuple[str, str, str], ...]]:
    """What shall be decided, and of a claim what its steps compare."""
    from kitsbench.experiments.asked.until import parse_question

    question = None if text is None else parse_question(text)
    if question is None or not question.startswith("claim:"):
        return question, ()
    from kitsbench.claims.statements import read_registry

    known = {claim.id: claim for claim in read_registry()}
    name = question.partition(":")[2]
    if name not in known:
        raise UsageError(f"There is no claim '{name}'; choose one of {', '.join(known)}.")
    steps = known[name].step
    return question, tuple((s.higher, s.lower, f"{s.region}:{s.metric}") for s in steps)


def _request(options: dict[str, Any]) -> Request:
    from kitsbench.experiments.asked.predictions import read_predictions
    from kitsbench.experiments.asked.request import Request, joined
    from kitsbench.experiments.asked.search_space import check_shared, read_tuning
    from kitsbench.experiments.asked.until import read_until
    from kitsbench.experiments.executors.options import read_cluster_words, split_pairs

    executor_section, tune_section = sections(options["executor"])
    pairs = split_pairs(options.pop("executor_option"))
    cluster = read_cluster_words(options["executor"], options.pop("slurm"), options.pop("ray"))
    tuning = read_tuning(options.pop("tune"), tune_section)
    check_shared(tuning, options["recipe"])
    given = read_predictions(options.pop("predictions"), predictions_section())
    source = click.get_current_context().get_parameter_source
    said = {}
    for key in ("max_seeds", "spending", "futility"):
        value, default = options.pop(key), click.core.ParameterSource.DEFAULT
        said[key] = None if source(key) is default else value
    question, steps = _question(options.pop("question"))
    until = options.pop("until")
    if until is None and (was_given("add") or was_given("experiment")):
        # What is asked for again may stop by itself already; see ask_again.
        until = "decided" if question or any(v is not None for v in said.values()) else None
    until = read_until(until, question=question, steps=steps, **said)
    words = click.get_current_context().meta.get(WORDS, sys.argv[1:])
    return Request(
        predictions=given,
        executor_options=joined(executor_section, pairs, cluster),
        tuning=tuning,
        until=until,
        command=shlex.join(["kitsbench", *words]),
        **options,
    )
