"""Under which name a plugin's file will be installed, read from what lies beside its package."""

from __future__ import annotations

import contextlib
from pathlib import Path

GROUP = "kitsbench.architectures"


def announced_name(file: Path) -> str:
    """Name of the entry point that leads to a file; its folder's name where none is written down.

    Parameters
    ----------
    file : Path
        Absolute; such as ``my-net/my_net/plugin.py``, whose ``my-net/setup.cfg`` has the name.

    Returns
    -------
    str
        Empty for a file without a folder.
    """
    folder = file.parent
    module = f"{folder.name}.{file.stem}".removesuffix(".__init__")
    for root in (folder.parent, folder.parent.parent):  # the second of a layout with src/
        for name, place in {**_of_setup(root / "setup.cfg"), **_of_project(root)}.items():
            if place.partition(":")[0].strip() == module:
                return name
    return folder.name


def _of_setup(file: Path) -> dict[str, str]:
    import configparser

    found: dict[str, str] = {}
    parser = configparser.ConfigParser(interpolation=None)
    # Whatever else is wrong with it, pip says better.
    with contextlib.suppress(OSError, ValueError, configparser.Error):
        parser.read_string(file.read_text(encoding="utf-8"))
        lines = parser.get("options.entry_points", GROUP, fallback="").splitlines()
        pairs = (line.partition("=") for line in lines if "=" in line)
        found = {name.strip(): place.strip() for name, _, place in pairs}
    return found


def _of_project(root: Path) -> dict[str, str]:
    import tomllib

    with contextlib.suppress(OSError, ValueError, AttributeError):
        content = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
        points = content.get("project", {}).get("entry-points", {}).get(GROUP, {})
        return {str(name): str(place) for name, place in points.items()}
    return {}
