"""Stages of training: which weights train, with which optimiser, until when."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from kitsbench.errors import ContractError
from kitsbench.recipe import SHARED, Optimiser, Recipe, Schedule, Stage
from kitsbench.training.ledger import Ending
from kitsbench.training.optimisation.optimisers import frozen_by
from kitsbench.training.optimisation.plateau import Plateau

# However short the budget, a moving average remembers as many steps, and a rule waits for them: a
# few lucky batches end no stage.
LEAST_STEPS = 10


def freeze(network: nn.Module, stage: Stage, rule: Optimiser | None = None) -> list[nn.Parameter]:
    """Let only the stage's parameters train that the optimiser freezes not, and return them.

    Raises
    ------
    ContractError
        No parameter matches the stage's patterns, or none of them trains.
    """
    chosen, held = [], frozen_by(rule, network) if rule is not None else set()
    for name, parameter in network.named_parameters():
        trains = any(fnmatch.fnmatchcase(name, pattern) for pattern in stage.train)
        # Whole numbers, as of a quantised part, have no gradient.
        trains = trains and parameter not in held and not _is_whole(parameter)
        parameter.requires_grad_(trains)
        if trains:
            chosen.append(parameter)
    if not chosen:
        raise ContractError(
            f"stage '{stage.name}' trains {', '.join(stage.train)}, which matches no parameter"
            f"{' that the groups of the optimiser leave unfrozen' * bool(held)}."
        )
    return chosen


def _is_whole(parameter: nn.Parameter) -> bool:
    return not (parameter.is_floating_point() or parameter.is_complex())


def training_mode(network: nn.Module) -> None:
    """Training mode, but frozen normalisation layers keep their statistics."""
    network.train()
    for module in network.modules():
        own = list(module.parameters(recurse=False))
        # A layer whose weights are frozen would drift all the same, by the running statistics that
        # every forward pass in training mode moves.
        if isinstance(module, _NormBase) and own and not any(p.requires_grad for p in own):
            module.eval()


@dataclass
class StageTracker:
    """Where training stands within its stages; plain data, saved with a checkpoint.

    Attributes
    ----------
    index : int
        Current stage.
    begun : float
        Progress at which it began.
    averages : dict of str to float
        Moving sums of the loss components, for stop rules.
    weight : float
        What the moving sums are divided by; it tends to 1.
    observed : float
        Progress at the last step that is in the averages.
    plateau : dict
        State of the :class:`~kitsbench.training.optimisation.plateau.Plateau` rule.
    """

    index: int = 0
    begun: float = 0.0
    averages: dict[str, float] = field(default_factory=dict)
    weight: float = 0.0
    observed: float = 0.0
    plateau: dict[str, Any] = field(default_factory=dict)

    def end(self, stages: Sequence[Stage]) -> float:
        """Progress at which the current stage ends; unspent shares pass to the later ones."""
        left = sum(stage.share for stage in stages[self.index :])
        # Of what is left, not of the whole: a stage that ended early leaves more to all that
        # follow.
        return self.begun + stages[self.index].share / left * (1 - self.begun)

    def fraction(self, progress: float, stages: Sequence[Stage]) -> float:
        """Progress within the current stage."""
        end = self.end(stages)
        if end <= self.begun:
            return 1.0
        return min((progress - self.begun) / (end - self.begun), 1.0)

    def is_over(self, progress: float, stages: Sequence[Stage]) -> tuple[Ending, str] | None:
        """Why the current stage ends here, as a word and in words, or None.

        The word is ``until`` or ``share``. The last stage ends with the budget.
        """
        if self.index == len(stages) - 1:
            return None
        until = stages[self.index].until
        if until is not None and self.average(*stages[self.index].watched) >= until[1]:
            return "until", f"{until[0]} reached {until[1]:g}"
        if progress >= self.end(stages):
            return "share", "its share of the budget was spent"
        return None

    def average(self, top: str, bottom: str = "") -> float:
        """Moving average of a loss component, or the ratio of two; minus infinity until it is one.

        Parameters
        ----------
        top, bottom : str
            As of :attr:`kitsbench.recipe.Stage.watched`.
        """
        # Within one memory the weight rises to this.
        if self.weight < 1 - math.exp(-1) - 1e-9:
            return -math.inf
        if top not in self.averages or (bottom and not self.averages.get(bottom)):
            return -math.inf
        return self.averages[top] / (self.averages[bottom] if bottom else self.weight)

    def observe(self, parts: dict[str, float], schedule: Schedule, progress: float) -> bool:
        """Update the moving averages and the plateau rule with the losses of one step.

        Returns
        -------
        bool
            Whether the plateau rule lowered the learning rate.
        """
        passed = progress - self.observed
        self.observed = progress
        # The memory is a share of the budget, so that a rule means the same under every budget.
        # Under a short one a single step may exceed it, and the average would be the last loss
        # alone.
        decay = math.exp(-min(passed / schedule.memory, 1 / LEAST_STEPS))
        # Begun with 0 and divided by the weight: all steps count by their age alone, the first too.
        self.weight = decay * self.weight + 1 - decay
        for name, value in parts.items():
            self.averages[name] = decay * self.averages.get(name, 0.0) + (1 - decay) * value
        if schedule.rule != "plateau":
            return False
        return Plateau(self.plateau, self.begun).observe(parts["loss"], schedule, progress)

    def next(self, progress: float) -> None:
        """Enter the next stage."""
        self.index += 1
        self.begun = progress
        # Losses of the next stage are on another scale and would be compared with these.
        self.averages, self.weight, self.plateau = {}, 0.0, {}

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def rules_of(stage: Stage, recipe: Recipe) -> tuple[Optimiser, Schedule]:
    """Optimiser and schedule of a stage: the recipe's, unless a paper's stage has its own."""
    if recipe.name == SHARED:
        return recipe.optimiser, recipe.schedule
    return stage.optimiser or recipe.optimiser, stage.schedule or recipe.schedule
