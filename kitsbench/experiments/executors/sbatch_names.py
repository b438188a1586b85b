"""Whether the ``sbatch`` of this machine knows the options that it shall be given."""

from __future__ import annotations

import difflib
import re
import shutil
import subprocess

from kitsbench.errors import UsageError
from kitsbench.experiments.executors.slurm_options import SlurmOptions

ANSWER = 30.0  # seconds
UNKNOWN = re.compile(r"unrecognized option|ambiguous")


def check_names(options: SlurmOptions) -> None:
    """Refuse what ``sbatch`` has no option for; nothing is asked where there is no ``sbatch``.

    It is ``sbatch`` that is asked, since a site adds options of its own.

    Parameters
    ----------
    options : SlurmOptions

    Raises
    ------
    UsageError
        There is no such option; the message names those that it may stand for.
    """
    names = sorted(options.sbatch)
    if not names or options.cluster == "local" or shutil.which("sbatch") is None:
        return
    # Nearly all are among those that it lists. The few others it is asked one by one.
    listed = re.findall(r"--([a-z][a-z0-9-]+)", _said("--help") or "")
    for name in names:
        if name in listed or not _is_unknown(name):
            continue
        own = [key.replace("_", "-") for key in SlurmOptions.model_fields if key != "sbatch"]
        near = difflib.get_close_matches(name, [*listed, *own], n=3, cutoff=0.7)
        hint = f"; did you mean {' or '.join(dict.fromkeys(near))}?" if near else "."
        raise UsageError(
            f"sbatch has no option '{name}' (--slurm {name}){hint} `sbatch --help` lists what it "
            "takes."
        )


def _is_unknown(name: str) -> bool:
    """Whether it takes a name for none; no answer is no news."""
    said = _said(f"--{name}", "--version", errors=True)
    return said is not None and UNKNOWN.search(said) is not None


def _said(*words: str, errors: bool = False) -> str | None:
    try:
        done = subprocess.run(
            ["sbatch", *words],
            capture_output=True,
            text=True,
            timeout=ANSWER,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stderr if errors else done.stdout
