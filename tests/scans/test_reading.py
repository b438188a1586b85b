"""Reading NIfTI files: every trap is caught with its reason, and nothing else is changed."""

from __future__ import annotations

import gzip

import nibabel
import numpy as np
import pytest
from scans import KITS_AFFINE, SHAPE, ct, kidneys, patch, save

from kitsbench.errors import DataError
from kitsbench.scans.findings import Refused
from kitsbench.scans.geometry import spacing_of
from kitsbench.scans.header import canonical
from kitsbench.scans.nifti import read_header, read_image, read_label
from kitsbench.scans.writing import write_label

LABELS = {"kidney": 1, "tumor": 2}


def read(path):
    return read_image(read_header(path, "case"))


def warnings(path):
    header = read_header(path, "case")
    return [f.what for f in header.findings + read_image(header)[1]]


def test_image_is_turned_to_zyx_by_its_affine(tmp_path):
    image = ct()
    path = save(tmp_path / "a.nii.gz", image)
    array, findings = read(path)
    assert findings == []
    assert array.dtype == np.int16
    np.testing.assert_array_equal(array, image[::-1, ::-1, ::-1])
    affine, shape = canonical(read_header(path))
    assert shape == array.shape
    np.testing.assert_allclose(spacing_of(affine), (3, 2, 2))


@pytest.mark.parametrize("codes", [("L", "A", "S"), ("P", "S", "R"), ("I", "R", "A")])
def test_any_orientation_agrees_with_nibabel(tmp_path, codes):
    from nibabel.orientations import axcodes2ornt, ornt_transform

    straight = nibabel.Nifti1Image(ct(), np.diag([1.5, 2.5, 3.5, 1.0]))
    turned = straight.as_reoriented(ornt_transform(axcodes2ornt("RAS"), axcodes2ornt(codes)))
    nibabel.save(turned, tmp_path / "a.nii")
    assert nibabel.aff2axcodes(turned.affine) == codes
    np.testing.assert_array_equal(read(tmp_path / "a.nii")[0], ct().T)


@pytest.mark.parametrize(
    "dtype", [np.int16, ">i2", np.int32, np.float32, np.float64, np.uint16, ">f4"]
)
def test_number_types(tmp_path, dtype):
    image = np.abs(ct()) if np.dtype(dtype).kind == "u" else ct()
    path = save(tmp_path / "a.nii.gz", image.astype(dtype))
    np.testing.assert_array_equal(read(path)[0], image[::-1, ::-1, ::-1])


def test_scaled_integers_are_scaled_as_nibabel_does(tmp_path):
    stored = np.random.default_rng(0).integers(0, 3000, SHAPE).astype(np.int16)
    path = save(tmp_path / "a.nii.gz", stored, scl_slope=0.5, scl_inter=-1000.0)
    expected = np.rint(np.asarray(nibabel.load(path).dataobj))[::-1, ::-1, ::-1]
    np.testing.assert_array_equal(read(path)[0], expected)


def test_a_file_named_gz_that_is_not_packed_is_read(tmp_path):
    plain = save(tmp_path / "a.nii", ct())
    plain.rename(tmp_path / "a.nii.gz")
    assert read(tmp_path / "a.nii.gz")[0].shape == SHAPE


def test_nifti2(tmp_path):
    nibabel.save(nibabel.Nifti2Image(ct(), KITS_AFFINE), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read(tmp_path / "a.nii.gz")[0], ct()[::-1, ::-1, ::-1])


def empty(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("this is no image " * 60)


def cut(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


def flipped_bits(path):
    data = bytearray(path.read_bytes())
    data[-6] ^= 0xFF  # inside gzip's checksum
    path.write_bytes(bytes(data))


def short(path):
    data = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(data[:-500]))


def nan_voxel(path):
    image = ct().astype(np.float32)
    image[3, 4, 5] = np.nan
    save(path, image)


def infinite_voxel(path):
    image = ct().astype(np.float32)
    image[3, 4, 5] = np.inf
    save(path, image)


def rgb(path):
    colours = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(colours, KITS_AFFINE), path)


def zero_spacing(path):
    patch(path, srow_x=[0, 0, 0, 0])


def nan_spacing(path):
    patch(path, srow_z=[np.nan, 0, 0, 0])


def zero_pixdim_only(path):
    patch(path, sform_code=0, qform_code=0, pixdim=[1, 0, 2, 2, 0, 0, 0, 0])


DAMAGE = [
    (empty, "the file is empty"),
    (text, "not a NIfTI file"),
    (cut, "cut off"),
    (flipped_bits, "corrupt"),
    (short, "cut off"),
    (lambda p: p.write_bytes(gzip.compress(b"\0" * 1000)), "not a NIfTI file"),
    (lambda p: p.unlink(), "no such file"),
    (nan_voxel, "1 voxels are NaN"),
    (infinite_voxel, "1 voxels are NaN or infinite"),
    (rgb, "colours"),
    (lambda p: save(p, np.full(SHAPE, 7, dtype=np.int16)), "every voxel is 7"),
    (lambda p: save(p, ct((*SHAPE, 2))), "more than one channel"),
    (
        lambda p: nibabel.save(nibabel.Nifti1Image(ct((16, 18)), np.eye(4)), p),
        "the image is 16 x 18",
    ),
    (zero_spacing, "is no geometry"),
    (nan_spacing, "is no geometry"),
    (zero_pixdim_only, "the spacing is 0, 2, 2"),
    (lambda p: save(p, ct().astype(np.complex64)), "complex"),
    (lambda p: patch(p, scl_slope=np.inf), "the scaling is inf"),
]


@pytest.mark.parametrize(("damage", "reason"), DAMAGE, ids=[reason for _, reason in DAMAGE])
def test_damage_is_refused_with_its_reason(tmp_path, damage, reason):
    path = save(tmp_path / "a.nii.gz", ct())
    damage(path)
    with pytest.raises(Refused, match=reason) as caught:
        read(path)
    finding = caught.value.finding
    assert finding.file == str(path)
    assert finding.rule
    assert finding.remedy
    assert finding.case == "case"


REMARKS = [
    ({"pixdim": [1, 3, 5, 2, 1, 1, 1, 1]}, "the header's spacing is 3 x 5 x 2 mm"),
    ({"pixdim": [1, 3, -2, 2, 1, 1, 1, 1]}, "the header's spacing is 3 x -2 x 2 mm"),
    ({"sform_code": 0, "qform_code": 0}, "no orientation"),
    ({"qform_code": 1}, "sform and qform disagree"),
    ({"xyzt_units": 1}, "metres"),
]


@pytest.mark.parametrize(("fields", "remark"), REMARKS, ids=[r for _, r in REMARKS])
def test_doubtful_headers_are_remarked_and_read(tmp_path, fields, remark):
    path = save(tmp_path / "a.nii.gz", ct(), **fields)
    assert any(remark in what for what in warnings(path))


def test_one_channel_at_the_end_is_dropped_and_said(tmp_path):
    path = save(tmp_path / "a.nii.gz", ct()[..., None])
    assert warnings(path) == ["the image is 12 x 16 x 18 x 1"]
    assert read(path)[0].shape == SHAPE


@pytest.mark.parametrize(
    ("image", "remark"),
    [
        (np.arange(np.prod(SHAPE)).reshape(SHAPE) % 256, "like an 8-bit picture"),
        (ct().astype(np.int32) + 1024, "no value is below 0"),
        (ct().astype(np.int32) * 100, "values reach from -100000"),
    ],
)
def test_values_that_are_no_hu_are_remarked(tmp_path, image, remark):
    path = save(tmp_path / "a.nii.gz", image.astype(np.int32))
    assert any(remark in what for what in warnings(path))
    array = read(path)[0]
    assert array.min() >= -1024
    assert array.max() <= 3071


def test_labels_are_read_whatever_their_type(tmp_path):
    for dtype in (np.uint8, np.int16, np.float32, np.float64):
        path = save(tmp_path / f"{np.dtype(dtype).name}.nii.gz", kidneys().astype(dtype))
        np.testing.assert_array_equal(
            read_label(read_header(path), LABELS), kidneys()[::-1, ::-1, ::-1]
        )


@pytest.mark.parametrize(("value", "reason"), [(0.5, "value 0.5"), (-1, "value -1"), (400, "400")])
def test_values_that_are_no_labels(tmp_path, value, reason):
    label = kidneys().astype(np.float32)
    label[5, 5, 5] = value
    path = save(tmp_path / "a.nii.gz", label)
    with pytest.raises(Refused, match=reason):
        read_label(read_header(path), LABELS)


def test_foreign_labels_are_refused(tmp_path):
    path = save(tmp_path / "a.nii.gz", kidneys(cyst=True))
    with pytest.raises(Refused, match="label 3"):
        read_label(read_header(path), LABELS)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_written_label_map_lies_on_its_image(tmp_path, suffix):
    def both(header):
        header.set_qform(KITS_AFFINE, code=1)

    image = save(tmp_path / "image.nii.gz", ct(), edit=both)
    out = tmp_path / f"label{suffix}"
    write_label(out, kidneys(), read_header(image).native())
    a, b = nibabel.load(image), nibabel.load(out)
    assert a.shape == b.shape
    np.testing.assert_array_equal(a.affine, b.affine)
    assert (a.header["sform_code"], a.header["qform_code"]) == (2, 1)
    assert (b.header["sform_code"], b.header["qform_code"]) == (2, 1)
    np.testing.assert_allclose(a.header.get_qform(), b.header.get_qform(), atol=1e-5)
    np.testing.assert_array_equal(np.asarray(b.dataobj), kidneys())
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["image.nii.gz", out.name])


def test_a_label_map_of_another_shape_is_refused(tmp_path):
    image = save(tmp_path / "image.nii.gz", ct())
    with pytest.raises(DataError, match="has the shape of its image"):
        write_label(tmp_path / "l.nii.gz", kidneys()[1:], read_header(image).native())


def test_real_scans_are_read_as_nibabel_does(shared):
    for name in ("amos-0018/ct.nii.gz", "totalsegmentator-example/ct.nii.gz"):
        path = shared / "data" / name
        expected = np.asarray(nibabel.as_closest_canonical(nibabel.load(path)).dataobj).T
        header = read_header(path)
        array, findings = read_image(header)
        np.testing.assert_array_equal(array, np.rint(expected).clip(-1024, 3071))
        assert [f.what for f in header.findings + findings] == []


def test_negative_hu_that_were_wrapped_round_are_called_that(tmp_path):
    wrapped = [
        ct().astype(np.uint16),
        ct().astype(np.uint16).astype(np.int32),
        (ct().astype(np.int32) + 32768).astype(np.uint16).view(np.int16),
    ]
    for number, stored in enumerate(wrapped):
        path = save(tmp_path / f"{number}.nii.gz", stored)
        with pytest.raises(Refused, match=r"negative HU were wrapped round at 65536.*int16"):
            read(path)
    path = save(tmp_path / "offset.nii.gz", ct().astype(np.uint16), scl_slope=1, scl_inter=-1024)
    with pytest.raises(Refused, match="wrapped round"):
        read(path)


def test_padding_far_from_tissue_is_no_wrapping(tmp_path):
    """One number for all that lies outside the scanner's field of view, and metal."""
    for number, value in enumerate((65535, 65000)):
        image = ct().astype(np.int32) + 1024
        image[:, :2] = value
        path = save(tmp_path / f"{number}.nii.gz", image.astype(np.uint16))
        assert any("no value is below 0" in what for what in warnings(path))
    image = ct()
    image[:, :2] = -32768
    image[5, 5, 5] = 20_000
    path = save(tmp_path / "metal.nii.gz", image)
    assert any("values reach from -32768 to 20000" in what for what in warnings(path))


def test_the_rule_that_is_told_is_the_one_that_was_broken(tmp_path):
    path = save(tmp_path / "a.nii.gz", ct(), qform_code=1, sform_code=0, quatern_b=2.0)
    with pytest.raises(Refused) as refused:
        read(path)
    assert "quatern_b" in refused.value.finding.rule
    assert "Spacing" not in refused.value.finding.rule
