"""Label maps of another system are read before a trial needs them."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from command_line import call_kitsbench

LABELS = np.zeros((6, 5, 4))
LABELS[2:4, 2:4, 1:3], LABELS[2, 2, 1] = 1, 2


def folder(tmp_path, spoil, kind=np.float32):
    spoiled = LABELS.copy()
    spoil(spoiled)
    for number, values in enumerate((LABELS, spoiled)):
        file = tmp_path / "maps" / f"case_0000{number}.nii.gz"
        file.parent.mkdir(exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(values.astype(kind), np.eye(4)), file)
    return tmp_path / "maps"


def spoiler(value):
    def spoil(values):
        values[0, 0, 0] = value

    return spoil


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (spoiler(np.nan), "the mask holds the value nan"),
        (spoiler(0.31), "the mask holds the value 0.31"),
        (spoiler(104), "This dataset's labels are 0, 1 kidney, 2 tumor"),
        (spoiler(-1), "the mask holds the value -1"),
    ],
)
def test_what_is_no_label_is_found_with_its_file(tmp_path, spoil, told):
    done = call_kitsbench("check", folder(tmp_path, spoil))
    assert done.code == 1
    said = " ".join(done.out.split())
    assert "FAILED label maps hold labels: 1 of 2 cannot be used:" in said
    assert "case_00001" in said
    assert told in said


def test_label_maps_of_the_task_pass(tmp_path):
    maps = folder(tmp_path, lambda values: None)
    done = call_kitsbench("check", maps, "--json")
    assert done.code == 0
    assert done.json["counts"]["passed"] == 2
    # Their own numbers, where they say what these mean.
    maps = folder(tmp_path, lambda values: np.put(values, [0], 3))
    described = {"background": 0, "kidney": 1, "tumor": 2, "cyst": 3}
    (maps / "dataset.json").write_text(json.dumps({"labels": described}))
    assert call_kitsbench("check", maps).code == 1
    assert call_kitsbench("check", maps, "--labels", "kits21").code == 0


def test_a_folder_without_label_maps_is_refused(tmp_path):
    done = call_kitsbench("check", tmp_path)
    assert done.code == 2
    assert done.err.startswith("Error: ")
