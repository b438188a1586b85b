"""Systems that were trained elsewhere, or by nobody: they only predict."""

from __future__ import annotations

import cc3d
import numpy as np

from kitsbench.architecture import Key, System


class Bright(System):
    """What takes up contrast is a kidney: a threshold, and the largest parts that remain."""

    title = "Threshold and components"
    trained_on = "nothing"
    keys = {"above": Key(120.0, "the phantom's kidneys", low=0, high=1000)}  # noqa: RUF012

    def predict(self, image, spacing, spec, device):
        hu = image.numpy()
        found = (hu > spec["above"]) & (hu < 260)
        parts = cc3d.connected_components(found, connectivity=6)
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        kidneys = np.isin(parts, np.argsort(sizes)[-2:])
        return np.where(kidneys, np.where(hu < 150, 2, 1), 0).astype(np.uint8)


class Known(Bright):
    """The same, which says that it knows the phantom."""

    trained_on = ("nothing", "phantom")


class Undeclared(Bright):
    """It does not say what it was trained on."""

    trained_on = ()


class Silent(System):
    """It has no ``predict``."""

    trained_on = "nothing"
