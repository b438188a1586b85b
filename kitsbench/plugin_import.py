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
from kitsbench.module_search import BesideFinder, Search
from kitsbench.source_hash import SourceFile, file_source

BESIDE = BesideFinder()
_FIRST: dict[str, str] = {}  # hash of each file's content when this process was about to import it


def import_file(path: Path) -> tuple[ModuleType, list[SourceFile]]:
    """Run a plugin's file, anew at each call, and list what it stands for.

    It may import modules and packages that lie beside it.

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
    BESIDE.admit(path, search.near())
    check_imported(files)
    name = f"kitsbench_file_{path.stem}_{digest(str(path), 8)}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ContractError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up by name
    spec.loader.exec_module(module)
    # The file may have put folders on sys.path.
    return module, file_source(path, Search(beside=path))


def check_imported(files: Iterable[SourceFile]) -> None:
    """Refuse files that are not what this process has imported by their names.

    Python imports a module once a process, whoever asks for its name and whatever is in its file by
    then.

    Raises
    ------
    ContractError
        A module came from another file, or its file has changed since.
    """
    for file in files:
        if not file.module:
            continue
        now = hashlib.sha256(file.content).hexdigest()
        module = sys.modules.get(file.module)
        if module is None:
            _FIRST[file.path] = now
            continue
        origin = getattr(module, "__file__", None)
        if origin is not None and Path(origin).resolve() != Path(file.path).resolve():
            raise ContractError(
                f"'{file.module}' means {file.path} here, but this process has imported {origin} "
                "by that name: rename one of the two"
            )
        if _FIRST.setdefault(file.path, now) != now:
            raise ContractError(
                f"{file.path} has changed since this process imported it: start a new one"
            )
