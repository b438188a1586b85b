"""Hash of a plugin's source, so that a changed plugin is a different one.

What counts is found by reading import statements, wherever they stand: under ``if`` and ``try``,
inside functions, and as ``importlib.import_module("a.name")`` with the name written out. What a
plugin imports under a name that it computes, and what it reads that is no module (weights, a
configuration file), cannot be known and does not count.
"""

from __future__ import annotations

import ast
import hashlib
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import ModuleSpec
from pathlib import Path, PurePath
from types import ModuleType

from kitsbench.registry.module_search import Search, is_installed, package_of


@dataclass(frozen=True)
class SourceFile:
    """One file that a plugin's behaviour may depend on.

    Parameters
    ----------
    key : str
        Its path as seen from the folder of its top-level module: equal wherever that lies.
    module : str
        Dotted name that it is imported by; empty for a plugin's file.
    path : str
        Where it is; for a module in a zip archive a path inside it.
    content : bytes
    package : str
        Dotted name of the package that a plugin's file lies in; empty for all else.
    """

    key: str
    module: str
    path: str
    content: bytes
    package: str = ""


def file_source(path: Path, search: Search) -> list[SourceFile]:
    """All files that a plugin's file stands for: itself and what it imports.

    Every module counts that it imports, directly or not, from outside the standard library and
    site-packages. An ``__init__.py`` on the way to an imported module counts if it holds more than
    a docstring. kitsbench itself and what it is built on do not count. Compiled modules and modules
    in zip archives count by their bytes.

    Parameters
    ----------
    path : Path
        Absolute; it is not run.
    search : Search
        For this file.

    Returns
    -------
    list of SourceFile
        Sorted by key.

    Raises
    ------
    ContractError
        A module beside the file has the name of an installed package.
    """
    package, _ = package_of(path) or ("", path)
    own = SourceFile(path.name, "", str(path), path.read_bytes(), package)
    return _closure([own], [], search)


def module_source(module: ModuleType) -> list[SourceFile]:
    """All files that a module of an installed plugin stands for.

    Taken are the Python files of the module's package folder (the module alone, if it is in no
    package), and every module that they import, directly or not, from their own top-level package
    or, as for a file, from outside the standard library and site-packages: parts that several
    plugins share count for each that uses them.

    Parameters
    ----------
    module : module
        An imported module.

    Returns
    -------
    list of SourceFile
        Sorted by key; empty for a module without a file.
    """
    if getattr(module, "__file__", None) is None:
        return []
    top = sys.modules.get(module.__name__.split(".")[0])
    folders = [str(path) for path in getattr(top, "__path__", None) or ()]
    package = module.__package__ or ""
    return _named_source(module.__name__, package, Path(str(module.__file__)), folders)


def named_source(name: str) -> list[SourceFile]:
    """As :func:`module_source`, for a module of which nothing has been imported.

    Parameters
    ----------
    name : str
        Dotted name of the module.

    Returns
    -------
    list of SourceFile
        Empty where there is no such module.
    """
    search = Search()
    spec, top = search.find(name), search.find(name.split(".")[0])
    if spec is None or top is None or spec.origin is None or not spec.has_location:
        return []
    folders = list(top.submodule_search_locations or ())
    return _named_source(name, spec.parent or "", Path(spec.origin), folders)


def _named_source(name: str, package: str, file: Path, folders: Sequence[str]) -> list[SourceFile]:
    """Files of a module in a package whose top level lies in some folders."""
    if not package:
        return _closure([], [name], Search(own=(name, file.parent)))
    top = package.split(".")[0]
    holding = next((Path(p) for p in folders if file.is_relative_to(p)), None)
    root = file.parent if holding is None else holding.parent
    start = []
    for path in file.parent.rglob("*.py"):
        if path.is_file():
            key = path.relative_to(root)
            parts = key.parent.parts if key.stem == "__init__" else key.with_suffix("").parts
            start.append(SourceFile(key.as_posix(), ".".join(parts), str(path), path.read_bytes()))
    return _closure(start, [name], Search(own=(top, root)))


def source_digest(files: Iterable[SourceFile]) -> str:
    """Hash over a plugin's files: 16 hexadecimal digits, empty where there are none."""
    files, hashed = list(files), hashlib.sha256()
    for file in files:
        hashed.update(f"{file.key}\0{len(file.content)}\0".encode("utf-8", "backslashreplace"))
        hashed.update(file.content)
    return hashed.hexdigest()[:16] if files else ""


def _closure(start: list[SourceFile], names: list[str], search: Search) -> list[SourceFile]:
    """Some files and named modules with all that they import, sorted by key."""
    files: dict[str, SourceFile] = {}
    queue = [*start]
    seen: set[str] = set()

    def follow(names: Iterable[str]) -> None:
        for name in names:
            if name not in seen:
                seen.add(name)
                queue.extend(_on_the_way(name, search))

    follow(names)
    while queue:
        file = queue.pop()
        if file.key not in files:
            files[file.key] = file
            follow(imported_names(file))
    return [files[key] for key in sorted(files)]


def _on_the_way(name: str, search: Search) -> Iterator[SourceFile]:
    """Files that run when a module is imported: its parents' and its own."""
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        spec = search.find(".".join(parts[:depth]))
        if spec is None or not _counts(spec, search):
            return  # no module but something that its parent defines, or not the plugin's
        file = _read(spec)
        # A parent that nothing is taken from and that does nothing cannot change a plugin.
        if file is not None and (depth == len(parts) or _does_something(file)):
            yield file


def _counts(spec: ModuleSpec, search: Search) -> bool:
    if search.own is not None and spec.name.split(".")[0] == search.own[0]:
        inside = spec.origin is not None and Path(spec.origin).is_relative_to(search.own[1])
        return inside or not is_installed(spec)
    return not is_installed(spec)


def _read(spec: ModuleSpec) -> SourceFile | None:
    """Content of a found module; None for a folder without ``__init__.py``."""
    get_data = getattr(spec.loader, "get_data", None)
    if spec.origin is None or get_data is None:
        return None
    try:
        content = get_data(spec.origin)  # from a zip archive, too
    except OSError:
        return None
    folders = spec.name.split(".")
    if spec.submodule_search_locations is None:
        folders = folders[:-1]
    # The file's own name: it tells a compiled module from its source.
    key = PurePath(*folders, PurePath(spec.origin).name).as_posix()
    return SourceFile(key, spec.name, spec.origin, content)


_parsing = threading.Lock()


def _parse(content: bytes) -> ast.Module | None:
    """Syntax tree of a file, None for one that is no Python source."""
    with _parsing, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes in foreign strings
        try:
            return ast.parse(content)
        except SystemError:
            # CPython 3.11 may lose count of its own recursion ("AST constructor recursion depth
            # mismatch") when memory was collected, or another thread built a tree, meanwhile; it
            # is right again in the next call.
            return ast.parse(content)
        except (SyntaxError, ValueError):  # a compiled file, or one the plugin does not need
            return None


@lru_cache(maxsize=1024)
def _does_something(file: SourceFile) -> bool:
    """Whether a file holds more than a docstring."""
    tree = _parse(file.content)
    return tree is None or len(tree.body) > (ast.get_docstring(tree) is not None)


@lru_cache(maxsize=1024)  # a plugin is loaded several times a run
def imported_names(file: SourceFile) -> tuple[str, ...]:
    """Dotted names that a file's import statements may mean; some are no modules."""
    tree = _parse(file.content)
    return () if tree is None else tuple(dict.fromkeys(_named(tree, file)))


def _named(tree: ast.Module, file: SourceFile) -> Iterator[str]:
    package = file.module.split(".") if file.module else []
    is_package = PurePath(file.key).stem == "__init__"
    if not is_package:
        package = file.package.split(".") if file.package else package[:-1]
    functions = _import_functions(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            stem = _absolute(node.module or "", node.level, package)
            if stem is not None:
                yield stem
                yield from (f"{stem}.{alias.name}" for alias in node.names if alias.name != "*")
        elif isinstance(node, ast.Call):
            written, anchor = _import_call(node, functions)
            name = written.lstrip(".")
            found = _absolute(name, len(written) - len(name), anchor or package)
            if found is not None:
                yield found
        elif is_package and (listed := _listed(node)) is not None:
            # "from package import *" imports the modules that are listed here.
            yield from (f"{file.module}.{name}" for name in _texts(listed))


def _absolute(name: str, level: int, package: list[str]) -> str | None:
    """What a name after ``level`` dots means in a package; None where it means nothing."""
    if level > len(package):
        return None
    base = package[: len(package) - level + 1] if level else []
    return ".".join([*base, *filter(None, [name])]) or None


def _import_functions(tree: ast.Module) -> set[str]:
    """What the functions that import a module by its name are called in a file."""
    names = {"import_module", "__import__"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "importlib":
            names |= {a.asname for a in node.names if a.name == "import_module" and a.asname}
    return names


def _import_call(node: ast.Call, functions: set[str]) -> tuple[str, list[str]]:
    """The name in ``import_module("name")`` and the package in its second argument, if written."""
    function = node.func
    called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if called not in functions:
        return "", []
    given = dict(zip(("name", "package"), node.args, strict=False))
    given |= {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
    name, package = (_text(given.get(key)) or "" for key in ("name", "package"))
    return name, package.split(".") if package else []


def _listed(node: ast.AST) -> ast.expr | None:
    """What a statement puts into ``__all__``; None for any other."""
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign | ast.AugAssign):
        targets = [node.target]
    else:
        return None
    named = any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets)
    return node.value if named else None


def _texts(node: ast.expr) -> Iterator[str]:
    """The strings that are written in an expression, such as a list or a sum of lists."""
    for item in ast.walk(node):
        text = _text(item)
        if text is not None:
            yield text


def _text(node: ast.AST | None) -> str | None:
    """A string that is written out."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
