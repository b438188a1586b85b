"""What counts as a plugin's source: what runs, found without running it."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import py_compile
import subprocess
import sys
import zipfile
from modulefinder import ModuleFinder
from pathlib import Path

import pytest

from kitsbench.errors import ContractError
from kitsbench.experiments.machines.environment import PACKAGES
from kitsbench.registry.module_search import HARNESS, Search
from kitsbench.registry.source_hash import file_source, source_digest

DOCSTRING = '"""Parts."""\n'
VALUE = "VALUE = 1\n"


@pytest.fixture
def write(tmp_path):
    """Write files into a folder; returns the path of ``net.py`` in it."""

    def writer(files, folder="here") -> Path:
        for name, text in files.items():
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path / folder / "net.py"

    return writer


def keys(path):
    return [file.key for file in file_source(path, Search(beside=path))]


def digest_of(path):
    return source_digest(file_source(path, Search(beside=path)))


TREES = {
    "a module beside": ({"net.py": "import parts", "parts.py": VALUE}, ["parts.py"]),
    "through another": (
        {"net.py": "import parts", "parts.py": "from deep import VALUE", "deep.py": VALUE},
        ["deep.py", "parts.py"],
    ),
    "a circle": (
        {"net.py": "import parts", "parts.py": "import net", "unused.py": VALUE},
        ["parts.py"],
    ),
    "a package": (
        {
            "net.py": "from helpers.blocks import Block",
            "helpers/__init__.py": VALUE,
            "helpers/blocks.py": "from . import deep\nfrom .more.last import VALUE\nBlock = 1",
            "helpers/deep.py": VALUE,
            "helpers/more/__init__.py": "from ..deep import VALUE",
            "helpers/more/last.py": VALUE,
            "helpers/unused.py": "import broken",
        },
        [
            "helpers/__init__.py",
            "helpers/blocks.py",
            "helpers/deep.py",
            "helpers/more/__init__.py",
            "helpers/more/last.py",
        ],
    ),
    "a module of a package": (
        {"net.py": "import a.b as c", "a/__init__.py": "import a.other", "a/b.py": VALUE}
        | {"a/other.py": VALUE},
        ["a/__init__.py", "a/b.py", "a/other.py"],
    ),
    "folders without __init__.py": (
        {"net.py": "from a.b.c import VALUE", "a/b/c.py": "from .d import *", "a/b/d.py": VALUE},
        ["a/b/c.py", "a/b/d.py"],
    ),
    "inside a function": (
        {"net.py": "def build():\n    from parts import VALUE\n    return VALUE\nbuild()"}
        | {"parts.py": VALUE},
        ["parts.py"],
    ),
    "under if and try": (
        {
            "net.py": "try:\n    import bad\nexcept SyntaxError:\n    if 1:\n        import parts",
            "bad.py": "def f(:",
            "parts.py": VALUE,
        },
        ["bad.py", "parts.py"],
    ),
    "what a star takes": (
        {"net.py": "from a import *", "a/__init__.py": "__all__ = ['b', 'VALUE']\n" + VALUE}
        | {"a/b.py": VALUE, "a/c.py": VALUE},
        ["a/__init__.py", "a/b.py"],
    ),
    "names written out": (
        {
            "net.py": "import importlib\nimportlib.import_module('a.b')\n__import__('parts')",
            "parts.py": VALUE,
            "a/__init__.py": VALUE,
            "a/b.py": "from importlib import import_module\nimport_module('.c', __package__)",
            "a/c.py": VALUE,
        },
        ["a/__init__.py", "a/b.py", "a/c.py", "parts.py"],
    ),
    "names written out in other ways": (
        {
            "net.py": "from importlib import import_module as get\nget('one')\n"
            "import importlib\nimportlib.import_module(name='two')\n"
            "importlib.import_module('.b', package='a')\nget('.c', 'a')",
            "one.py": VALUE,
            "two.py": VALUE,
            "a/__init__.py": VALUE,
            "a/b.py": VALUE,
            "a/c.py": VALUE,
            "a/d.py": VALUE,
        },
        ["a/__init__.py", "a/b.py", "a/c.py", "one.py", "two.py"],
    ),
    "what a star takes of a list that grows": (
        {
            "net.py": "from a import *",
            "a/__init__.py": "__all__: list[str] = ['b'] + ['c']\n__all__ += ('d',)",
            "a/b.py": VALUE,
            "a/c.py": VALUE,
            "a/d.py": VALUE,
            "a/e.py": VALUE,
        },
        ["a/__init__.py", "a/b.py", "a/c.py", "a/d.py"],
    ),
    "a broken file that nobody imports": (
        {"net.py": "import parts", "parts.py": VALUE, "bad.py": "def f(:"},
        ["parts.py"],
    ),
    "the standard library's names": (
        {"net.py": "import colorsys, json.tool", "colorsys.py": VALUE, "json/tool.py": VALUE},
        [],
    ),
}


@pytest.mark.parametrize("tree", TREES)
def test_what_a_file_imports_counts_and_nothing_else(write, tree):
    files, expected = TREES[tree]
    path = write(files)
    assert keys(path) == sorted([*expected, "net.py"])
    before = digest_of(path)
    for name in files:
        (path.parent / name).write_bytes((path.parent / name).read_bytes() + b"\n# changed")
        counts = name in [*expected, "net.py"]
        assert (digest_of(path) != before) == counts, name
        before = digest_of(path)


PROBE = """
import runpy, sys
from pathlib import Path
sys.argv, folder = [sys.argv[1]], Path(sys.argv[1]).parent
runpy.run_path(sys.argv[0])
files = [getattr(m, "__file__", None) for m in list(sys.modules.values())]
inside = [Path(f) for f in files if f and Path(f).is_relative_to(folder)]
print(*{f.relative_to(folder).as_posix() for f in inside} - {"net.py"})
"""


@pytest.mark.parametrize("tree", [tree for tree in TREES if tree != "the standard library's names"])
def test_it_is_what_python_imports(write, tree):
    """The standard library's own search agrees as well, where it knows the statement."""
    path = write(TREES[tree][0])
    environment = {**os.environ, "PYTHONPATH": str(path.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(path)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    found = set(keys(path)) - {"net.py"}
    # A module that could not be compiled is in no process, but what it holds decides that.
    assert found - {"bad.py"} == set(done.stdout.split())
    if tree.startswith("names written out") or tree in (
        "under if and try",
        "folders without __init__.py",
    ):
        return
    finder = ModuleFinder([str(path.parent)])
    finder.run_script(str(path))
    files = [Path(m.__file__) for m in finder.modules.values() if m.__file__]
    known = {file.relative_to(path.parent).as_posix() for file in files} - {"net.py"}
    if tree.startswith("what a star takes"):
        assert known - found <= {"a/c.py", "a/e.py"}
    else:
        assert known == found


def test_names_that_are_computed_are_not_known(write):
    path = write({"net.py": "import importlib\nimportlib.import_module('par' + 'ts')"})
    (path.parent / "parts.py").write_text(VALUE)
    assert keys(path) == ["net.py"]


def test_a_parent_counts_if_it_does_something(write):
    files = {"net.py": "import a.b.c", "a/__init__.py": DOCSTRING, "a/b/__init__.py": ""}
    path = write({**files, "a/b/c.py": VALUE})
    assert keys(path) == ["a/b/c.py", "net.py"]
    write({"a/__init__.py": DOCSTRING + "import torch"})
    assert keys(path) == ["a/__init__.py", "a/b/c.py", "net.py"]


def test_the_place_makes_no_difference(write, monkeypatch):
    lone = {"net.py": "from helpers.blocks import VALUE"}
    helpers = {"helpers/__init__.py": VALUE, "helpers/blocks.py": VALUE}
    beside = write({**lone, **helpers})
    alone = write(lone, "alone")
    assert digest_of(alone) != digest_of(beside)
    write(helpers, "elsewhere")
    monkeypatch.syspath_prepend(alone.parent.parent / "elsewhere")
    assert digest_of(alone) == digest_of(beside)
    write({"helpers/blocks.py": "VALUE = 2\n"}, "elsewhere")
    assert digest_of(alone) != digest_of(beside)  # the same module, changed elsewhere


def test_what_lies_beside_goes_before_what_lies_elsewhere(write, monkeypatch):
    path = write({"net.py": "import parts", "parts.py": VALUE})
    write({"parts.py": "VALUE = 2\n"}, "elsewhere")
    before = digest_of(path)
    monkeypatch.syspath_prepend(path.parent.parent / "elsewhere")
    assert digest_of(path) == before
    # A folder alone is no reason to leave out a package of that name.
    path = write({"net.py": "import helpers.a", "helpers/notes.txt": ""}, "folder")
    write({"helpers/__init__.py": VALUE, "helpers/a.py": VALUE}, "elsewhere")
    assert keys(path) == ["helpers/__init__.py", "helpers/a.py", "net.py"]


def test_a_package_may_lie_in_two_folders(write, monkeypatch):
    path = write({"net.py": "import lab.one, lab.two", "lab/one.py": VALUE})
    write({"lab/two.py": VALUE}, "elsewhere")
    monkeypatch.syspath_prepend(path.parent.parent / "elsewhere")
    assert keys(path) == ["lab/one.py", "lab/two.py", "net.py"]


def test_installed_packages_and_kitsbench_do_not_count(write, monkeypatch):
    path = write({"net.py": "import torch, kitsbench.losses, own_dependency, monai_like.nets"})
    write({"own_dependency.py": VALUE}, "venv/lib/site-packages")
    write({"monai_like/nets.py": VALUE}, "venv/lib/dist-packages")
    for folder in ("site-packages", "dist-packages"):
        monkeypatch.syspath_prepend(path.parent.parent / "venv" / "lib" / folder)
    assert keys(path) == ["net.py"]


def test_what_is_never_counted_is_recorded_with_each_trial():
    assert {"kitsbench", *PACKAGES} == HARNESS


def test_what_is_installed_for_development_counts(write, monkeypatch):
    path = write({"net.py": "from own_blocks.parts import VALUE"})
    source = write({"own_blocks/__init__.py": VALUE, "own_blocks/parts.py": VALUE}, "src").parent

    class Editable:
        """As setuptools writes it for an editable installation."""

        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == "own_blocks":
                return importlib.util.spec_from_file_location(
                    name,
                    source / name / "__init__.py",
                    submodule_search_locations=[str(source / name)],
                )
            return None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Editable])
    assert keys(path) == ["net.py", "own_blocks/__init__.py", "own_blocks/parts.py"]


def test_nothing_is_run(write):
    path = write({"net.py": "import parts.deep\n1 / 0", "parts/__init__.py": "1 / 0"})
    write({"parts/deep.py": "1 / 0"})
    before = set(sys.modules)
    assert len(keys(path)) == 3
    assert set(sys.modules) == before


def test_compiled_modules_count_by_their_bytes(write):
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    path = write({"net.py": "import fast, old", f"fast{suffix}": b"\x7fELF\0", "source.py": VALUE})
    py_compile.compile(str(path.parent / "source.py"), str(path.parent / "old.pyc"))
    assert keys(path) == [f"fast{suffix}", "net.py", "old.pyc"]
    before = digest_of(path)
    write({f"fast{suffix}": b"\x7fELF\1"})
    assert digest_of(path) != before


def test_modules_in_archives_count(write, tmp_path, monkeypatch):
    path = write({"net.py": "import zipped.parts"})
    for value in (1, 2):
        archive = tmp_path / f"{value}.zip"
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("zipped/__init__.py", "from . import deep")
            file.writestr("zipped/deep.py", VALUE)
            file.writestr("zipped/parts.py", f"VALUE = {value}")
    monkeypatch.syspath_prepend(tmp_path / "1.zip")
    assert keys(path) == ["net.py", "zipped/__init__.py", "zipped/deep.py", "zipped/parts.py"]
    before = digest_of(path)
    monkeypatch.syspath_prepend(tmp_path / "2.zip")
    assert digest_of(path) != before


def test_a_helper_with_the_name_of_an_installed_package_is_refused(write):
    path = write({"net.py": "import click", "click.py": VALUE})
    with pytest.raises(ContractError, match=r"click\.py has the name .*click.__init__\.py"):
        keys(path)
    # The plugin's own file is no helper of itself.
    path = path.rename(path.with_name("pydantic.py"))
    path.write_text("from pydantic import BaseModel")
    assert keys(path) == ["pydantic.py"]


def test_a_changed_helper_is_a_new_trial(write, tmp_path):
    """By the command line, with the helper's folder on the path and without."""
    files = {
        "net.py": "from torch import nn\n"
        "from kitsbench.architecture import Architecture, Plain\n"
        "from parts import WIDTH\n"
        "class Net(Architecture):\n"
        "    def build(self, spec):\n"
        "        import late\n"
        "        return Plain(late.network(WIDTH, spec.classes))\n",
        "late.py": "from torch import nn\n"
        "def network(width, classes):\n"
        "    return nn.Sequential(nn.Conv3d(1, width, 1), nn.Conv3d(width, classes, 1))\n",
        "parts.py": "WIDTH = 4\n",
    }
    path = write(files)

    def show(*places):
        known = os.pathsep.join([*places, *filter(None, [os.environ.get("PYTHONPATH")])])
        done = subprocess.run(
            [sys.executable, "-m", "kitsbench.cli", "show", str(path), "--json"],
            env={**os.environ, "PYTHONPATH": known, "OMP_NUM_THREADS": "1"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        document = json.loads(done.stdout)
        return document["source_hash"], document["parameters"]

    first, parameters = show(str(path.parent))
    (path.parent / "parts.py").write_text("WIDTH = 24\n")
    changed, more = show()
    assert changed != first
    assert more > parameters


@pytest.mark.skipif(sys.platform != "linux", reason="needs names that are no text")
def test_a_name_that_is_no_text_has_a_hash_too(write):
    named = write({"net.py": VALUE}).with_name(os.fsdecode(b"n\xffet.py"))
    named.write_text(VALUE)
    assert source_digest(file_source(named, Search(beside=named)))
