"""A corpus of odd label maps: how each file is made, and whether it can be used.

Every entry writes one file into a folder and returns its path. It shows ``kidneys()`` on the grid
of KiTS, unless its name says that it lies elsewhere; ``words`` is empty where it can be used, and
otherwise what must be said about it.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from scans import KITS_AFFINE, kidneys, patch, save

LABEL = kidneys()


@dataclass(frozen=True)
class Entry:
    name: str
    make: Callable[[Path], Path]
    words: str


ODD: list[Entry] = []


def add(name, words=""):
    def register(make):
        ODD.append(Entry(name, make, words))
        return make

    return register


def array(name, values, words="", affine=KITS_AFFINE, edit=None, **fields):
    """An entry with these stored numbers and fields of the header."""
    add(name, words)(lambda folder: save(folder / "m.nii.gz", values, affine, edit, **fields))


def header(name, words="", **fields):
    """An entry whose header has these fields."""
    array(name, LABEL, words, edit=both_forms, **fields)


def both_forms(head):
    head.set_qform(KITS_AFFINE, code=1)


def packing(name, change, words="", file="m.nii.gz"):
    """An entry whose bytes, as they would be packed, are changed."""

    def make(folder):
        good = save(folder / "good.nii.gz", LABEL).read_bytes()
        path = folder / file
        path.write_bytes(change(good))
        return path

    add(name, words)(make)


def packed(data):
    return gzip.compress(data, mtime=0)


# --- every type of number
for code in ("u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"):
    array(f"type {code}", LABEL.astype(code))
for code in ("i2", "f8"):

    @add(f"type {code}, big-endian")
    def _(folder, code=code):
        head = nibabel.Nifti1Header(endianness=">")
        image = nibabel.Nifti1Image(LABEL.astype(f">{code}"), KITS_AFFINE, head)
        nibabel.save(image, folder / "m.nii.gz")
        return folder / "m.nii.gz"


for order in "<>":

    @add(f"nifti 2, {order}")
    def _(folder, order=order):
        head = nibabel.Nifti2Header(endianness=order)
        image = nibabel.Nifti2Image(LABEL.astype(f"{order}i2"), KITS_AFFINE, head)
        nibabel.save(image, folder / "m.nii.gz")
        return folder / "m.nii.gz"


array("complex numbers", LABEL.astype("c8"), "of type complex64")
array("colours", np.zeros(LABEL.shape, [(c, "u1") for c in "RGB"]), "colours (RGB)")

# --- numbers that miss a label
FLOAT = LABEL.astype("f4")
WRONG = "holds the value"
array("a hair below", np.nextafter(FLOAT, np.float32(-1)) * (FLOAT > 0))
array("a hair above", np.nextafter(FLOAT, np.float32(9)))
array("off by 9e-5", LABEL + 9e-5)
array("background of -1e-5", np.where(LABEL == 0, -1e-5, LABEL))
array("background of -0.0", np.where(LABEL == 0, -0.0, LABEL))
array("off by 5e-4", LABEL + 5e-4, WRONG)
array("between labels", FLOAT * np.float32(0.75), WRONG)
array("255.0005", np.where(LABEL == 2, 255.0005, LABEL), f"{WRONG} 255.0005")
array("-0.5", np.where(LABEL == 2, -0.5, LABEL), WRONG)
for value in (np.nan, np.inf, -np.inf):
    array(f"{value} instead of a label", np.where(LABEL == 2, value, LABEL), WRONG)
array("-1 in i1", np.where(LABEL == 2, -1, LABEL).astype("i1"), WRONG)
array("256 in i2", np.where(LABEL == 2, 256, LABEL.astype("i2")), WRONG)
array("257 in u2", np.where(LABEL == 2, 257, LABEL.astype("u2")), WRONG)
array("2**40 in i8", np.where(LABEL == 2, 2**40, LABEL.astype("i8")), WRONG)

# --- scaling
for k in (3, 41, 127):
    array(f"slope 1/{k}", (LABEL * k).astype("u1" if k < 128 else "i2"), scl_slope=1 / k)
array("slope of -1/7 and intercept", (14 - 7 * LABEL.astype("i2")), scl_slope=-1 / 7, scl_inter=2.0)
array("intercept alone", LABEL.astype("i2") + 1000, scl_slope=1.0, scl_inter=-1000.0)
array("scaled floats", FLOAT / 8, scl_slope=8.0, scl_inter=0.0)
header("slope of zero", scl_slope=0.0, scl_inter=7.0)
header("slope is nan", scl_slope=np.nan, scl_inter=7.0)
header("slope is infinite", "the scaling is inf", scl_slope=np.inf)
header("intercept is nan", "the scaling is 1 x + nan", scl_slope=1.0, scl_inter=np.nan)
header("intercept is infinite", "the scaling is 1 x + inf", scl_slope=1.0, scl_inter=np.inf)
header("slope of 0.3", WRONG, scl_slope=0.3, scl_inter=0.0)
header("slope that overflows", WRONG, scl_slope=3e38, scl_inter=3e38)


@add("saved from get_fdata with the header of an integer")
def _(folder):
    image = nibabel.load(save(folder / "first.nii.gz", LABEL.astype("i2")))
    path = folder / "m.nii.gz"
    nibabel.save(nibabel.Nifti1Image(image.get_fdata(), image.affine, image.header), path)
    return path


# --- where the file lies
header("sform alone", qform_code=0)
header("qform alone", sform_code=0)
header("no form", sform_code=0, qform_code=0)
header("unknown code of the sform", sform_code=7)
header("negative code of the sform", sform_code=-1)
header("unknown codes", sform_code=99, qform_code=-2)
header("sform and qform disagree", qoffset_x=40.0)
header("qform is none", quatern_b=2.0)
header("qform is nan", quatern_b=np.nan)
header("qform is none and alone", "its quaternion is no rotation", sform_code=0, quatern_b=2.0)
header("sform is zero", "the sform of the header is no geometry", srow_x=0)
header("sform is nan", "the sform of the header is no geometry", srow_y=np.nan)
header("sform is flat", "lie in one plane", srow_x=[0, 0, -2.0, 0], srow_y=[0, 0, -2.0, 0],
       srow_z=[-3.0, -2.0, 0, 0])  # fmt: skip
SPACING = [1, 3, 2, 2, 1, 1, 1, 1]
header("pixdim of zero beside a form", pixdim=0)
header("negative pixdim", pixdim=[1, -3, -2, -2, 1, 1, 1, 1], sform_code=0)
header("negative pixdim alone", pixdim=[1, -3, 2, 2, 1, 1, 1, 1], sform_code=0, qform_code=0)
header("odd qfac", pixdim=[5, 3, 2, 2, 1, 1, 1, 1], sform_code=0)
header("no qfac", pixdim=[0, 3, 2, 2, 1, 1, 1, 1], sform_code=0)
NONE = {"sform_code": 0, "qform_code": 0}
header("pixdim of zero alone", "the spacing is 0, 2, 2 mm", pixdim=[1, 0, 2, 2, 1, 1, 1, 1], **NONE)
header("pixdim is nan", "the spacing is 3, nan", pixdim=[1, 3, np.nan, 2, 1, 1, 1, 1], **NONE)
header(
    "pixdim of zero with a qform", "spacing 0, 2, 2", pixdim=[1, 0, 2, 2] + [1] * 4, sform_code=0
)
for length in (0.005, 200.0):
    array(f"spacing {length}", LABEL, "is no geometry", np.diag([length, 2.0, 2.0, 1.0]))
TURN = np.array([[0.8, -0.6, 0, 0], [0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
SHEAR = KITS_AFFINE.copy()
SHEAR[1, 0] = 0.9
array("oblique", LABEL, affine=TURN @ KITS_AFFINE)
array("sheared", LABEL, affine=SHEAR)
MIRROR = KITS_AFFINE @ np.diag([-1.0, 1, 1, 1])
MIRROR[:3, 3] = KITS_AFFINE[:3] @ [LABEL.shape[0] - 1, 0, 0, 1]
array("other direction", LABEL[::-1], affine=MIRROR)
array("other order of axes", LABEL.transpose(2, 0, 1), affine=KITS_AFFINE[:, [2, 0, 1, 3]])

# --- dimensions
array("one axis more", LABEL[..., None])
array("three axes more", LABEL[..., None, None, None])
array("two channels", np.stack([LABEL, LABEL], -1), "more than one channel")
array("a vector a voxel", np.stack([LABEL] * 3, -1)[:, :, :, None], "more than one channel")
array("one slice", LABEL[:, :, 5:6])
header("no dimension", "the image is dim", dim=[0, 12, 16, 18, 1, 1, 1, 1])
header("eight dimensions", "the image is dim", dim=[8, 12, 16, 18, 1, 1, 1, 1])
header("negative dimension", "12 x -16 x 18", dim=[3, 12, -16, 18, 1, 1, 1, 1])
header("empty dimension", "12 x 16 x 0", dim=[3, 12, 16, 0, 1, 1, 1, 1])
header("a slice too many", "cut off", dim=[3, 12, 16, 19, 1, 1, 1, 1])
header("a slice too few", "goes on after its 17 slices", dim=[3, 12, 16, 17, 1, 1, 1, 1])


@add("two dimensions", "the image is 12 x 16")
def _(folder):
    nibabel.save(nibabel.Nifti1Image(LABEL[:, :, 5], KITS_AFFINE), folder / "m.nii.gz")
    return folder / "m.nii.gz"


# --- what else a header says
header("unknown data type", "unknown datatype code 9999", datatype=9999)
header("no data type", "of type", datatype=0)
header("wrong bitpix", bitpix=77)
header("wrong size of the header", sizeof_hdr=0)
header("metres", xyzt_units=1)
header("voxels begin by default", vox_offset=0)
for byte in (-352, 13, 348, 351):
    header(f"voxels begin at byte {byte}", f"voxels begin at byte {byte}", vox_offset=byte)
header("voxels begin nowhere", "voxels begin at byte nan", vox_offset=np.nan)
header("voxels begin far out", "cut off", vox_offset=100_000_000)


@add("voxels begin at no multiple of 16")
def _(folder):
    path = save(folder / "m.nii", LABEL)
    patch(path, vox_offset=357)
    path.write_bytes(path.read_bytes()[:352] + b"\0" * 5 + path.read_bytes()[352:])
    return path


@add("an extension before the voxels")
def _(folder):
    image = nibabel.Nifti1Image(LABEL, KITS_AFFINE)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"a word " * 20))
    nibabel.save(image, folder / "m.nii.gz")
    return folder / "m.nii.gz"


@add("line ends were converted", "EOL check")
def _(folder):
    path = folder / "m.nii"
    nibabel.save(nibabel.Nifti2Image(LABEL, KITS_AFFINE), path)
    data = path.read_bytes()
    path.write_bytes(data[:8] + b"\n\n\x1a\n" + data[12:])
    return path


# --- packing
packing("not packed", gzip.decompress, file="m.nii")
packing("not packed, named .gz", gzip.decompress)
packing("packed, not named .gz", lambda d: d, file="m.nii")
packing("capitals", lambda d: d, file="M.NII.GZ")
packing(
    "two members", lambda d: packed(gzip.decompress(d)[:999]) + packed(gzip.decompress(d)[999:])
)
packing("zeros after the stream", lambda d: d + bytes(512))
packing("a few bytes after the voxels", lambda d: packed(gzip.decompress(d) + bytes(16)))
packing("rubbish after the stream", lambda d: d + b"junk" * 9, "corrupt")
packing("damaged checksum", lambda d: d[:-6] + bytes([d[-6] ^ 1]) + d[-5:], "corrupt")
packing("damaged stream", lambda d: d[:-60] + bytes(20) + d[-40:], "the compressed file")
packing("cut off", lambda d: d[: len(d) // 2], "cut off")
packing("last byte missing", lambda d: d[:-1], "cut off")
packing("voxels missing", lambda d: packed(gzip.decompress(d)[:-500]), "cut off")
packing("voxels twice", lambda d: packed(gzip.decompress(d) * 2), "goes on after its 18 slices")
packing("packed twice", packed, "packed twice")
packing("empty", lambda d: b"", "the file is empty")
packing("text", lambda d: b"no label map " * 99, "not a NIfTI file")
packing("header alone", lambda d: gzip.decompress(d)[:352], "cut off")
