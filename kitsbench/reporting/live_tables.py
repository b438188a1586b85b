"""The library that makes the tables of a page sort, filter and copy: DataTables, from itables.

No code of others lies in this repository. The bundle is read from the installed distribution
``itables`` when a page is made, and put into the page with its licences; without it the tables
stand still.
"""

from __future__ import annotations

import base64
import gzip
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

DISTRIBUTION = "itables"
_SCRIPT, _STYLE = "itables/html/dt_bundle.js", "itables/html/dt_bundle.css"
_NAMED = re.compile(r"DataTables (\d[\w.]*)")
_LICENCES = re.compile(r"/\*! Bundled license information:(.*?)\*/", re.DOTALL)


@dataclass(frozen=True)
class TableLibrary:
    """The bundle as a page holds it.

    Attributes
    ----------
    script, style : str
        A JavaScript module whose default export is DataTables, and its style sheet, each
        compressed by gzip and in base64.
    versions : str
        Such as ``DataTables 2.3.8 from itables 2.9.1``.
    licences : str
        What the distribution says of itself and of everything in the bundle.
    """

    script: str
    style: str
    versions: str
    licences: str


def table_library() -> TableLibrary | None:
    """Read the bundle of the installed itables; None where there is none."""
    try:
        found = distribution(DISTRIBUTION)
        script = Path(str(found.locate_file(_SCRIPT))).read_bytes()
        style = Path(str(found.locate_file(_STYLE))).read_bytes()
    except (PackageNotFoundError, OSError):
        return None
    text = script.decode("utf-8", "replace")
    named, bundled = _NAMED.search(text), _LICENCES.search(text)
    own = [
        path.read_text(encoding="utf-8").strip()
        for file in found.files or ()
        if file.name.startswith("LICENSE") and ".dist-info" in str(file)
        if (path := Path(str(found.locate_file(file)))).is_file()
    ]
    parts = [*own, bundled[1].strip() if bundled else ""]
    return TableLibrary(
        script=_packed(script),
        style=_packed(style),
        versions=f"DataTables{f' {named[1]}' if named else ''} from {DISTRIBUTION} {found.version}",
        licences="\n\n".join(filter(None, parts)),
    )


def _packed(data: bytes) -> str:
    # Without a time in it: equal results give equal pages.
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()
