"""The page that holds the papers against the code: what it names is there, with those values."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from kitsbench import registry
from kitsbench.architecture import Task, configure
from kitsbench.recipe import Transform

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "plugins" / "kitsbench_plugins"
PAGE = ROOT / "docs" / "papers.md"
STATES = ("faithful", "choice", "cannot")
AREAS = {
    "architecture",
    "loss",
    "data",
    "preparation",
    "sampling",
    "augmentation",
    "optimiser",
    "schedule",
    "inference",
    "decoding",
    "post-processing",
    "ensembling",
}

pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="needs the sources of the docs")


@cache
def sections():
    """{heading: (names of its networks, rows of four cells)}."""
    found = {}
    for part in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        heading, text = part.split("\n", 1)
        line = re.findall(r"Networks:\s(.*?)\.\s", text, re.S)[0]
        names = re.findall(r"`([^`]+)`", line)
        cells = [row.strip("|").split("|") for row in re.findall(r"^\|.*$", text, re.M)]
        rows = [[cell.strip() for cell in row] for row in cells]
        found[heading] = names, [row for row in rows if row[2] not in ("code", "---")]
    return found


def rows():
    return PAGE.is_file() and [
        pytest.param(names, row, id=f"{heading.split(':')[0]}-{number}")
        for heading, (names, rows) in sections().items()
        for number, row in enumerate(rows)
    ]


@cache
def defined_in(file):
    """Names that a module defines, and what its classes hold."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found


@cache
def loaded(name):
    """A network as its row means it: its keys, and the recipe of its paper."""
    plain, settings = registry.parse_request(name)
    entry = registry.load(plain)
    if entry.status == "missing dependency":
        pytest.skip(entry.error)
    architecture = entry.architecture
    spec = architecture.spec(configure(architecture, settings), Task())
    return architecture.keys, spec.paper


def realised(recipe, path):
    """Every value that a path means: of a field, or of the transforms of a name."""
    first, *rest = path.split(".")
    transforms = [t for t in recipe.augmentation if t.name == first]
    found = transforms or [getattr(recipe, first)]
    for part in rest:
        found = [
            one[part]
            if isinstance(one, Transform) and not hasattr(one, part)
            else getattr(one, part)
            for one in found
        ]
    return found


def test_every_area_of_every_paper_has_a_row():
    assert len(sections()) == 6
    for heading, (_, rows) in sections().items():
        assert {row[0] for row in rows} - {""} == AREAS, heading
        assert {len(row) for row in rows} == {4}, heading


@pytest.mark.parametrize(("names", "row"), rows())
def test_a_row_says_what_the_code_does(names, row):
    _, statement, code, state = row
    assert statement
    assert state.startswith(STATES)
    places = re.findall(r"`([\w/-]+\.py):(\w+)`", code)
    assert places, code
    for path, name in places:
        file = ROOT / path if path.startswith("kitsbench/") else PLUGINS / path
        assert name in defined_in(file), f"{path}:{name}"
    settings = re.findall(r"`([\w.]+)=([^`]+)`", state)
    for key, value in settings:
        if key.startswith("recipe."):
            recipes = [recipe for _, recipe in map(loaded, names) if recipe is not None]
            values = [
                one for recipe in recipes for one in realised(recipe, key.removeprefix("recipe."))
            ]
            assert value in {str(one).replace("'", '"') for one in values}, f"{key}: {values}"
        else:
            defaults = [keys[key].default for keys, _ in map(loaded, names) if key in keys]
            assert value in map(_written, defaults), f"{key}: {defaults}"
    if state.startswith("choice"):
        # What may be chosen is a key or an option, or the row says why there is none.
        assert "`" in state or "no key" in state, state


def _written(default):
    """A default as the command line takes it."""
    return "x".join(map(str, default)) if isinstance(default, tuple) else str(default)


@cache
def installed():
    """Every architecture that can be loaded, once."""
    return [registry.load(entry.name).instance for entry in registry.discover()]


@pytest.mark.parametrize("card", sorted(PLUGINS.glob("*/README.md")), ids=lambda p: p.parent.name)
def test_every_card_says_what_differs(card):
    text = card.read_text(encoding="utf-8")
    found = re.findall(
        r"\*\*What differs from (?:the papers?|nnU-Net)\.\*\*\s(.*?)\n\n\*\*", text, re.S
    )
    assert found
    assert len(found[0]) > 100
    if card.parent.name == "five_folds":
        return  # means have their members' keys
    for architecture in installed():
        if type(architecture).__module__.startswith(f"kitsbench_plugins.{card.parent.name}."):
            assert not [key for key in architecture.keys if f"`{key}`" not in text]
