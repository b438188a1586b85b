"""Where in a plugin's source something is: the definition of a hook, the line of an error."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from traceback import extract_tb

import torch

from kitsbench.architecture import Architecture, Plain
from kitsbench.conformance.driven.source import folder_of, is_within
from kitsbench.conformance.outcome import Place


def line_of(stack: Sequence[tuple[str, int]], own: Path) -> tuple[str, int] | None:
    """The line that something is laid to, of a stack whose first line is innermost.

    The plugin's own; else whatever is neither torch, kitsbench nor Python itself.
    """
    mine = [line for line in stack if is_within(line[0], own)]
    # A loss that a library computes: the line that calls the library.
    rest = [line for line in stack if not is_foreign(line[0])]
    return next(iter(mine[:1] or rest[:1]), None)


def shown(line: tuple[str, int], own: Path) -> str:
    """File and line as messages name them."""
    path = Path(line[0])
    inside = is_within(line[0], own) and path != own
    return f"{path.relative_to(own.parent) if inside else path.name}:{line[1]}"


def is_foreign(file: str) -> bool:
    """Whether a file is part of torch, of this package, or of Python itself."""
    packages = Path(torch.__file__).parent, Path(__file__).parents[2]
    if any(is_within(file, folder) for folder in packages) or file.startswith("<"):
        return True
    return is_within(file, Path(inspect.__file__).parent) and "site-packages" not in file


def of_error(error: BaseException, architecture: object) -> str:
    """Function, file and line in which an error arose, or nothing where it was not the plugin's."""
    own = folder_of(architecture)
    frames = [(f.filename, f.lineno or 0) for f in extract_tb(error.__traceback__)][::-1]
    line = line_of(frames, own)
    if line is None:
        return ""
    trace, name = error.__traceback__, ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if (code.co_filename, trace.tb_lineno) == line:
            name = code.co_qualname.replace("<locals>.", "")
        trace = trace.tb_next
    return f"in {name} at {shown(line, own)}" if name else f"at {shown(line, own)}"


def of_hook(place: Place, architecture: Architecture, network: object) -> str:
    """A hook with file and line of its definition, as ``loss() at plugin.py:31``.

    A hook that the plugin does not override is named by its class, which is where to do so.

    Parameters
    ----------
    place : str
    architecture : Architecture
    network : object
        What ``build`` gave last, None where that is not known; for ``forward``.
    """
    own, kind = folder_of(architecture), type(architecture)
    if place == "forward":
        # Plain is no place to mend.
        inner = network.network if isinstance(network, Plain) else network
        found = _defined(getattr(type(inner), "forward", None), own)
        return f"forward() at {found}" if found else of_hook("build", architecture, None)
    if place != "class":
        found = _defined(getattr(kind, place, None), own)
        if found:
            return f"{place}() at {found}"
    found = _defined(kind, own)
    return f"{kind.__name__} at {found}" if found else ""


def of_function(function: object, architecture: Architecture) -> str:
    """``at`` and the file and line of a function, where it is the plugin's; else nothing."""
    found = _defined(function, folder_of(architecture))
    return f"at {found}" if found else ""


def _defined(thing: object, own: Path) -> str:
    """File and line of a definition that is the plugin's; else nothing."""
    try:
        file = inspect.getsourcefile(thing) or ""  # type: ignore[arg-type]
        number = inspect.getsourcelines(thing)[1]  # type: ignore[arg-type]
    except (OSError, TypeError):
        return ""
    return shown((file, number), own) if is_within(file, own) else ""
