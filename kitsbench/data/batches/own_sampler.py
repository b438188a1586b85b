"""Where patches lie by a function of the plugin, or of a package: pure in (seed, step)."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kitsbench.data.batches.patches import PatchSource, generator
from kitsbench.errors import ContractError, shorten, telling
from kitsbench.named import Arguments, resolve

KEPT = 32  # steps whose centres are kept: a batch asks for them several times


@dataclass(frozen=True)
class CaseTable:
    """What a sampler may know of a case, on the first grid.

    Attributes
    ----------
    shape : tuple of int
        Voxels (z, y, x).
    spacing : tuple of float
        mm, (z, y, x).
    positions : dict of int to ndarray
        {label value: voxels (n, 3) that have it}: all, or a drawn part where there are many.
    voxels : dict of int to int
        {label value: how many voxels have it}.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    positions: Mapping[int, np.ndarray]
    voxels: Mapping[int, int]


@dataclass(frozen=True)
class Draw:
    """What a sampler of one's own is given for the batch of a step.

    It returns a pair for every sample: the name of a case, and the centre of the patch (z, y, x) in
    voxels of the first grid, where k + 0.5 is the middle of voxel k. Centres are rounded so that
    patches begin on whole voxels.

    Attributes
    ----------
    step : int
    names : tuple of str
        The cases that are next in turn, one for each sample: each comes once a round.
    cases : mapping of str to CaseTable
        All training cases.
    patch : tuple of int
        Voxels of the first grid.
    random : numpy.random.Generator
        Depends on (seed, step) alone.
    """

    step: int
    names: tuple[str, ...]
    cases: Mapping[str, CaseTable]
    patch: tuple[int, ...]
    random: np.random.Generator


class OwnSampler:
    """Asks a function where the patches of a step lie, and checks the answer.

    Parameters
    ----------
    name : str
        ``plugin:NAME`` or ``package.module:NAME``.
    arguments : tuple of (str, value)
    source : PatchSource
    plugin : object
        The architecture.

    Raises
    ------
    ContractError
        There is no such function.
    """

    def __init__(self, name: str, arguments: Arguments, source: PatchSource, plugin: object):
        self.name, self.arguments, self.source = name, dict(arguments), source
        self.function = resolve(name, plugin)
        self.cases = _Tables(source)
        # The source asks for the case and the centre of every sample in turn.
        self._drawn = functools.lru_cache(maxsize=KEPT)(self._ask)

    def __call__(self, step: int) -> Sequence[tuple[str, np.ndarray]]:
        """Case and centre of every sample of a step.

        Raises
        ------
        ContractError
            The function raised, or gave something else.
        """
        return self._drawn(step)

    def _ask(self, step: int) -> Sequence[tuple[str, np.ndarray]]:
        source = self.source
        draw = Draw(
            step,
            tuple(source.name_in_turn(step, sample) for sample in range(source.batch_size)),
            self.cases,
            source.spec.grids[0].shape,
            generator(source.seed, 7, step),
        )
        try:
            answer = [
                (name, _centre(centre)) for name, centre in self.function(draw, **self.arguments)
            ]
        except Exception as error:
            raise ContractError(f"the sampler {self.name} failed: {telling(error)}") from error
        if len(answer) != source.batch_size:
            raise ContractError(
                f"the sampler {self.name} gave {len(answer)} centres for a batch of "
                f"{source.batch_size}: give a pair (case, centre) for each sample."
            )
        for name, centre in answer:
            self._check(name, centre)
        return answer

    def _check(self, name: Any, centre: np.ndarray) -> None:
        if not isinstance(name, str) or name not in self.cases:
            raise ContractError(
                shorten(
                    f"the sampler {self.name} named the case {name!r:.80}, which is not trained "
                    "on: choose from draw.cases."
                )
            )
        shape = self.cases[name].shape
        inside = np.isfinite(centre).all() and (centre >= 0).all() and (centre <= shape).all()
        if not inside:
            raise ContractError(
                f"the sampler {self.name} put a centre at {centre.tolist()} of case {name}, whose "
                f"first grid has {tuple(shape)} voxels: give (z, y, x) within them."
            )


class _Tables(Mapping[str, CaseTable]):
    """The cases of a source, opened when they are looked at."""

    def __init__(self, source: PatchSource):
        self._source, self._known = source, frozenset(source.names)
        self._made: dict[str, CaseTable] = {}

    def __getitem__(self, name: str) -> CaseTable:
        if name not in self._known:
            raise KeyError(name)
        if name not in self._made:
            case = self._source.stores[self._source.spec.grids[0].name].case(name)
            self._made[name] = CaseTable(
                tuple(case.image.shape),
                tuple(case.spacing),
                case.foreground,
                {value: case.count(value) for value in case.foreground},
            )
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._source.names)

    def __len__(self) -> int:
        return len(self._known)


def _centre(value: Any) -> np.ndarray:
    centre = np.asarray(value, dtype=float)
    if centre.shape != (3,):
        raise ValueError(f"a centre has the shape {centre.shape}; give (z, y, x)")
    return centre
