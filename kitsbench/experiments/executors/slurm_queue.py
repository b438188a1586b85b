"""What Slurm says about the jobs of this user."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

ENDED = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
}
ANSWER = 30.0  # seconds in which Slurm has to answer


@dataclass(frozen=True)
class Queued:
    """A job as the queue shows it: its state and its name."""

    state: str
    name: str

    @property
    def alive(self) -> bool:
        """Whether it waits, runs, or is about to start again."""
        return self.state not in ENDED


def ask_queue() -> dict[str, Queued] | None:
    """Every job of this user that the queue still knows; None if it does not answer.

    The queue is asked, and not the accounts, since that works on clusters without accounts too.
    """
    command = ["squeue", "--me", "--noheader", "--array", "--states=all", "--format=%i|%T|%j"]
    said = _said(command)
    if said is None:
        return None
    parts = (line.strip().split("|", 2) for line in said.splitlines())
    return {part[0]: Queued(part[1], part[2]) for part in parts if len(part) == 3}


def ask_accounts(job: str) -> str:
    """State of a job that the queue has forgotten; empty where no accounts are kept."""
    said = _said(["sacct", "-n", "-X", "-P", "-j", job, "-o", "State"]) or ""
    # Such as "CANCELLED by 1000".
    return next((line.split()[0] for line in said.splitlines() if line.strip()), "")


def _said(command: list[str]) -> str | None:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=ANSWER, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
