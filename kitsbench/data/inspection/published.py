"""What the public KiTS data look like: the numbers that a dataset is held against.

Geometry and volumes are measured from all public masks (210 of KiTS19, 489 of KiTS23); intensities
from the pooled voxels of KiTS23's 489 cases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

QUANTILES = (5, 25, 50, 75, 95)
HU_QUANTILES = (0.5, 5, 25, 50, 75, 95, 99.5)

Five = tuple[float, float, float, float, float]


@dataclass(frozen=True)
class Published:
    """Quantiles (5, 25, 50, 75, 95 %) over the cases of a public dataset.

    Attributes
    ----------
    name : str
        As readers know it.
    n_cases : int
        Cases that were measured.
    slice_spacing, pixel, slices, height : tuple of float
        mm between slices, mm of a pixel, number of slices, mm from the first to the last.
    volume_ml : mapping
        By label.
    cases_with : mapping
        How many cases have a label at all.
    """

    name: str
    n_cases: int
    slice_spacing: Five
    pixel: Five
    slices: Five
    height: Five
    volume_ml: Mapping[str, Five]
    cases_with: Mapping[str, int]


KITS19 = Published(
    name="KiTS19",
    n_cases=210,
    slice_spacing=(0.5, 1.25, 3, 5, 5),
    pixel=(0.66, 0.72, 0.78, 0.87, 0.98),
    slices=(49, 88, 108, 273, 679),
    height=(183, 274, 411, 488, 674),
    volume_ml={"kidney": (259, 353, 408, 490, 612), "tumor": (2.6, 7.9, 30.1, 93, 614)},
    cases_with={"kidney": 210, "tumor": 210},
)
KITS23 = Published(
    name="KiTS23",
    n_cases=489,
    slice_spacing=(0.5, 2, 3, 5, 5),
    pixel=(0.64, 0.72, 0.78, 0.87, 0.98),
    slices=(44, 84, 104, 211, 635),
    height=(187, 270, 417, 485, 655),
    volume_ml={
        "kidney": (249, 329, 395, 473, 612),
        "tumor": (2.9, 8.8, 32.3, 112, 664),
        "cyst": (0.21, 1.24, 4.4, 21.4, 94.9),
    },
    cases_with={"kidney": 489, "tumor": 489, "cyst": 248},
)


@dataclass(frozen=True)
class Intensity:
    """HU of a label in KiTS23.

    Attributes
    ----------
    mean, sd : float
        Of all its voxels together.
    pooled : tuple of float
        Quantiles (0.5, 5, 25, 50, 75, 95, 99.5 %) of all its voxels together.
    """

    mean: float
    sd: float
    pooled: tuple[float, ...]


HU = {
    "kidney": Intensity(115.5, 75.2, (-64, -9, 68, 117, 162, 235, 312)),
    "tumor": Intensity(61.3, 54.2, (-52, -12, 24, 55, 91, 155, 265)),
    "cyst": Intensity(19.3, 36.5, (-55, -27, -3, 14, 35, 86, 172)),
}


def like(layout: str, labels: Mapping[str, int]) -> Published:
    """The public dataset that one with this layout and these labels is held against."""
    if layout == "kits19" and "cyst" not in labels:
        return KITS19
    return KITS23 if "cyst" in labels or layout.startswith("kits2") else KITS19
