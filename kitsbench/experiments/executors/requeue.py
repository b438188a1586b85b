"""What a job of Slurm knows of itself, and how it asks to be started again."""

from __future__ import annotations

import os
import subprocess
import sys


def restarts() -> int:
    """How often Slurm has started this job again."""
    text = os.environ.get("SLURM_RESTART_COUNT", "0")
    return int(text) if text.isdecimal() else 0


def job_name() -> str:
    """The job as the queue shows it; empty outside of Slurm."""
    array, index = (os.environ.get(f"SLURM_ARRAY_{key}") for key in ("JOB_ID", "TASK_ID"))
    return f"{array}_{index}" if array else os.environ.get("SLURM_JOB_ID", "")


def requeue() -> bool:
    """Ask Slurm to start this job again; False where it does not, or cannot be asked from here.

    Whoever waits for the job need not be there for that: it keeps its number.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return False
    try:
        done = subprocess.run(
            ["scontrol", "requeue", job], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:  # as inside a container
        print(f"scontrol requeue {job}: {error}", file=sys.stderr, flush=True)
        return False
    print(f"scontrol requeue {job}: {done.stderr.strip() or 'done'}", file=sys.stderr, flush=True)
    return done.returncode == 0
