"""The words of optimisation: which optimiser, which weights in which way, how the rate goes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from kitsbench.errors import ContractError
from kitsbench.files import added
from kitsbench.named import Arguments, check_arguments, check_name, is_named

SHORT = ("sgd", "adam", "adamw")
OF_GROUPS = ("params", "lr", "lr_factor", "weight_decay", "fused", "foreach")
TAKEN = (*OF_GROUPS, "momentum", "nesterov", "amsgrad")
LONGEST_WARMUP = 0.1  # share of the budget that a warm-up in steps may take


@dataclass(frozen=True)
class Group:
    """Parameters that are trained otherwise than the rest, or not at all.

    A parameter belongs to the first group of which a pattern matches it.

    Parameters
    ----------
    names : tuple of str
        Patterns (as of :mod:`fnmatch`) of names of parameters, such as ``*.bias``.
    layers : tuple of str
        Patterns of class names, such as ``*Norm*``: a parameter matches by the class of the layer
        that holds it, or one that this derives from.
    lr_factor : float
        Its learning rate is so many times the recipe's, all along the schedule.
    weight_decay : float or None
        None for the optimiser's.
    frozen : bool
        Does not train, and its normalisation layers stay in evaluation mode.
    arguments : tuple of (str, value)
        Others of the optimiser, such as ``betas``, for these parameters.

    Raises
    ------
    ContractError
        It has no pattern, or a value makes no sense.
    """

    names: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    lr_factor: float = 1.0
    weight_decay: float | None = None
    frozen: bool = False
    arguments: Arguments = ()

    def __post_init__(self) -> None:
        for word, patterns in (("names", self.names), ("layers", self.layers)):
            if not isinstance(patterns, tuple) or not all(isinstance(p, str) for p in patterns):
                raise ContractError(
                    f"a group has {word}={patterns!r}; write a tuple of patterns, ('*.bias',)."
                )
        if not (self.names or self.layers):
            raise ContractError("a group has no pattern; give names or layers, such as '*.bias'.")
        if not (self.lr_factor > 0 and math.isfinite(self.lr_factor)):
            raise ContractError(
                f"a group has lr_factor={self.lr_factor}; it must be positive. "
                "For weights that do not train say frozen=True."
            )
        if self.weight_decay is not None and not self.weight_decay >= 0:
            raise ContractError(f"a group has weight_decay={self.weight_decay}; it is negative.")
        check_arguments("a group", self.arguments, OF_GROUPS)
        changed = self.lr_factor != 1 or self.weight_decay is not None or bool(self.arguments)
        if self.frozen and changed:
            raise ContractError("a group is frozen and has a rate, a decay or arguments: drop one.")


@dataclass(frozen=True)
class Optimiser:
    """Optimiser by name, with torch's parameter names.

    Parameters
    ----------
    name : str
        ``sgd``, ``adam`` (adds weight decay to the gradient, L2) or ``adamw`` (decouples it);
        a class of :mod:`torch.optim` by its name, such as ``NAdam``; or a class, or a function that
        makes one, of the plugin (``plugin:Lion``) or of an installed package
        (``package.module:Lion``). Its step needs no closure.
    lr : float
        Learning rate at the start of the schedule.
    weight_decay, momentum : float
        As torch names them. ``weight_decay`` is given to every optimiser that takes one,
        ``momentum`` where it is not 0.
    nesterov, amsgrad : bool
        As torch names them, given where they are true.
    arguments : tuple of (str, value)
        All others, such as ``(("betas", (0.9, 0.99)),)``.
    groups : tuple of Group
        Parameters with another rate or decay, or frozen; every pattern must match one.

    Raises
    ------
    ContractError
        A value makes no sense.
    """

    name: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.0
    momentum: float = 0.0
    nesterov: bool = False
    amsgrad: bool = False
    arguments: Arguments = added(())
    groups: tuple[Group, ...] = added(())

    def __post_init__(self) -> None:
        if is_named(self.name):
            check_name(self.name)
        elif self.name not in SHORT and not (self.name.isidentifier() and self.name[0].isupper()):
            raise ContractError(
                f"optimiser '{self.name}' is not known; use sgd, adam or adamw, the name of a "
                "class of torch.optim, plugin:NAME or package.module:NAME."
            )
        if not self.lr > 0:
            raise ContractError(f"lr={self.lr} must be positive.")
        check_arguments(f"optimiser '{self.name}'", self.arguments, TAKEN)
        if not all(isinstance(group, Group) for group in self.groups):
            raise ContractError("groups of an optimiser must be a tuple of Group.")


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
        Share of progress in which the factor rises linearly from ``warmup_from``.
    full : int
        Steps of the schedule for which a plateau's ``patience`` and ``memory`` were written; 0 is
        the run's own length.
    least : float
        Below this factor a plateau lowers no rate.
    warmup_steps : int
        The same in optimiser steps, for papers that count them; it is over after a tenth of the
        budget at the latest, so that every budget is trained at the full rate as well.
    warmup_from : float
        Factor where the warm-up begins.
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
    warmup_steps: int = added(0)
    warmup_from: float = added(0.0)

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
        if not (0 <= self.patience <= 1 and 0 <= self.warmup <= 1):
            raise ContractError(
                f"patience={self.patience} and warmup={self.warmup} are shares of the budget; "
                "they must lie in [0, 1]."
            )
        if self.full < 0 or not 0 <= self.least <= 1:
            raise ContractError(
                f"a schedule of full={self.full} steps whose least={self.least}: give a number of "
                "steps, or 0, and a factor in [0, 1]."
            )
        if type(self.warmup_steps) is not int or self.warmup_steps < 0:
            raise ContractError(f"warmup_steps={self.warmup_steps!r} must be a whole number.")
        if self.warmup and self.warmup_steps:
            raise ContractError("a schedule warms up by a share or by steps: drop one of the two.")
        if not 0 <= self.warmup_from <= 1:
            raise ContractError(f"warmup_from={self.warmup_from} must lie in [0, 1].")

    def at(self, progress: float, steps: int = 0) -> float:
        """Factor at ``progress``; 1 for ``plateau``, whose factor is a state of the training.

        Parameters
        ----------
        progress : float
        steps : int
            Optimiser steps that were done before, for a warm-up that counts them.
        """
        p = min(max(progress, 0.0), 1.0)
        warm = self._warm(p, steps)
        if self.rule == "polynomial":
            return warm * (1 - p) ** self.power
        if self.rule == "cosine":
            return warm * 0.5 * (1 + math.cos(math.pi * p))
        if self.rule == "steps":
            return warm * self.factor ** math.floor(p * self.count)
        if self.rule == "exponential":
            return warm * self.factor ** (p * self.count)
        return warm

    def _warm(self, p: float, steps: int) -> float:
        if self.warmup > 0:
            risen = min(p / self.warmup, 1.0)
        elif self.warmup_steps:
            # The first step counts: at a rate of nothing it would be spent in vain.
            risen = min(max((steps + 1) / self.warmup_steps, p / LONGEST_WARMUP), 1.0)
        else:
            return 1.0
        # Not for 0, where it would round: numbers of recipes without the word stay as they were.
        return risen + self.warmup_from * (1 - risen) if self.warmup_from else risen
