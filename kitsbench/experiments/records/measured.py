"""What was measured: ledgers, environments, profiles, sizes of networks."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from kitsbench.documents import Document
from kitsbench.experiments.records.parts import TRIAL_AGAIN, Shape
from kitsbench.training.device_speed import DeviceSpeed
from kitsbench.training.ledger import Reduction, StageRow


class LedgerRecord(Document):
    """What a trial spent, see :class:`~kitsbench.training.ledger.Ledger`, and on what."""

    remedy: ClassVar[str] = TRIAL_AGAIN

    schema_version: Literal[1] = 1
    device_seconds: float = Field(ge=0)
    steps: int = Field(ge=0)
    patches: int = Field(ge=0)
    voxels: float = Field(ge=0)
    flops: float = Field(ge=0)
    budget_spent_fraction: float = Field(ge=0)
    overshoot_steps: float
    overshoot_seconds: float
    peak_memory_bytes: int = Field(ge=0)
    energy_joules: float | None
    loader_wait_s: float
    evaluation_s: float
    checkpoint_s: float
    prediction_s: float
    wall_s: float
    resumed: int = Field(ge=0)
    accumulation: int = Field(ge=1)
    compiled: bool
    patches_per_s: float = Field(ge=0)
    stages: tuple[StageRow, ...]
    lr_reductions: tuple[Reduction, ...]
    device: str
    device_name: str
    precision: str
    threads: int = Field(ge=1)

    def plain(self) -> dict[str, Any]:
        """Plain data for tables and for ``kitsbench run --json``."""
        return self.model_dump(mode="json", exclude={"schema_version"})


class EnvironmentRecord(Document):
    """On what machine and by what software a trial ran.

    Attributes
    ----------
    kitsbench : tuple of str
        Every version that has trained or scored it, in order; more than one where an upgrade came
        between an interruption and the resumption.
    packages : dict of str to (str or None)
        Versions; None for what is not installed.
    cuda : str or None
        Version of CUDA that torch was built for.
    """

    remedy: ClassVar[str] = TRIAL_AGAIN

    schema_version: Literal[1] = 1
    kitsbench: tuple[str, ...] = Field(min_length=1)
    python: str
    platform: str
    packages: dict[str, str | None]
    device: str
    device_name: str
    cuda: str | None
    cores: int = Field(ge=1)
    threads: int = Field(ge=1)
    speed: DeviceSpeed

    def plain(self) -> dict[str, Any]:
        """Plain data for tables."""
        content = self.model_dump(mode="json")
        del content["schema_version"], content["speed"]["schema_version"]
        return content


class ProfileRecord(Document):
    """Speed and memory of an entrant's network, see :mod:`kitsbench.profiling`.

    Attributes
    ----------
    name : str
        Display name of the entrant.
    key : tuple
        Hashes of spec and recipe, device, threads: a profile of anything else is measured anew.
    """

    remedy: ClassVar[str] = "Delete it: the next run or `kitsbench profile` measures again."

    schema_version: Literal[1] = 1
    name: str
    parameters: int
    flops_forward: int | None
    flops_step: int | None
    patch: Shape
    voxels: int
    batch: int
    device: str
    device_name: str
    precision: str
    threads: int
    train_step_ms: float
    train_step_ms_low: float
    train_step_ms_high: float
    inference_ms: float
    patches_per_s_compute: float
    patches_per_s_full: float | None
    peak_memory_bytes: int
    energy_joules: float | None
    key: tuple[str, str, str, int]

    def row(self) -> dict[str, Any]:
        """Plain data for ``kitsbench profile --json``."""
        content = self.model_dump(mode="json", exclude={"schema_version", "name"})
        return {"architecture": self.name, **content}


class CostsRecord(Document):
    """Parameters and FLOPs of one patch, as configured and at the paper's size."""

    remedy: ClassVar[str] = "Delete it: the next run counts again."

    schema_version: Literal[1] = 1
    parameters: int = Field(ge=0)
    flops: int | None
    paper_parameters: int = Field(ge=0)
    paper_flops: int | None
    paper_patch: Shape
