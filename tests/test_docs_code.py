"""The code on the pages for authors: it runs as it stands there."""

from __future__ import annotations

import doctest
import re
import textwrap
from pathlib import Path

import pytest

from kitsbench import conformance
from kitsbench.architecture import Architecture, Task, configure
from kitsbench.recipe import Recipe

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = ("contract", "losses", "plugin", "recipes")
INSTALLED = {'"my_net"': '"unet3d"'}  # a name of the page's, and one that there is


def blocks(page, language):
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def executed(page):
    """What the code of a page defines; a hook that stands alone is a function."""
    found = {"__name__": f"page_{page}"}
    for number, block in enumerate(blocks(page, "python"), start=1):
        text = textwrap.dedent(block)
        for name, other in INSTALLED.items():
            text = text.replace(name, other)
        # A hook may call what stands on the page before it: one name space for all of it.
        exec(compile(text, f"{page}.md, block {number}", "exec"), found)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_code_runs(page):
    found = executed(page)
    assert len(found) > 2
    for kind in found.values():
        if isinstance(kind, type) and issubclass(kind, Architecture) and "spec" in vars(kind):
            plugin = kind()
            spec = plugin.spec(configure(plugin), Task(patch=(16, 16, 16)))
            assert not spec.heads or spec.primary.shape == (16, 16, 16)


def test_recipes_of_the_pages_are_recipes():
    found = [value for page in PAGES for value in executed(page).values()]
    assert any(isinstance(value, Recipe) for value in found)


def test_the_loss_of_the_page_keeps_the_contract():
    found = conformance.checks(executed("losses")["HardVoxels"])
    core = ("spec is data", "builds", "targets fit", "loss is finite")
    assert {check.name for check in found} >= set(core)
    for check in found:
        if check.name in core:
            check()


@pytest.mark.parametrize("page", ["looks", "losses"])
def test_what_examples_print_is_what_they_give(page):
    text = "\n".join(blocks(page, "pycon"))
    test = doctest.DocTestParser().get_doctest(text, {}, page, page, 0)
    assert len(test.examples) > 10
    told = []
    failed, _ = doctest.DocTestRunner(verbose=False).run(test, out=told.append)
    assert not failed, "".join(told)
