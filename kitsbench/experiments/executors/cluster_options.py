"""What a trial asks of any cluster."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

from kitsbench.experiments.asked.quantities import parse_memory


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
        How often in a row a trial is started again whose worker vanished, if it has got no further
        in between.
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
