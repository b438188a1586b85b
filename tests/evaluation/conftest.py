"""Small label maps, in arrays and on disk."""

from __future__ import annotations

import numpy as np
import pytest
from save_maps import save_map


@pytest.fixture(scope="session")
def make_maps():
    """Return a function from a seed to a prediction and a truth that look alike."""

    def make(seed, shape=(8, 20, 16)):
        random = np.random.default_rng(seed)
        z, y, x = np.indices(shape)
        truth = np.zeros(shape, np.uint8)
        middle = np.array(shape) / 2 + random.uniform(-0.5, 0.5, 3)
        distance = np.hypot(np.hypot(z - middle[0], (y - middle[1]) / 2), (x - middle[2]) / 2)
        truth[distance < 3.2] = 1
        truth[(distance < 2) & (y > middle[1])] = 2
        prediction = np.roll(truth, 1, axis=1)
        noise = random.random(shape) < 0.05
        prediction[noise] = random.integers(0, 3, noise.sum())
        return prediction, truth

    return make


@pytest.fixture
def folders(tmp_path, make_maps):
    """Three predictions and their truth, both in flat folders."""
    for seed in range(3):
        prediction, truth = make_maps(seed)
        save_map(tmp_path / "predictions" / f"case_{seed:05d}.nii.gz", prediction)
        save_map(tmp_path / "truth" / f"case_{seed:05d}.nii.gz", truth)
    return tmp_path / "predictions", tmp_path / "truth"
