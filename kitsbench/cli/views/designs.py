"""Two designs side by side: all of the seeds, and seeds until all is decided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kitsbench.experiments.experiment import Experiment

Known = Mapping[str, Mapping[str, Any]]


def designs_content(experiment: Experiment, known: Known) -> dict[str, Any]:
    """Both designs for JSON; empty where nothing stops by itself.

    Parameters
    ----------
    experiment : Experiment
    known : mapping
        Device seconds of each trial by its id, as of
        :func:`~kitsbench.experiments.experiment.estimates`.
    """
    from kitsbench.experiments.foreseen import foresee_looks

    found = foresee_looks(experiment, known)
    return {} if found is None else {"designs": found.plain()}


def designs_told(experiment: Experiment, known: Known) -> list[str]:
    """Both designs in sentences; empty where nothing stops by itself."""
    from kitsbench.experiments.foreseen import foresee_looks

    found = foresee_looks(experiment, known)
    return [] if found is None else found.told()
