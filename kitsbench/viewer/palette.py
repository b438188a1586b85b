"""In which colours labels are shown, in figures and in the viewer alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Colour:
    """What a label is drawn in.

    Attributes
    ----------
    word : str
        Such as ``blue``, or ``yellow, dashed``.
    code : str
        ``#rrggbb``.
    dashed : bool
        Whether its outline is dashed, where there are outlines.
    """

    word: str
    code: str
    dashed: bool = False


# Blue and orange stay apart for all common kinds of colour blindness; the dashes of the cyst
# make it certain. All three are brighter than soft tissue in the window.
_KITS = {
    "kidney": Colour("blue", "#56B4E9"),
    "tumor": Colour("orange", "#FF9F1C"),
    "cyst": Colour("yellow, dashed", "#F9E54E", dashed=True),
}
# Of labels that are not those of KiTS, in their order; then again, in dashes.
_OTHERS = (
    Colour("blue", "#56B4E9"),
    Colour("orange", "#FF9F1C"),
    Colour("green", "#2FD19B"),
    Colour("yellow", "#F9E54E"),
    Colour("pink", "#F2A0CE"),
    Colour("red", "#FF6B5E"),
)


def colours_of(labels: Mapping[str, int]) -> dict[str, Colour]:
    """What each label of a dataset is drawn in, by its name."""
    if set(labels) <= set(_KITS):
        return {name: _KITS[name] for name in labels}
    found = {}
    for place, name in enumerate(labels):
        again, number = divmod(place, len(_OTHERS))
        one = _OTHERS[number]
        found[name] = Colour(f"{one.word}, dashed", one.code, True) if again else one
    return found
