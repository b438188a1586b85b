"""Each figure of the page as SVG, PNG and PDF."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from kitsbench.files import write_atomic
from kitsbench.reporting.drawing.figures import Picture


def write_figures(drawn: Sequence[Picture], folder: Path) -> None:
    """Write every kind of every figure.

    Parameters
    ----------
    drawn : sequence of Picture
    folder : Path
        ``NAME.svg``, ``NAME.png`` and ``NAME.pdf`` lie there afterwards.
    """
    for picture in drawn:
        for kind, content in picture.files().items():
            write_atomic(folder / f"{picture.name}.{kind}", partial(_put, content))


def _put(content: bytes, file: Path) -> None:
    file.write_bytes(content)
