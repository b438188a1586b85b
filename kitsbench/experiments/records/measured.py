"""What was measured: ledgers, environments, profiles, sizes of networks."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import (
    Field,
    PositiveFloat,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

import kitsbench
from kitsbench.devices.layout import Layout
from kitsbench.errors import DataError
from kitsbench.experiments.records.accounts import Sitting, in_all
from kitsbench.experiments.records.parts import TRIAL_AGAIN, Shape, without_unused
from kitsbench.experiments.records.profile_parts import (
    MemoryCost,
    PartTimes,
    RoofPlace,
    ScanCost,
)
from kitsbench.experiments.records.trial import TrialIdentity
from kitsbench.files import digest
from kitsbench.files.documents import Document, Part
from kitsbench.training.ledger import InitialWeights, Reduction, StageRow
from kitsbench.training.meters.device_speed import DeviceSpeed

D = TypeVar("D", bound=Document)
_OF_INFERENCE = ("inference_s", "inference_cases", "adaptation_s", "adaptation_cases")


def _checked(found: D, file: Path, **wanted: Any) -> D:
    """A document whose keys are what its file's name says, or an error that tells which is not."""
    for key, value in wanted.items():
        if getattr(found, key) != value:
            raise DataError(
                f"{file}: the key {key} is {getattr(found, key)!r}; its file is that of {value!r}."
                f"\n{found.remedy}"
            )
    return found


class LedgerRecord(Document):
    """What a trial spent, see :class:`~kitsbench.training.ledger.Ledger`, and on what.

    Where one of the two other peaks is None, ``peak_memory_bytes`` is that of training and
    prediction together. ``sittings`` say where the wall time went, once each process
    that worked on the trial; an earlier kitsbench wrote none.
    """

    remedy: ClassVar[str] = TRIAL_AGAIN

    schema_version: Literal[3] = 3
    trial: str
    device_seconds: float = Field(ge=0)
    steps: int = Field(ge=0)
    patches: int = Field(ge=0)
    voxels: float = Field(ge=0)
    flops: float = Field(ge=0)
    budget_spent_fraction: float = Field(ge=0)
    overshoot_steps: float
    overshoot_seconds: float
    peak_memory_bytes: int = Field(ge=0)
    peak_reserved_bytes: int | None = Field(ge=0)
    inference_peak_memory_bytes: int | None = Field(ge=0)
    energy_joules: float | None
    loader_wait_s: float
    evaluation_s: float
    checkpoint_s: float
    prediction_s: float
    wall_s: float
    resumed: int = Field(ge=0)
    accumulation: int = Field(ge=1)
    compiled: bool
    layout: Layout | None  # None of an ensemble, which has no weights of its own
    warm_up_s: float = Field(ge=0)
    skipped_steps: int = Field(ge=0)
    patches_per_s: float = Field(ge=0)
    stages: tuple[StageRow, ...]
    lr_reductions: tuple[Reduction, ...]
    initial: InitialWeights | None = None
    device: str
    device_name: str
    precision: str
    threads: int = Field(ge=1)
    inference_s: float | None = Field(default=None, ge=0)
    inference_cases: int | None = Field(default=None, ge=0)
    adaptation_s: float | None = Field(default=None, ge=0)
    adaptation_cases: int | None = Field(default=None, ge=0)
    sittings: tuple[Sitting, ...] = ()

    @model_serializer(mode="wrap")
    def _said(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what is not there: ledgers of before are written as they were."""
        content = without_unused(whole(self), "initial", *_OF_INFERENCE)
        if not self.sittings:  # of an earlier kitsbench
            content.pop("sittings", None)
        return content

    def plain(self) -> dict[str, Any]:
        """Plain data for tables and for ``kitsbench run --json``; sittings are summed up."""
        content = self.model_dump(mode="json", exclude={"schema_version", "trial", "sittings"})
        return {**content, "accounting": in_all(self.sittings)} if self.sittings else content


class EnvironmentRecord(Document):
    """On what machine and by what software a trial ran.

    Attributes
    ----------
    trial : str
        Id of the trial.
    kitsbench : tuple of str
        Every version that has trained or scored it, in order; more than one where an upgrade came
        between an interruption and the resumption.
    packages : dict of str to (str or None)
        Versions; None for what is not installed.
    cpu_name : str
        The processor, which on a GPU draws the batches.
    cuda : str or None
        Version of CUDA that torch was built for.
    cudnn, driver : str or None
        Versions, of a GPU.
    power_cap_w : int or None
        Watts that the GPU may draw.
    settings : dict of str to (str or bool)
        What is set once in each process, see :mod:`kitsbench.devices.use`.
    commit : str or None
        Of kitsbench's own source, where that is a checkout of git; ``-changed`` at the end where
        it differs from what was committed.
    """

    remedy: ClassVar[str] = TRIAL_AGAIN

    schema_version: Literal[3] = 3
    trial: str
    kitsbench: tuple[str, ...] = Field(min_length=1)
    python: str
    platform: str
    packages: dict[str, str | None]
    device: str
    device_name: str
    cuda: str | None
    cpu_name: str
    cudnn: str | None
    driver: str | None
    power_cap_w: int | None
    settings: dict[str, str | bool]
    cores: int = Field(ge=1)
    threads: int = Field(ge=1)
    speed: DeviceSpeed
    commit: str | None = None

    @model_serializer(mode="wrap")
    def _said(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return without_unused(whole(self), "commit")

    def scored_here(self) -> Self:
        """The same, with this kitsbench among those that had a share in the numbers."""
        versions = dict.fromkeys([*self.kitsbench, kitsbench.__version__])
        return self.model_copy(update={"kitsbench": tuple(versions)})

    def plain(self) -> dict[str, Any]:
        """Plain data for tables."""
        content = self.model_dump(mode="json")
        del content["schema_version"], content["trial"], content["speed"]["schema_version"]
        return content


Timed = Literal["step", "full", "loader", "inference"]
"""What a profile repeats and times, see :mod:`kitsbench.profiling.formats`."""

ProfileKey = tuple[str, str, str, str, str, str, int]
"""Hashes of spec, recipe and plugin's code, precision, device, libraries, threads."""


def profile_key(
    identity: TrialIdentity, device: str, threads: int, torch: str | None, cudnn: str | None
) -> ProfileKey:
    """What a profile is one of: whatever changes what is measured.

    Parameters
    ----------
    identity : TrialIdentity
        Of a trial that trains the network.
    device : str
        Name of the GPU or of the processor.
    threads : int
        CPU threads.
    torch, cudnn : str or None
        Versions of the libraries; cuDNN's on a GPU alone.
    """
    libraries = f"torch {torch}" + (f", cuDNN {cudnn}" if cudnn else "")
    return (
        identity.spec,
        identity.recipe,
        identity.code,
        identity.precision,
        device,
        libraries,
        threads,
    )


class ProfileRecord(Document):
    """Speed and memory of an entrant's network, see :mod:`kitsbench.profiling`.

    Attributes
    ----------
    name : str
        Display name of the entrant.
    key : tuple
        As of :func:`profile_key`: a profile of anything else is measured anew.
    train_step_ms_compiled : float or None
        Through torch.compile, where that was asked for and graphs ran.
    layout : {"contiguous", "channels_last_3d"} or None
        How the weights lay in memory, as of a trial's ledger.
    energy_joules : float or None
        Of a training step on data that lie on the device; None where the device does not tell.
    flops_per_voxel : float or None
        Of the forward pass, by the voxels of the primary output.
    full_step_ms, loader_ms, loader_wait, parts
        Of a step with data, see :func:`kitsbench.profiling.step.measure_with_data`; None where
        there were none.
    scans : tuple of dict
        Of whole scans, see :func:`kitsbench.profiling.scan.profile_scan`.
    company : dict of str to float
        Shares that others had of the machine, see :mod:`kitsbench.profiling.company`.
    busy : bool or None
        Whether that was too much.
    measured : int or None
        How often, of which this is the calmest.
    brief : bool or None
        Whether it was measured at the end of a run, in few repetitions.
    """

    remedy: ClassVar[str] = "Delete it: the next run or `kitsbench profile` measures again."

    schema_version: Literal[2] = 2
    name: str
    parameters: int = Field(ge=0)
    flops_forward: int | None = Field(ge=0)
    flops_step: int | None = Field(ge=0)
    patch: Shape
    voxels: int = Field(ge=1)
    batch: int = Field(ge=1)
    device: str
    device_name: str
    precision: str
    threads: int = Field(ge=1)
    train_step_ms: float = Field(gt=0)
    train_step_ms_low: float = Field(ge=0)
    train_step_ms_high: float = Field(ge=0)
    inference_ms: float = Field(gt=0)
    patches_per_s_compute: float = Field(gt=0)
    patches_per_s_full: float | None = Field(gt=0)
    peak_memory_bytes: int = Field(ge=0)
    energy_joules: float | None = Field(ge=0)
    layout: Layout | None = None
    train_step_ms_compiled: float | None = Field(default=None, gt=0)
    output_voxels: int | None = Field(default=None, ge=1)
    flops_per_voxel: float | None = Field(default=None, ge=0)
    voxels_per_s_compute: float | None = Field(default=None, ge=0)
    voxels_per_s_full: float | None = Field(default=None, ge=0)
    voxels_per_s_loader: float | None = Field(default=None, ge=0)
    inference_ms_low: float | None = Field(default=None, ge=0)
    inference_ms_high: float | None = Field(default=None, ge=0)
    steps: int | None = Field(default=None, ge=1)
    full_step_ms: float | None = Field(default=None, ge=0)
    full_step_ms_low: float | None = Field(default=None, ge=0)
    full_step_ms_high: float | None = Field(default=None, ge=0)
    parts: dict[str, PartTimes] | None = None
    loader_ms: float | None = Field(default=None, ge=0)
    loader_ms_low: float | None = Field(default=None, ge=0)
    loader_ms_high: float | None = Field(default=None, ge=0)
    patches_per_s_loader: float | None = Field(default=None, gt=0)
    loader_wait: float | None = Field(default=None, ge=0)
    company: dict[str, float | None] | None = None
    busy: bool | None = None
    measured: int | None = Field(default=None, ge=1)
    samples_ms: dict[Timed, Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]] | None = None
    conditions: dict[str, str | int] | None = None
    scans: tuple[ScanCost, ...] | None = None
    memory: MemoryCost | None = None
    roofline: RoofPlace | None = None
    peaks: dict[str, float] | None = None
    brief: bool | None = None
    key: ProfileKey

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.loader_wait is not None:
            if not set(self.parts or ()) - {"loader"}:
                raise ValueError("loader_wait is a share of a step, whose parts are missing")
            if None in (self.patches_per_s_full, self.patches_per_s_loader):
                raise ValueError("loader_wait stands beside patches_per_s_full and _loader")
        if self.busy and self.company is None:
            raise ValueError("who kept the machine busy is missing: company")
        return self

    @staticmethod
    def file(workdir: Path, name: str, key: ProfileKey) -> Path:
        """Where it is kept: a file of its own for whatever it is measured anew for."""
        plain = re.sub("[^A-Za-z0-9._-]+", "-", name)
        return workdir / "profiles" / f"{plain}-{digest([name, *key])[:8]}.json"

    def keep(self, workdir: Path) -> None:
        """Write it to its place."""
        self.write(self.file(workdir, self.name, self.key))

    @classmethod
    def find(cls, workdir: Path, name: str, key: ProfileKey) -> Self | None:
        """Read the profile of an entrant, or None where none was measured.

        Raises
        ------
        DataError
            The file is damaged, or holds the profile of something else.
        """
        file = cls.file(workdir, name, key)
        if not os.path.lexists(file):
            return None
        return _checked(cls.read(file), file, name=name, key=key)

    def row(self) -> dict[str, Any]:
        """Plain data for ``kitsbench profile --json``."""
        content = self.model_dump(mode="json", exclude={"schema_version", "name"})
        return {"architecture": self.name, **content}


class CaseSize(Part):
    """What a label map tells of a case: ml of each label, and mm between slices along the body."""

    volumes_ml: dict[str, Annotated[float, Field(ge=0)]]
    slice_thickness_mm: float = Field(gt=0)


class CasesRecord(Document):
    """How large what is sought is in each case of a dataset, measured once on its label maps."""

    remedy: ClassVar[str] = "Delete it: the next run measures again."

    schema_version: Literal[1] = 1
    dataset: str
    cases: dict[str, CaseSize]

    @staticmethod
    def file(workdir: Path, fingerprint: str) -> Path:
        """Where that of a dataset is kept."""
        return workdir / "cases" / f"{fingerprint}.json"

    @classmethod
    def find(cls, workdir: Path, fingerprint: str | None) -> Self | None:
        """Read that of a dataset; None where none was measured, as by an earlier kitsbench.

        Raises
        ------
        DataError
            The file is damaged, or of another dataset.
        """
        if fingerprint is None or not os.path.lexists(file := cls.file(workdir, fingerprint)):
            return None
        return _checked(cls.read(file), file, dataset=fingerprint)


class CostsRecord(Document):
    """Parameters and FLOPs of one patch, as configured and at the paper's size."""

    remedy: ClassVar[str] = "Delete it: the next run counts again."

    schema_version: Literal[1] = 1
    parameters: int = Field(ge=0)
    flops: int | None = Field(ge=0)
    paper_parameters: int = Field(ge=0)
    paper_flops: int | None = Field(ge=0)
    paper_patch: Shape
