"""A corpus of damaged and unusual cases: how each is made, and what must be said about it.

Every entry changes a good KiTS19 case, ``folder`` with ``imaging.nii.gz`` and
``segmentation.nii.gz``. ``severity`` is what ``verify`` must report, ``""`` where the case must be
read as if nothing was odd about it.
"""

from __future__ import annotations

import gzip
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from scans import KITS_AFFINE, SHAPE, ct, kidneys, patch, save


@dataclass(frozen=True)
class Entry:
    name: str
    make: Callable[[Path], object]
    severity: str
    words: str
    file: str


CORPUS: list[Entry] = []
IMAGE, MASK = "imaging.nii.gz", "segmentation.nii.gz"


def add(name, severity="", words="", file=IMAGE):
    def register(make):
        CORPUS.append(Entry(name, make, severity, words, file))
        return make

    return register


def image(name, severity="", words=""):
    """An entry that changes the bytes of the image: bytes in, bytes out."""

    def register(change):
        def make(folder):
            path = folder / IMAGE
            path.write_bytes(change(path.read_bytes()))

        add(name, severity, words)(make)
        return change

    return register


def header(name, severity="", words="", file=IMAGE, **fields):
    add(name, severity, words, file)(lambda folder: patch(folder / file, **fields))


def voxels(name, array, severity="", words="", affine=KITS_AFFINE, **fields):
    """An entry whose image is this array."""
    add(name, severity, words)(lambda folder: save(folder / IMAGE, array, affine, **fields))


def mask(name, array, severity="", words="", affine=KITS_AFFINE, **fields):
    add(name, severity, words, MASK)(lambda folder: save(folder / MASK, array, affine, **fields))


def swapped(data: bytes, where: int) -> bytes:
    return data[:where] + bytes([data[where] ^ 0x5A]) + data[where + 1 :]


def packed(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


# --- what is no NIfTI file at all
image("empty file", "error", "the file is empty")(lambda d: b"")
image("one byte", "error", "not a NIfTI file")(lambda d: b"\x1f")
image("text", "error", "it does not start like one")(lambda d: b"this is no image " * 60)
image("web page", "error", "it is a web page")(lambda d: b"<!DOCTYPE html><p>Log in</p>" * 40)
image("pointer of git lfs", "error", "it is a pointer of Git LFS")(
    lambda d: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 54321\n"
)
image("renamed dicom", "error", "it is a DICOM file")(lambda d: b"\0" * 128 + b"DICM" + b"\2" * 900)
image("renamed nrrd", "error", "it is an NRRD file")(lambda d: b"NRRD0004\n# x\n" + b"a" * 900)
image("packed twice", "error", "it is packed twice")(packed)
image("packed zeros", "error", "not a NIfTI file")(lambda d: packed(b"\0" * 1000))
image("half a pair", "error", "a .hdr/.img pair")(
    lambda d: packed(gzip.decompress(d)[:344] + b"ni1\0" + gzip.decompress(d)[348:])
)


@add("zip archive", "error", "it is a ZIP archive")
def _(folder):
    original = (folder / IMAGE).read_bytes()
    with zipfile.ZipFile(folder / IMAGE, "w") as archive:
        archive.writestr("imaging.nii", original)


# --- truncated and corrupt streams
image("ten bytes left", "error", "cut off")(lambda d: d[:10])
image("header cut", "error", "cut off")(lambda d: d[:120])
image("half left", "error", "cut off")(lambda d: d[: len(d) // 2])
image("last byte missing", "error", "cut off")(lambda d: d[:-1])
image("checksum missing", "error", "cut off")(lambda d: d[:-8])
image("wrong checksum", "error", "corrupt")(lambda d: swapped(d, len(d) - 6))
image("wrong length at the end", "error", "corrupt")(lambda d: swapped(d, len(d) - 2))
image("byte changed in the middle", "error", "the compressed file")(
    lambda d: swapped(d, len(d) // 2)
)
image("block overwritten by zeros", "error", "the compressed file")(
    lambda d: d[:2000] + b"\0" * 512 + d[2512:]
)
image("rubbish after the stream", "error", "corrupt")(lambda d: d + b"rubbish" * 10)
image("zeros after the stream")(lambda d: d + b"\0" * 512)
image("two streams in one file")(
    lambda d: packed(gzip.decompress(d)[:1000]) + packed(gzip.decompress(d)[1000:])
)
image("not packed whatever the name says")(gzip.decompress)
image("not packed and cut", "error", "cut off")(lambda d: gzip.decompress(d)[:-500])
image("only a header", "error", "cut off")(lambda d: gzip.decompress(d)[:352])
image("short header", "error", "only 100 bytes")(lambda d: gzip.decompress(d)[:100])
image("voxels missing", "error", "cut off")(lambda d: packed(gzip.decompress(d)[:-500]))
image("slices left over", "error", "goes on after its 18 slices")(
    lambda d: packed(gzip.decompress(d) + b"\7" * 5000)
)
image("a million zeros after the voxels", "error", "goes on after its 18 slices")(
    lambda d: packed(gzip.decompress(d) + b"\0" * 50_000_000)
)

# --- headers
header("no axes", "error", "the image is dim", dim=[0, 12, 16, 18, 1, 1, 1, 1])
header("nine axes", "error", "the image is dim", dim=[9, 12, 16, 18, 1, 1, 1, 1])
header("negative size", "error", "the image is 12 x -16 x 18", dim=[3, 12, -16, 18, 1, 1, 1, 1])
header("no slice", "error", "the image is 12 x 16 x 0", dim=[3, 12, 16, 0, 1, 1, 1, 1])
header("immense", "error", "cut off", dim=[3, 32767, 32767, 32767, 1, 1, 1, 1])
header("more slices than there are", "error", "cut off", dim=[3, 12, 16, 19, 1, 1, 1, 1])
header("no data type", "error", "the voxels are of type", datatype=0)
header("unknown data type", "error", "unknown datatype code 9999", datatype=9999)
header("infinite slope", "error", "the scaling is inf", scl_slope=np.inf)
header("no intercept", "error", "the scaling is 1 x + nan", scl_slope=1.0, scl_inter=np.nan)
header("slope of zero", scl_slope=0.0, scl_inter=7.0)
header("slope that overflows", "error", "NaN or infinite", scl_slope=3e38, scl_inter=3e38)
header("voxels begin nowhere", "error", "voxels begin at byte nan", vox_offset=np.nan)
header("voxels begin before the file", "error", "begin at byte -352", vox_offset=-352)
header("voxels begin far out", "error", "begin at byte 1e+30", vox_offset=1e30)
header("voxels begin after the file", "error", "cut off", vox_offset=100_000)
header("voxels begin by default", vox_offset=0)
header("spacing of zero", "error", "is no geometry (spacing 3, 2, 0 mm)", srow_x=[0, 0, 0, 0])
header("spacing is nan", "error", "is no geometry", srow_z=[np.nan, 0, 0, 0])
header("spacing is infinite", "error", "is no geometry", srow_z=[np.inf, 0, 0, 0])
header("spacing of a metre", "error", "is no geometry (spacing 1000,", srow_z=[-1000, 0, 0, 0])
header("axes in one plane", "error", "is no geometry", srow_x=[0, -1e-6, 0, 0])
PIXDIM = {"sform_code": 0, "qform_code": 0}
header("zero pixdim", "error", "the spacing is 0, 2, 2 mm", pixdim=[1, 0, 2, 2] + [0] * 4, **PIXDIM)
header("nan pixdim", "error", "spacing is 3, nan, 2", pixdim=[1, 3, np.nan, 2] + [0] * 4, **PIXDIM)
header(
    "other spacing", "warning", "header's spacing is 3 x 5 x 2 mm", pixdim=[1, 3, 5, 2] + [1] * 4
)
header(
    "negative spacing", "warning", "header's spacing is 3 x -2 x 2", pixdim=[1, 3, -2, 2] + [1] * 4
)
header("sform and qform disagree", "warning", "sform and qform disagree", qform_code=1)
header(
    "qform is none", "warning", "the qform is no geometry",
    qform_code=1, quatern_b=np.nan, quatern_c=0.5,
)  # fmt: skip
header("metres", "warning", "in metres", xyzt_units=1)
header("micrometres", "warning", "in micrometres", xyzt_units=3)
header("rubbish in what nobody reads", descrip=b"\xff\xfe", aux_file=b"\xff", intent_code=-3)


@add("no orientation", "warning", "no orientation")
def _(folder):
    for file in (IMAGE, MASK):
        patch(folder / file, sform_code=0, qform_code=0)


@add("qform alone")
def _(folder):
    for file, array in ((IMAGE, ct()), (MASK, kidneys())):
        nifti = nibabel.Nifti1Image(array, None)
        nifti.header.set_qform(KITS_AFFINE, code=1)
        nibabel.save(nifti, folder / file)


@add("nifti 2")
def _(folder):
    nibabel.save(nibabel.Nifti2Image(ct(), KITS_AFFINE), folder / IMAGE)


@add("thick slices, not square", "warning", "the spacing is 30 x 2 x 2 mm")
def _(folder):
    thick = KITS_AFFINE * [10, 1, 1, 1]
    save(folder / IMAGE, ct((12, 16, 31)), thick)
    save(folder / MASK, kidneys((12, 16, 31)), thick)


@add("turned and sheared", "warning", "the grid is sheared")
def _(folder):
    turned = KITS_AFFINE.copy()
    turned[:3, :3] += [[0.1, 0.2, 0.0], [-0.1, 0.1, 0.3], [0.2, 0.0, 0.1]]
    save(folder / IMAGE, ct(), turned)
    save(folder / MASK, kidneys(), turned)


# --- voxels
RGB = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
RGBA = np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1"), ("A", "u1")])
voxels("one channel", ct()[..., None], "warning", "the image is 12 x 16 x 18 x 1")
voxels("one channel, five axes", ct()[..., None, None], "warning", "12 x 16 x 18 x 1 x 1")
voxels("two channels", ct((*SHAPE, 2)), "error", "more than one channel")
add("one slice", "error", "the image is 16 x 18")(
    lambda folder: nibabel.save(nibabel.Nifti1Image(ct((16, 18)), np.eye(4)), folder / IMAGE)
)
voxels("complex numbers", ct().astype(np.complex64), "error", "complex")
for name, colours in (("colours", RGB), ("colours with alpha", RGBA)):
    add(name, "error", "colours (RGB)")(
        lambda folder, c=colours: nibabel.save(nibabel.Nifti1Image(c, KITS_AFFINE), folder / IMAGE)
    )
for dtype in ("i1", "i4", "i8", "f4", "f8"):
    array = (np.clip(ct(), -120, 120) if dtype == "i1" else ct()).astype(dtype)
    voxels(f"type {dtype}", array)
image("big-endian")(
    lambda d: packed(
        nibabel.Nifti1Header(gzip.decompress(d)[:348]).as_byteswapped(">").binaryblock
        + b"\0" * 4
        + np.frombuffer(gzip.decompress(d)[352:], "<i2").astype(">i2").tobytes()
    )
)
voxels("scaled", (ct().astype(int) + 1024).astype(np.uint16), scl_slope=1.0, scl_inter=-1024.0)
for name, value in (("a voxel is nan", np.nan), ("a voxel is infinite", -np.inf)):
    odd = ct().astype(np.float32)
    odd[3, 4, 5] = value
    voxels(name, odd, "error", "1 voxels are NaN or infinite")
voxels("constant", np.full(SHAPE, 7, dtype=np.int16), "error", "every voxel is 7")
voxels("picture", (np.abs(ct()) % 256).astype(np.int16), "warning", "like an 8-bit picture")
voxels("no air", ct().astype(np.int32) + 1024, "warning", "no value is below 0")
voxels("far outside HU", ct().astype(np.int32) * 100, "warning", "values reach from -100000")

# --- masks
LABEL = kidneys()
mask("empty mask", np.zeros(SHAPE, np.uint8), "error", "the mask is empty")
mask("no kidney", np.where(LABEL == 2, 2, 0).astype(np.uint8), "error", "the mask holds no kidney")
mask("foreign label", kidneys(cyst=True), "error", "the mask holds label 3")
mask("label 255", np.where(LABEL > 0, 255, 0).astype(np.uint8), "error", "the mask holds label 255")
mask("interpolated", LABEL * np.float32(0.75), "error", "holds the value 0.75")
mask("negative label", LABEL.astype(np.int16) - 1, "error", "holds the value -1")
mask("label 400", LABEL.astype(np.int16) * 400, "error", "holds the value 400")
mask("nan in the mask", np.where(LABEL == 2, np.nan, LABEL), "error", "holds the value nan")
mask("float mask", LABEL.astype(np.float64))
mask("scaled mask", LABEL * np.uint8(100), scl_slope=0.01, scl_inter=0.0)
mask("mask of one channel", LABEL[..., None], "warning", "the image is 12 x 16 x 18 x 1")
mask("mask one slice short", LABEL[:, :, :-1], "error", "the mask has 12 x 16 x 17 voxels")
mask("mask with swapped axes", LABEL.T, "error", "the mask has 18 x 16 x 12 voxels")
SHIFTED = np.array([[1, 0, 0, 1.0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ KITS_AFFINE
FLIPPED = KITS_AFFINE * [1, 1, -1, 1]
BARELY = np.array([[1, 0, 0, 1e-4], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ KITS_AFFINE
mask("mask shifted", LABEL, "error", "affines of image and mask differ by up to 0.5", SHIFTED)
mask("mask mirrored", LABEL, "error", "affines of image and mask differ", FLIPPED)
mask("shape and affine differ", LABEL[:, :, :-1], "error", "affines of image and mask", SHIFTED)
mask("affine off by rounding", LABEL, affine=BARELY)
DETACHED = np.where(LABEL == 2, 1, LABEL).astype(np.uint8)
DETACHED[0, 15, 9] = 2
mask("tumour far from a kidney", DETACHED, "warning", "more than 10 mm from any kidney")
mask("no tumour", np.minimum(LABEL, 1))
header("mask cut", "error", "cut off", MASK, dim=[3, 12, 16, 40, 1, 1, 1, 1])


# --- files
def files(name, severity="", words="", file=IMAGE):
    return add(name, severity, words, file)


files("missing image", "error", "missing image")(lambda f: (f / IMAGE).unlink())
files("missing mask", "error", "missing mask", MASK)(lambda f: (f / MASK).unlink())
files("Müller, Jörg – 症例 二")(lambda f: None)


@files("dangling link", "error", "which does not exist")
def _(folder):
    (folder / IMAGE).unlink()
    (folder / IMAGE).symlink_to("/nowhere/scan.nii.gz")


@files("link to itself", "error", "which does not exist")
def _(folder):
    (folder / IMAGE).unlink()
    (folder / IMAGE).symlink_to(folder / IMAGE)


@files("link to a good file")
def _(folder):
    elsewhere = folder.parent.parent / "elsewhere.nii.gz"
    (folder / IMAGE).rename(elsewhere)
    (folder / IMAGE).symlink_to(elsewhere)


@files("pipe", "error", "no regular file")
def _(folder):
    (folder / IMAGE).unlink()
    os.mkfifo(folder / IMAGE)


@files("folder in place of a file", "error", "the image is a folder")
def _(folder):
    (folder / IMAGE).unlink()
    (folder / IMAGE).mkdir()


@files("two spellings", "error", "two files for the mask", "segmentation.nii.gz")
def _(folder):
    save(folder / "segmentation.nii", kidneys())


@files("plain nifti")
def _(folder):
    save(folder / "imaging.nii", ct())
    (folder / IMAGE).unlink()


@files("hidden files beside")
def _(folder):
    (folder / f"._{IMAGE}").write_bytes(b"\0\5\26\7Mac OS X")
    (folder / "Thumbs.db").write_bytes(b"x")
