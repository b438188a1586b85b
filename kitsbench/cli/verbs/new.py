"""``kitsbench new``: the skeleton of a plugin package, empty or like one of the cookbook."""

from __future__ import annotations

import ast
import difflib
import importlib.resources
import keyword
import re
import sys
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kitsbench.cli.output import say, tell
from kitsbench.errors import UsageError
from kitsbench.files.foreign import brief

if TYPE_CHECKING:
    Names = click.Choice[str]
else:
    Names = click.Choice  # generic in the newest releases only

# template -> file of the package; @tokens@ in both are replaced
FILES = {
    "pyproject.toml.in": "pyproject.toml",
    "setup.cfg.in": "setup.cfg",
    "README.md.in": "README.md",
    "gitignore.in": ".gitignore",
    "workflow.yml.in": ".github/workflows/test.yml",
    "init.py.in": "@package@/__init__.py",
    "test_plugin.py.in": "tests/test_plugin.py",
}
PLUGIN = "@package@/plugin.py"
PLAIN = "plugin.py.in"  # the template where no other is asked for
# What the templates import beside Python's own.
NEEDED = ("kitsbench", "torch", "numpy", "scipy", "monai")
VALID = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
TAKEN = {"kitsbench", "kitsbench_plugins", "torch", "numpy", "test", "tests", "pytest"}


def cookbook() -> dict[str, Traversable]:
    """The plugins of the cookbook by the names that ``--like`` takes."""
    folder = importlib.resources.files("kitsbench.cli") / "templates" / "cookbook"
    found = {file.name: file for file in folder.iterdir() if file.name.endswith(".py")}
    return {name[:-3].replace("_", "-"): file for name, file in sorted(found.items())}


class _Like(Names):
    """A name of the cookbook; the nearest is guessed for another one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read such as ``two-grids``, or ``two_grids``."""
        known = list(cookbook())
        name = str(value).lower().replace("_", "-")
        if name in known:
            return name
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise UsageError(
            f"The cookbook has no plugin '{brief(value)}'.{hint} It has {', '.join(known)}."
        )


@click.command("new")
@click.argument("name")
@click.option(
    "--dir",
    "parent",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Folder in which the package's folder NAME is made; by default the current one.",
)
@click.option(
    "--like",
    type=_Like(list(cookbook())),
    metavar="NAME",
    help="A plugin of the cookbook to begin with; by default two convolutions. "
    f"One of {', '.join(cookbook())}.",
)
def command(name: str, parent: Path, like: str | None) -> None:
    """Write the skeleton of a plugin package called NAME, such as my-net.

    It holds an architecture that trains, by default one of 12 lines, its entry point, a test that
    runs the conformance checks, and a workflow that runs the test.
    """
    folder = write_package(name, parent, like)
    package = name.replace("-", "_")
    say(folder)
    tell(f"Wrote {len(FILES) + 1} files. Next:")
    for step in (f"pip install -e {folder}", f"kitsbench check {package}"):
        tell(f"  {step}")
    tell(f"  kitsbench run {package} unet3d")
    file = folder / package / "plugin.py"
    tell(f"The network is in {file}; without an installation: kitsbench check {file}")


def write_package(name: str, parent: Path, like: str | None = None) -> Path:
    """Write the package and return its folder.

    Parameters
    ----------
    name : str
    parent : Path
        Folder that the package's folder is made in.
    like : str, optional
        A name of :func:`cookbook`.

    Raises
    ------
    UsageError
        The name is not valid or taken, or the folder exists.
    """
    package = name.replace("-", "_")
    if not VALID.fullmatch(name):
        raise UsageError(
            f"'{name}' is no valid name: use lower-case letters and digits, a letter first, "
            "parts joined by '-' or '_', such as my-net."
        )
    if package in TAKEN | sys.stdlib_module_names or keyword.iskeyword(package):
        raise UsageError(f"'{name}' is the name of another Python module: choose another one.")
    _refuse_registered(package)
    folder = parent / name
    if folder.exists():
        raise UsageError(f"{folder} exists and is left as it is: choose another name or --dir.")
    templates = importlib.resources.files("kitsbench.cli") / "templates" / "plugin"
    source = templates / PLAIN if like is None else cookbook()[like]
    title = package.replace("_", " ").capitalize()
    named = "".join(part.capitalize() for part in package.split("_"))
    named, plugin = _plugin(source.read_text(encoding="utf-8"), named, title)
    tokens = {
        "@name@": name,
        "@package@": package,
        "@title@": title,
        "@class@": named,
        "@requirements@": "\n    ".join(_requirements(plugin)),
    }
    texts = {FILES[file]: (templates / file).read_text(encoding="utf-8") for file in FILES}
    for target, text in {**texts, PLUGIN: plugin}.items():
        path = folder / _filled(target, tokens)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_filled(text, tokens), encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"{path} cannot be written ({error.strerror}): choose another --dir."
            ) from error
    return folder


def _plugin(text: str, name: str, title: str) -> tuple[str, str]:
    """Give a plugin's file another class and title; the class's name comes first.

    Its paper goes, since what is made of the network is not what the paper has.
    """
    ((own, base),) = re.findall(r"^class (\S+)\((Architecture|System)\):", text, re.MULTILINE)
    others = set(re.findall(r"[A-Za-z_]\w*", text)) - {own}
    while name in others:  # such as Plain, which the file imports
        name += "Architecture"
    text = text.replace(f"class {own}({base}):", f"class {name}({base}):")
    text = re.sub(r'^(    title = )".*"$', rf'\1"{title}"', text, flags=re.MULTILINE)
    return name, re.sub(r'^    paper = ".*"\n', "", text, flags=re.MULTILINE)


def _requirements(text: str) -> list[str]:
    """Distributions that a plugin's file imports from."""
    nodes = list(ast.walk(ast.parse(text)))
    names = {a.name for node in nodes if isinstance(node, ast.Import) for a in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return [name for name in NEEDED if name in {found.split(".")[0] for found in names}]


def _refuse_registered(package: str) -> None:
    from kitsbench.registry import discover

    for entry in discover():
        if entry.name == package:
            raise UsageError(
                f"{entry.distribution} provides an architecture called '{package}': choose "
                "another name, because two of one name cannot be used together."
            )


def _filled(text: str, tokens: dict[str, str]) -> str:
    for token, value in tokens.items():
        text = text.replace(token, value)
    return text
