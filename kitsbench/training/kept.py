"""What a plugin's own step keeps from one step to the next, and how a step is undone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from kitsbench.training.failures import TrialFailure
from kitsbench.training.networks.rehearsal import same_randomness
from kitsbench.training.optimisation.accumulation import Buffers

Made = TypeVar("Made", nn.Module, Tensor)


class Kept:
    """Modules and tensors by name, which are in every checkpoint.

    Parameters
    ----------
    device : torch.device
    saved : mapping of str to Tensor, optional
        As of :meth:`state`, where a resumed run starts.
    """

    def __init__(self, device: torch.device, saved: Mapping[str, Tensor] | None = None):
        self.device, self.saved = device, dict(saved or {})
        self.made: dict[str, nn.Module | Tensor] = {}

    def get(self, name: str, make: Callable[[], Made]) -> Made:
        """What is kept under a name, made when it is first asked for.

        Raises
        ------
        TrialFailure
            The name is none, ``make`` made something else, or what a checkpoint holds does not fit.
        """
        if name not in self.made:
            if not (isinstance(name, str) and name.isidentifier()):
                raise TrialFailure("plugin error", f"keep() got the name {name!r:.60}: use a word.")
            # A resumed run makes it in another step than the one in which it was made first.
            with same_randomness(self.device):
                made = make()
            if not isinstance(made, (nn.Module, Tensor)):
                raise TrialFailure(
                    "plugin error",
                    f"keep('{name}') was given a {type(made).__name__}: a module or a tensor "
                    "can be kept.",
                )
            self.made[name] = made.detach().clone() if isinstance(made, Tensor) else made
            self._go_on(name)
        return self.made[name]  # type: ignore[return-value]

    def _go_on(self, name: str) -> None:
        saved = {k.partition("/")[2]: v for k, v in self.saved.items() if k.startswith(f"{name}/")}
        if not saved:
            return
        made = self.made[name]
        try:
            if isinstance(made, Tensor):
                if (made.shape, made.dtype) != (saved[""].shape, saved[""].dtype):
                    raise RuntimeError("another shape or type")  # copying would stretch or round it
                made.copy_(saved[""])
            else:
                made.load_state_dict(saved)
        except (RuntimeError, KeyError) as error:
            raise TrialFailure(
                "plugin error",
                f"keep('{name}') made what its checkpoint does not fit: make the same every time.",
            ) from error

    def state(self) -> dict[str, Tensor]:
        """Tensors for a checkpoint; those of the last one that nobody has asked for, too."""
        found = {k: v for k, v in self.saved.items() if k.partition("/")[0] not in self.made}
        for name, made in self.made.items():
            values = {"": made} if isinstance(made, Tensor) else made.state_dict()
            found |= {f"{name}/{key}": value for key, value in values.items()}
        return found


class Undo(Buffers):
    """All that a plugin's own step may change before the optimiser moves the weights.

    It may move them itself, as sharpness-aware minimisation does, and what it keeps.

    Parameters
    ----------
    network : nn.Module
    kept : Kept
    """

    def __init__(self, network: nn.Module, kept: Kept):
        self._network, self._kept = network, kept
        self._there: tuple[str, ...] = ()
        self._tensors: dict[str, Tensor] = {}
        super().__init__(network, weights=True)

    def keep(self) -> None:
        """Copy the weights, the buffers and what is kept."""
        made = self._kept.made
        if tuple(made) != self._there:
            self._there = tuple(made)
            modules = [one for one in made.values() if isinstance(one, nn.Module)]
            super().__init__(self._network, *modules, weights=True)
        self._tensors = {k: v.clone() for k, v in made.items() if isinstance(v, Tensor)}
        super().keep()

    @torch.no_grad()
    def put_back(self) -> None:
        """Undo what has become of them since, if they are kept."""
        if self._held:
            made = self._kept.made
            for name in [name for name in made if name not in self._there]:
                del made[name]  # made by the step that is undone
            for name, value in self._tensors.items():
                made[name].copy_(value)  # type: ignore[operator]
        super().put_back()
