"""The command line: one file a verb, imported only when that verb is called.

In: words. Out: results on stdout, all else on stderr, and an exit status.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

import kitsbench
from kitsbench.cli.output import complain, plain_streams
from kitsbench.errors import KitsbenchError
from kitsbench.files import disk_trouble, path_trouble

# verb -> (module, one line for the overview, so that --help imports no verb)
VERBS = {
    "run": ("run", "Train, score and compare architectures under one budget; write the report."),
    "watch": ("watch", "Watch the trials of a run from another terminal or machine."),
    "list": ("list_", "List the architectures that are installed."),
    "show": ("show", "Show one architecture: configuration, parameters, provenance."),
    "check": ("check", "Check that a plugin keeps the contract."),
    "new": ("new", "Write the skeleton of a plugin package."),
    "data": ("data", "Make, check, prepare and describe datasets."),
    "predict": ("predict", "Segment scans with a trained architecture."),
    "export": ("export", "Write a trained network as TorchScript, ONNX or a MONAI bundle."),
    "evaluate": ("evaluate", "Score a folder of label maps by an official protocol."),
    "compare": ("statistics.compare", "Statistics on any table of scores."),
    "plan": ("statistics.plan", "The smallest gap a design can detect, and the seeds it needs."),
    "calibrate": (
        "statistics.calibrate",
        "Error rates of the tests, measured where the truth is known.",
    ),
    "profile": ("profile", "Parameters, FLOPs, latency, throughput and memory."),
    "trials": ("trials", "List, log, retry, delete and merge the trials of a working directory."),
    "report": ("report", "Rebuild the report from stored trials."),
    "view": ("view", "Look at scans with truth and predictions, in the browser."),
    "claims": ("claims", "What the papers claim, and what an experiment says about it."),
    "leaderboard": ("leaderboard", "Add, check and render published entries."),
    "doctor": ("doctor", "What this machine can do, and what is missing."),
}

LOST = (
    "A process that this one had started, or that starts the others (multiprocessing's fork "
    "server), ended without an answer: somebody ended it, or the system did as memory ran out. "
    "Run the same command again; what was finished is kept."
)


class _Verbs(click.Group):
    """Loads a verb's module when it is called, so that ``--help`` stays instant."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EOFError as error:
            # click would take it for the end of a terminal's input; it is that of another
            # process's pipe.
            raise KitsbenchError(LOST) from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"kitsbench.cli.verbs.{VERBS[cmd_name][0]}")
        return module.command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            close = difflib.get_close_matches(args[0], VERBS, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise click.UsageError(f"There is no command '{args[0]}'.{hint}", ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(verb, line) for verb, (_, line) in VERBS.items()])


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(kitsbench.__version__, prog_name="kitsbench")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Compare 3D architectures for kidneys, tumours and cysts on CT in a fair fight.

    Start with `kitsbench run --all`: it makes a phantom dataset, trains every installed
    architecture under the same budget, scores it, and writes a report.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 all fine, 1 some trials failed, 2 bad usage or input."""
    alone = arguments is None  # the process was started for this call
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    plain_streams()
    for argument in arguments:
        if "\0" in argument:  # a system hands none over, but programs that call this may
            complain(f"The argument '{argument}' holds a NUL, which no name can; leave it out.")
            sys.exit(2)
    try:
        # `--debug` is understood anywhere on the line, since one adds it after a failure.
        code = cli.main(
            ["--debug"] * debug + [a for a in arguments if a != "--debug"],
            prog_name="kitsbench",
            standalone_mode=False,
            obj=alone,
        )
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Abort:
        complain("Stopped.", lead="")
        sys.exit(130)
    except click.ClickException as error:
        _show(error)
        sys.exit(2)
    except KitsbenchError as error:
        if debug:
            raise
        complain(str(error))
        sys.exit(error.exit_code)
    except OSError as error:
        trouble = disk_trouble(error) or path_trouble(error)
        if debug or trouble is None:
            raise
        complain(trouble)
        sys.exit(2)


def _show(error: click.ClickException) -> None:
    """Say what was wrong with the words of a command, and where the right ones stand."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    # The help that a command without its words is answered with shows itself.
    if context is None or type(error).show is not click.UsageError.show:
        error.show()
        return
    complain(f"{error.format_message()}\nTry '{context.command_path} --help'.")
