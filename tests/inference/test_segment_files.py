"""Scans in files of their own: each has its label map or the reason why not, in their order."""

from __future__ import annotations

import architectures
import nibabel
import numpy as np
import pytest
from inference.reference import predictor_of
from scans import KITS_AFFINE, ct, save

from kitsbench.errors import DataError
from kitsbench.inference.case import Trained
from kitsbench.inference.files import segment_files
from kitsbench.recipe import Inference
from kitsbench.scans.label_names import LabelNames

NAMES = LabelNames({"kidney": 1, "tumor": 2}, {5: 1, 7: 2})


@pytest.fixture
def trained():
    architecture = architectures.Smallest()
    predictor = predictor_of(architecture, Inference(overlap=0.2), tiles=4)
    return Trained(architecture, predictor.spec, (predictor,), ((architecture, predictor.spec),))


@pytest.mark.parametrize("broken", [0, 1, 3])
def test_a_scan_that_cannot_be_read_is_left_out_alone(trained, tmp_path, broken):
    images = [
        save(tmp_path / f"scan{number}.nii.gz", ct(seed=number), KITS_AFFINE) for number in range(4)
    ]
    images[broken].write_bytes(images[broken].read_bytes()[:300])
    maps = {}
    for overlap in (False, True):
        folder = tmp_path / f"maps{overlap}"
        folder.mkdir()
        files = [(image, folder / image.name) for image in images]
        found = list(segment_files(trained, [{"image": (4.0, 4.0, 4.0)}], NAMES, files, overlap))
        for number, (outcome, (image, output)) in enumerate(zip(found, files, strict=True)):
            assert isinstance(outcome, DataError) == (number == broken)
            assert output.exists() == (number != broken)
            if number != broken:
                scan, labels = nibabel.load(image), nibabel.load(output)
                assert scan.shape == labels.shape
                np.testing.assert_array_equal(scan.affine, labels.affine)
                values = np.asarray(labels.dataobj)
                assert set(np.unique(values)) <= {0, 5, 7}
                maps.setdefault(number, []).append(values)
        assert images[broken].name in str(found[broken])
    for one, other in maps.values():
        np.testing.assert_array_equal(one, other)
