"""Where an import statement of a plugin leads, found without importing anything."""

from __future__ import annotations

import pkgutil
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from kitsbench.errors import ContractError

# kitsbench, and what each trial's environment.json has the version of: never part of a plugin,
# not even where they are installed for development and so lie outside site-packages.
HARNESS = frozenset(
    {"kitsbench", "torch", "numpy", "pandas", "scipy", "torchio", "nibabel", "safetensors"}
)
INSTALLED = frozenset({"site-packages", "dist-packages"})
STANDARD = tuple({Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")})


def is_installed(spec: ModuleSpec) -> bool:
    """Whether a module is the harness's, the standard library's, or lies in site-packages."""
    if spec.name.split(".")[0] in HARNESS:
        return True
    if not spec.has_location or spec.origin is None:
        return spec.loader is not None  # built in or frozen; a folder without __init__.py is not
    path = Path(spec.origin)
    return bool(INSTALLED & set(path.parts)) or any(
        path.resolve().is_relative_to(folder) for folder in STANDARD
    )


def is_a_plugins(name: str | None) -> bool:
    """Whether an imported module lies where plugins lie and installed packages do not."""
    file = getattr(sys.modules.get(name or ""), "__file__", None)
    if file is None or str(name).split(".")[0] in HARNESS:
        return False
    path = Path(file).resolve()
    return not INSTALLED & set(path.parts) and not any(map(path.is_relative_to, STANDARD))


def find_on(name: str, path: Iterable[str]) -> ModuleSpec | None:
    """Find a module in some folders or archives, as the import of its parent's parts would.

    Parameters
    ----------
    name : str
        Full dotted name; its last part is looked for.
    path : iterable of str

    Returns
    -------
    ModuleSpec or None
        Without a loader for folders that have no ``__init__.py``.
    """
    # importlib's own search wants the parents of nested folders without __init__.py imported.
    portions: list[str] = []
    for place in path:
        finder = pkgutil.get_importer(place)
        spec = finder.find_spec(name) if finder is not None else None
        if spec is None:
            continue
        if spec.loader is not None:
            return spec
        portions += spec.submodule_search_locations or []
    return _folders(name, portions) if portions else None


def package_of(file: Path) -> tuple[str, Path] | None:
    """Dotted name of the package that a file lies in, and the folder that holds it.

    Returns
    -------
    (str, Path) or None
        None for a file whose folder has no ``__init__.py``.
    """
    names: list[str] = []
    folder = file.parent
    while folder.name.isidentifier() and (folder / "__init__.py").is_file():
        names.insert(0, folder.name)
        folder = folder.parent
    return (".".join(names), folder) if names else None


def find_top(name: str, beside: Path | None = None) -> ModuleSpec | None:
    """Find a top-level module or package.

    Parameters
    ----------
    name : str
    beside : Path, optional
        A plugin's file, whose folder comes before everything that is not installed, and whose own
        package before that, too.

    Raises
    ------
    ContractError
        The folder and the installed packages both have one of that name.
    """
    found = _find_elsewhere(name)
    if beside is None or name in HARNESS or name in sys.stdlib_module_names:
        return found
    package = package_of(beside)
    if package is not None and package[0].split(".")[0] == name:
        return find_on(name, [str(package[1])])
    near = find_on(name, [str(beside.parent)])
    if near is None:
        return found
    if near.loader is None:
        # A folder without __init__.py counts only if there is nothing better, as anywhere.
        if found is not None and found.loader is not None:
            return found
        return _folders(name, [*_locations(near), *_locations(found)])
    if found is None or not is_installed(found):
        return near
    if near.origin == str(beside):
        return found  # a plugin may be called like the package that it wraps
    raise ContractError(
        f"{near.origin} has the name of an installed package ({found.origin}): give it another name"
    )


def _find_elsewhere(name: str) -> ModuleSpec | None:
    """What ``import name`` finds in a new process; ``sys.modules`` is not asked."""
    for finder in sys.meta_path:
        if isinstance(finder, BesideFinder) or not hasattr(finder, "find_spec"):
            continue
        spec = finder.find_spec(name, None)
        if spec is not None:
            return spec
    return None


def _locations(spec: ModuleSpec | None) -> list[str]:
    return [] if spec is None else list(spec.submodule_search_locations or [])


def _folders(name: str, portions: Sequence[str]) -> ModuleSpec:
    """A package of folders that have no ``__init__.py``."""
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = list(dict.fromkeys(portions))
    return spec


class Search:
    """Modules by the names in a plugin's import statements; each is looked for once.

    Parameters
    ----------
    beside : Path, optional
        The plugin's file, if it is one.
    own : (str, Path), optional
        The plugin's top-level package and the folder that holds it.
    """

    def __init__(self, beside: Path | None = None, own: tuple[str, Path] | None = None):
        self.beside, self.own = beside, own
        self._found: dict[str, ModuleSpec | None] = {}

    def find(self, name: str) -> ModuleSpec | None:
        """Find a module by its full dotted name, None where there is none."""
        if name not in self._found:
            self._found[name] = self._find(name)
        return self._found[name]

    def _find(self, name: str) -> ModuleSpec | None:
        parent = name.rpartition(".")[0]
        if parent:
            above = self.find(parent)
            places = _locations(above)
            return find_on(name, places) if places else None
        if self.own is None or name != self.own[0]:
            return find_top(name, self.beside)
        package = find_on(name, [str(self.own[1])])
        if package is not None and package.loader is None:
            # Several distributions may share a package that has no __init__.py.
            return _folders(name, [*_locations(package), *_locations(_find_elsewhere(name))])
        return package

    def lying_in(self, folders: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Top-level names that were found in some folders: {name: folders that it lies in}."""
        chosen, lying = set(folders), {}
        for name, spec in self._found.items():
            if "." in name or spec is None or is_installed(spec):
                continue
            places = [*_locations(spec)] or [str(spec.origin)]
            parents = tuple(str(Path(place).parent) for place in places)
            if chosen & set(parents):
                lying[name] = parents
        return lying


class BesideFinder:
    """Lets plugins' files import what lies beside them, by the names in their import statements.

    The folders themselves stay off ``sys.path``, where each file in them would be in the way of
    every other import of the process.
    """

    def __init__(self) -> None:
        self.names: dict[Path, dict[str, tuple[str, ...]]] = {}

    def admit(self, file: Path, names: dict[str, tuple[str, ...]]) -> None:
        """Let a plugin's file import names from folders: {name: folders that it lies in}.

        Raises
        ------
        ContractError
            Another plugin's file has one of the names in another folder.
        """
        self.names = {known: own for known, own in self.names.items() if known.is_file()}
        for other, taken in self.names.items():
            for name in sorted(taken.keys() & names.keys()):
                if other != file and taken[name] != names[name]:
                    raise ContractError(
                        f"'{name}' means what lies in {names[name][0]}, but for {other.name} what "
                        f"lies in {taken[name][0]}: a process can have one module of a name; "
                        "rename one of the two"
                    )
        self.names[file] = names
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a top-level module for the import system."""
        if path is not None:
            return None
        folders = next((own[name] for own in self.names.values() if name in own), ())
        return find_on(name, folders)
