"""What a page gets of a case, decoded and held against the files by nibabel."""

from __future__ import annotations

from itertools import permutations

import nibabel as nib
import numpy as np
import pytest
from reporting.drawn_scans import write_scan
from viewer.decoded import document_of, in_file, voxels

from kitsbench.scans.label_names import LabelNames
from kitsbench.viewer.cases import ViewedCase
from kitsbench.viewer.documents import case_small, script
from kitsbench.viewer.reduction import LEVELS, box_of, small, to_bytes

NAMES = LabelNames({"kidney": 1, "tumor": 2})
TURNS = [
    nib.orientations.axcodes2ornt(codes)
    for order in permutations(("RL", "AP", "SI"))
    for codes in ([pair[0] for pair in order], [pair[1] for pair in order])
]


def turned(folder, out, orientation):
    """The same scan and mask with other axes on disk, by nibabel."""
    for name in ("imaging", "segmentation"):
        image = nib.load(folder / f"{name}.nii.gz")
        now = nib.io_orientation(image.affine)
        change = nib.orientations.ornt_transform(now, orientation)
        nib.save(image.as_reoriented(change), out / f"{name}.nii.gz")
    return ViewedCase("case", out / "imaging.nii.gz", NAMES, truth=out / "segmentation.nii.gz")


@pytest.mark.parametrize(
    "orientation", TURNS, ids=lambda own: "".join(nib.orientations.ornt2axcodes(own))
)
def test_every_voxel_is_where_its_file_has_it(tmp_path, orientation):
    write_scan(tmp_path / "as_kits", "kits19", 3)
    case = turned(tmp_path / "as_kits", tmp_path, orientation)
    (tmp_path / "case-0000.js").write_text(script("take", "case-0000.js", case_small(case)[0]))
    document = document_of(tmp_path / "case-0000.js")
    where = in_file(document)
    truth, image = (np.asarray(nib.load(f).dataobj) for f in (case.truth, case.image))
    np.testing.assert_array_equal(voxels(document["truth"], document["shape"]), truth[where])
    shown = np.array(document["levels"])[voxels(document["image"], document["shape"])]
    soft = (image[where] > -160) & (image[where] < 240)
    assert np.abs(shown - image[where])[soft].max() <= 1
    # Right, front and head ascend along x, y and z, so a radiologist's view needs no guess.
    assert all(document["affine"][axis][axis] > 0 for axis in range(3))
    left = np.argwhere(voxels(document["truth"], document["shape"]) == 2).mean(axis=0)
    assert left[0] < document["shape"][0] / 2  # the tumour is in the patient's left kidney


def test_a_real_patients_right_is_right(shared):
    """By human labels (1 right kidney, 2 left) of a real scan whose file runs to the left."""
    scan = shared / "data" / "amos-0018"
    if not scan.is_dir():
        pytest.skip(f"needs {scan}")
    case = ViewedCase("amos", scan / "ct.nii.gz", NAMES, truth=scan / "kidneys.nii.gz")
    assert nib.aff2axcodes(nib.load(case.image).affine) == ("L", "A", "S")
    labels = case.read_truth()
    right, left = (np.argwhere(labels == value).mean(axis=0) for value in (1, 2))
    assert right[2] > labels.shape[2] / 2 > left[2]
    affine, _ = case.grid()
    world = [affine @ [*centre, 1] for centre in (right, left)]
    stored = nib.load(case.truth)
    for value, found in zip((1, 2), world, strict=True):
        own = np.argwhere(np.asarray(stored.dataobj) == value).mean(axis=0)
        np.testing.assert_allclose(found[:3], (stored.affine @ [*own, 1])[:3], atol=1e-3)


def test_nothing_that_anybody_labelled_is_cut_off():
    truth, far = np.zeros((40, 60, 80), np.uint8), np.zeros((40, 60, 80), np.uint8)
    truth[20:25, 30:34, 40:50] = 1
    far[3, 5, 70] = 2
    part = small(truth.shape, (5.0, 1.0, 1.0), [box_of(truth), box_of(far), None])
    for labels in (truth, far):
        box, cut = box_of(labels), part.cut
        assert all(c.start <= b.start and b.stop <= c.stop for b, c in zip(box, cut, strict=True))
    assert part.start == (0, 0, 20)  # 20 mm around
    assert part.stop == (29, 54, 80)
    assert part.step == (1, 2, 2)  # columns and rows are left out down to 2 mm, slices are not


def test_a_large_scan_is_thinned_where_its_voxels_are_finest():
    part = small((400, 512, 512), (1.0, 0.7, 0.7), [], most=3_000_000)
    count = np.prod(
        [len(range(*own)) for own in zip(part.start, part.stop, part.step, strict=True)]
    )
    assert count <= 3_000_000
    assert max(part.step) - min(part.step) <= 2
    assert small((10, 10, 10), (4.0, 4.0, 4.0), []).step == (1, 1, 1)


def test_a_byte_stands_for_the_nearest_level():
    assert len(LEVELS) == 256
    assert (np.diff(LEVELS) > 0).all()
    every = np.arange(-1024, 3072, dtype=np.int16)
    shown = LEVELS[to_bytes(every)].astype(int)
    nearest = np.abs(every[:, None].astype(int) - LEVELS[None]).min(axis=1)
    np.testing.assert_array_equal(np.abs(shown - every), nearest)
    assert nearest[(every >= -160) & (every <= 240)].max() <= 1


def test_a_script_holds_no_sign_of_html_and_no_letter_that_ends_it():
    hostile = "</script><!--\u2028\u2029&\"'\\ü"
    text = script("take", hostile, {"said": hostile})
    assert text.isascii()
    assert not set("<>&") & set(text)
