"""What is said of initial weights that were trained elsewhere: on what, and whether that leaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kitsbench.configuration import CONTENT
from kitsbench.data.datasets.dataset import Dataset
from kitsbench.data.datasets.leaks import UNKNOWN, why_leaks
from kitsbench.experiments.asked.request import Tell
from kitsbench.experiments.plan.entrant import Entrant


def say_pretraining(
    entrant: Entrant, dataset: Dataset, tested: Sequence[str], tell: Tell
) -> Entrant:
    """Give an entrant that does not begin at random a note for the report.

    Parameters
    ----------
    entrant : Entrant
    dataset : Dataset
        In use.
    tested : sequence of str
        Cases of it that are tested.
    tell : callable
        Gets a sentence where the weights may know those.
    """
    spec = entrant.spec
    # What holds for the networks of another row is said there.
    if spec is None or spec.members or spec.trained_on or entrant.tta is not None:
        return entrant
    named = any(isinstance(v, str) and CONTENT.fullmatch(v) for _, v in spec.config)
    if not (named or spec.pretrained_on):
        return entrant
    data = spec.pretrained_on or UNKNOWN
    note = f"Pretrained on {data}."
    if not spec.pretrained_on:
        note = "It begins with the weights of a file."
    leak = why_leaks((data,), dataset, tested)
    if leak is not None:
        note = f"{note} As for its initial weights, {leak}; scores may flatter it."
        tell(f"{entrant.name}: {note}")
    return replace(entrant, notes=(*entrant.notes, note))
