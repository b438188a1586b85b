"""``kitsbench new``: the skeleton of a plugin package."""

from __future__ import annotations

import importlib.resources
import keyword
import re
import sys
from pathlib import Path

import click

from kitsbench.cli.output import say, tell
from kitsbench.errors import UsageError

# template -> file of the package; @tokens@ in both are replaced
FILES = {
    "pyproject.toml.in": "pyproject.toml",
    "setup.cfg.in": "setup.cfg",
    "README.md.in": "README.md",
    "gitignore.in": ".gitignore",
    "workflow.yml.in": ".github/workflows/test.yml",
    "init.py.in": "@package@/__init__.py",
    "plugin.py.in": "@package@/plugin.py",
    "test_plugin.py.in": "tests/test_plugin.py",
}
VALID = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
TAKEN = {"kitsbench", "kitsbench_plugins", "torch", "numpy", "test", "tests", "pytest"}


@click.command("new")
@click.argument("name")
@click.option(
    "--dir",
    "parent",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Folder in which the package's folder NAME is made; by default the current one.",
)
def command(name: str, parent: Path) -> None:
    """Write the skeleton of a plugin package called NAME, such as my-net.

    It holds an architecture of 12 lines that trains, its entry point, a test that runs the
    conformance checks, and a workflow that runs the test.
    """
    folder = write_package(name, parent)
    package = name.replace("-", "_")
    say(folder)
    tell(f"Wrote {len(FILES)} files. Next:")
    for step in (f"pip install -e {folder}", f"kitsbench check {package}"):
        tell(f"  {step}")
    tell(f"  kitsbench run {package} unet3d")
    tell(f"The network is in {folder / package / 'plugin.py'}.")


def write_package(name: str, parent: Path) -> Path:
    """Write the package and return its folder.

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
    tokens = {
        "@name@": name,
        "@package@": package,
        "@title@": package.replace("_", " ").capitalize(),
        "@class@": "".join(part.capitalize() for part in package.split("_")),
    }
    templates = importlib.resources.files("kitsbench.cli") / "templates" / "plugin"
    for template, target in FILES.items():
        text = (templates / template).read_text(encoding="utf-8")
        path = folder / _filled(target, tokens)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_filled(text, tokens), encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"{path} cannot be written ({error.strerror}): choose another --dir."
            ) from error
    return folder


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
