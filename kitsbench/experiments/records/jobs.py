"""Jobs of a cluster: what outlives the process that submitted them, and why one was cut short."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from kitsbench.files.documents import Document, Part


class JobRecord(Document):
    """``jobs/ID.json``: the job that works on a trial, for whoever asks after it later.

    Attributes
    ----------
    trial : str
    cluster : {"slurm", "local"}
    name : str
        Of the job, which no other submission has: by it a job is found that was submitted by a
        process which was killed before it heard the number.
    index : int or None
        Within a job array.
    job : str or None
        As the cluster names it; None until it has answered.
    submitted : str
        When, in UTC.
    """

    remedy: ClassVar[str] = "Delete it once no job of that name is in the queue."

    schema_version: Literal[1] = 1
    trial: str
    cluster: Literal["slurm", "local"]
    name: str
    index: int | None = Field(ge=0)
    job: str | None
    submitted: str


class Stop(Part):
    """A job that was cut short and started again by itself.

    Attributes
    ----------
    job : str
    restart : int
        Which start of the job came after it; Slurm counts them.
    why : str
        In words.
    step, scored : int
        Of the newest checkpoint, and the cases that were scored.
    """

    job: str
    restart: int
    why: str
    step: int
    scored: int


class StopsRecord(Document):
    """``stops.json``: every time that the job of a trial was cut short and went on by itself."""

    remedy: ClassVar[str] = "Delete it: nothing depends on it."

    schema_version: Literal[1] = 1
    trial: str
    stops: tuple[Stop, ...]
