"""The grid of folds and seeds that an experiment was planned on, and what is missing of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pandas as pd

_SHOWN = 3
NOT_IMPUTED = "; missing runs are not imputed."
"""How the note of :func:`missing_notes` ends."""


@dataclass(frozen=True)
class MissingRuns:
    """What an architecture lacks of its grid of folds and seeds.

    Attributes
    ----------
    architecture : str
        Display name.
    missing : tuple of (int, int)
        Folds and seeds, in rising order.
    planned : int
        Trials of the whole grid.
    """

    architecture: str
    missing: tuple[tuple[int, int], ...]
    planned: int

    @property
    def sentence(self) -> str:
        """What is missing, such as ``1 of 10 trials of unet3d is missing (fold 3, seed 1)``."""
        count = len(self.missing)
        by_seeds: dict[tuple[int, ...], list[int]] = {}
        for fold in sorted({fold for fold, _ in self.missing}):
            seeds = tuple(seed for at, seed in self.missing if at == fold)
            by_seeds.setdefault(seeds, []).append(fold)
        places = [
            f"fold{plural(folds)} {listing(folds)}, seed{plural(seeds)} {listing(seeds)}"
            for seeds, folds in by_seeds.items()
        ]
        more = f"; and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
        return (
            f"{count} of {self.planned} trial{'s' * (self.planned > 1)} of {self.architecture} "
            f"{'is' if count == 1 else 'are'} missing ({'; '.join(places[:_SHOWN])}{more})"
        )


def missing_runs(rows: pd.DataFrame, once: Collection[str] = ()) -> list[MissingRuns]:
    """Tell which runs of the grid of folds and seeds have no scores.

    The grid of an architecture has every fold of the rows. Its seeds are its own, or those of
    another architecture that has all of them and more: seed 1 is missing where others have it,
    and nothing is where each architecture numbers its seeds in its own way.

    Parameters
    ----------
    rows : DataFrame
        Validated rows of one dataset and protocol, such as those of one endpoint.
    once : collection of str
        Architectures that were planned with one run in a fold, whatever the seeds of others: what
        was trained elsewhere would predict the same once more.

    Returns
    -------
    list of MissingRuns
        Of the architectures that lack some, in alphabetical order.
    """
    runs = rows[["architecture", "fold", "seed"]].drop_duplicates()
    folds = sorted(int(fold) for fold in runs["fold"].unique())
    there: dict[str, set[tuple[int, int]]] = {}
    for name, fold, seed in runs.itertuples(index=False, name=None):
        there.setdefault(str(name), set()).add((int(fold), int(seed)))
    seeds = {name: {seed for _, seed in pairs} for name, pairs in there.items()}
    sets = {frozenset(own) for own in seeds.values()}
    found = []
    for name in sorted(there):
        wider = (other for other in sets if other >= seeds[name])
        wanted = seeds[name] if name in once else max(wider, key=len)
        grid = [(fold, seed) for fold in folds for seed in sorted(wanted)]
        lacking = tuple(pair for pair in grid if pair not in there[name])
        if lacking:
            found.append(MissingRuns(name, lacking, len(grid)))
    return found


def missing_notes(found: Sequence[MissingRuns]) -> list[str]:
    """Say in one note which trials are missing; none where none is.

    Parameters
    ----------
    found : sequence of MissingRuns
        From :func:`missing_runs`.
    """
    if not found:
        return []
    if len(found) <= _SHOWN:
        said = "; ".join(one.sentence for one in found)
    else:
        count = sum(len(one.missing) for one in found)
        said = (
            f"{count} trials of {len(found)} architectures are missing "
            f"({listing([one.architecture for one in found])})"
        )
    return [f"{said}{NOT_IMPUTED}"]


def without_strays(rows: pd.DataFrame, kept: Collection[str] = ()) -> tuple[list[str], list[str]]:
    """Tell whom to leave out so that those who are left share a fold.

    Two architectures that lag behind, one with fold 0 alone and one with fold 1, would otherwise
    take every fold from the ranking of all. Those with the fewest folds are left out, until
    somebody shares a fold; nobody is where two would not be left.

    Parameters
    ----------
    rows : DataFrame
        Rows that are analysed, of one endpoint.
    kept : collection of str
        Who is never left out, such as the baseline.

    Returns
    -------
    names : list of str
        Who is left out, in alphabetical order.
    notes : list of str
        What is said of it; empty where nobody is.
    """
    there: dict[str, set[int]] = {}
    for name, fold in rows[["architecture", "fold"]].drop_duplicates().itertuples(index=False):
        there.setdefault(str(name), set()).add(int(fold))
    left, out = dict(there), list[str]()
    while left and not set.intersection(*left.values()):
        free = {name: len(folds) for name, folds in left.items() if name not in kept}
        fewest = min(free.values(), default=0)
        out += [name for name, count in free.items() if count == fewest]
        left = {name: folds for name, folds in left.items() if name not in out}
        if not free or len(left) < 2:
            return [], []
    if not out:
        return [], []
    out.sort()
    shared = sorted(set.intersection(*left.values()))
    said = "; ".join(
        f"{name} has fold{plural(there[name])} " + listing(sorted(there[name]))
        for name in out[:_SHOWN]
    )
    more = f"; and {len(out) - _SHOWN} more" if len(out) > _SHOWN else ""
    return out, [
        f"{listing(out)} {'is' if len(out) == 1 else 'are'} left out, so that the others share "
        f"fold{plural(shared)} {listing(shared)}: no fold was scored by all ({said}{more}). Run "
        "the folds that are missing to compare all."
    ]


def plural(items: Collection[object]) -> str:
    """Return the ``s`` of several things."""
    return "s" * (len(items) > 1)


def listing(items: Sequence[object]) -> str:
    """Return ``a, b and c``; of many things the first."""
    texts = [str(item) for item in items]
    if len(texts) > 8:
        texts = [*texts[:7], f"{len(texts) - 7} more"]
    return " and ".join(filter(None, [", ".join(texts[:-1]), texts[-1]]))
