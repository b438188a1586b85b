"""The site: it must name what there is, and nothing else."""

from __future__ import annotations

import ast
import configparser
import importlib
import importlib.util
import re
from pathlib import Path

import pytest

from kitsbench.cli import cli
from kitsbench.metrics import METRICS, say

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_verbs_and_options_that_a_page_names_exist(page):
    text = page.read_text(encoding="utf-8")
    context = cli.make_context("kitsbench", [], resilient_parsing=True)
    for line in re.findall(r"kitsbench ((?:[a-z]+ ?)[^`\n]*)[`\n]", text):
        command, words = cli, line.split()
        while words and hasattr(command, "commands" if command is not cli else "list_commands"):
            found = command.get_command(context, words[0])
            if found is None:
                break
            command, words = found, words[1:]
        if command is cli:
            continue  # the word after the name is prose
        options = {name for p in command.params for name in p.opts} | {"--help", "-h", "--debug"}
        for option in re.findall(r"(?<!\S)(--?[a-z][a-z-]*)", " ".join(words)):
            assert option in options, f"{page.name}: {line}"


def test_every_public_name_of_the_contract_is_documented():
    import kitsbench.architecture

    text = (DOCS / "contract.md").read_text(encoding="utf-8")
    for name in kitsbench.architecture.__all__:
        assert re.search(rf"\.{name}$", text, re.MULTILINE), name


def cells(table):
    """Rows of a Markdown table by the name in their first cell."""
    lines = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    return {first.strip("`"): rest for first, *rest in lines}


def test_the_tables_of_metrics_are_made_from_their_facts():
    spec = importlib.util.spec_from_file_location("metric_tables", DOCS / "metric_tables.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    facts, empty = cells(tables.facts()), cells(tables.empty_and_missing())
    assert list(facts) == list(empty) == list(METRICS)
    for name, metric in METRICS.items():
        assert facts[name][0] == metric.meaning
        assert facts[name][4] == (
            f"{metric.margin_in('tumor'):g}; {metric.margin_in('kidney'):g} with the kidney"
            if name in ("dice", "surface_dice")
            else "–"
        )
        statuses = ("empty_prediction", "false_positive", "both_empty", "failed")
        worth = [metric.at(status) for status in statuses] + [metric.at("failed", holds=False)]
        assert empty[name][:5] == [say(value) for value in worth]
    page = (DOCS / "evaluation.md").read_text(encoding="utf-8")
    for part in ("metrics", "empty_and_missing"):
        assert f"```{{include}} _generated/{part}.md" in page
    assert not re.search(r"^\| `?(dice|recall|hd95_mm)", page, re.MULTILINE)  # no second table


def test_the_margins_that_the_page_on_statistics_names_are_the_defaults():
    text = " ".join((DOCS / "statistics.md").read_text(encoding="utf-8").split())
    tumour, kidney = (METRICS["dice"].margin_in(region) for region in ("tumor", "kidney"))
    assert (
        f"{tumour:g} Dice for tumours, masses and cysts, {kidney:g} where the kidney is part of "
        "the region"
    ) in text


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([\w./-]+\.md)\)", page.read_text(encoding="utf-8")):
            # Pages of boards are made of those of the repository when the site is built.
            board = re.fullmatch(r"_generated/(?:leaderboards|gallery)/([\w-]+\.md)", target)
            file = ROOT / "leaderboards" / board[1] if board else DOCS / target
            assert file.is_file(), f"{page.name}: {target}"


def test_a_run_is_as_large_as_the_pages_say():
    from kitsbench.experiments.asked.resolve import DATASET, PHANTOM

    text = " ".join((DOCS / "first_run.md").read_text(encoding="utf-8").split())
    steps = {kind: budget.amount for kind, budget in PHANTOM.budget.items()}
    assert {budget.unit for budget in PHANTOM.budget.values()} == {"steps"}
    assert PHANTOM.folds == (0,)
    assert (
        f"{PHANTOM.cases} phantom scans, the first of {PHANTOM.split} folds, "
        f"{PHANTOM.seeds} seed, {steps['cpu']:g} steps of training a trial on a CPU and "
        f"{steps['cuda']:g} on a GPU"
    ) in text
    assert f"{DATASET.split} folds and {DATASET.seeds} seeds" in text
    minutes, hours = DATASET.budget["cpu"].amount / 60, DATASET.budget["cuda"].amount / 3600
    assert f"{minutes:g} minutes of training a trial on a CPU and {hours:g} hours on a GPU" in text
    splits = (DOCS / "folds.md").read_text(encoding="utf-8")
    assert f"the default: {DATASET.split} folds, {PHANTOM.split} on the phantom" in splits


def test_the_map_fits_a_screen_and_leads_somewhere():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (own,) = re.findall(r"^## The map\n(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    assert own.count("\n") <= 45
    rooms = {path.parent.name for path in (ROOT / "kitsbench").glob("*/__init__.py")}
    assert {room for room in rooms if not re.search(rf"\b{room}\b", own)} == set()
    named = set(re.findall(r"`([\w.-]+/[\w./-]*|[\w-]+\.(?:toml|md|cfg))`", text))
    assert len(named) > 20
    assert {path for path in named if not (ROOT / path).exists()} == set()


def test_every_room_says_what_goes_in_and_what_comes_out():
    for folder in sorted(path.parent for path in (ROOT / "kitsbench").glob("*/**/__init__.py")):
        text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
        assert re.search(r"^In: .*\bOut: ", text or "", re.MULTILINE | re.DOTALL), folder


def test_the_citation_is_one_and_names_this_version_and_licence():
    """By the rules of the Citation File Format 1.2.0 for the keys that it has."""
    yaml = pytest.importorskip("yaml")
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(found)
    known = {"abstract", "type", "version", "license", "keywords"}
    assert set(found) <= known | {"cff-version", "message", "title", "authors"}
    assert found["cff-version"] == "1.2.0"
    assert found["type"] in ("software", "dataset")
    for author in found["authors"]:
        assert set(author) & {"name", "family-names"}
    assert len(set(found["keywords"])) == len(found["keywords"]) > 0
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    for key in ("version", "license"):
        assert found[key] == setup["metadata"][key]


@pytest.mark.parametrize(
    "room", ["statistics", "evaluation", "leaderboard", "claims", "reporting", "profiling"]
)
def test_what_a_room_hands_out_is_described_for_the_page_on_python(room):
    """The page takes every name of ``__all__`` that has a docstring."""
    page = (DOCS / "python_api.md").read_text(encoding="utf-8")
    assert f".. automodule:: kitsbench.{room}\n   :members:\n" in page
    module = importlib.import_module(f"kitsbench.{room}")
    for name in module.__all__:
        kind = getattr(module, name)
        assert not callable(kind) or kind.__doc__, name


def test_every_variable_that_is_read_stands_on_its_page():
    page = (DOCS / "environment.md").read_text(encoding="utf-8")
    read = set()
    for file in (ROOT / "kitsbench").rglob("*.py"):
        read |= set(re.findall(r"[\"']_?(KITSBENCH_[A-Z_]+)[\"']", file.read_text("utf-8")))
    assert len(read) >= 2
    assert {name for name in read if name not in page} == set()


def test_the_form_for_a_board_entry_asks_for_what_boards_compare(tmp_path):
    """What decides which board an entry fits is named to whoever fills in the form."""
    from reporting.workdirs import Plan, write_workdir

    from kitsbench.leaderboard import add_entries, read_board

    form = (ROOT / ".github/ISSUE_TEMPLATE/board_entry.yml").read_text(encoding="utf-8")
    plan = Plan({"a": 0.0}, 1, 1, 2, showcase=0, predictions=False, profiles=False)
    add_entries(write_workdir(tmp_path / "work", plan), tmp_path / "board")
    entry = read_board(tmp_path / "board")[0]
    for condition in entry.conditions:
        assert re.search(rf"\b{condition}\b", form), condition
