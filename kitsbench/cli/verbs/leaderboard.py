"""``kitsbench leaderboard``: add, check and render published entries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kitsbench.cli.help import Verbs
from kitsbench.cli.options import (
    dataset_option,
    experiment_option,
    json_option,
    split_option,
    workdir_argument,
)
from kitsbench.cli.output import print_json, say, tell
from kitsbench.cli.values import PATH, Number
from kitsbench.errors import UsageError

if TYPE_CHECKING:
    from kitsbench.experiments.asked.predictions import Predictions

_BOARDS = click.argument("boards", default="leaderboards", type=PATH)


@click.group("leaderboard", cls=Verbs)
def command() -> None:
    """Add, check and render published entries.

    A board is a folder of JSON files, one for each architecture, each with a table of the scores
    of its cases, all made under the same conditions: dataset, protocol, recipe, budget, folds and
    seeds. What was trained elsewhere shares the scans and the protocol, and stands apart.
    """


@command.command()
@workdir_argument(otherwise=None)
@click.option(
    "--to",
    "board",
    required=True,
    type=PATH,
    help="Folder of the board, such as leaderboards/phantom.",
)
@click.option("--replace", is_flag=True, help="Overwrite entries of the same name.")
@click.option(
    "--predictions",
    type=PATH,
    help="Folder of label maps that were made by anything: they are scored by the board's rule "
    "beside the experiment in WORKDIR, and entered under --name.",
)
@click.option("--name", help="Under which name they stand on the board.")
@click.option(
    "--trained-on",
    multiple=True,
    metavar="DATASET|FILE",
    help="What the networks behind them were trained on: a name such as kits23, `nothing`, "
    "`unknown`, or a file with a name a line. May be given several times.",
)
@click.option("--hours", type=Number(0), help="Hours of their training, as whoever made them says.")
@dataset_option("The board's scans, where WORKDIR has no experiment yet.")
@split_option("The board's split, where WORKDIR has no experiment yet.")
@experiment_option
def add(
    workdir: Path | None,
    board: Path,
    replace: bool,
    predictions: Path | None,
    name: str | None,
    trained_on: tuple[str, ...],
    hours: float | None,
    dataset: str | None,
    split: str | None,
    experiment: str | None,
) -> None:
    """Add every entrant of an experiment in WORKDIR to a board.

    Systems and label maps that were given stand on it apart from what was trained, without a rank,
    with what they cost and what they were trained on. With --predictions a folder of label maps
    joins the experiment first; where WORKDIR has none, --dataset says which scans they are of.
    """
    from kitsbench.experiments.records import find_experiment
    from kitsbench.leaderboard import add_entries

    if workdir is None:
        raise click.UsageError("Missing argument 'WORKDIR'.")
    if predictions is not None:
        given = _given(predictions, name, trained_on, hours)
        experiment = _score(workdir, board, given, dataset, split, experiment)
    elif lone := [
        word
        for word, value in (
            ("--name", name),
            ("--trained-on", trained_on),
            ("--hours", hours),
            ("--dataset", dataset),
            ("--split", split),
        )
        if value
    ]:
        raise UsageError(f"{lone[0]} is of label maps: give their folder by --predictions.")
    written = add_entries(workdir, board, replace=replace, experiment=experiment)
    for entrant in find_experiment(workdir, experiment).entrants:
        if entrant.elsewhere is not None:
            tell(f"stands apart: {entrant.elsewhere.told()}.", entrant.name)
    for file in written:
        say(file)
    if not written:
        tell(f"All entries of {workdir} are in {board} already.")


def _given(
    folder: Path, name: str | None, trained_on: tuple[str, ...], hours: float | None
) -> Predictions:
    """What is declared of label maps; a board takes none of which nothing is."""
    from kitsbench.experiments.asked.predictions import Predictions, read_predictions

    if name is None or not trained_on:
        lacks = "--name" if name is None else "--trained-on"
        raise UsageError(
            f"{lacks} is missing: a board shows label maps under a name, with what their networks "
            "were trained on (`--trained-on unknown` where nobody knows)."
        )
    named = [line for word in trained_on for line in _named(word)]
    section = {name: {"folder": str(folder), "trained_on": named}}
    (found,) = read_predictions((), section)
    return found if hours is None else Predictions(name, found.folder, found.trained_on, hours)


def _named(word: str) -> list[str]:
    """Names of datasets: the word itself, or the lines of the file that it leads to."""
    from kitsbench.files.foreign import read_text

    file = Path(word).expanduser()
    if not file.is_file():
        return [word]
    lines = [line.strip() for line in read_text(file).splitlines()]
    if not any(lines):
        raise UsageError(f"{file} names nothing; write one name of a dataset a line.")
    return [line for line in lines if line]


def _score(
    workdir: Path,
    board: Path,
    given: Predictions,
    dataset: str | None,
    split: str | None,
    experiment: str | None,
) -> str:
    """Let label maps join the experiment of a working directory, or begin one with them alone."""
    from kitsbench.cli.verbs.called import call_run
    from kitsbench.experiments.records import has_experiments
    from kitsbench.leaderboard import read_rules

    words = ["--workdir", str(workdir), "--predictions", str(given)]
    if has_experiments(workdir):
        if dataset is not None or split is not None:
            raise UsageError(
                f"{workdir} has an experiment, whose scans and split are taken; leave --dataset "
                "and --split out, or name another WORKDIR."
            )
        words += ["--add", *([] if experiment is None else ["--experiment", experiment])]
        return call_run(words)
    rules = read_rules(board)
    if dataset is None or rules is None:
        what = "--dataset is missing" if dataset is None else f"{board} has no board.toml"
        raise UsageError(
            f"{what}: where {workdir} has no experiment, the scans come from --dataset and their "
            "rule from the board."
        )
    asked = rules.conditions
    words += ["--dataset", dataset, "--protocol", asked.protocol, "--endpoint", asked.endpoint]
    words += ["--folds", ",".join(map(str, asked.folds))]
    return call_run([*words, *([] if split is None else ["--split", split])])


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
    for line in written_rules(entries).splitlines():
        say(line)


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
