"""Parts of a profile: of a step, of a scan, of memory, and its place under the roof."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from kitsbench.experiments.records.parts import Shape, Triple
from kitsbench.files.documents import Part


class PartTimes(Part):
    """What a part of a training step takes, see :func:`kitsbench.profiling.repeat.split`."""

    ms: float = Field(ge=0)
    ms_low: float = Field(ge=0)
    ms_high: float = Field(ge=0)
    share: float = Field(ge=0)


class ScanCost(Part):
    """What predicting a scan takes, see :func:`kitsbench.profiling.scan.profile_scan`.

    Where it could not be measured, ``error`` says why, and there is nothing else.
    """

    size: str
    error: str | None = None
    shape: Shape | None = None
    spacing: Triple | None = None
    prepared: Shape | None = None
    tiles: int | None = Field(default=None, ge=1)
    seconds: float | None = Field(default=None, gt=0)
    parts: dict[str, float] | None = None
    peak_memory_bytes: int | None = Field(default=None, ge=0)
    company: dict[str, float | None] | None = None
    busy: bool | None = None

    @model_validator(mode="after")
    def _measured_or_why_not(self) -> Self:
        known = (self.tiles, self.seconds, self.parts, self.peak_memory_bytes, self.busy)
        if self.error is None and None in known:
            raise ValueError("a scan that was predicted has tiles, seconds, parts, memory and busy")
        return self


class MemoryLine(Part):
    """Peak memory as a line of voxels, see :func:`kitsbench.profiling.memory.line`."""

    bytes: float
    bytes_per_voxel: float
    worst: float = Field(ge=0)
    points: tuple[tuple[int, int], ...]


class LargestBatch(Part):
    """Largest batch that always fitted, those that did at times, and the first that never did."""

    largest: int | None
    sometimes: tuple[int, ...] = ()
    fails: int | None
    why: str | None


class LargestPatch(Part):
    """The same of patches."""

    largest: Shape | None
    sometimes: tuple[Shape, ...] = ()
    fails: Shape | None
    why: str | None


class MemoryCost(Part):
    """Peak memory, see :func:`kitsbench.profiling.memory.profile_memory`; or why there is none."""

    error: str | None = None
    training: MemoryLine | None = None
    inference: MemoryLine | None = None
    limit: int | None = Field(default=None, ge=1)
    batch: LargestBatch | None = None
    patch: LargestPatch | None = None
    inference_batch: LargestBatch | None = None
    inference_patch: LargestPatch | None = None

    @model_validator(mode="after")
    def _measured_or_why_not(self) -> Self:
        if self.error is None and None in (self.training, self.inference):
            raise ValueError("memory that was measured is that of training and of inference")
        return self


class RoofPlace(Part):
    """A training step under the roof: see :func:`kitsbench.profiling.roofline.place`."""

    flops_per_s: float = Field(ge=0)
    bytes_per_s: float = Field(ge=0)
    flops_share: float = Field(ge=0)
    bytes_share: float = Field(ge=0)
    intensity: float = Field(ge=0)
    ridge: float = Field(ge=0)
    roof_share: float = Field(ge=0)
    bound: Literal["memory", "arithmetic"]
