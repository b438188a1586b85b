"""``WORKDIR/report``: the stable place that leads to the latest report."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from kitsbench.experiments.records.kept import FOLDER, report_folder
from kitsbench.files import write_text
from kitsbench.files.whole import free_name
from kitsbench.text import html

NAME = "report"
PAGE = "index.html"


def lead_to(workdir: Path, experiment: str) -> str | None:
    """Let ``WORKDIR/report`` lead to the report of an experiment.

    It is a relative link, so that a working directory may be moved. Where the file system has no
    links it is a folder with nothing but a page that leads on; no table lies there then, so nobody
    reads those of another experiment. What stands there and is neither is moved aside.

    Returns
    -------
    str or None
        What a user should know: that something was moved, or why nothing leads there.
    """
    place, told = Path(workdir) / NAME, None
    target = report_folder(workdir, experiment)
    try:
        if os.path.lexists(place) and not (_is_link(place) or _is_page(place)):
            aside = free_name(place)
            place.rename(aside)
            told = f"{place} was of an earlier kitsbench or somebody else's; it is {aside} now."
        if not _link(place, Path(os.path.relpath(target, workdir))):
            _write_page(place, Path(os.path.relpath(target, place)))
    except OSError as error:
        return (
            f"{place} could not be led to the report ({error.strerror or error}); it is {target}."
        )
    return told


def _link(place: Path, target: Path) -> bool:
    """Put a link in place of another, so that nobody ever finds none; False where none can be."""
    temporary = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
    try:
        temporary.symlink_to(target, target_is_directory=True)
    except (OSError, NotImplementedError):
        return False
    try:
        os.replace(temporary, place)
    except OSError:  # a page of a file system that had no links then
        temporary.unlink(missing_ok=True)
        return False
    return True


def _is_link(place: Path) -> bool:
    """Whether it leads into the experiments of the working directory, there or not."""
    return place.is_symlink() and place.readlink().parts[:1] == (FOLDER,)


def _is_page(place: Path) -> bool:
    """Whether a folder holds the page that leads on, and nothing else."""
    return place.is_dir() and [entry.name for entry in place.iterdir()] == [PAGE]


def _write_page(place: Path, target: Path) -> None:
    if place.is_symlink():
        place.unlink()
    address = html((target / PAGE).as_posix())
    write_text(
        place / PAGE,
        '<!doctype html>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="refresh" content="0; url={address}">\n'
        f'<title>kitsbench report</title>\n<p><a href="{address}">The latest report</a></p>\n',
    )
