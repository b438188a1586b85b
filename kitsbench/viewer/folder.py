"""The viewer beside a report: a folder that opens from where it lies, without a server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kitsbench.errors import KitsbenchError
from kitsbench.files import write_text
from kitsbench.viewer.cases import ViewedCase
from kitsbench.viewer.documents import case_small, script
from kitsbench.viewer.library import ViewerLibrary
from kitsbench.viewer.page import Shown, render

FOLDER = "viewer"
PAGE = "index.html"
LIBRARY, LICENCES = "niivue.js", "niivue-licences.txt"
LIMIT_MIB = 200


@dataclass
class Written:
    """What a folder of the viewer holds.

    Attributes
    ----------
    cases : list of ViewedCase
        Those that are in it, the most telling first.
    left_out : list of str
        Names of those for which the limit left no room.
    problems : list of str
        A sentence for each that could not be read, and for each file that is not laid over one.
    size : int
        Bytes of all files.
    """

    cases: list[ViewedCase] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    size: int = 0

    def over(self, limit: float) -> str:
        """What to say of cases that are left out; empty where none is."""
        if not self.left_out:
            return ""
        names = ", ".join(self.left_out[:6]) + ", ..." * (len(self.left_out) > 6)
        number = len(self.left_out)
        return (
            f"The viewer holds {len(self.cases)} cases; {number} more ({names}) did not fit into "
            f"its limit of {limit:g} MiB. A higher --viewer-limit makes room, and `kitsbench view "
            "CASE` shows any case whole."
        )


def write_viewer(
    folder: Path,
    shown: Shown,
    cases: Sequence[ViewedCase],
    library: ViewerLibrary,
    limit_mib: float = LIMIT_MIB,
) -> Written:
    """Write the page, NiiVue, and a script for each case.

    Parameters
    ----------
    folder : Path
        Empty, or not there yet.
    shown : Shown
        What the page says beside the cases.
    cases : sequence of ViewedCase
        The most telling first: where the limit is reached, the others are left out.
    library : ViewerLibrary
    limit_mib : float
        Of all files together.

    Returns
    -------
    Written
    """
    found = Written()
    limit = limit_mib * 2**20
    text = script("library", library.script)
    write_text(folder / LIBRARY, text)
    write_text(folder / LICENCES, library.licences + "\n")
    found.size = len(text)
    files: list[str] = []
    full = False
    for one in cases:
        if full:  # a smaller one that fits would not be among the most telling
            found.left_out.append(one.name)
            continue
        name = f"case-{len(files):04d}.js"
        try:
            document, case, lacking = case_small(one)
            text = script("take", name, document)
        except (KitsbenchError, OSError, ValueError) as error:
            found.problems.append(f"{one.name} is not shown: {error}")
            continue
        found.problems += lacking
        if found.size + len(text) > limit:
            full = True
            found.left_out.append(case.name)
            continue
        write_text(folder / name, text)
        found.size += len(text)
        found.cases.append(case)
        files.append(name)
    write_text(folder / PAGE, render(shown, found.cases, files, library.versions, LICENCES))
    return found
