"""The same file gives the same verdict, affine and voxels by every door, and nibabel's."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
from odd_files import KITS_AFFINE, LABEL, ODD
from scans import ct, save

from kitsbench.data.datasets.dataset import Case, Dataset
from kitsbench.data.inspection.verify import verify
from kitsbench.data.preparation.volumes import load_case
from kitsbench.errors import DataError
from kitsbench.evaluation import evaluate
from kitsbench.experiments.trial.scoring import CaseReader
from kitsbench.scans.findings import Refused
from kitsbench.scans.geometry import spacing_of
from kitsbench.scans.header import canonical
from kitsbench.scans.nifti import read_header, read_label

LABELS = {"kidney": 1, "tumor": 2}
# Files that nibabel reads though they are damaged, or whose grid is none to measure with; of
# complex numbers it drops a part, and voxels it cannot find it takes from the header.
BEYOND_NIBABEL = (
    "goes on after",
    "the compressed file",
    "is no geometry",
    "the spacing is",
    "the scaling is inf",
    "complex",
)
NOT_AS_NIBABEL = ("voxels begin by default",)


def by_nibabel(path):
    """Affine and voxels on disk as nibabel has them; None where it cannot read the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = nibabel.load(path)
            values = image.get_fdata()
    except Exception:
        return None
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    return image.affine, values


def turned(labels, affine):
    """Voxels on disk as (z, y, x), by nibabel."""
    towards = nibabel.io_orientation(affine)
    return nibabel.apply_orientation(labels, towards).T


class Doors:
    """Ways in which one label map enters; each returns its voxels (z, y, x) or says why not.

    The image and the label map that it is scored with lie on ``affine`` and show ``labels``, both
    as on disk.
    """

    def __init__(self, path: Path, labels: np.ndarray, affine: np.ndarray, folder: Path):
        self.path = path
        self.image = save(folder / "image.nii.gz", ct(labels.shape), affine)
        self.clean = save(folder / "clean.nii.gz", labels, affine)
        self.case = Case("case", self.image, path)

    def verify(self):
        dataset = Dataset("odd", self.path.parent, "kits19", LABELS, [self.case])
        errors = verify(dataset).errors
        assert all(f.file == str(self.path) for f in errors)
        return errors[0].what if errors else None

    def load_case(self):
        native = canonical(read_header(self.image))[0]
        try:
            found = load_case("case", self.image, self.path, spacing_of(native), LABELS).case
        except Refused as error:
            return error.finding.what
        np.testing.assert_allclose(found.affine, native, atol=1e-4)
        return found.label

    def truth(self):
        task = SimpleNamespace(cases={"case": self.case}, names=None)
        try:
            labels, spacing, _ = CaseReader(task).truth("case")
        except Refused as error:
            return error.finding.what
        native = canonical(read_header(self.image))[0]
        np.testing.assert_allclose(spacing, spacing_of(native), rtol=1e-5)
        return labels

    def evaluated(self, prediction, truth):
        try:
            found = evaluate(prediction, truth, "labels", metrics=["dice"])
        except DataError as error:
            return str(error) if str(self.path) in str(error) else None
        if found.problems:
            assert found.problems[0].file == str(self.path)
            return found.problems[0].reason
        return {(r["region"], r["value"]) for r in found.rows if r["region"] in LABELS}


@pytest.mark.parametrize("entry", [e for e in ODD if e.words], ids=lambda entry: entry.name)
def test_what_cannot_be_used_is_refused_by_every_door(tmp_path, entry):
    path = entry.make(tmp_path)
    with pytest.raises(Refused, match=re.escape(entry.words)) as caught:
        read_label(read_header(path))
    finding = caught.value.finding
    assert finding.file == str(path)
    assert finding.rule
    assert finding.remedy
    doors = Doors(path, LABEL, KITS_AFFINE, tmp_path)
    told = [doors.verify(), doors.load_case(), doors.truth()]
    told += [doors.evaluated(path, doors.clean), doors.evaluated(doors.clean, path)]
    assert all(isinstance(said, str) for said in told), told
    known = by_nibabel(path)
    assert known is None or any(w in finding.what for w in BEYOND_NIBABEL) or not sane(known[1])


@pytest.mark.parametrize("entry", [e for e in ODD if not e.words], ids=lambda entry: entry.name)
def test_what_can_be_used_is_the_same_by_every_door(tmp_path, entry):
    path = entry.make(tmp_path)
    labels, affine = LABEL, KITS_AFFINE
    known = None if entry.name in NOT_AS_NIBABEL else by_nibabel(path)
    if known is not None:
        affine, labels = known[0], np.rint(known[1]).astype(np.uint8)
    expected = turned(labels, affine)
    header = read_header(path)
    np.testing.assert_array_equal(header.affine, affine)
    np.testing.assert_array_equal(read_label(header), expected)
    doors = Doors(path, labels, affine, tmp_path)
    assert doors.verify() is None
    np.testing.assert_array_equal(doors.load_case(), expected)
    np.testing.assert_array_equal(doors.truth(), expected)
    for pair in ((path, doors.clean), (doors.clean, path)):
        assert doors.evaluated(*pair) == {("kidney", 1.0), ("tumor", 1.0)}


def sane(values):
    """Whether nibabel's values are labels."""
    with np.errstate(invalid="ignore"):
        near = np.abs(values - np.rint(values)) <= 1e-4
    return values.ndim == 3 and bool((near & (values > -0.5) & (values < 255.5)).all())


def test_there_are_enough_and_each_once():
    names = [entry.name for entry in ODD]
    assert len(set(names)) == len(names) >= 100
    assert 40 <= sum(bool(entry.words) for entry in ODD) <= len(names) - 40
