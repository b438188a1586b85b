"""Hash of a plugin's source, so that a changed plugin is a different one."""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType


def source_digest(module: ModuleType) -> str:
    """Hash over the Python source that a plugin's module stands for.

    Taken are all files of the module's package folder (of the module alone, if it is in no
    package), and every module of the same top-level package that they import, directly or not:
    parts that several plugins share count for each that uses them.

    Parameters
    ----------
    module : module
        An imported module.

    Returns
    -------
    str
        16 hexadecimal digits; empty for a module without source files.
    """
    if getattr(module, "__file__", None) is None:
        return ""
    top = (module.__package__ or module.__name__).split(".")[0]
    file = Path(str(module.__file__))
    start = sorted(file.parent.rglob("*.py")) if module.__package__ else [file]
    root = _root(top, file)
    files: set[Path] = set()
    queue = list(start)
    while queue:
        path = queue.pop()
        if path in files or not path.is_file():
            continue
        files.add(path)
        if module.__package__:
            queue.extend(_imported(path, top, root))
    hashed = hashlib.sha256()
    for path in sorted(files, key=lambda p: p.relative_to(root).as_posix()):
        content = path.read_bytes()
        hashed.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode())
        hashed.update(content)
    return hashed.hexdigest()[:16]


def _root(top: str, file: Path) -> Path:
    """Folder that holds the top-level package."""
    package = sys.modules.get(top)
    if package is not None and getattr(package, "__path__", None):
        folder = next((Path(p) for p in package.__path__ if file.is_relative_to(p)), None)
        if folder is not None:
            return folder.parent
    return file.parent


def _imported(path: Path, top: str, root: Path) -> Iterator[Path]:
    """Files of the package ``top`` that the file at ``path`` names in import statements."""
    package = list(path.relative_to(root).with_suffix("").parts[:-1])
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:  # a file of the folder that the plugin does not need
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = base + (node.module.split(".") if node.module else [])
            names = [stem, *([*stem, alias.name] for alias in node.names)]
        else:
            continue
        for parts in names:
            if parts and parts[0] == top:
                yield root.joinpath(*parts).with_suffix(".py")
                yield root.joinpath(*parts, "__init__.py")
