"""Versions of the installed distributions that a plugin is made from.

They are those that its import statements name, and those that its own distribution requires. What
kitsbench itself stands on is left out: its versions are in each trial's ``environment.json``. What
is not installed in site-packages counts by its source instead, see
:mod:`kitsbench.registry.source_hash`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import Distribution, distributions
from pathlib import Path

from kitsbench.named import package_of
from kitsbench.recipe import SHARED, Recipe, Stage
from kitsbench.registry.module_search import HARNESS
from kitsbench.registry.source_hash import SourceFile, imported_names

_NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_EXTRA = re.compile(r"\bextra\s*==")


def packages_of(
    files: Sequence[SourceFile],
    own: str = "",
    requires: Iterable[str] = (),
    folders: Iterable[str] = (),
) -> dict[str, str]:
    """Versions of what a plugin imports or requires.

    Parameters
    ----------
    files : sequence of SourceFile
        All that the plugin stands for, helper modules included.
    own : str
        Its top-level package, if it is in one.
    requires : iterable of str
        Requirements of its distribution (``Requires-Dist``). Those of extras are left out, and so
        is what other modules of the distribution are seen to import: it is theirs.
    folders : iterable of str
        Where the top-level package lies, whose modules these are.

    Returns
    -------
    dict of str to str
        {name of the distribution, in its canonical spelling: version}, sorted.
    """
    here = {file.module.split(".")[0] for file in files if file.module} | {own}
    imported = _tops(files) - here - HARNESS - sys.stdlib_module_names
    found = dict(_providing(frozenset(imported), tuple(sys.path)))
    missing = [
        name
        for name in map(_required, requires)
        if name and name not in found and name not in HARNESS
    ]
    if missing:
        for dist in map(_installed(tuple(sys.path)).get, missing):
            if dist is None or _modules_of(dist) & here:
                continue  # of what is counted by its source, the version says less
            if not _imported_in(folders, _modules_of(dist)):
                found[canonical(dist.name)] = dist.version
    return dict(sorted(found.items()))


def packages_of_recipe(recipe: Recipe, stages: tuple[Stage, ...] = ()) -> dict[str, str]:
    """Versions of what a recipe names without any import statement, as transforms of MONAI.

    Parameters
    ----------
    recipe : Recipe
    stages : tuple of Stage
        Whose optimisers count, but for the shared recipe, which has one for all.
    """
    names = recipe.foreign(() if recipe.name == SHARED else stages)
    tops = {package for name in names if (package := package_of(name)) is not None}
    return dict(_providing(frozenset(tops - HARNESS - sys.stdlib_module_names), tuple(sys.path)))


def canonical(name: str) -> str:
    """A distribution's name as it is compared: lower case, with single hyphens."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _tops(files: Iterable[SourceFile]) -> set[str]:
    return {name.split(".")[0] for file in files for name in imported_names(file)}


def _required(text: str) -> str | None:
    """The distribution that a requirement names; None for one of an extra."""
    match = _NAME.match(text)
    return canonical(match[1]) if match and not _EXTRA.search(text) else None


@lru_cache(maxsize=4)
def _installed(path: tuple[str, ...]) -> Mapping[str, Distribution]:
    """Every distribution on the import path; of several of a name the one that is imported."""
    found: dict[str, Distribution] = {}
    for dist in distributions(path=list(path)):
        name: str | None = dist.metadata["Name"]  # None of a folder that is left of a damaged one
        if name:
            found.setdefault(canonical(name), dist)
    return found


@lru_cache(maxsize=256)
def _providing(modules: frozenset[str], path: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Distributions that bring any of some top-level modules, with their versions."""
    if not modules:
        return ()
    known = _installed(path).items()
    return tuple((name, dist.version) for name, dist in known if modules & _modules_of(dist))


@lru_cache(maxsize=1024)
def _modules_of(dist: Distribution) -> frozenset[str]:
    """Names of the top-level modules of a distribution."""
    listed = (dist.read_text("top_level.txt") or "").split()
    if listed:
        return frozenset(re.split(r"[/\\]", name)[0] for name in listed)
    # One line a file: path, hash and size.
    paths = (line.split(",")[0] for line in (dist.read_text("RECORD") or "").splitlines())
    firsts = {path.split("/")[0] if "/" in path else path.partition(".")[0] for path in paths}
    return frozenset(name for name in firsts if name.isidentifier())


def _imported_in(folders: Iterable[str], modules: frozenset[str]) -> bool:
    """Whether a file in some folders is seen to import one of some modules."""
    for folder in folders:
        for path in Path(folder).rglob("*.py"):
            content = path.read_bytes()
            if any(name.encode() in content for name in modules):
                file = SourceFile(path.name, path.stem, str(path), content)
                if _tops([file]) & modules:
                    return True
    return False


def version_changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Packages whose versions differ, each as ``monai 1.6.1 -> 1.7.0``."""
    names = sorted(before.keys() | after.keys())
    pairs = [(name, before.get(name, "none"), after.get(name, "none")) for name in names]
    return [f"{name} {old} -> {new}" for name, old, new in pairs if old != new]
