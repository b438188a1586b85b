"""Import plugins so that the code that runs is the code that is hashed."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from kitsbench.errors import ContractError
from kitsbench.files import digest
from kitsbench.registry.module_search import BesideFinder, Search, package_of
from kitsbench.registry.source_hash import SourceFile, file_source

BESIDE = BesideFinder()
# By each plugin's location what it means by the names of modules.
_MEANT: dict[str, dict[str, str]] = {}
# Hash of each file's content when this process was about to import it.
_FIRST: dict[str, str] = {}
# Folders that each plugin's file has put on sys.path.
_ADDED: dict[Path, list[str]] = {}


def import_file(path: Path) -> tuple[ModuleType, list[SourceFile]]:
    """Run a plugin's file, anew at each call, and list what it stands for.

    It may import modules and packages that lie beside it, its own package where it lies in one,
    also by relative imports, and what lies in folders that it puts on ``sys.path``. Those are taken
    off again, so that no plugin depends on which others were loaded before; the names in its import
    statements, also those inside functions, are found as long as the process lives.

    Parameters
    ----------
    path : Path
        Absolute.

    Raises
    ------
    ContractError
        A name in its import statements means something else in this process already, or may mean
        two things.
    """
    search = Search(beside=path)
    files = file_source(path, search)
    package, root = package_of(path) or ("", path.parent)
    near = [str(path.parent), str(root)]
    BESIDE.admit(path, search.lying_in(near))
    check_imported(files, str(path))
    name = f"kitsbench_file_{path.stem}_{digest(str(path), 8)}"
    # A module of that package, so that a leading dot means it.
    name = f"{package}.{name}" if package else name
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ContractError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up by name
    before = list(sys.path)
    # A helper that put a folder there runs once a process, and so does not do it again.
    sys.path[:0] = _ADDED.get(path, [])
    try:
        spec.loader.exec_module(module)
        added = [place for place in dict.fromkeys(sys.path) if place not in before]
        _ADDED[path] = added
        search = Search(beside=path)
        files = file_source(path, search)
        BESIDE.admit(path, search.lying_in([*near, *added]))
    except ImportError as error:
        if "no known parent package" in str(error):
            raise ContractError(
                f"{path} imports by a leading dot, but {path.parent} has no __init__.py and so is "
                "no package: put one there, or import what lies beside the file by its plain name"
            ) from error
        raise
    finally:
        sys.path[:] = before
    return module, files


def check_imported(files: Iterable[SourceFile], location: str) -> None:
    """Refuse files that are not what this process has, or will have, imported by their names.

    Python imports a module once a process, whoever asks for its name and whatever is in its file by
    then.

    Parameters
    ----------
    files : iterable of SourceFile
    location : str
        What the plugin that they belong to is found by.

    Raises
    ------
    ContractError
        A module came from another file, another plugin means another file by its name, or its file
        has changed since it was imported.
    """
    meant = {file.module: file.path for file in files if file.module}
    others = [own for other, own in _MEANT.items() if other != location]
    for file in files:
        if not file.module:
            continue
        now = hashlib.sha256(file.content).hexdigest()
        module = sys.modules.get(file.module)
        known = [own[file.module] for own in others if file.module in own]
        if module is not None and getattr(module, "__file__", None) is not None:
            known.append(str(module.__file__))
        for path in known:
            if Path(path).resolve() != Path(file.path).resolve():
                raise ContractError(
                    f"'{file.module}' means {file.path} here, but {path} elsewhere in this "
                    "process: it can have one module of a name; rename one of the two"
                )
        if module is None:
            _FIRST[file.path] = now
        elif _FIRST.setdefault(file.path, now) != now:
            raise ContractError(
                f"{file.path} has changed since this process imported it: start a new process"
            )
    _MEANT[location] = meant
