"""Every way out of the program goes through the function of its medium: a walk over all code."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

import pytest

import kitsbench

ROOT = Path(kitsbench.__file__).parent
NAMES = [str(file.relative_to(ROOT)) for file in sorted(ROOT.rglob("*.py"))]

# Who may print, and why: everybody else goes through what these files offer.
CONSOLE = {
    "cli/output.py": "the one room that prints",
    "cli/progress.py": "bars, whose names are words of kitsbench.text.screen",
    "cli/trial_bars.py": "shows the live table of cli/trial_table.py",
    "cli/views/watched.py": "shows the same table again and again",
}
RICH = {
    **CONSOLE,
    "text/screen.py": "makes words and tables",
    "cli/trial_table.py": "the live table, whose cells are words of kitsbench.text.screen",
    "text/fitting.py": "fits those tables into narrow terminals",
    "reporting/terminal.py": "groups them",
}
STREAMS = {
    "cli/output.py": "JSON, through text.json_document",
    "isolation/calls.py": "what a process of its own has printed, through text.visible",
    "experiments/trial/folder.py": "a trial's own log, which nobody's terminal shows",
    "experiments/trial/run.py": "the same log",
    "experiments/trial/systems.py": "the same log",
    "training/networks/initial.py": "the same log",
    "experiments/executors/requeue.py": "the log of a job",
}
WRITERS = {("files/whole.py", "DictWriter"), ("leaderboard/table.py", "writer")}  # of text.csv_cell
# Methods by which rich and click would print or take a text for a style.
PRINTING = {"echo", "secho", "from_markup", "from_ansi", "render_str", "print_exception"}


@functools.cache
def tree(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text(encoding="utf-8"))


def calls(module: ast.Module):
    """Every call with the last name of what is called."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call):
            name = node.func
            yield node, name.attr if isinstance(name, ast.Attribute) else getattr(name, "id", "")


def imported(module: ast.Module) -> set[str]:
    """Modules and names that a file imports, with dots."""
    found: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_only_one_room_prints():
    for name in NAMES:
        module = tree(name)
        for node, called in calls(module):
            place = f"{name}:{node.lineno}"
            if called in PRINTING:
                assert name == "cli/output.py", f"{place}: {called}() prints; use say() or tell()"
            if called == "print" and isinstance(node.func, ast.Name):
                assert name in STREAMS, f"{place}: print() prints; use say() or tell()"
            if called == "write" and "sys.std" in ast.unparse(node.func):
                assert name in STREAMS, f"{place}: writes to a stream; use say() or tell()"
            if called in ("Console", "stdout_console", "stderr_console"):
                assert name in CONSOLE, f"{place}: {called}() is a console; use say() or tell()"


def test_only_few_files_know_rich():
    for name in NAMES:
        module = tree(name)
        known = {one for one in imported(module) if one.split(".")[0] == "rich"}
        assert not known or name in RICH, (
            f"{name} imports {known}; make it with kitsbench.text.screen"
        )
        assert not any("markup" in one for one in known), f"{name}: an escaped text is still markup"
        for node, called in calls(module):
            if called in ("add_row", "add_column", "add_task") and name != "text/screen.py":
                task = (name, called) == ("cli/progress.py", "add_task")
                own = ("cli/trial_table.py", "text/fitting.py")
                assert task or name in own, f"{name}:{node.lineno}"


def test_texts_of_rich_are_made_of_words():
    """Where rich's Text is called directly, each piece is a literal, a number or went by words."""
    safe = re.compile(r"words\(|shown\(|terminal\(|task\.completed|self\._|line|\.plain")
    for name in RICH:
        for node, called in calls(tree(name)):
            owner = ast.unparse(node.func)
            if called == "Text" or owner in ("Text.assemble", "Text"):
                for argument in node.args:
                    written = ast.unparse(argument)
                    literal = isinstance(argument, ast.Constant)
                    assert literal or safe.search(written), f"{name}:{node.lineno}: {written}"


def test_tables_for_spreadsheets_are_written_by_one_function():
    for name in NAMES:
        for node, called in calls(tree(name)):
            if called in ("to_csv", "to_excel"):
                assert name == "text/media.py", (
                    f"{name}:{node.lineno}: {called}(); use text.csv_table"
                )
            if called in ("to_html", "to_markdown", "to_latex", "writer", "DictWriter"):
                assert (name, called) in WRITERS, f"{name}:{node.lineno}: {called}()"


def test_no_file_escapes_by_itself():
    """``html.escape`` and its like leave controls alone, so there is one function a medium."""
    for name in NAMES:
        module = tree(name)
        own = {"html.escape", "markupsafe.escape", "cgi.escape", "xml.sax.saxutils.escape"}
        for node, _ in calls(module):
            called = ast.unparse(node.func)
            assert called not in own or name == "text/media.py", f"{name}:{node.lineno}: {called}()"


TEMPLATES = sorted((ROOT / "reporting" / "templates").glob("*.j2"))
# What a template may put in as it is: drawings of our own, whose text matplotlib and
# Picture escape, and tables, which escape their cells.
AS_IT_IS = {
    "report.html.j2": {
        "picture.svg | safe",
        *("library.script | safe", "library.style | safe"),  # base64
    },
    "report.md.j2": {"block.table.markdown() | safe"},
    "several.html.j2": set(),
    "several.md.j2": {"differ.markdown() | safe", "part.ranking.markdown() | safe"},
}


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: file.name)
def test_templates_put_in_text(file):
    source = file.read_text(encoding="utf-8")
    put = {found.strip() for found in re.findall(r"\{\{(.*?)\}\}", source, re.DOTALL)}
    assert {one for one in put if "safe" in one} == AS_IT_IS[file.name]
    assert "autoescape" not in source


NUMBERS = {"missing", "n_cases", "n_excluded", "seeds", "count", "finished", "failed", "trials"}


def test_a_board_shows_no_field_of_an_entry_as_it_is():
    """In its sentences a field is a number, has a format of numbers, or went by its medium."""
    todo: list[ast.AST] = [tree("leaderboard/markdown.py")]
    while todo:
        node = todo.pop()
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if called in ("markdown", "markdown_code") or called.endswith(".score"):
            continue
        if isinstance(node, ast.Compare | ast.Raise):  # an error is shown by complain()
            continue
        if isinstance(node, ast.FormattedValue) and isinstance(node.value, ast.Attribute):
            number = node.value.attr in NUMBERS or node.format_spec is not None
            number |= ast.unparse(node.value) == "board.resolve().name"  # the name of the file
            assert number, f"line {node.lineno}: {ast.unparse(node.value)}"
        todo += ast.iter_child_nodes(node)
