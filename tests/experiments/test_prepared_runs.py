"""A recipe's own preparation holds from training to scans in files of their own."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from command_line import call_kitsbench
from scans import KITS_AFFINE, ct, kidneys, save

from kitsbench.data.preparation.store import PreparedStore
from kitsbench.experiments.results import load_results

RUN = ("--recipe", "paper", "--split", "2", "--folds", "0", "--seeds", "1", "--device", "cpu",
       "--budget", "2steps", "--jobs", "1")  # fmt: skip
BODY = (slice(1, None), slice(2, None), slice(0, 16))  # of the scans as they are on disk


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Four scans, each with voxels of its own, and air on three sides."""
    folder = tmp_path_factory.mktemp("data") / "set"
    for number in range(4):
        affine = KITS_AFFINE @ np.diag([1 + number / 4, 1, 1, 1])
        image = np.full(ct().shape, -1000, np.int16)
        image[BODY] = ct(seed=number)[BODY].clip(-400)
        case = folder / f"case_{number:05d}"
        save(case / "imaging.nii.gz", image, affine)
        save(case / "segmentation.nii.gz", kidneys(), affine)
    return folder


def test_training_scoring_and_prediction_prepare_alike(dataset, plugin, tmp_path):
    file = plugin("prepared", "Prepared", "architectures.prepared")
    done = call_kitsbench("run", file, "--dataset", dataset, *RUN, "--workdir", tmp_path, "--json")
    assert done.code == 0, done.err
    (trial,) = load_results(tmp_path).trials
    assert trial.state == "finished"
    recipe = json.loads((trial.folder.path / "trial.json").read_text())["context"]["recipe"]
    assert recipe["spacing"] == {"times": [1.0, 2.0, 1.0]}
    assert recipe["preparation"]["interpolation"] == "cubic"
    (store,) = map(PreparedStore.open, (tmp_path / "prepared").iterdir())
    for number, name in enumerate(store.cases):
        case = store.case(name)
        assert case.image.shape == (11, 7, 16)
        np.testing.assert_allclose(case.spacing, (3 + 0.75 * number, 4, 2), rtol=1e-6)
    # What was cut off is background, and a scan's file gives the label map of the held-out case.
    tested = trial.record.context.test_cases
    scans = [dataset / name / "imaging.nii.gz" for name in tested]
    out = tmp_path / "maps"
    done = call_kitsbench("predict", trial.folder.path, *scans, "-o", out, "--plugin", file)
    assert done.code == 0, done.err
    for name in tested:
        kept = nibabel.load(trial.folder.predictions / f"{name}.nii.gz")
        again = np.asarray(nibabel.load(out / f"{name}.nii.gz").dataobj)
        np.testing.assert_array_equal(again, np.asarray(kept.dataobj))
        beyond = np.ones(again.shape, bool)
        beyond[BODY] = False
        assert again.shape == kidneys().shape
        assert not again[beyond].any()
