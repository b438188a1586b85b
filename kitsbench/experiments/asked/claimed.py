"""Which of the architectures in a table are the ones that a claim speaks of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kitsbench.errors import UsageError
from kitsbench.registry import parse_request

_SIZE_KEYS = frozenset({"size", "width", "depth", "levels"})


@dataclass(frozen=True)
class _Entrant:
    name: str
    settings: frozenset[tuple[str, str]]
    ending: str

    @property
    def scale(self) -> frozenset[tuple[str, str]]:
        """Settings that make a network larger or smaller."""
        return frozenset(item for item in self.settings if item[0] in _SIZE_KEYS)


def match_pair(
    higher: str, lower: str, known: Sequence[str]
) -> tuple[tuple[str, str] | None, list[str]]:
    """Find the pair that a claim compares.

    Settings of size (``size``, ``width``, ``depth``, ``levels``) may be anything as long as they
    are the same on both sides; all others must be those of the claim.

    Parameters
    ----------
    higher, lower : str
        Architectures of the claim.
    known : sequence of str
        Names in the table.

    Returns
    -------
    pair : tuple of str or None
        Labels of the table; the pair without settings of size where there are several.
    lacking : list of str
        Architectures of the claim that no name stands for, or both where they are there in
        different sizes only.
    """
    firsts, seconds = _candidates(higher, known), _candidates(lower, known)
    pairs = [
        (len(one.scale), first, second)
        for first, one in firsts
        for second, two in seconds
        if one.scale == two.scale
    ]
    if pairs:
        _, first, second = min(pairs)
        return (first, second), []
    missing = [name for name, found in ((higher, firsts), (lower, seconds)) if not found]
    if missing:
        return None, missing
    return None, [f"{higher} and {lower} at the same size"]


def _candidates(claimed: str, known: Sequence[str]) -> list[tuple[str, _Entrant]]:
    wanted = _parse(claimed)
    found = []
    for name in known:
        try:
            entrant = _parse(name)
        except UsageError:
            continue  # tables of other programs may name architectures as they like
        same = (entrant.name, entrant.ending) == (wanted.name, wanted.ending)
        if same and entrant.settings - entrant.scale == wanted.settings:
            found.append((name, entrant))
    return found


def _parse(shown: str) -> _Entrant:
    text, plus, ending = shown.partition("+")
    name, settings = parse_request(text)
    return _Entrant(name, frozenset(settings.items()), plus + ending)
