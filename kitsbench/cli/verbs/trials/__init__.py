"""``kitsbench trials``: what a working directory holds, and what shall become of it.

In: working directories and ids of trials. Out: lists of them, and trials run again, gone or come.
"""

from __future__ import annotations

import difflib
from pathlib import Path

import click

from kitsbench.cli.help import Verbs
from kitsbench.cli.verbs.trials.changes import delete, merge, retry
from kitsbench.cli.verbs.trials.listing import experiments, list_, log


class _Trials(Verbs):
    """Lists where no other of its verbs is named: ``kitsbench trials WORKDIR``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        asks = bool(args) and (args[0] in self.commands or args[0] in ctx.help_option_names)
        if not asks:
            first = args[0] if args else ""
            close = difflib.get_close_matches(first, self.commands, n=1)
            if close and not Path(first).exists():
                raise click.UsageError(
                    f"There is no command '{first}' and no folder of that name. Did you mean "
                    f"'{close[0]}'?",
                    ctx,
                )
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group("trials", cls=_Trials)
def command() -> None:
    """List, log, retry, delete and merge trials and experiments of a working directory.

    `kitsbench trials WORKDIR` is short for `kitsbench trials list WORKDIR`.
    """


for verb in (list_, experiments, log, retry, delete, merge):
    command.add_command(verb)
