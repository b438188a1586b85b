"""The words a training recipe is written in: plain data, no torch.

A recipe says how training is done, an architecture says what is trained. Every value here can be
printed, hashed and compared, and nothing depends on the machine. Axis order is (z, y, x),
lengths are mm, intensities HU.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kitsbench.errors import ContractError
from kitsbench.files import added, digest, plain
from kitsbench.transforms import TRANSFORMS, Transform, Value

__all__ = [
    "TRANSFORMS",
    "Inference",
    "Intensity",
    "Optimiser",
    "Recipe",
    "Sampling",
    "Schedule",
    "Stage",
    "Transform",
    "Value",
]


@dataclass(frozen=True)
class Intensity:
    """How HU become network inputs: clip, then scale.

    Parameters
    ----------
    clip : (float, float) or None
        Window in HU; None takes the 0.5 and 99.5 percentiles of the training set's foreground.
    scale : {"zscore", "range"}
        ``zscore`` subtracts a mean and divides by a standard deviation (of the training set's
        foreground unless given); ``range`` maps the window linearly onto ``target``.
    mean, sd : float, optional
        Fixed statistics in HU for ``zscore``.
    target : (float, float)
        Output range for ``range``.
    """

    clip: tuple[float, float] | None = None
    scale: Literal["zscore", "range"] = "zscore"
    mean: float | None = None
    sd: float | None = None
    target: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.clip is not None and not self.clip[0] < self.clip[1]:
            raise ContractError(f"clip={self.clip} HU is no window; give (low, high), low < high.")
        if self.scale not in ("zscore", "range"):
            raise ContractError(f"scale='{self.scale}' is not known; use 'zscore' or 'range'.")

    def resolve(self, foreground: Mapping[str, float]) -> tuple[float, float, float, float]:
        """Turn the rule into numbers.

        Parameters
        ----------
        foreground : mapping
            ``mean``, ``sd``, ``p0.5`` and ``p99.5`` of the training set's foreground in HU.

        Returns
        -------
        low, high, shift, scale : float
            The input is ``(clip(hu, low, high) - shift) * scale``.
        """
        low, high = self.clip or (foreground["p0.5"], foreground["p99.5"])
        if self.scale == "zscore":
            mean = foreground["mean"] if self.mean is None else self.mean
            sd = foreground["sd"] if self.sd is None else self.sd
            return low, high, mean, 1.0 / max(sd, 1e-6)
        first, last = self.target
        factor = (last - first) / (high - low)
        return low, high, low - first / factor, factor


@dataclass(frozen=True)
class Sampling:
    """Where the patches of a batch are centred.

    Parameters
    ----------
    rule : {"uniform", "foreground", "mixture", "lattice"}
        ``uniform``: anywhere. ``foreground``: ``fraction`` of each batch, rounded to at least one
        sample, has a foreground voxel near its centre, label drawn uniformly among those present.
        ``mixture``: each centre is drawn on a voxel of a kind, by ``weights``. ``lattice``: output
        tiles on a lattice of ``stride`` voxels, ``fraction`` of them with a foreground voxel in
        the output region.
    fraction : float
        See ``rule``.
    weights : tuple of (str, float)
        For ``mixture``: label names, ``foreground`` or ``background``, with probabilities.
    stride : int
        For ``lattice``, in voxels of the first grid.
    per_volume : int
        Patches of a batch that come from the same volume.
    """

    rule: Literal["uniform", "foreground", "mixture", "lattice"] = "foreground"
    fraction: float = 0.5
    weights: tuple[tuple[str, float], ...] = ()
    stride: int = 1
    per_volume: int = 1

    def __post_init__(self) -> None:
        if self.rule not in ("uniform", "foreground", "mixture", "lattice"):
            raise ContractError(
                f"sampling rule '{self.rule}' is not known; "
                "use uniform, foreground, mixture or lattice."
            )
        if self.rule == "mixture" and not math.isclose(sum(w for _, w in self.weights), 1.0):
            raise ContractError(f"mixture weights {self.weights} do not add up to 1.")
        if not 0 <= self.fraction <= 1 or self.stride < 1 or self.per_volume < 1:
            raise ContractError("sampling wants 0 <= fraction <= 1, stride >= 1, per_volume >= 1.")


@dataclass(frozen=True)
class Optimiser:
    """Optimiser by name, with torch's parameter names.

    Parameters
    ----------
    name : {"sgd", "adam", "adamw"}
        ``adam`` adds weight decay to the gradient (L2), ``adamw`` decouples it.
    lr : float
        Learning rate at the start of the schedule.
    weight_decay, momentum : float
        As torch names them; ``momentum`` only for SGD.
    nesterov, amsgrad : bool
        As torch names them.
    """

    name: Literal["sgd", "adam", "adamw"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.0
    momentum: float = 0.0
    nesterov: bool = False
    amsgrad: bool = False

    def __post_init__(self) -> None:
        if self.name not in ("sgd", "adam", "adamw"):
            raise ContractError(f"optimiser '{self.name}' is not known; use sgd, adam or adamw.")
        if not self.lr > 0:
            raise ContractError(f"lr={self.lr} must be positive.")


@dataclass(frozen=True)
class Schedule:
    """Learning-rate factor as a function of progress in [0, 1].

    Parameters
    ----------
    rule : {"constant", "polynomial", "cosine", "steps", "exponential", "plateau"}
        ``polynomial``: (1-p)^power. ``steps``: factor^floor(p*count). ``exponential``:
        factor^(p*count). ``plateau``: times ``factor`` whenever the training loss falls by less
        within ``patience`` of the budget than the noise of its moving average is in a schedule of
        ``full`` steps, as a rule that waits for a new minimum of that average does there; not
        before 0.3 of the budget.
    power, factor, count, patience : float
        See ``rule``.
    memory : float
        Share of the budget after which a value weighs 1/e in the moving averages that
        :class:`Stage` looks at, at least 10 steps; and in those whose noise a plateau takes.
    warmup : float
        Share of progress in which the factor rises linearly from 0.
    full : int
        Steps of the schedule for which a plateau's ``patience`` and ``memory`` were written; 0 is
        the run's own length.
    least : float
        Below this factor a plateau lowers no rate.
    """

    rule: Literal["constant", "polynomial", "cosine", "steps", "exponential", "plateau"] = (
        "polynomial"
    )
    power: float = 0.9
    factor: float = 0.1
    count: float = 1.0
    patience: float = 0.03
    memory: float = 0.014
    warmup: float = 0.0
    full: int = added(0)
    least: float = added(0.0)

    def __post_init__(self) -> None:
        known = ("constant", "polynomial", "cosine", "steps", "exponential", "plateau")
        if self.rule not in known:
            raise ContractError(
                f"schedule rule '{self.rule}' is not known; use {', '.join(known)}."
            )
        if not (self.factor > 0 and self.memory > 0):
            raise ContractError(
                f"a schedule with factor={self.factor}, memory={self.memory} wants both positive."
            )
        if self.full < 0 or not 0 <= self.least <= 1:
            raise ContractError(
                f"a schedule of full={self.full} steps whose least={self.least}: give a number of "
                "steps, or 0, and a factor in [0, 1]."
            )
        if not (0 <= self.patience <= 1 and 0 <= self.warmup <= 1):
            raise ContractError(
                f"patience={self.patience} and warmup={self.warmup} are shares of the budget; "
                "they must lie in [0, 1]."
            )

    def at(self, progress: float) -> float:
        """Factor at ``progress``; 1 for ``plateau``, whose factor is a state of the training."""
        p = min(max(progress, 0.0), 1.0)
        warm = min(p / self.warmup, 1.0) if self.warmup > 0 else 1.0
        if self.rule == "polynomial":
            return warm * (1 - p) ** self.power
        if self.rule == "cosine":
            return warm * 0.5 * (1 + math.cos(math.pi * p))
        if self.rule == "steps":
            return warm * self.factor ** math.floor(p * self.count)
        if self.rule == "exponential":
            return warm * self.factor ** (p * self.count)
        return warm


@dataclass(frozen=True)
class Inference:
    """How a whole volume is predicted from patches.

    Parameters
    ----------
    overlap : float
        Share of a tile's output that the next tile covers again, in [0, 1).
    blend : {"gaussian", "uniform"}
        Weight of a tile's voxels; Gaussian sigma is ``sigma`` times the output edge.
    sigma : float
        See ``blend``.
    mirror : tuple of int
        Axes for test-time mirroring; all their combinations are averaged.
    decide : {"native", "prepared"}
        Whether probabilities are resampled and then decided, or labels are resampled.
    """

    overlap: float = 0.5
    blend: Literal["gaussian", "uniform"] = "gaussian"
    sigma: float = 0.125
    mirror: tuple[int, ...] = ()
    decide: Literal["native", "prepared"] = "native"

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise ContractError(f"overlap={self.overlap} must lie in [0, 1).")


@dataclass(frozen=True)
class Stage:
    """A part of training with its own losses, trainable weights and optimiser.

    Parameters
    ----------
    name : str
        Shown in the ledger; passed to the loss as ``progress.stage``.
    share : float
        Part of the budget; the shares of all stages add up to 1.
    train : tuple of str
        Patterns (as of :mod:`fnmatch`) of the parameter names that train. All other parameters
        are frozen and their normalisation layers stay in evaluation mode.
    heads : tuple of str, optional
        Heads whose losses count; None for all.
    until : (str, float), optional
        Loss component and threshold: the stage ends early when the moving average of the
        component reaches the threshold, and what is left of its share goes to the next stage.
        ``"overlap/volume"`` is the ratio of the averages of two components, such as a Dice of
        pooled counts, to which batches without foreground add nothing.
    optimiser, schedule : optional
        Replace the recipe's, in mode ``paper`` only.
    """

    name: str = "train"
    share: float = 1.0
    train: tuple[str, ...] = ("*",)
    heads: tuple[str, ...] | None = None
    until: tuple[str, float] | None = None
    optimiser: Optimiser | None = None
    schedule: Schedule | None = None


@dataclass(frozen=True)
class Recipe:
    """How training is done.

    Parameters
    ----------
    name : str
        ``matched``, or what a plugin calls its paper's recipe.
    spacing : (float, float, float), "native" or "median"
        Voxel size in mm of the first grid.
    patch : (int, int, int) or None
        Patch that is asked of the architecture, in voxels; None leaves it to the architecture.
    batch : int
        Samples in an optimiser step.
    intensity, sampling, augmentation, optimiser, schedule, inference
        The parts, each described by its class.
    clip_gradient : float or None
        Largest gradient norm.
    average : float or None
        Decay of an exponential moving average of the weights, which is then the result.
    sources : tuple of (str, str)
        Field and where its value comes from.
    """

    name: str = "matched"
    spacing: tuple[float, float, float] | Literal["native", "median"] = "median"
    patch: tuple[int, int, int] | None = None
    batch: int = 2
    intensity: Intensity = Intensity()
    sampling: Sampling = Sampling()
    augmentation: tuple[Transform, ...] = ()
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    inference: Inference = Inference()
    clip_gradient: float | None = 12.0
    average: float | None = None
    sources: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if sum(transform.name == "elastic" for transform in self.augmentation) > 1:
            raise ContractError(
                f"recipe '{self.name}' deforms elastically twice; name 'elastic' once."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return dict(plain(self))

    def mirror_axes(self) -> tuple[int, ...]:
        """Axes along which mirroring at test time shows a network what it was trained on.

        Those that the training mirrors, or left to right where it mirrors none.
        """
        for transform in self.augmentation:
            if transform.name == "mirror":
                return tuple(int(axis) for axis in transform["axes"])
        return (2,)

    def digest(self) -> str:
        """Hash of everything but the sources, which are prose."""
        data = self.to_dict()
        del data["sources"]
        return digest(data)
