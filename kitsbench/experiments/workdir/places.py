"""How folders of trials go and come: whole or not at all, whenever the process is killed.

A folder is moved aside under a hidden name before anything in it is removed, and a copy is made
under one before it is moved to its place. Both lie beside the trials, so that moving is one step of
the file system. What a killed process left of them is removed by the next that is :func:`alone`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

from kitsbench.errors import UsageError
from kitsbench.experiments.trial.lease import Holder, Lease, LeaseTaken, holders
from kitsbench.files.whole import FULL

LEASE = "lease.json"
GOING, COMING = ".removed-", ".coming-"
CHANGING = ".changing.json"  # lease of whoever removes or takes over


@contextlib.contextmanager
def alone(workdir: Path) -> Iterator[None]:
    """Keep others from removing and taking over while the block runs, and clean up after the dead.

    Raises
    ------
    UsageError
        Another process does that here at this moment.
    """
    folder = Path(workdir) / "trials"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / CHANGING
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(Lease(file))
        except LeaseTaken:
            (holder,) = list(holders([file]).values()) or [Holder(None, False)]
            raise UsageError(
                f"{holder} removes or merges trials of {workdir} at this moment. Wait until it is "
                "done, and say it again."
            ) from None
        except OSError as error:
            if error.errno not in FULL:
                raise
            # Who makes room on a full disk needs none; what others left stays where it is.
        else:
            for left in (*folder.glob(f"{GOING}*"), *folder.glob(f"{COMING}*")):
                with contextlib.suppress(OSError):  # of another user, say: no reason to stop here
                    remove_tree(left)
        yield


def remove_trial(place: Path) -> None:
    """Remove the folder of a trial that nobody works on; of a link only the link.

    Raises
    ------
    LeaseTaken
        A living process works on it.
    OSError
        The disk does not let us.
    """
    remove_tree(move_aside(place))


def move_aside(place: Path) -> Path:
    """Move the folder of a trial that nobody works on under a hidden name, and return that.

    A link is moved as it is: what it leads to is not touched, not even for a lease.
    """
    aside = place.with_name(f"{GOING}{place.name}-{uuid.uuid4().hex[:8]}")
    if not _is_folder(place):
        if any(holder.sure for holder in holders([place / LEASE]).values()):
            raise LeaseTaken(place.name)
        place.rename(aside)
        return aside
    _let_write(place)
    try:
        with Lease(place / LEASE):
            place.rename(aside)
    except OSError as error:
        if error.errno not in FULL or holders([place / LEASE]):
            raise
        place.rename(aside)  # no room for a lease, which nobody else could write either
    return aside


def remove_tree(place: Path) -> None:
    """Remove a folder, read-only ones inside too; of a link only the link.

    Raises
    ------
    OSError
        A file cannot be removed.
    """
    if not _is_folder(place):
        place.unlink()
        return
    _let_write(place)
    for root, folders, _ in os.walk(place):
        for name in folders:
            _let_write(Path(root) / name)
    shutil.rmtree(place)


def _is_folder(place: Path) -> bool:
    return place.is_dir() and not place.is_symlink()


def _let_write(folder: Path) -> None:
    """Allow the owner to change a folder, where it is ours."""
    with contextlib.suppress(OSError):
        mode = folder.lstat().st_mode
        if stat.S_ISDIR(mode) and mode & stat.S_IRWXU != stat.S_IRWXU:
            folder.chmod(stat.S_IMODE(mode) | stat.S_IRWXU)


def find_link(place: Path) -> Path | None:
    """A link, or a thing that is neither folder nor file, inside a folder; None if none is."""
    for root, folders, files in os.walk(place):
        for name in (*folders, *files):
            path = Path(root) / name
            mode = path.lstat().st_mode
            if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
                return path
    return None


def copy_aside(source: Path, folder: Path, leave: tuple[str, ...]) -> Path:
    """Copy a trial's folder under a hidden name, down to the disk, and return that.

    Parameters
    ----------
    source : Path
        Without links.
    folder : Path
        Of the trials that the copy will belong to.
    leave : tuple of str
        Names at its top that are not copied.
    """
    copy = folder / f"{COMING}{source.name}-{uuid.uuid4().hex[:8]}"
    copy.mkdir()
    for root, folders, files in os.walk(source):
        target = copy / Path(root).relative_to(source)
        if Path(root) == source:
            folders[:] = [name for name in folders if name not in leave]
        for name in folders:
            (target / name).mkdir()
        for name in files:
            if Path(root) == source and name in leave:
                continue
            # Contents only: a folder that is read-only there has to take files here.
            shutil.copyfile(Path(root) / name, target / name)
            with open(target / name, "rb+") as file:
                os.fsync(file.fileno())
    return copy
