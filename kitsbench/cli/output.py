"""What a verb prints: its answer on stdout, everything else on stderr.

rich is imported when something is printed through it, so that ``--help`` stays instant.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import math
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TextIO

import click

from kitsbench.text import json_document, paragraph
from kitsbench.text.screen import Column, make_table, words

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table
    from rich.text import Text

LOG_WIDTH = 80  # columns where stdout is a file or a pipe; COLUMNS asks for others
WIDEST = 1000  # columns of a table whose words need more than that

_document: ContextVar[TextIO | None] = ContextVar("document", default=None)


@functools.cache
def stderr_console() -> Console:
    """Return the one console on stderr, which bars and messages share."""
    from rich.console import Console

    # Lines are left to the terminal to wrap: a path that is broken in two cannot be copied.
    return Console(stderr=True, soft_wrap=True, highlight=False)


def plain_streams() -> None:
    """Let a letter that the terminal's encoding lacks be written out, instead of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def stdout_console() -> Console:
    """Console on stdout; where there is no terminal to ask, as wide as a page of text."""
    from rich.console import Console

    asked = os.environ.get("COLUMNS", "")
    # Narrower than any table it would break words into letters.
    wide = max(int(asked), 40) if asked.isdecimal() and len(asked) < 6 else LOG_WIDTH
    return Console(width=None if sys.stdout.isatty() else wide, highlight=False)


def page_width() -> int:
    """Columns that stdout has room for."""
    return stdout_console().width


def tell(text: object, lead: str = "", style: str = "") -> None:
    """Print a line on stderr, as it is: nothing in it is taken for a style or begins another line.

    Parameters
    ----------
    text : object
        What is printed, as :func:`kitsbench.text.terminal` gives it.
    lead : str
        What it is about; printed before it, with a colon.
    style : str
        Colour of the lead, such as ``red``.
    """
    stderr_console().print(_line(text, lead, style))


def stopped(error: KeyboardInterrupt, lasting: bool = False) -> int:
    """Say that a verb was stopped which goes on when it is called again.

    Parameters
    ----------
    error : KeyboardInterrupt
    lasting : bool
        Whether its jobs go on without it, unless it was by Ctrl-C.

    Returns
    -------
    int
        The exit code.
    """
    from kitsbench.isolation import Stopped

    signalled = isinstance(error, Stopped)
    jobs = " Its jobs go on without it." if signalled and lasting else ""
    tell(f"Stopped{f' by {error}' * signalled}.{jobs} The same command goes on from here.")
    return error.code if isinstance(error, Stopped) else 128 + signal.SIGINT


def say(text: object, lead: str = "", style: str = "") -> None:
    """Print a line on stdout, as :func:`tell` does on stderr."""
    stdout_console().print(_line(text, lead, style), soft_wrap=True)


def _line(text: object, lead: str, style: str) -> Text:
    from rich.text import Text

    return Text.assemble(words(lead, style), ": ", words(text)) if lead else words(text)


def complain(message: str, lead: str = "Error: ") -> None:
    """Print why a command ended on stderr; its lines end where its sentences do."""
    for line in paragraph(f"{lead}{message}"):
        click.echo(line, err=True)


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    title: str = "",
    whole: Sequence[str] = (),
) -> None:
    """Print rows under column names; None is an empty cell, numbers are right-aligned.

    Parameters
    ----------
    columns : sequence of str
    rows : iterable of sequences
    title : str
    whole : sequence of str
        Columns whose cells are never broken into lines, beside the first and those of numbers.
    """
    listed = [list(row) for row in rows]
    numeric = [
        all(isinstance(row[index], int | float | None) for row in listed)
        for index in range(len(columns))
    ]
    heads = [
        Column(name, "right" if right else "left", right or name in (columns[0], *whole))
        for name, right in zip(columns, numeric, strict=True)
    ]
    cells = [[_cell(value) for value in row] for row in listed]
    print_rich(make_table(heads, cells, title, frame=False))


def print_rich(shown: Table | Group) -> None:
    """Print on stdout what :mod:`kitsbench.text.screen` or the report made of words.

    A table in a file is as wide as its words need, where that is more than a page: half a number
    is worse than a long line.
    """
    from rich.measure import Measurement
    from rich.table import Table

    console = stdout_console()
    if isinstance(shown, Table) and not sys.stdout.isatty():
        free = console.options.update(max_width=WIDEST)
        console.width = max(console.width, Measurement.get(console, free, shown).minimum)
    console.print(shown)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else str(value)


def print_json(document: Any) -> None:
    """Print one document of strict JSON on stdout.

    A number that is not finite is ``null``, since JSON knows neither NaN nor Infinity.
    """
    stream = _document.get() or sys.stdout
    plain = _finite(document)
    text = json_document(json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False))
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:  # a stream of fewer letters
        text = json.dumps(plain, indent=2, allow_nan=False)
    stream.write(text + "\n")
    stream.flush()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextlib.contextmanager
def only_document() -> Iterator[None]:
    """Keep stdout for :func:`print_json`: whatever else is printed meanwhile goes to stderr.

    That holds for processes that are started meanwhile and for libraries that write past Python's
    ``sys.stdout``, too.
    """
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(_stdout_of_its_own())
        stack.callback(_document.reset, _document.set(stream))
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        yield


@contextlib.contextmanager
def _stdout_of_its_own() -> Iterator[TextIO]:
    """Another stream to where stdout leads, while the file number of stdout leads to stderr."""
    stdout = sys.stdout
    try:
        number, errors = stdout.fileno(), sys.stderr.fileno()
        stdout.flush()
        own = os.dup(number)
    except (AttributeError, OSError, ValueError):
        # No files, such as the streams of a test or of a notebook: nobody writes past them.
        yield stdout
        return
    with open(own, "w", encoding=stdout.encoding, errors=stdout.errors) as stream:
        os.dup2(errors, number)
        try:
            yield stream
        finally:
            os.dup2(own, number)
