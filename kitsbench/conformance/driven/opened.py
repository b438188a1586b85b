"""Which files foreign code reads, beside what Python and its packages read for themselves.

In: a stretch of code. Out: the files of data that were opened to be read in it; and of a plugin's
hooks those that they have written before, which is a memory that no other machine has.
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

from kitsbench.conformance.driven.source import is_within
from kitsbench.registry.module_search import INSTALLED, STANDARD

CODE = (".py", ".pyc", ".pyi", ".so", ".pyd", ".dll", ".dylib")
SYSTEM = tuple(Path(p) for p in ("/proc", "/sys", "/dev", "/etc", "/lib", "/usr/lib", "/usr/share"))
IMPORTING = "<frozen importlib._bootstrap>"
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT

CHECKS = Path(__file__).parents[1]
CACHES = ("cache", "torchinductor", "triton")  # in names of folders that libraries fill

_hearing: list[Callable[[object, bool], None]] = []


class FilesOfHooks:
    """Files that a plugin's own code opens, from its first hook on.

    Parameters
    ----------
    own : Path
        The plugin's package or file.
    named : callable
        Gives the files that may be read.

    Attributes
    ----------
    read : list of Path
        Files of data that it reads and has not written.
    remembered : list of Path
        Files that it has written in an earlier stretch, and reads as they were then.
    """

    def __init__(self, own: Path, named: Callable[[], Iterable[Path]]):
        self.own, self._named = own, named
        self.read: list[Path] = []
        self.remembered: list[Path] = []
        self._written: dict[Path, int] = {}
        self._told: set[Path] = set()
        self._stretch = 0

    def next_stretch(self) -> None:
        """What was written until now is from before."""
        self._stretch += 1

    def untold(self, files: Iterable[Path]) -> list[Path]:
        """Those of which nobody has asked this before."""
        new = [file for file in files if file not in self._told]
        self._told.update(new)
        return new

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Hear of what is opened meanwhile."""
        _listen()
        _hearing.append(self._hear)
        try:
            with _mapped_files_are_heard():
                yield
        finally:
            _hearing.remove(self._hear)

    def _hear(self, name: object, writes: bool) -> None:
        if not isinstance(name, (str, bytes, os.PathLike)) or not self._is_own_doing():
            return
        file = Path(os.fsdecode(name)).resolve()
        if any(sign in part.lower() for part in file.parts[:-1] for sign in CACHES):
            return
        if writes:
            self._written[file] = self._stretch
        elif file in self._written:
            if self._written[file] < self._stretch and file not in self.remembered:
                self.remembered.append(file)
        elif file not in self.read and _is_data(file, self.own) and not self._is_named(file):
            self.read.append(file)

    def _is_named(self, file: Path) -> bool:
        return any(named.resolve() == file for named in self._named())

    def _is_own_doing(self) -> bool:
        """Whether a line of the plugin's has led here, and no import.

        A line that was called by a check: the author's tests lie in the package as well.
        """
        frame = sys._getframe(2)
        while frame is not None:
            file = frame.f_code.co_filename
            if file == IMPORTING or (is_within(file, CHECKS) and file != __file__):
                return False
            if is_within(file, self.own):
                return True
            frame = frame.f_back  # type: ignore[assignment]
        return False


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
        for hear in tuple(_hearing):
            hear(name, bool(isinstance(flags, int) and flags & WRITING))


@contextmanager
def _mapped_files_are_heard() -> Iterator[None]:
    """Hear of files of safetensors too, which are mapped past Python."""
    original = safetensors.safe_open

    def opened(filename: Any, *args: Any, **options: Any) -> Any:
        with suppress(Exception):
            for hear in tuple(_hearing):
                hear(filename, False)
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
