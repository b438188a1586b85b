"""A lease keeps every other process off a trial, and voids itself when its holder is gone.

Nothing here asks what time it is: clocks of two machines differ, and one may jump. A holder on
this machine is looked up among its processes. One on another machine is watched: it changes its
lease file every few seconds, and is taken for dead when the file has stood still for a minute of
this process's own steady clock.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from kitsbench.experiments.records import LeaseRecord
from kitsbench.files.alone import alone

BEAT = 10.0  # seconds between two heartbeats
STALE_AFTER = 60.0  # seconds without one after which a lease is void


class LeaseTaken(Exception):
    """Another living process works on this trial."""


class Lease:
    """A lease that this process holds while the block runs.

    Parameters
    ----------
    file : Path
        In a folder that is there.
    experiment : str or None
        Which experiment the holder works for, for others to read.

    Raises
    ------
    LeaseTaken
        On entering, if a living process holds it. That takes a moment when it is on this machine,
        else up to a heartbeat; a dead one of another machine is found out after a minute.
    """

    def __init__(self, file: Path, experiment: str | None = None):
        self.file, self.token, self.experiment = file, uuid.uuid4().hex, experiment
        self._stop, self._lost = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._beat, name="kitsbench-lease", daemon=True)

    def __enter__(self) -> Lease:
        while not self._create():
            found = _read(self.file)
            # Outside the lock, though it may take a minute: a heartbeat needs the lock, so who is
            # watched under it never beats and is taken for dead.
            if found is not None and _is_alive(self.file, found):
                raise LeaseTaken(self.file.parent.name)
            with alone(self.file.parent):
                # Somebody else may have seen the same and taken it over by now.
                if found is not None and _read(self.file) == found:
                    self.file.unlink(missing_ok=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        # Where there are no locks, a late beat could write into the next holder's file.
        self._stop.set()
        self._thread.join()
        self.give_up()

    def while_ours(self, call: Callable[[], object]) -> bool:
        """Call something while nobody can take over; not at all where somebody has.

        Returns
        -------
        bool
            Whether it was called.
        """
        with alone(self.file.parent):
            ours = self._is_ours()
            if ours:
                call()
        return ours

    def give_up(self, last_word: Callable[[], object] = lambda: None) -> None:
        """Let others have it, after a last word, if it is still ours."""

        def leave() -> None:
            last_word()
            self.file.unlink(missing_ok=True)

        # A lease that cannot be removed voids itself when this process is gone.
        with contextlib.suppress(OSError):
            self.while_ours(leave)

    def check(self) -> None:
        """See whether it is still ours; it is not after this process was suspended for long.

        Raises
        ------
        LeaseTaken
            Another process has taken over.
        """
        if self._lost.is_set():
            raise LeaseTaken(self.file.parent.name)

    def is_anothers(self) -> bool:
        """Whether a living process other than this one holds the lease by now."""
        found = _read(self.file)
        if found is None or (_parse(found) or {}).get("pid") == os.getpid():
            return False
        return not self._is_ours() and _is_alive(self.file, found)

    def _content(self, beat: int) -> bytes:
        own = LeaseRecord(
            machine=machine(),
            host=socket.gethostname(),
            pid=os.getpid(),
            born=_born(os.getpid()),
            token=self.token,
            experiment=self.experiment,
            # Of a fixed width: a heartbeat overwrites it in place.
            beat=f"{beat:012d}",
        )
        return own.model_dump_json().encode() + b"\n"

    def _create(self) -> bool:
        with alone(self.file.parent):
            try:
                # Even without locks only one process can create a file that must not exist.
                handle = os.open(self.file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            except FileExistsError:
                return False
            try:
                os.write(handle, self._content(0))
            except OSError:
                # An empty lease names nobody, so everybody would watch it for a minute.
                self.file.unlink(missing_ok=True)
                raise
            finally:
                os.close(handle)
            return True

    def _is_ours(self) -> bool:
        found = _parse(_read(self.file))
        return found is not None and found.get("token") == self.token

    def _beat(self) -> None:
        beat = 0

        def write() -> None:
            # In place, not by a new file in its stead: a full disk has room for the same bytes, and
            # what somebody has removed does not come back.
            with open(self.file, "r+b", buffering=0) as file:
                file.write(self._content(beat))

        while not self._stop.wait(BEAT):
            beat += 1
            try:
                if not self.while_ours(write):
                    self._lost.set()
                    return
            except OSError:
                continue  # a file system that is away for a moment; the next beat may get through


def machine() -> str:
    """What tells this machine from others whose processes cannot be looked up from here."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))  # containers have processes of their own
    return " ".join(parts)


def _is_alive(file: Path, found: bytes) -> bool:
    """Whether the process that holds a lease lives."""
    holder = _parse(found)
    if holder is not None and holder.get("machine") == machine():
        # Numbers of processes are given out again; a namesake was born at another time.
        pid = holder.get("pid")
        return isinstance(pid, int) and _lives(pid) and holder.get("born") == _born(pid)
    # Elsewhere, or a file that cannot be read: what counts is whether it changes, by a clock that
    # nobody sets.
    end = time.monotonic() + STALE_AFTER
    while time.monotonic() < end:
        time.sleep(min(1.0, STALE_AFTER / 10))
        now = _read(file)
        # A beat or a new holder; if it is gone, its holder has given it up.
        if now != found:
            return now is not None
    return False


def _lives(pid: int) -> bool:
    """Whether a process is there, and not only its exit code, which nobody has asked for yet."""
    try:
        return pid > 0 and bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:  # another user's
        return True


def _born(pid: int) -> int | None:
    """When a process began, in ticks since the machine started; no clock changes that."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
        return int(text.rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None


def _parse(content: bytes | None) -> dict[str, Any] | None:
    try:
        return LeaseRecord.model_validate_json(content or b"").model_dump()
    except ValueError:  # being written at this moment, or nobody's
        return None


def living_holder(file: Path, before: bytes | None) -> tuple[bytes | None, LeaseRecord | None]:
    """Who holds a lease, as far as one look tells.

    Parameters
    ----------
    file : Path
    before : bytes or None
        What the look before this one saw. A process of another machine lives if that has changed.

    Returns
    -------
    bytes or None
        What this look saw.
    LeaseRecord or None
        None where nobody holds it, or nobody who is known to live.
    """
    found = _read(file)
    known = _parse(found)
    if known is None:
        return found, None
    here = known["machine"] == machine()
    alive = _is_alive(file, found or b"") if here else before is not None and found != before
    return found, LeaseRecord(**known) if alive else None


@dataclass(frozen=True)
class Holder:
    """Who holds a lease.

    Attributes
    ----------
    record : LeaseRecord or None
        None where the file cannot be read, as while it is written.
    sure : bool
        Whether it is known to live: one of this machine, or one that was seen to renew its lease.
    """

    record: LeaseRecord | None
    sure: bool

    def __str__(self) -> str:
        if self.record is None:
            return "somebody whose lease.json cannot be read"
        return f"process {self.record.pid} on {self.record.host}"


def holders(files: Iterable[Path], patience: float = 0.0) -> dict[Path, Holder]:
    """Who holds leases, and who may hold them: those known to be gone are left out.

    Parameters
    ----------
    files : iterable of Path
        Leases that need not be there.
    patience : float
        Seconds in which holders on other machines may renew their leases; those that do not are
        gone. With none, nobody waits, and they are told of as perhaps there.
    """
    found: dict[Path, Holder] = {}
    elsewhere: dict[Path, bytes] = {}
    for file in files:
        try:
            content = _read(file)
        except NotADirectoryError:
            continue
        except OSError:  # not ours to read, or no file: nothing tells that nobody holds it
            found[file] = Holder(None, False)
            continue
        if content is None:
            continue
        known = _parse(content)
        record = None if known is None else LeaseRecord(**known)
        if record is None or record.machine != machine():
            elsewhere[file] = content
        elif _is_alive(file, content):
            found[file] = Holder(record, True)
    end = time.monotonic() + patience
    while patience and elsewhere and time.monotonic() < end:
        time.sleep(min(1.0, patience / 10))
        for file, before in list(elsewhere.items()):
            now = _read(file)
            if now == before:
                continue
            del elsewhere[file]
            known = _parse(now)
            if now is not None:  # a beat or a new holder
                found[file] = Holder(None if known is None else LeaseRecord(**known), True)
    for file, content in elsewhere.items() if not patience else ():
        known = _parse(content)
        found[file] = Holder(None if known is None else LeaseRecord(**known), False)
    return found


def remove_dead(file: Path) -> None:
    """Remove a lease whose holder was a process of this machine and is gone."""
    found = _read(file)
    known = _parse(found)
    if known is None or known["machine"] != machine() or _is_alive(file, found or b""):
        return
    with contextlib.suppress(OSError), alone(file.parent):
        if _read(file) == found:
            file.unlink(missing_ok=True)
