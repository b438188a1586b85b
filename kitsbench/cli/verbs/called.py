"""``kitsbench run`` called by other code than a shell: another verb, or Python."""

from __future__ import annotations

from collections.abc import Sequence

import click

from kitsbench.cli.verbs.run import EXPERIMENT, WORDS, command
from kitsbench.errors import KitsbenchError, UsageError

_STOPPED = 128  # an exit code from here on is that of a signal


def call_run(words: Sequence[str]) -> str:
    """Run an experiment by the words of the command line; nobody is asked before it begins.

    Parameters
    ----------
    words : sequence of str
        Architectures and options, as after ``kitsbench run``.

    Returns
    -------
    str
        Id of the experiment, also where some of its trials failed.

    Raises
    ------
    UsageError
        A word cannot be read.
    KitsbenchError
        The request cannot be carried out; nothing was trained.
    KeyboardInterrupt
        It was stopped; the same call again goes on.
    """
    try:
        with command.make_context("kitsbench run", [*words, "--yes"]) as context:
            context.meta[WORDS] = ["run", *words]
            code = command.invoke(context)
            experiment = context.meta.get(EXPERIMENT)
    except click.UsageError as error:
        raise UsageError(error.format_message()) from error
    except click.Abort as error:
        raise KeyboardInterrupt from error
    if isinstance(code, int) and code >= _STOPPED:
        raise KeyboardInterrupt
    if experiment is None:  # every way through the verb that ends well has one
        raise KitsbenchError("The run ended without an experiment; see what it said.")
    return str(experiment)
