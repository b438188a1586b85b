"""What takes part in an experiment: a configured architecture, or an ensemble, under its name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kitsbench.experiments.records import ElsewhereRecord
from kitsbench.files import digest
from kitsbench.recipe import Recipe
from kitsbench.registry import RegisteredArchitecture
from kitsbench.scans.label_names import LabelNames
from kitsbench.spec import Spec

NO_RECIPE = Recipe("none", spacing="native")
"""Of what was trained elsewhere, by whatever it was."""


@dataclass(frozen=True)
class Given:
    """Label maps that somebody made, which take part as they are.

    Parameters
    ----------
    folder : Path
        Where they are.
    files : mapping of str to Path
        Case of the dataset to its label map.
    marks : mapping of str to str
        Case to the hash of that.
    names : LabelNames
        What their values mean.
    hours : float or None
        Of training, as whoever gives them says.
    seen : frozenset of str
        Cases that were trained on, as what lies beside the label maps says.
    """

    folder: Path
    files: Mapping[str, Path]
    marks: Mapping[str, str]
    names: LabelNames
    hours: float | None
    seen: frozenset[str] = frozenset()

    def digest(self, cases: Iterable[str]) -> str:
        """Hash of the label maps of some cases, which names the trial that tests these."""
        marks = {case: self.marks[case] for case in cases if case in self.marks}
        return digest([marks, [list(pair) for pair in self.names.pairs()]])


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
    alone : str
        Of a member that names a fold or a seed: name of the same architecture without that.
    left_out : int or None
        Inner fold that it is trained without.
    run : (int, int)
        Which of how many seeds that an ensemble names; (0, 1) for the seed that is asked for.
    tta : tuple of tuple of int, or None
        Axes along which each member's network is mirrored at test time; None for the axes of
        their recipes.
    files : dict of str to Path
        Where the files lie that its settings name.
    given : Given or None
        Its label maps, where somebody else has made them.
    elsewhere : ElsewhereRecord or None
        What is known of one that was trained elsewhere, once the test cases are.
    """

    name: str
    registered: RegisteredArchitecture
    spec: Spec | None = None
    recipe: Recipe | None = None
    error: str | None = None
    notes: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    asked: bool = True
    alone: str = ""
    left_out: int | None = None
    run: tuple[int, int] = (0, 1)
    tta: tuple[tuple[int, ...], ...] | None = None
    files: dict[str, Path] = field(default_factory=dict)
    given: Given | None = None
    elsewhere: ElsewhereRecord | None = None

    @property
    def trains(self) -> bool:
        """Whether it trains networks of its own, and so needs volumes, a budget and seeds."""
        return self.spec is not None and not self.members and not self.spec.trained_on

    def seed(self, run: int) -> int:
        """Seed of its training in a run of the experiment."""
        number, count = self.run
        return run * count + number


def told_apart(plugins: Iterable[RegisteredArchitecture]) -> dict[str, str]:
    """Names for tables, by location, of files that are not called by their own names alone.

    Every scaffold's file is ``plugin.py``, which says nothing: it is shown by the name under which
    it will be installed. Those of one name are shown with as many of their folders as tell them
    apart; what a trial is called in its identity does not depend on its company.
    """
    groups: dict[str, set[str]] = {}
    names: dict[str, str] = {}
    for plugin in plugins:
        groups.setdefault(plugin.shown, set()).add(plugin.location)
        if plugin.shown != plugin.name:
            names[plugin.location] = plugin.shown
    for group in groups.values():
        files = {place: Path(place).with_suffix("").parts for place in group if place[-3:] == ".py"}
        for depth in range(2, 1 + max(map(len, files.values()), default=0) * (len(group) > 1)):
            shown = {place: "/".join(parts[-depth:]) for place, parts in files.items()}
            if len(set(shown.values())) == len(files):
                names |= shown
                break
    return names
