"""One number for everything in kitsbench that decides what a trial's numbers are."""

from __future__ import annotations

NUMERICS = 2
"""Raised by one whenever the same trial would give other numbers than before.

It is part of every trial's identity, so that trials of before and after never share an id. A change
counts if it moves losses, probabilities, label maps or scores by more than rounding: batches,
augmentation, the intensity rule, initialisation, losses, optimisers, schedules, tiling,
combination, decoding, the way back to a scan's voxels, metrics. What only makes it faster,
smaller or clearer does not count; nor do a plugin, a recipe and a dataset, whose own hashes tell,
and the preparation, whose version is in the ids of prepared stores.

``tests/experiments/test_numerics.py`` says when three short trainings move.
"""
