"""Which files foreign code reads, beside what Python and its packages read for themselves.

In: a stretch of code. Out: the files of data that were opened to be read in it.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch  # has a reference to safe_open of its own

from kitsbench.registry.module_search import INSTALLED, STANDARD

CODE = (".py", ".pyc", ".pyi", ".so", ".pyd", ".dll", ".dylib")
SYSTEM = tuple(Path(p) for p in ("/proc", "/sys", "/dev", "/etc", "/lib", "/usr/lib", "/usr/share"))
IMPORTING = "<frozen importlib._bootstrap>"
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT

_hearing: list[Callable[[object, bool], None]] = []


@contextmanager
def files_read(named: Iterable[Path], own: Path) -> Iterator[list[Path]]:
    """Collect the files of data that are read, each once, in the order of reading.

    Left out are code, what is read while a module is imported, what belongs to Python, to the
    system or to an installed package, and what was written in the same stretch.

    Parameters
    ----------
    named : iterable of Path
        Files that may be read.
    own : Path
        Folder of the package that reads, whose files are part of it.
    """
    known = {file.resolve() for file in named}
    found: list[Path] = []
    written: set[Path] = set()

    def hear(name: object, writes: bool) -> None:
        if not isinstance(name, (str, bytes, os.PathLike)) or _is_importing():
            return
        file = Path(os.fsdecode(name)).resolve()
        if writes:
            written.add(file)
        elif file not in found and file not in known | written and _is_data(file, own):
            found.append(file)

    _listen()
    _hearing.append(hear)
    try:
        with _mapped_files_are_heard():
            yield found
    finally:
        _hearing.remove(hear)


def _is_data(file: Path, own: Path) -> bool:
    """Whether a file is neither code nor part of a package or of the system."""
    if file.suffix in CODE or ".so." in file.name or not file.is_file():
        return False
    places = (own, Path(__file__).parents[2], *STANDARD, *SYSTEM)
    return not INSTALLED & set(file.parts) and not any(map(file.is_relative_to, places))


def _is_importing() -> bool:
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename == IMPORTING:
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


@functools.cache
def _listen() -> None:
    """Have Python tell of every file that is opened; it cannot be asked to stop."""
    sys.addaudithook(_hear)


def _hear(event: str, args: tuple[Any, ...]) -> None:
    if event != "open" or not _hearing:
        return
    with suppress(Exception):  # it would come up in the code that opens the file
        name, _, flags = args
        _hearing[-1](name, bool(isinstance(flags, int) and flags & WRITING))


@contextmanager
def _mapped_files_are_heard() -> Iterator[None]:
    """Hear of files of safetensors too, which are mapped past Python."""
    original = safetensors.safe_open

    def opened(filename: Any, *args: Any, **options: Any) -> Any:
        with suppress(Exception):
            _hearing[-1](filename, False)
        return original(filename, *args, **options)

    holders = [
        module
        for module in list(sys.modules.values())
        if getattr(module, "__dict__", {}).get("safe_open") is original
    ]
    for module in holders:
        module.safe_open = opened  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module in holders:
            module.safe_open = original  # type: ignore[attr-defined]
