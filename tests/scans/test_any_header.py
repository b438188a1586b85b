"""Any header at all, true or nonsense: one verdict, and nibabel's affine and voxels."""

from __future__ import annotations

import gzip
import warnings

import nibabel
import numpy as np
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from scans import KITS_AFFINE

from kitsbench.errors import DataError
from kitsbench.evaluation import evaluate
from kitsbench.scans.findings import Refused
from kitsbench.scans.grids import grid_findings
from kitsbench.scans.nifti import read_header, read_label
from kitsbench.scans.writing import write_label

LABEL = np.zeros((4, 5, 6), np.uint8)
LABEL[1:3, 1:4, 1:3] = 1
LABEL[2, 2, 2] = 2
TYPES = {2: "u1", 256: "i1", 4: "i2", 512: "u2", 8: "i4", 768: "u4", 1024: "i8", 16: "f4", 64: "f8"}
NONE = float("nan")
scales = st.one_of(
    st.sampled_from([NONE, NONE, 1.0, 0.0, float("inf"), 1 / 255, 0.01, -0.5, 2.0]),
    st.integers(1, 300).map(lambda k: 1 / k),
)
codes = st.sampled_from([0, 0, 1, 1, 1, 2, 5, 7, -1])
lengths = st.sampled_from([2.0] * 18 + [0.7, 0.0, -2.0, NONE, 1e-3, 500.0])


@st.composite
def files(draw):
    """The bytes of a file: a header of any of these, and labels as far as its type holds them."""
    order, code = draw(st.sampled_from("<>")), draw(st.sampled_from(sorted(TYPES)))
    second = draw(st.booleans())
    head = (nibabel.Nifti2Header if second else nibabel.Nifti1Header)(endianness=order)
    affine = KITS_AFFINE.copy()
    affine[:3, 3] = (10.5, -20, 30)
    affine[1, 0] = draw(st.sampled_from([0.0, 0.0, 0.9]))
    head.set_sform(affine, code=1)
    tail = draw(st.sampled_from([[], [], [], [], [], [1], [1], [1, 1], [2]]))
    head["dim"] = [3 + len(tail), *LABEL.shape, *tail, *[1] * (4 - len(tail))]
    head["datatype"] = code
    head["pixdim"][:4] = [draw(st.sampled_from([-1, 1, 0, 5])), *(draw(lengths) for _ in range(3))]
    head["sform_code"], head["qform_code"] = draw(codes), draw(codes)
    for part in "bcd":
        head[f"quatern_{part}"] = draw(st.floats(-0.65, 0.65))
    slope = head["scl_slope"] = draw(scales)
    intercept = draw(st.sampled_from([0.0] * 9 + [1.0, -1024.0, 0.5, NONE, float("inf")]))
    head["scl_inter"] = intercept
    head["vox_offset"] = 544 if second else 352
    values = LABEL.astype(float)
    values[LABEL == 2] += draw(st.sampled_from([0] * 9 + [1e-6, 9e-5, -9e-5, 1.1e-4, 0.3, NONE]))
    if np.isfinite(slope) and slope and np.isfinite(intercept):
        values = (values - intercept) / slope
    dtype = np.dtype(TYPES[code])
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = np.clip(np.rint(np.nan_to_num(values)), limits.min, limits.max)
    stored = values.astype(dtype).astype(dtype.newbyteorder(order)).tobytes(order="F")
    return head.binaryblock + bytes(4) + stored


def by_nibabel(path):
    """Affine and voxels on disk."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = nibabel.load(path)
    return image.affine, image.get_fdata().reshape(image.shape[:3])


def scored(path):
    """What ``evaluate`` says of a label map against itself: its Dice, or what is wrong."""
    try:
        found = evaluate(path, path, "kits19", metrics=["dice"])
    except DataError as error:
        return str(error)
    return found.problems[0].reason if found.problems else {row["value"] for row in found.rows}


@settings(
    max_examples=200, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=files(), packed=st.booleans())
def test_any_header(tmp_path, data, packed):
    path = tmp_path / ("m.nii.gz" if packed else "m.nii")
    path.write_bytes(gzip.compress(data, 1) if packed else data)
    try:
        header = read_header(path)
        labels = read_label(header)
        reason = None
    except Refused as error:
        reason = error.finding.what
    event("read" if reason is None else "refused")
    told = scored(path)
    if reason is not None:
        assert isinstance(told, str), told
        assert reason in told
        return
    assert told == {1.0}
    affine, values = by_nibabel(path)
    np.testing.assert_array_equal(header.affine, affine)
    np.testing.assert_array_equal(header.axes.from_zyx(labels), np.rint(values))
    assert np.abs(values - np.rint(values)).max() <= 1e-4
    # What is written on this grid lies on it.
    write_label(tmp_path / "own.nii.gz", header.axes.from_zyx(labels), header.native())
    assert not grid_findings(header, read_header(tmp_path / "own.nii.gz"))
