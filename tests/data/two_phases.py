"""A small dataset in nnU-Net's layout whose cases have a second phase of contrast medium."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scans import ct, kidneys, save

SHAPE = (16, 20, 24)


def write_two_phases(folder: Path, cases: int = 4) -> Path:
    """Scans with the channels CT (0000) and late (0001), in which tumours are brighter."""
    for number in range(cases):
        image, label = ct(SHAPE, seed=number), kidneys(SHAPE)
        image[label > 0] += 100
        late = image + np.where(label == 2, 80, 0).astype(np.int16)
        save(folder / "imagesTr" / f"case{number}_0000.nii.gz", image)
        save(folder / "imagesTr" / f"case{number}_0001.nii.gz", late)
        save(folder / "labelsTr" / f"case{number}.nii.gz", label)
    content = {
        "channel_names": {"0": "CT", "1": "late"},
        "labels": {"background": 0, "kidney": 1, "tumor": 2},
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder
