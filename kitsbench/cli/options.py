"""The options that several verbs take, each defined once.

Where a default or the meaning rightly differs from verb to verb, the definition takes it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from kitsbench.cli import completion
from kitsbench.cli.values import (
    DEFAULT_ENDPOINT,
    PATH,
    WIDEST_SEED,
    Declaration,
    EndpointName,
    Folds,
    Level,
    Number,
    Patch,
    Range,
    Spacing,
    SplitRule,
    Whole,
)
from kitsbench.errors import UsageError
from kitsbench.metrics import Metric, declare

Body = Callable[..., Any]
Option = Callable[[Body], Body]

WORKDIR = Path("kitsbench-work")


def json_option(body: Body) -> Body:
    """Add ``--json``; while the verb runs with it, stdout is kept for the document."""

    @functools.wraps(body)
    def answer(*arguments: Any, as_json: bool, **options: Any) -> Any:
        if not as_json:
            return body(*arguments, as_json=False, **options)
        from kitsbench.cli.output import only_document

        with only_document():
            return body(*arguments, as_json=True, **options)

    return click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")(
        answer
    )


# -- what is worked on, and where -----------------------------------------------------------

architecture_argument = click.argument(
    "architecture",
    metavar="ARCH|FILE.py[:key=value,...]",
    shell_complete=completion.architectures,
)
architectures_argument = click.argument(
    "architectures",
    nargs=-1,
    metavar="[ARCH|FILE.py[:key=value,...]]...",
    shell_complete=completion.architectures,
)
all_option = click.option(
    "--all", "all_installed", is_flag=True, help="Every installed architecture."
)


def workdir_option(meaning: str) -> Option:
    """Add ``--workdir``, and what the verb does there."""
    return click.option("--workdir", type=PATH, default=WORKDIR, show_default=True, help=meaning)


def workdir_argument(otherwise: Path | None = WORKDIR, several: bool = False) -> Option:
    """Add WORKDIR as an argument, and ``--workdir`` for those who know it from other verbs.

    Parameters
    ----------
    otherwise : Path or None
        What the verb gets as its ``workdir`` where neither is given.
    several : bool
        Whether the argument may name more than one; the verb gets a tuple, then, as ``workdirs``.
    """

    def add(body: Body) -> Body:
        @functools.wraps(body)
        def with_one(*arguments: Any, places: Any, workdir: Path, **options: Any) -> Any:
            named = [] if places is None else [*places] if several else [places]
            if was_given("workdir"):
                if named and named != [workdir]:
                    raise UsageError(
                        f"Two working directories are named: {named[0]}, and {workdir} by "
                        "--workdir. Name one, with or without the option's name."
                    )
                named = [workdir]
            named = named or [otherwise]
            found = {"workdirs": tuple(named)} if several else {"workdir": named[0]}
            return body(*arguments, **found, **options)

        metavar = "[WORKDIR]..." if several else "[WORKDIR]"
        nargs = -1 if several else 1
        argument = click.argument("places", nargs=nargs, required=False, type=PATH, metavar=metavar)
        return argument(workdir_option("The same as WORKDIR.")(with_one))

    return add


def was_given(name: str) -> bool:
    """Whether the command line or a configuration file names a value."""
    source = click.get_current_context().get_parameter_source(name)
    return source not in (None, ParameterSource.DEFAULT)


experiment_option = click.option(
    "--experiment",
    metavar="ID",
    shell_complete=completion.experiments,
    help="Which experiment of the working directory: its id or the first letters of it; the one "
    "that was run last if not given.",
)


plugin_option = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    type=PATH,
    metavar="FILE.py",
    help="The plugin's file, where the network's architecture is not installed; it is run. May be "
    "given several times.",
)


def out_option(
    meaning: str, required: bool = False, multiple: bool = False, folder: bool = True
) -> Option:
    """Add ``-o``, and what is written there."""
    kind = PATH if folder else click.Path(path_type=Path, dir_okay=False)
    return click.option(
        "-o", "--out", "--output", "out", type=kind, required=required, multiple=multiple,
        help=meaning,
    )  # fmt: skip


def dataset_option(meaning: str) -> Option:
    """Add ``--dataset``, and what the cases in that folder are for."""
    return click.option("--dataset", help=meaning)


layout_option = click.option(
    "--layout",
    metavar="NAME",
    help="How the folder is laid out: kits19, kits21 (or kits21:AND, kits21:MAJ, kits21:OR for "
    "one of its masks), kits23 or nnunet; found out by itself if not given.",
)


def strict_option(meaning: str) -> Option:
    """Add ``--strict``, and what it does to a damaged case."""
    return click.option("--strict", is_flag=True, help=meaning)


def labels_option(*more: str, default: str, meaning: str) -> Option:
    """Add ``--labels`` of a task, and what is allowed beside those of KiTS."""
    return click.option(
        "--labels",
        type=click.Choice([*more, "kits19", "kits21"]),
        default=default,
        show_default=True,
        help=meaning,
    )


# -- how networks are trained ---------------------------------------------------------------


def patch_option(default: str = "") -> Option:
    """Add ``--patch``, and what holds without it."""
    more = f"; {default} if not given" if default else ""
    return click.option(
        "--patch",
        type=Patch(),
        metavar="N|Z,Y,X",
        help=f"Patch in voxels, such as 64 or (z,y,x) 32,48,48{more}.",
    )


def spacing_option(meaning: str = "Voxel size in mm", default: str = "") -> Option:
    """Add ``--spacing``, and what holds without it."""
    more = f"; {default} if not given" if default else ""
    return click.option(
        "--spacing",
        type=Spacing(),
        metavar="MM|Z,Y,X",
        help=f"{meaning}, such as 4 or (z,y,x) 3,0.8,0.8{more}.",
    )


batch_option = click.option("--batch", type=Whole(1, 65536), help="Patches in a training step.")
size_option = click.option(
    "--size",
    type=click.Choice(["auto", "tiny", "small", "paper"]),
    default="auto",
    show_default=True,
    help="Size preset of the architectures; auto is tiny on a CPU, paper on a GPU.",
)


def recipe_option(meaning: str, default: str | None = None) -> Option:
    """Add ``--recipe``, and what it is chosen for."""
    return click.option(
        "--recipe",
        type=click.Choice(["matched", "paper"]),
        default=default,
        show_default=default is not None,
        help=meaning,
    )


def tta_option(meaning: str) -> Option:
    """Add ``--tta``, and what is done with it."""
    return click.option("--tta", type=click.Choice(["none", "mirror"]), help=meaning)


def folds_option(meaning: str, default: str | None = None) -> Option:
    """Add ``--folds`` by their indices, and what they are chosen for."""
    return click.option(
        "--folds",
        type=Folds(),
        metavar="all|F,...",
        default=default,
        show_default=default is not None,
        help=meaning,
    )


def split_option(meaning: str, default: str | None = None, none: bool = False) -> Option:
    """Add ``--split``, and what it is used for."""
    return click.option(
        "--split",
        type=SplitRule(none),
        metavar="N|RULE|FILE.json",
        default=default,
        show_default=default is not None,
        help=meaning,
    )


# -- the machine ----------------------------------------------------------------------------


def device_option(several: bool = False) -> Option:
    """Add ``--device``: one for what a single process does, several GPUs for a run."""
    if several:
        return click.option(
            "--device",
            default="auto",
            show_default=True,
            metavar="auto|cpu|cuda|cuda:0,cuda:1",
            help="auto and cuda use every GPU that torch finds; or name some.",
        )
    return click.option(
        "--device",
        default="auto",
        show_default=True,
        metavar="auto|cpu|cuda|cuda:N",
        help="auto and cuda mean the first GPU that torch finds; or name one.",
    )


compile_option = click.option(
    "--compile",
    is_flag=True,
    help="Train through torch.compile; the budget of a run pays for compiling.",
)

precision_option = click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    default="auto",
    show_default=True,
    help="What networks are computed in; auto is bfloat16 on a GPU of compute capability 8 or "
    "more, float16 on one of 7, else float32.",
)


def jobs_option(meaning: str = "Processes.", default: int | None = 1, most: int = 1024) -> Option:
    """Add ``--jobs``, and what that many of are done at the same time."""
    return click.option(
        "--jobs",
        type=Whole(1, most),
        default=default,
        show_default=default is not None,
        help=meaning,
    )


seed_option = click.option(
    "--seed",
    type=Whole(0, WIDEST_SEED),
    default=0,
    show_default=True,
    help="Seed of what is drawn by lot.",
)


log_option = click.option(
    "--log",
    type=click.Choice(["tensorboard", "mlflow", "none"]),
    multiple=True,
    help="Also write losses, learning rates, scores and throughput for this tool, into the working "
    "directory, or where MLFLOW_TRACKING_URI says. May be given several times; none ends what was "
    "asked for before.",
)


# -- trials that are there ------------------------------------------------------------------

state_option = click.option(
    "--state",
    type=click.Choice(
        ["pending", "running", "interrupted", "finished", "unscored", "failed", "damaged"]
    ),
    help="Only trials of this state.",
)
reason_option = click.option(
    "--reason", metavar="REASON", help="Only trials that failed for this reason: out-of-memory, ..."
)
yes_option = click.option(
    "--yes", is_flag=True, help="Do it; without it is only told what would be done."
)


# -- scores and tests -----------------------------------------------------------------------


def protocol_option(meaning: str, required: bool = False) -> Option:
    """Add ``--protocol``, and what it is chosen for."""
    return click.option("--protocol", metavar="NAME", required=required, help=meaning)


def endpoint_option(meaning: str, default: str | None = DEFAULT_ENDPOINT) -> Option:
    """Add ``--endpoint``, and what it is for."""
    return click.option(
        "--endpoint",
        type=EndpointName(),
        default=default,
        show_default=default is not None,
        metavar="REGION:METRIC",
        help=meaning,
    )


def declared_options(body: Body) -> Body:
    """Add what a metric of another tool is declared by.

    The verb, which takes ``--endpoint`` too, gets it as ``declared``: by name, each metric.
    """

    @functools.wraps(body)
    def with_declared(
        *arguments: Any,
        endpoint: str,
        lower: bool,
        higher: bool,
        limits: tuple[float | None, float | None] | None,
        declarations: tuple[Metric, ...],
        **options: Any,
    ) -> Any:
        declared = {metric.name: metric for metric in declarations}
        name = endpoint.partition(":")[2]
        if lower and higher:
            raise UsageError(
                f"Both --lower-is-better and --higher-is-better were given; {name} can be one only."
            )
        if limits is not None and not (lower or higher):
            raise UsageError(
                f"A range of {name} was given, but not which of two values is better; add "
                "--lower-is-better or --higher-is-better."
            )
        if lower or higher:
            declared[name] = declare(name, "lower" if lower else "higher", *(limits or ()))
        return body(*arguments, endpoint=endpoint, declared=declared, **options)

    options = (
        click.option(
            "--lower-is-better",
            "lower",
            is_flag=True,
            help="Declare the endpoint's metric, if it is unknown: smaller values win.",
        ),
        click.option(
            "--higher-is-better", "higher", is_flag=True, help="Declare it: larger values win."
        ),
        click.option(
            "--range",
            "limits",
            type=Range(),
            metavar="LOW:HIGH",
            help="Its range, such as 0:1, or 0: where it has no upper end; a failed prediction "
            "costs the worse end.",
        ),
        click.option(
            "--declare",
            "declarations",
            type=Declaration(),
            multiple=True,
            metavar="METRIC:lower|higher[:LOW:HIGH]",
            help="The same of another metric of the table. Repeatable.",
        ),
    )
    return functools.reduce(lambda made, option: option(made), reversed(options), with_declared)


# -- looks while trials come in -------------------------------------------------------------

question_option = click.option(
    "--question",
    type=click.Choice(["pairs", "top"]),
    default="pairs",
    show_default=True,
    help="Of looks: which of all pairs differ, or who belongs to the best.",
)
spending_option = click.option(
    "--spending",
    type=click.Choice(["obrien-fleming", "pocock"]),
    default="obrien-fleming",
    show_default=True,
    help="Of looks: spend little of alpha early, or about the same at each.",
)
futility_option = click.option(
    "--futility",
    type=Number(0, 0.99),
    default=0.05,
    show_default=True,
    help="Of looks: give a pair up if its chance to be settled is less. More is asked of pairs for "
    "which alone some networks go on.",
)

alpha_option = click.option(
    "--alpha", type=Level(), default=0.05, show_default=True, help="Two-sided level of the tests."
)
