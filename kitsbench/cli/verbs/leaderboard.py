"""``kitsbench leaderboard``: add, check and render published entries."""

from __future__ import annotations

from pathlib import Path

import click

from kitsbench.cli.options import experiment_option, json_option
from kitsbench.cli.output import print_json, say, tell
from kitsbench.cli.values import PATH
from kitsbench.errors import UsageError

_BOARDS = click.argument("boards", default="leaderboards", type=PATH)


@click.group("leaderboard")
def command() -> None:
    """Add, check and render published entries.

    A board is a folder of JSON files, one for each architecture, each with a table of the scores
    of its cases, all made under the same conditions: dataset, protocol, recipe, budget, folds and
    seeds. What was trained elsewhere shares the scans and the protocol, and stands apart.
    """


@command.command()
@click.argument("workdir", type=PATH)
@click.option(
    "--to",
    "board",
    required=True,
    type=PATH,
    help="Folder of the board, such as leaderboards/phantom.",
)
@click.option("--replace", is_flag=True, help="Overwrite entries of the same name.")
@experiment_option
def add(workdir: Path, board: Path, replace: bool, experiment: str | None) -> None:
    """Add every entrant of an experiment in WORKDIR to a board.

    Systems and label maps that were given stand on it apart from what was trained, without a rank,
    with what they cost and what they were trained on.
    """
    from kitsbench.experiments.records import find_experiment
    from kitsbench.leaderboard import add_entries

    written = add_entries(workdir, board, replace=replace, experiment=experiment)
    for entrant in find_experiment(workdir, experiment).entrants:
        if entrant.elsewhere is not None:
            tell(f"stands apart: {entrant.elsewhere.told()}.", entrant.name)
    for file in written:
        say(file)
    if not written:
        tell(f"All entries of {workdir} are in {board} already.")


@command.command()
@_BOARDS
@json_option
@click.pass_context
def check(ctx: click.Context, boards: Path, as_json: bool) -> None:
    """Check all entries in BOARDS (default: leaderboards); exit 2 where a rule is broken.

    Means, intervals, ranks, counts and hashes are worked out again from the scores of cases.
    """
    from kitsbench.leaderboard import check_boards

    count, problems = check_boards(boards)
    if as_json:
        found = [{"file": str(p.file), "message": p.message} for p in problems]
        print_json({"entries": count, "passed": not problems, "problems": found})
    else:
        for problem in problems:
            say(f"{problem.file}: {problem.message}.")
        tell(f"{count} entries, {len(problems)} problems.")
    if problems:
        ctx.exit(2)


@command.command()
@click.argument("board", type=PATH)
def conditions(board: Path) -> None:
    """Print the board.toml that the entries of BOARD have in common.

    `add` writes it with the first entries; for a board that has none yet, write the output to
    BOARD/board.toml. Its title and a sentence about it are yours to fill in, and whom the board
    admits.
    """
    from kitsbench.leaderboard import read_board, written_rules

    entries = read_board(board)
    if not entries:
        raise UsageError(f"{board} holds no entries; `kitsbench leaderboard add` makes some.")
    say(written_rules(entries).rstrip())


@command.command()
def schema() -> None:
    """Print the JSON Schema of an entry, for programs that read or write boards."""
    from kitsbench.leaderboard import Entry

    print_json(Entry.json_schema())


@command.command()
@_BOARDS
def render(boards: Path) -> None:
    """Check the boards in BOARDS (default: leaderboards), and write a Markdown page for each.

    Entries that cannot be compared never share a table. A file that this command did not write is
    left alone.
    """
    from kitsbench.leaderboard import render_boards

    for page in render_boards(boards):
        say(page)
