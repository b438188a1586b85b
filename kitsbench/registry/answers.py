"""What plugins have answered, so that each question is asked once: in memory, and in a folder.

Asking takes a process of its own that imports the plugin, half a second each. An answer holds for
the source that gave it and for the software around it, which is told by the names and versions of
all that is installed and by the files of kitsbench itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import pickle
import platform
import sys
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import kitsbench
from kitsbench.files import write_atomic
from kitsbench.isolation.messages import unpickle_plain

INSTALLED = (".dist-info", ".egg-info", ".egg-link", ".pth")
ENDING = ".answer"
CHECK = hashlib.sha256().digest_size
_known: dict[bytes, Any] = {}
_waiting: dict[bytes, Any] = {}  # to be kept as soon as there is a place
_folder: Path | None = None
_writing = Lock()


def keep_in(folder: Path | None) -> None:
    """From now on keep answers in a folder as well, and look there; None ends it.

    Parameters
    ----------
    folder : Path or None
        Made with the first answer. Whoever may not write there asks again each time.
    """
    global _folder
    _folder = folder


def key_of(*parts: Any) -> bytes:
    """What tells a question from every other, the same in each process.

    Parameters
    ----------
    *parts
        Plain data, kitsbench's own classes, and functions of modules.
    """
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol=5)
    # Without a memo equal values give equal bytes, whether or not parts of them are one object.
    pickler.fast = True
    pickler.dump(parts)
    return hashlib.sha256(buffer.getvalue()).digest()


def recall(key: bytes) -> Any:
    """An answer that is known, or None."""
    if key not in _known and _folder is not None:
        # A file that is missing, damaged, or whose classes have changed is no answer.
        with contextlib.suppress(OSError, ValueError):
            content = _file(_folder, key).read_bytes()
            if hashlib.sha256(content[CHECK:]).digest() == content[:CHECK]:
                # Others may be able to write here: nothing but records of data is made.
                _known[key] = unpickle_plain(content[CHECK:], is_dataclass)
    return _known.get(key)


def remember(key: bytes, answer: Any) -> None:
    """Keep an answer; one of None is asked for again."""
    _known[key] = answer
    if _folder is None:
        return
    # Questions are asked by several threads at once, and each may find what others left waiting.
    with _writing:
        _waiting[key] = answer
        # A call that is refused makes no folder; what was answered is kept with the next answer.
        if _folder.parent.is_dir():
            while _waiting:
                _write(_folder, *_waiting.popitem())


def _write(folder: Path, key: bytes, answer: Any) -> None:
    content = pickle.dumps(answer)
    file = _file(folder, key)
    with contextlib.suppress(OSError):
        if not file.parent.is_dir():
            # The first answer under new software: those of other software will not be asked for.
            _sweep(folder)
        write_atomic(
            file, lambda path: path.write_bytes(hashlib.sha256(content).digest() + content)
        )


def _sweep(folder: Path) -> None:
    # Only what was written here: the folder may be somebody's own that has the same name.
    for file in folder.glob(f"*/*{ENDING}"):
        file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            file.parent.rmdir()


def forget() -> None:
    """Know nothing in memory any more."""
    _known.clear()


def _file(folder: Path, key: bytes) -> Path:
    return folder / _software()[:16] / f"{key.hex()[:32]}{ENDING}"


@cache
def _software() -> str:
    """Hash of what is installed here, by name and version, and of kitsbench's own files."""
    hasher = hashlib.sha256(f"{sys.version} {platform.machine()}".encode())
    for place in sys.path:
        with contextlib.suppress(OSError):
            found = sorted(name for name in os.listdir(place or ".") if name.endswith(INSTALLED))
            hasher.update(os.fsencode("\0".join(found)) + b"\1")
    own = Path(kitsbench.__file__).parent
    for file in sorted(own.rglob("*.py")):
        state = file.stat()
        hasher.update(f"{file.relative_to(own)} {state.st_size} {state.st_mtime_ns}\0".encode())
    return hasher.hexdigest()
