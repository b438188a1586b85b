"""An inference-only system: it was trained elsewhere, or by nobody, and only predicts."""

import numpy as np
from kitsbench.architecture import Key, System
from scipy import ndimage


class InferenceOnly(System):
    """Marks the two largest bright parts of a scan as kidneys; put your system's call here.

    It has no weights. A system that has some names them by ``Key.file()``, and reads them in the
    hook ``load(files, spec, device)``, once, before the first scan.
    """

    title = "Threshold and components"
    trained_on = "nothing"  # every dataset that it has seen, such as ("KiTS19", "BTCV")
    keys = {"above": Key(120.0, "the phantom's kidneys", low=0, high=1000, help="HU")}

    def predict(self, image, spacing, spec, device):
        hu = ndimage.gaussian_filter(image.numpy(), [2.0 / edge for edge in spacing])  # 2 mm
        parts, _ = ndimage.label((hu > spec["above"]) & (hu < 260))
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0  # the background
        return np.isin(parts, np.argsort(sizes)[-2:]).astype(np.uint8)
