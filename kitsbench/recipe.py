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

from kitsbench import naming
from kitsbench.errors import ContractError
from kitsbench.files import added, digest, plain
from kitsbench.named import Arguments, Value, check_arguments, check_name, is_named
from kitsbench.optimisers import Group, Optimiser, Schedule
from kitsbench.preparation import Coarsened, OwnVoxels, Preparation, Spacing, is_number
from kitsbench.transforms import TRANSFORMS, Transform

__all__ = [
    "TRANSFORMS",
    "Coarsened",
    "Group",
    "Inference",
    "Intensity",
    "Optimiser",
    "OwnVoxels",
    "Preparation",
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
        if self.scale == "range" and self.target[0] == self.target[1]:
            raise ContractError(f"target={self.target} is one value; give two that differ.")

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
        # A foreground of one value has no width; as for the sd, nothing is divided by zero.
        factor = (last - first) / max(high - low, 1e-6)
        return low, high, low - first / factor, factor


@dataclass(frozen=True)
class Sampling:
    """Where the patches of a batch are centred.

    Parameters
    ----------
    rule : {"uniform", "foreground", "mixture", "lattice"} or str
        ``uniform``: anywhere. ``foreground``: ``fraction`` of each batch, rounded to at least one
        sample, has a foreground voxel near its centre, label drawn uniformly among those present.
        ``mixture``: each centre is drawn on a voxel of a kind, by ``weights``. ``lattice``: output
        regions are tiles that begin every ``stride`` voxels, or overlap; ``fraction`` of the
        samples are drawn evenly among the tiles that hold a foreground voxel, the others among
        those that hold none. Or a function of the plugin (``plugin:NAME``) or of an installed
        package (``package.module:NAME``), called as ``f(draw, **arguments)`` with a
        :class:`~kitsbench.data.batches.own_sampler.Draw`.
    fraction : float
        See ``rule``.
    weights : tuple of (str, float)
        For ``mixture``: label names, ``foreground`` or ``background``, with probabilities.
    stride : int
        For ``lattice``, in voxels of the first grid.
    per_volume : int
        Patches of a batch that come from the same volume.
    arguments : tuple of (str, value)
        Of a function.
    background_above : float or None
        HU: for ``mixture``, background is drawn among its voxels that are brighter, such as those
        of the body (MONAI's ``image_threshold``); None draws among all.
    overlap : float or None
        For ``lattice``, in place of ``stride``: share of a tile that the next one covers again, in
        [0, 1).
    inside : bool
        Move each patch by as little as brings it inside the volume, as MONAI's crops lie.
    centred : bool
        For ``foreground``, as nnU-Net cuts: the voxel that was drawn is the middle of its patch,
        which begins no earlier than the volume, and a volume that is smaller than the patch lies
        in the middle of others. Without it the voxel lies anywhere in the middle half, and such a
        volume begins with the patch.
    """

    rule: str = "foreground"
    fraction: float = 0.5
    weights: tuple[tuple[str, float], ...] = ()
    stride: int = 1
    per_volume: int = 1
    arguments: Arguments = added(())
    background_above: float | None = added(None)
    overlap: float | None = added(None)
    inside: bool = added(False)
    centred: bool = added(False)

    def __post_init__(self) -> None:
        self._check_later_words()
        if is_named(self.rule):
            check_name(self.rule)
            check_arguments(self.rule, self.arguments)
        elif self.rule not in ("uniform", "foreground", "mixture", "lattice"):
            raise ContractError(
                f"sampling rule '{self.rule}' is not known; use uniform, foreground, mixture or "
                "lattice, or name a function: plugin:NAME or package.module:NAME."
            )
        elif self.arguments:
            raise ContractError(f"sampling rule '{self.rule}' takes no arguments.")
        if self.rule == "mixture" and not math.isclose(sum(w for _, w in self.weights), 1.0):
            raise ContractError(f"mixture weights {self.weights} do not add up to 1.")
        if any(not is_number(weight) or weight < 0 for _, weight in self.weights):
            raise ContractError(f"mixture weights {self.weights} must not be negative.")
        if not 0 <= self.fraction <= 1 or self.stride < 1 or self.per_volume < 1:
            raise ContractError("sampling wants 0 <= fraction <= 1, stride >= 1, per_volume >= 1.")

    def _check_later_words(self) -> None:
        above = self.background_above
        if above is not None and not (is_number(above) and self.rule == "mixture"):
            raise ContractError(
                f"background_above={above!r} is no threshold of rule '{self.rule}': give HU above "
                "which 'mixture' draws its background."
            )
        overlap = self.overlap
        if overlap is not None and not (
            is_number(overlap) and 0 <= overlap < 1 and self.rule == "lattice" and self.stride == 1
        ):
            raise ContractError(
                f"overlap={overlap!r} is for the rule 'lattice' without stride: a share in [0, 1)."
            )
        if not isinstance(self.inside, bool):
            raise ContractError(f"sampling has inside={self.inside!r}; use True or False.")
        if not isinstance(self.centred, bool) or (self.centred and self.rule != "foreground"):
            raise ContractError(
                f"centred={self.centred!r} is for the rule 'foreground': True or False."
            )
        for name in ("background_above", "overlap"):
            # As files give it back, so that a recipe keeps its hash.
            if getattr(self, name) is not None:
                object.__setattr__(self, name, float(getattr(self, name)))


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
        for name, words in (
            ("blend", ("gaussian", "uniform")),
            ("decide", ("native", "prepared")),
        ):
            if getattr(self, name) not in words:
                raise ContractError(
                    f"inference has {name}={getattr(self, name)!r:.40}; use {' or '.join(words)}."
                )
        if not is_number(self.sigma) or self.sigma <= 0:
            raise ContractError(f"inference has sigma={self.sigma!r:.40}; give a number above 0.")
        if not set(self.mirror) <= {0, 1, 2}:
            raise ContractError(f"inference has mirror={self.mirror}; name axes among 0, 1, 2.")


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

    def __post_init__(self) -> None:
        naming.check_name("stage", self.name)

    @property
    def watched(self) -> tuple[str, ...]:
        """Loss components that ``until`` looks at: none, one, or the two of a ratio."""
        return () if self.until is None else tuple(self.until[0].split("/"))


SHARED = "matched"
"""Name of the recipe that is the same for all architectures."""


@dataclass(frozen=True)
class Recipe:
    """How training is done.

    Parameters
    ----------
    name : str
        ``matched``, or what a plugin calls its paper's recipe.
    spacing : (float, float, float), "native", "median", "nnunet", OwnVoxels or Coarsened
        Voxel size in mm of the first grid; ``native`` leaves each scan its own voxels; ``nnunet``
        is the dataset's median, and along an axis that is more than three times as coarse as the
        others the 10th percentile.
    patch : (int, int, int) or None
        Patch that is asked of the architecture, in voxels; None leaves it to the architecture.
    batch : int
        Samples in an optimiser step.
    intensity, sampling, augmentation, optimiser, schedule, inference, preparation
        The parts, each described by its class.
    clip_gradient : float or None
        Largest gradient norm.
    average : float or None
        Decay of an exponential moving average of the weights, which is then the result.
    sources : tuple of (str, str)
        Field and where its value comes from.
    """

    name: str = SHARED
    spacing: Spacing = "median"
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
    preparation: Preparation = added(Preparation())

    def __post_init__(self) -> None:
        if sum(transform.name == "elastic" for transform in self.augmentation) > 1:
            raise ContractError(
                f"recipe '{self.name}' deforms elastically twice; name 'elastic' once."
            )
        _check_together(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return dict(plain(self))

    def foreign(self, stages: tuple[Stage, ...] = ()) -> tuple[str, ...]:
        """Names of what it brings from outside of the vocabulary, each once.

        Parameters
        ----------
        stages : tuple of Stage
            Whose optimisers count, too.
        """
        rules = [self.optimiser, *(stage.optimiser for stage in stages if stage.optimiser)]
        names = [rule.name for rule in rules] + [self.sampling.rule]
        found = [name for name in names if is_named(name)]
        found += [transform.name for transform in self.augmentation if transform.is_foreign]
        return tuple(dict.fromkeys(found))

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


def _check_together(recipe: Recipe) -> None:
    """See that a transform that goes with the one before it has one.

    Raises
    ------
    ContractError
        It has none, or that one comes from outside.
    """
    drawn = [transform for transform in recipe.augmentation if transform.name != "mirror"]
    for number, transform in enumerate(drawn):
        if transform.together and (number == 0 or drawn[number - 1].is_foreign):
            raise ContractError(
                f"recipe '{recipe.name}' applies {transform.name} together with the transform "
                "before it, but none of kitsbench.recipe.TRANSFORMS stands there; leave "
                "together=True out of the first."
            )
