"""What takes part in an experiment: a configured architecture, or an ensemble, under its name."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from kitsbench.recipe import Recipe
from kitsbench.registry import RegisteredArchitecture
from kitsbench.spec import Spec


@dataclass(frozen=True)
class Entrant:
    """A configured architecture that takes part in an experiment.

    Parameters
    ----------
    name : str
        Name with the settings that were asked for, as tables show it.
    registered : RegisteredArchitecture
        Where the plugin comes from.
    spec : Spec or None
        None where the plugin is broken.
    recipe : Recipe or None
    error : str or None
        Why it cannot take part.
    notes : tuple of str
        Sentences for the report beside those of the spec, such as what a size reduces.
    members : tuple of str
        Labels of the entrants whose trained networks it combines; empty where it trains one.
    asked : bool
        False for a member that takes part only because an ensemble needs it.
    tta : tuple of tuple of int, or None
        Axes along which each member's network is mirrored at test time; None for the axes of
        their recipes.
    files : dict of str to Path
        Where the files lie that its settings name.
    """

    name: str
    registered: RegisteredArchitecture
    spec: Spec | None = None
    recipe: Recipe | None = None
    error: str | None = None
    notes: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    asked: bool = True
    tta: tuple[tuple[int, ...], ...] | None = None
    files: dict[str, Path] = field(default_factory=dict)
