"""Options of ``--executor slurm``: our own words, and whatever else ``sbatch`` takes."""

from __future__ import annotations

import math
import re
import shlex
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from kitsbench.errors import UsageError
from kitsbench.experiments.executors.cluster_options import ClusterOptions
from kitsbench.files.foreign import brief
from kitsbench.training.budget import Budget

# What kitsbench itself says to sbatch, and how a user may say it.
OURS = {
    "array": "trials are one array already; --jobs says how many of them run at a time",
    "signal": "--slurm warning=5min says how long before its limit a job is told",
    "output": "what jobs print lies in WORKDIR/jobs",
    "error": "what jobs print lies in WORKDIR/jobs",
    "open-mode": "what jobs print lies in WORKDIR/jobs",
    "nodes": "a trial runs on one node",
    "ntasks": "a trial is one task; --world-size says how many GPUs it trains on",
    "ntasks-per-node": "a trial is one task; --world-size says how many GPUs it trains on",
    "cpus-per-task": "--slurm cpus=8 says how many cores a process has",
    "wrap": "--slurm setup=... says what runs before a trial, container=... what it runs in",
    "wait": "the command waits for its jobs anyway",
    "parsable": "the command reads what sbatch says",
    "test-only": "--dry-run shows what would run",
    "help": "ask sbatch itself",
    "version": "ask sbatch itself",
}
GPUS = ("gpus", "gpus-per-node", "gpus-per-task", "gpus-per-socket")
WARN = 120  # seconds before the limit of a job that it is warned, a quarter of short ones
DAY, HOUR, MINUTE = 86400, 3600, 60


class SlurmOptions(ClusterOptions):
    """Options of ``--executor slurm``.

    Attributes
    ----------
    cluster : {"slurm", "local"}
        ``local`` runs the jobs as processes of this machine, to try things out.
    partition, account, qos, constraint, nodelist, exclude : str or None
        As of ``sbatch``.
    time : str
        Wall time of a job, such as ``4h`` or, as Slurm writes it, ``4:00:00``; a trial that is cut
        short goes on in another job.
    warning : str or None
        Time before that limit at which a job is told, and writes a checkpoint; by default two
        minutes, or a quarter of a time below eight.
    setup : tuple of str
        Shell commands that a job runs first, such as ``module load cuda``.
    container : str or None
        A command in which Python is run, such as ``apptainer exec --nv kitsbench.sif``.
    python : str or None
        Python of the nodes; by default this one's path, and ``python3`` in a container.
    srun : str or None
        Words for ``srun``, such as ``--container-image=kitsbench.sqsh``.
    sbatch : dict of str to str or bool
        Any other option of ``sbatch`` by its long name; True for one without a value.
    """

    cluster: Literal["slurm", "local"] = "slurm"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    nodelist: str | None = None
    exclude: str | None = None
    time: str = "24h"
    warning: str | None = None
    setup: tuple[str, ...] = ()
    container: str | None = None
    python: str | None = None
    srun: str | None = None
    sbatch: dict[str, str | bool] = Field(default_factory=dict)

    @field_validator("setup", mode="before")
    @classmethod
    def _is_list(cls, given: Any) -> Any:
        return (given,) if isinstance(given, str) else given

    @field_validator("partition", "account", "qos", "constraint", "nodelist", "exclude")
    @classmethod
    def _is_one_line(cls, text: str | None) -> str | None:
        if text is not None and not (text.strip() and text.isprintable()):
            raise ValueError("it is empty, or has a line break or another control character")
        return text

    @field_validator("time")
    @classmethod
    def _is_time(cls, text: str) -> str:
        slurm_seconds(text)
        return text

    @field_validator("warning")
    @classmethod
    def _is_warning(cls, text: str | None) -> str | None:
        if text is not None and Budget.parse(text).unit != "seconds":
            raise UsageError(f"The warning '{brief(text)}' must be a time, such as 5min.")
        return text

    @field_validator("container", "python", "srun")
    @classmethod
    def _are_words(cls, text: str | None) -> str | None:
        if text is not None:
            try:
                shlex.split(text)
            except ValueError as error:
                raise ValueError(f"it is no command ({error})") from None
        return text

    @field_validator("sbatch", mode="before")
    @classmethod
    def _are_options(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {_long_name(key): _plain(key, value) for key, value in given.items()}

    @model_validator(mode="after")
    def _one_way(self) -> SlurmOptions:
        for key in self.sbatch:
            if key in OURS:
                raise ValueError(f"sbatch --{key} is kitsbench's own: {OURS[key]}")
            if key.replace("-", "_") in type(self).model_fields and key != "gpus":
                raise ValueError(f"{key} is written beside the table sbatch, not in it")
        if self.gpus is not None and self.gpus_elsewhere:
            raise ValueError("gpus= and an option of sbatch both ask for GPUs; give one of them")
        if self.memory is not None and any(key.startswith("mem") for key in self.sbatch):
            raise ValueError("memory= and an option of sbatch both ask for memory; give one")
        if self.warning_seconds >= self.seconds:
            raise ValueError(
                f"a warning {self.warning} before the end leaves nothing of a job of {self.time}"
            )
        return self

    @property
    def gpus_elsewhere(self) -> bool:
        """Whether the options of ``sbatch`` ask for GPUs themselves."""
        gres = (str(self.sbatch.get(key, "")) for key in ("gres", "tres-per-task"))
        return any(key in self.sbatch for key in GPUS) or any("gpu" in one for one in gres)

    @property
    def seconds(self) -> float:
        """Wall time of a job."""
        return 60.0 * self.minutes

    @property
    def minutes(self) -> int:
        """Wall time of a job in minutes, at least one."""
        return max(1, round(slurm_seconds(self.time) / 60))

    @property
    def warning_seconds(self) -> int:
        """Seconds before the limit at which a job is told."""
        if self.warning is None:
            return int(min(WARN, self.seconds / 4))
        return math.ceil(Budget.parse(self.warning).amount)

    @property
    def requeues(self) -> bool:
        """Whether a job may be started again under its number."""
        return self.cluster == "slurm" and "no-requeue" not in self.sbatch

    @property
    def prefix(self) -> str:
        """What the names of jobs begin with."""
        return str(self.sbatch.get("job-name", "kitsbench"))

    @property
    def launcher(self) -> str | None:
        """The command that starts Python on a node; None for this very one."""
        python = self.python
        if self.container is not None:
            python = f"{self.container} {python or 'python3'}"
        return python

    @property
    def srun_words(self) -> list[str]:
        """Words for ``srun``."""
        return shlex.split(self.srun) if self.srun is not None else []

    @property
    def further(self) -> dict[str, str | bool]:
        """What ``sbatch`` is told beside time, cores and the name."""
        named = ("partition", "account", "qos", "constraint", "nodelist", "exclude")
        given = {key: getattr(self, key) for key in named}
        asked = {key: value for key, value in given.items() if value is not None}
        # A cluster may have switched it off for jobs that do not say so.
        again: dict[str, str | bool] = {"requeue": True} if self.requeues else {}
        return {**again, **asked, **{k: v for k, v in self.sbatch.items() if k != "job-name"}}


def slurm_seconds(text: str) -> float:
    """Read a wall time: ``4h``, or as Slurm has it ``90`` (minutes), ``4:00:00``, ``1-12:00``.

    Raises
    ------
    UsageError
        It is no time.
    """
    wrong = UsageError(
        f"The time '{brief(text)}' of a job cannot be read; write 4h, 90min or, as Slurm has it, "
        "4:00:00 or 1-12:00:00."
    )
    match = re.fullmatch(r"(?:(\d{1,5})-)?(\d{1,6})(?::(\d\d?))?(?::(\d\d?))?", text.strip())
    if match is None:
        try:
            budget = Budget.parse(text)
        except UsageError:
            raise wrong from None
        if budget.unit != "seconds":
            raise wrong
        return budget.amount
    days, *rest = match.groups()
    parts = [int(part) for part in rest if part is not None]
    # With days the first is hours; without, one or two begin with minutes.
    units = [HOUR, MINUTE, 1] if days is not None or len(parts) == 3 else [MINUTE, 1]
    seconds = DAY * int(days or 0) + sum(n * u for n, u in zip(parts, units, strict=False))
    if not seconds:
        raise wrong
    return float(seconds)


def read_slurm_words(words: tuple[str, ...]) -> dict[str, Any]:
    """Read what ``--slurm`` was given: ``key=value``, or an option of ``sbatch`` without a value.

    Raises
    ------
    UsageError
        A word has no name.
    """
    found: dict[str, Any] = {}
    for word in words:
        key, sign, value = word.partition("=")
        name = _long_name(key)
        if name == "setup" and sign:
            found["setup"] = (*found.get("setup", ()), value)
        elif name in SlurmOptions.model_fields and name not in ("sbatch", "gpus"):
            if not sign:
                raise UsageError(f"--slurm {brief(word)} has no value; write {name}=VALUE.")
            found[name] = value
        else:
            found.setdefault("sbatch", {})[name] = value if sign else True
    return found


def _long_name(key: Any) -> str:
    name = str(key).strip().removeprefix("--").replace("_", "-")
    if not re.fullmatch(r"[a-z][a-z0-9]+(?:-[a-z0-9]+)*", name):
        raise UsageError(
            f"'{brief(str(key))}' is no option of sbatch by its long name, such as gres or "
            "mail-type (sbatch --help lists them)."
        )
    return name


def _plain(key: Any, value: Any) -> str | bool:
    if value is True:
        return True
    if value is False or not isinstance(value, str | int | float):
        raise ValueError(f"{key} must be a text or a number, or true for an option without a value")
    text = str(value)
    if not text.isprintable():  # the next line of the script would be another command
        raise ValueError(f"{key} has a line break or another control character in its value")
    return text
