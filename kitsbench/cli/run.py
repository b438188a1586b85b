"""``kitsbench run``: plan, train, predict, score, compare, report."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kitsbench.errors import UsageError

if TYPE_CHECKING:
    from kitsbench.experiments.asked.request import Request
    from kitsbench.experiments.experiment import Experiment


EXECUTOR_SECTION = "kitsbench.executor"
TUNE_SECTION = "kitsbench.tune"


def _read_config(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Let a TOML file set the defaults of the options; the command line goes before."""
    if value is None:
        return None
    try:
        with open(value, "rb") as file:
            content = tomllib.load(file)
    except OSError as error:
        raise UsageError(f"The configuration {value} cannot be read: {error.strerror}.") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"The configuration {value} is no TOML: {error}.") from error
    hidden = ("config", "executor_option", None)
    known = {p.name: p for p in ctx.command.params if p.name not in hidden}
    defaults: dict[str, Any] = {}
    for key, setting in content.items():
        name = {"all": "all_installed"}.get(key, key).replace("-", "_")
        if name == "executor" and isinstance(setting, dict):
            # A section: the executor's name, and its options.
            ctx.meta[EXECUTOR_SECTION] = {k: v for k, v in setting.items() if k != "name"}
            if "name" not in setting:
                raise UsageError(f'{value}: the section [executor] has no name = "...".')
            setting = setting["name"]
        if name == "tune" and isinstance(setting, dict):
            ctx.meta[TUNE_SECTION] = setting
            continue
        if name not in known:
            options = ", ".join(sorted(p.opts[-1].lstrip("-") for p in known.values()))
            raise UsageError(f"{value} sets '{key}', which is no option of run: {options}.")
        defaults[name] = (
            ",".join(map(str, setting))
            if isinstance(setting, list) and name != "architectures"
            else setting
        )
    ctx.default_map = {**(ctx.default_map or {}), **defaults}
    return value


def split_option(ctx: click.Context, param: click.Parameter, value: Any) -> str | None:
    """Refuse a split that is none before any data are touched."""
    if value is None:
        return None
    from kitsbench.data.splits.rules import RULES, is_rule

    text = str(value)
    if not is_rule(text):
        known = "; ".join(f"{name} ({what})" for name, what in RULES.items())
        raise UsageError(f"The split '{text}' is not known. Use a number of folds, or: {known}.")
    if text.isdecimal() and int(text) < 2:
        raise UsageError(f"A split of {text} folds cannot be made; use 2 or more.")
    return text


@click.command("run")
@click.argument("architectures", nargs=-1, metavar="[ARCH[:key=value,...]]...")
@click.option("--all", "all_installed", is_flag=True, help="Every installed architecture.")
@click.option("--dataset", help="Folder of cases; without it the built-in phantom is used.")
@click.option("--layout", help="Layout of the folder where it cannot be told from its content.")
@click.option(
    "--recipe",
    type=click.Choice(["matched", "paper"]),
    default="matched",
    show_default=True,
    help="One shared recipe for all, or each architecture's own.",
)
@click.option("--budget", help="90s, 10min, 2h, 20000steps, 5e9voxels or 3e17flops a trial.")
@click.option(
    "--max-memory",
    help="Most memory a trial may use, e.g. 11GiB; batches that need more are taken in parts.",
)
@click.option(
    "--compile",
    is_flag=True,
    help="Train through torch.compile; the budget pays for compiling.",
)
@click.option(
    "--folds",
    default=None,
    help="all (the default), or indices such as 0,2; on the phantom the default is 0.",
)
@click.option(
    "--split",
    metavar="N|RULE|FILE.json",
    callback=split_option,
    help="Number of folds, a rule (kfold, nnunet, stratified, attention_vnet, msan, 90:10 ...), or "
    "a splits_final.json.",
)
@click.option("--seeds", type=click.IntRange(1), help="Training runs per architecture and fold.")
@click.option(
    "--device",
    default="auto",
    show_default=True,
    metavar="auto|cpu|cuda|cuda:0,cuda:1",
    help="auto and cuda use every GPU that torch finds; or name some.",
)
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
    "--world-size",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Devices that train one trial together; they share each batch.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1),
    help="Trials at the same time; by default one a GPU, on a CPU one a core, at most 4, and on "
    "a cluster as many as it lets run.",
)
@click.option(
    "--size",
    type=click.Choice(["auto", "tiny", "small", "paper"]),
    default="auto",
    help="Size preset of the architectures; auto is tiny on a CPU, paper on a GPU.",
)
@click.option(
    "--tta",
    type=click.Choice(["none", "mirror"]),
    help="Score the trained networks with this test-time augmentation as well; nothing is trained "
    "again for it.",
)
@click.option("--patch", help="Patch in voxels, such as 64 or (z,y,x) 32,48,48.")
@click.option("--spacing", help="Voxel size in mm, such as 4 or (z,y,x) 3,0.8,0.8.")
@click.option("--batch", type=click.IntRange(1), help="Patches in a training step.")
@click.option("--protocol", help="Scoring rule, e.g. kits19; by default the dataset's own.")
@click.option(
    "--endpoint",
    default="tumor:dice",
    show_default=True,
    help="region:metric that the verdicts are about.",
)
@click.option(
    "--tune",
    type=click.IntRange(0),
    metavar="N",
    help="Let every architecture try N settings of the recipe in each fold, on cases set aside "
    "from the training set, and train with the best.",
)
@click.option("--timeout", type=click.FloatRange(min=1), help="Seconds a trial may take in all.")
@click.option(
    "--stall",
    type=click.FloatRange(min=1),
    default=1800.0,
    show_default=True,
    help="Seconds without progress after which a trial is stopped.",
)
@click.option("--strict", is_flag=True, help="A damaged case is an error, not set aside.")
@click.option(
    "--workdir",
    type=click.Path(path_type=Path),
    default=Path("kitsbench-work"),
    show_default=True,
    help="Where data, trials and the report are kept.",
)
@click.option("--dry-run", is_flag=True, help="Prepare the data, print the plan, train nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option(
    "--config",
    is_eager=True,
    expose_value=False,
    callback=_read_config,
    metavar="FILE.toml",
    help="File that sets any of these options.",
)
def command(dry_run: bool, as_json: bool, **options: Any) -> int:
    """Train, score and compare architectures under one budget, and write the report.

    ARCH is a name from `kitsbench list` or a plugin's FILE.py. Run the same command again and
    finished trials are kept: only what is missing is done. Exit code 0 if all is fine, 1 if some
    trials failed, 2 for wrong usage or input.
    """
    from kitsbench.cli.progress import CountBar, TrialBars, console

    with console.status("Starting ..."):  # importing torch takes a few seconds
        from kitsbench.experiments.executors.choose import choose_executor
        from kitsbench.experiments.experiment import plan_experiment, run_experiment

    meta = click.get_current_context().meta
    request = _request(options, meta.get(EXECUTOR_SECTION, {}), meta.get(TUNE_SECTION, {}))
    # What a plugin prints must not spoil the JSON.
    with CountBar() as count, contextlib.redirect_stdout(sys.stderr):
        experiment = plan_experiment(request, lambda text: console.print(text), count)
    if dry_run:
        from kitsbench.cli.dry_run import print_plan

        print_plan(experiment, as_json)
        return 0
    _announce(experiment)
    open_trials = [t for t in experiment.tasks if t.folder.read_status()["status"] != "finished"]
    executor = choose_executor(request, experiment.machine)
    try:
        searched = request.tuning.trials * len(experiment.studies) if request.tuning else 0
        with TrialBars(searched + len(open_trials)) as bars:
            experiment = run_experiment(experiment, executor, bars)
    except KeyboardInterrupt:
        click.echo("Stopped. The same command goes on from here.", err=True)
        return 130
    return _conclude(experiment, as_json)


def _request(
    options: dict[str, Any], section: dict[str, Any], tune_section: dict[str, Any]
) -> Request:
    from kitsbench.experiments.asked.request import Request, parse_folds, parse_memory, parse_triple
    from kitsbench.experiments.asked.search_space import read_tuning
    from kitsbench.experiments.executors.options import split_pairs
    from kitsbench.training.budget import Budget

    memory, budget = options.pop("max_memory"), options.pop("budget")
    patch, spacing = options.pop("patch"), options.pop("spacing")
    folds = str(options.pop("folds") or "")
    pairs = split_pairs(options.pop("executor_option"))
    tuning = read_tuning(options.pop("tune"), tune_section)
    if tuning is not None and options["recipe"] != "matched":
        raise UsageError(
            "--tune searches around the shared recipe, since a space is equal only there; use "
            "--recipe matched, or leave --tune out."
        )
    return Request(
        architectures=tuple(options.pop("architectures")),
        folds=parse_folds(folds) if folds else None,
        max_memory=parse_memory(memory) if memory else None,
        budget=Budget.parse(str(budget)) if budget else None,
        patch=parse_triple(str(patch), int, "patch") if patch else None,
        spacing=parse_triple(str(spacing), float, "spacing") if spacing else None,
        executor_options={**section, **pairs},
        tuning=tuning,
        command=shlex.join(["kitsbench", *sys.argv[1:]]),
        **options,
    )


def _announce(experiment: Experiment) -> None:
    """Say what is going to happen, in a few lines that a newcomer understands."""
    from kitsbench.cli.progress import console

    names = [e.label for e in experiment.entrants if e.error is None]
    finished = sum(t.folder.read_status()["status"] == "finished" for t in experiment.tasks)
    dataset = experiment.dataset
    lines = [
        f"Dataset: {dataset.name}, {len(dataset.cases)} cases"
        + (" (synthetic)" if dataset.synthetic else "")
        + f", split into {len(experiment.split.folds)} folds.",
        f"Architectures: {', '.join(names) or 'none that can take part'}.",
        f"Budget: {experiment.budget} of training a trial on "
        f"{experiment.description['device']['name']}; recipe {experiment.request.recipe}.",
        f"Trials: {len(experiment.tasks)}, each architecture {_on_folds(experiment)} with "
        f"{experiment.seeds} seed{'s' * (experiment.seeds != 1)}; {finished} already finished."
        if names
        else "Trials: none.",
        f"Working directory: {experiment.request.workdir}",
    ]
    if tuning := experiment.request.tuning:
        lines.insert(
            4,
            f"Tuning before: {tuning.trials} settings for each of {len(names)} architectures in "
            f"each fold, over {', '.join(tuning.space)}.",
        )
    for line in lines:
        console.print(line, highlight=False)
    for entrant in experiment.entrants:
        if entrant.error is not None:
            console.print(
                f"[red]{entrant.label} cannot take part[/red]: {entrant.error}", highlight=False
            )


def _on_folds(experiment: Experiment) -> str:
    used, count = experiment.folds, len(experiment.split.folds)
    if len(used) == count:
        return f"on all {count} folds"
    return f"on fold{'s' * (len(used) != 1)} {', '.join(map(str, used))} of {count}"


def _conclude(experiment: Experiment, as_json: bool) -> int:
    """Profile, compare, report; print the table or the JSON, and choose the exit code."""
    from kitsbench.cli.profile import profile_entrants
    from kitsbench.cli.progress import console, output_console
    from kitsbench.experiments.results import load_results
    from kitsbench.reporting.analysis import analyse
    from kitsbench.reporting.build import write_report
    from kitsbench.reporting.terminal import terminal_table

    workdir = experiment.request.workdir
    with console.status("Measuring speed and memory ..."):
        profile_entrants(experiment, after_run=True)
    with console.status("Writing the report ..."):
        results = load_results(workdir)
        analysis = analyse(results)
        report = write_report(analysis, workdir / "report")
    failed = [t for t in results.trials if t.state == "failed"]
    broken = [e for e in experiment.entrants if e.error is not None]
    if as_json:
        document = {
            "workdir": str(workdir),
            "report": str(report),
            "trials": [
                {
                    "id": t.id,
                    "architecture": t.architecture,
                    "fold": t.fold,
                    "seed": t.seed,
                    "status": t.state,
                    "reason": t.status.get("reason"),
                    "message": t.status.get("message"),
                    "ledger": t.ledger,
                }
                for t in results.trials
            ],
            "broken": [{"architecture": e.label, "error": e.error} for e in broken],
            "ranking": analysis.ranking,
            "tuning": results.experiment.get("tuning"),
        }
        click.echo(json.dumps(document, allow_nan=False))
    else:
        output_console().print(terminal_table(results, analysis.comparison, report))
    return 1 if failed or broken else 0
