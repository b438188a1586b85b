"""Options of the executors that run trials on other machines (``--executor-option``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from kitsbench.errors import UsageError
from kitsbench.experiments.asked.quantities import parse_memory
from kitsbench.files.foreign import brief
from kitsbench.training.budget import Budget


class ClusterOptions(BaseModel):
    """What a trial asks of a cluster.

    Attributes
    ----------
    cpus : int
        Cores of a process, which are its threads; part of the device class on a CPU.
    gpus : int or None
        GPUs of a trial; by default as many as it has processes when it trains on GPUs.
    memory : str or None
        Memory of a trial, such as ``16GiB``.
    retries : int
        How often a trial is started again whose worker vanished.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpus: int = Field(1, ge=1, le=65536)
    gpus: int | None = Field(None, ge=0, le=65536)
    memory: str | None = None
    retries: int = Field(2, ge=0, le=1000)

    @field_validator("memory")
    @classmethod
    def _is_memory(cls, text: str | None) -> str | None:
        if text is not None:
            parse_memory(text)
        return text

    @property
    def memory_bytes(self) -> int | None:
        """The memory in bytes."""
        return None if self.memory is None else parse_memory(self.memory)


class RayOptions(ClusterOptions):
    """Options of ``--executor ray``.

    Attributes
    ----------
    address : str or None
        Of a running cluster, such as ``10.0.0.1:6379`` or ``auto``; by default what
        ``RAY_ADDRESS`` says, or a cluster of this machine alone that is started for the run.
    """

    address: str | None = None


class SlurmOptions(ClusterOptions):
    """Options of ``--executor slurm``.

    Attributes
    ----------
    cluster : {"slurm", "local"}
        ``local`` runs the jobs as processes of this machine, to try things out.
    partition, account, qos, constraint, nodelist, exclude : str or None
        As of ``sbatch``.
    time : str
        Wall time of a job, such as ``4h``; a trial that is cut short goes on in another job.
    setup : str or None
        A shell command that a job runs first, such as ``module load cuda``.
    """

    cluster: Literal["slurm", "local"] = "slurm"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    nodelist: str | None = None
    exclude: str | None = None
    time: str = "24h"
    setup: str | None = None

    @field_validator("time")
    @classmethod
    def _is_time(cls, text: str) -> str:
        if Budget.parse(text).unit != "seconds":
            raise UsageError(f"The time '{text}' of a job must be a time, such as 4h.")
        return text

    @property
    def minutes(self) -> int:
        """Wall time of a job in minutes, at least one."""
        return max(1, round(Budget.parse(self.time).amount / 60))


KINDS: dict[str, type[ClusterOptions]] = {"ray": RayOptions, "slurm": SlurmOptions}


def read_options(executor: str, given: Mapping[str, Any]) -> ClusterOptions:
    """Check the options of an executor.

    Raises
    ------
    UsageError
        The executor has no such option, or a value is wrong.
    """
    kind = KINDS.get(executor)
    if kind is None:
        if given:
            raise UsageError(
                f"The executor '{executor}' has no options ({', '.join(given)} was given); use "
                "--jobs and --device."
            )
        return ClusterOptions.model_validate({})
    try:
        return kind.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            known = ", ".join(sorted(kind.model_fields))
            raise UsageError(
                f"The executor '{executor}' has no option '{brief(key)}'; it has {known}."
            ) from None
        raise UsageError(
            f"The option {brief(key)}={brief(first['input'])} of executor '{executor}' is wrong: "
            f"{first['msg']}."
        ) from None


def split_pairs(pairs: tuple[str, ...]) -> dict[str, str]:
    """Read ``key=value`` texts.

    Raises
    ------
    UsageError
        A text has no ``=``.
    """
    found = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key.strip():
            raise UsageError(f"'{brief(pair)}' is no option of an executor; write key=value.")
        found[key.strip().replace("-", "_")] = value
    return found
