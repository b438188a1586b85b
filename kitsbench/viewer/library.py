"""The library that draws scans in the browser: NiiVue, from the installed ipyniivue.

No code of others lies in this repository. ipyniivue carries NiiVue twice: built into its widget,
and as the text of a whole module, which NiiVue puts into pages that it saves. That text is taken,
since its exports are NiiVue's public interface.
"""

from __future__ import annotations

import base64
import functools
import gzip
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote

from kitsbench.errors import UsageError

DISTRIBUTION = "ipyniivue"
REMEDY = "pip install 'kitsbench[viewer]'"
_WIDGET = "ipyniivue/static/widget.js"
# A string of the widget in which everything but letters, digits and a few marks is %XX.
_MODULE = re.compile(r"=\"((?:[A-Za-z0-9_.!~*'()-]|%[0-9A-F]{2}){500000,})\"")
_EXPORTS = re.compile(r"export\s*\{([^{}]*)\};?\s*$")
_NEEDED = {"Niivue", "NVImage", "SLICE_TYPE"}
_NAMED = re.compile(r'name:"@niivue/niivue",version:"([\w.-]+)"')
_LICENCE = re.compile(r"/\*!.*?\*/", re.DOTALL)


@dataclass(frozen=True)
class ViewerLibrary:
    """NiiVue as a page holds it.

    Attributes
    ----------
    script : str
        A JavaScript module with NiiVue's public exports, compressed by gzip and in base64.
    versions : str
        Such as ``NiiVue 0.67.0 from ipyniivue 2.4.4``.
    licences : str
        What the distribution says of itself and of what it holds.
    """

    script: str
    versions: str
    licences: str


def viewer_library() -> ViewerLibrary | None:
    """Read NiiVue from the installed ipyniivue; None where there is none that holds it."""
    return _read(DISTRIBUTION)


def need_library() -> ViewerLibrary:
    """Read NiiVue for somebody who asked for it.

    Raises
    ------
    UsageError
        There is none; the message names the extra that brings it.
    """
    found = viewer_library()
    if found is None:
        raise UsageError(
            f"The viewer needs the package {DISTRIBUTION} (2.4 or later), which brings NiiVue and "
            f"is not installed. Install it with: {REMEDY}."
        )
    return found


@functools.cache
def _read(name: str) -> ViewerLibrary | None:
    try:
        found = distribution(name)
        widget = Path(str(found.locate_file(_WIDGET))).read_text(encoding="utf-8")
    except (PackageNotFoundError, OSError, ValueError):
        return None
    modules = (unquote(part[1]) for part in _MODULE.finditer(widget))
    script = next(filter(_whole, modules), "")
    if not script:
        return None
    named = _NAMED.search(script)
    own = [
        path.read_text(encoding="utf-8", errors="replace").strip()
        for file in found.files or ()
        if file.name.startswith("LICENSE") and ".dist-info" in str(file)
        if (path := Path(str(found.locate_file(file)))).is_file()
    ]
    inside = dict.fromkeys(one.strip() for one in _LICENCE.findall(script))
    return ViewerLibrary(
        # Without a time in it: equal results give equal pages.
        script=base64.b64encode(gzip.compress(script.encode(), 9, mtime=0)).decode(),
        versions=f"NiiVue{f' {named[1]}' if named else ''} from {name} {found.version}",
        licences="\n\n".join([*own, *inside]),
    )


def _whole(module: str) -> bool:
    """Whether a text is NiiVue's module: by what it exports."""
    found = _EXPORTS.search(module)
    names = found[1].split(",") if found else []
    return {name.split(" as ")[-1].strip() for name in names} >= _NEEDED
