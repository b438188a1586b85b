"""Scans that are no NIfTI: the same voxels in the same place, whatever the format."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from scans import ct, save

from kitsbench.data.preparation.volumes import load_case
from kitsbench.scans.findings import Refused
from kitsbench.scans.formats import open_scan, stem_of
from kitsbench.scans.header import canonical
from kitsbench.scans.writing import write_label

sitk = pytest.importorskip("SimpleITK")
pytest.importorskip("torchio")

SHAPE = (18, 16, 12)  # x, y, z
OBLIQUE = np.array(
    [[-1.9, 0.2, 0.3, 40], [0.2, 1.9, 0.1, -30], [-0.2, -0.1, 2.9, 100], [0, 0, 0, 1]], dtype=float
)
TILTED = np.array([[-2, 0, 0, 40], [0, 2, 0.7, -30], [0, 0, 2.9, 100], [0, 0, 0, 1]], dtype=float)
STRAIGHT = np.diag([2.0, 2.0, 3.0, 1.0])
GEOMETRIES = {"straight": STRAIGHT, "turned": OBLIQUE}


def orthogonal(affine):
    """The nearest affine with right angles, which is all that ITK's formats can hold."""
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(0))
    u, _, v = np.linalg.svd(affine[:3, :3] / spacing)
    result = affine.copy()
    result[:3, :3] = u @ v * spacing
    return result


def itk_image(array, affine):
    """What ITK calls this array (x, y, z) with this RAS affine."""
    image = sitk.GetImageFromArray(array.transpose(2, 1, 0))
    lps = np.diag([-1, -1, 1, 1]) @ affine
    spacing = np.sqrt((lps[:3, :3] ** 2).sum(0))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / spacing).reshape(-1).tolist())
    return image


def write_dicom(folder, array, affine, series="1.2.3", skip=(), modality="CT", **fields):
    """Write an array (x, y, z) as slices of a series, in an order that file names do not tell."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    lps = np.diag([-1, -1, 1, 1]) @ affine
    spacing = np.sqrt((lps[:3, :3] ** 2).sum(0))
    for k in range(array.shape[2]):
        if k in skip:
            continue
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        name = folder / f"IM{(k * 7) % 101:04d}"
        data = FileDataset(name, {}, file_meta=meta, preamble=b"\0" * 128)
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        data.Modality, data.PatientID, data.PatientName = modality, "1", "Phantom"
        data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.3.4", series
        data.FrameOfReferenceUID, data.InstanceNumber = "1.2.3.5", k + 1
        data.Rows, data.Columns = array.shape[1], array.shape[0]
        data.PixelSpacing = [f"{spacing[1]:.8f}", f"{spacing[0]:.8f}"]
        data.SliceThickness = f"{spacing[2]:.6f}"
        data.ImageOrientationPatient = [
            f"{v:.10f}" for v in [*lps[:3, 0] / spacing[0], *lps[:3, 1] / spacing[1]]
        ]
        data.ImagePositionPatient = [f"{v:.8f}" for v in lps[:3, 3] + k * lps[:3, 2]]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.PixelRepresentation = 0
        data.RescaleIntercept, data.RescaleSlope = "-1024", "1"
        for key, value in fields.items():
            setattr(data, key, value)
        stored = (array[:, :, k].T.astype(np.int32) + 1024).astype(np.uint16)
        data.PixelData = stored.tobytes()
        pydicom.dcmwrite(name, data, enforce_file_format=True)
    return folder


def same_as_nifti(path, array, affine, tmp_path):
    scan = open_scan(path, "case")
    reference = save(tmp_path / "reference.nii.gz", array, affine)
    expected = open_scan(reference)
    # Which slice of a DICOM series comes first is up to its reader; where each one is, is not.
    np.testing.assert_allclose(canonical(scan.header)[0], canonical(expected.header)[0], atol=2e-4)
    assert scan.header.shape == array.shape
    image, findings = scan.read()
    assert [f.what for f in scan.header.findings + findings] == []
    np.testing.assert_array_equal(image, expected.read()[0])
    # and on to the grid of the networks
    a, b = (load_case("case", file, None, (4.0, 3.0, 3.0)).case for file in (path, reference))
    np.testing.assert_allclose(a.affine, b.affine, atol=2e-4)
    assert np.abs(a.image.astype(int) - b.image).max() <= 1
    # A label map lies on its image, for whoever opens both.
    write_label(tmp_path / "out.nii.gz", np.ones(array.shape, np.uint8), a.native)
    written = nibabel.load(tmp_path / "out.nii.gz")
    assert written.shape == array.shape
    np.testing.assert_allclose(written.affine, scan.header.affine, atol=2e-5)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
def test_files_of_itk(tmp_path, suffix, geometry):
    array, affine = ct(SHAPE), orthogonal(GEOMETRIES[geometry])
    path = tmp_path / f"scan 1{suffix}"
    sitk.WriteImage(itk_image(array, affine), str(path))
    same_as_nifti(path, array, affine, tmp_path)


@pytest.mark.parametrize("affine", [STRAIGHT, orthogonal(OBLIQUE), TILTED])
def test_a_dicom_folder(tmp_path, affine):
    """Also with a tilted gantry, whose slices are shifted against each other."""
    array = ct(SHAPE)
    folder = write_dicom(tmp_path / "series", array, affine)
    (folder / "notes.txt").write_text("not a slice")
    same_as_nifti(folder, array, affine, tmp_path)


def test_pairs_and_freesurfer(tmp_path):
    array = ct(SHAPE)
    nibabel.save(nibabel.Nifti1Pair(array, STRAIGHT), tmp_path / "pair.img")
    nibabel.save(nibabel.MGHImage(array.astype(np.int32), STRAIGHT), tmp_path / "scan.mgz")
    same_as_nifti(tmp_path / "pair.img", array, STRAIGHT, tmp_path)
    same_as_nifti(tmp_path / "scan.mgz", array, STRAIGHT, tmp_path)


def test_a_nifti_file_without_a_suffix(tmp_path):
    save(tmp_path / "scan.nii.gz", ct()).rename(tmp_path / "scan")
    assert open_scan(tmp_path / "scan").read()[0].shape == (12, 16, 18)


def colours(path):
    array = np.zeros((12, 16, 18, 3), dtype=np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=True), str(path / "a.nrrd"))
    return path / "a.nrrd"


def text(path):
    (path / "a.nrrd").write_text("NRRD0004\nnothing that follows is right\n")
    return path / "a.nrrd"


def cut(path):
    sitk.WriteImage(itk_image(ct(SHAPE), STRAIGHT), str(path / "a.mha"))
    data = (path / "a.mha").read_bytes()
    (path / "a.mha").write_bytes(data[: len(data) // 2])
    return path / "a.mha"


def missing_raw(path):
    sitk.WriteImage(itk_image(ct(SHAPE), STRAIGHT), str(path / "a.mhd"))
    (path / "a.raw").unlink()
    return path / "a.mhd"


def picture(path):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((16, 18), dtype=np.uint8)), str(path / "a.png"))
    return path / "a.png"


def constant(path):
    image = itk_image(np.full(SHAPE, 7, dtype=np.int16), STRAIGHT)
    sitk.WriteImage(image, str(path / "a.nrrd"))
    return path / "a.nrrd"


def nan(path):
    array = ct(SHAPE).astype(np.float32)
    array[1, 2, 3] = np.nan
    sitk.WriteImage(itk_image(array, STRAIGHT), str(path / "a.nrrd"))
    return path / "a.nrrd"


def gap(path):
    return write_dicom(path / "d", ct(SHAPE), STRAIGHT, skip=(5,))


def one_slice(path):
    return write_dicom(path / "d", ct(SHAPE), STRAIGHT, skip=range(1, 12))


def one_file(path):
    return next(write_dicom(path / "d", ct(SHAPE), STRAIGHT).iterdir()).rename(path / "a.dcm")


def two_series(path):
    write_dicom(path / "d", ct((18, 16, 13)), STRAIGHT, series="1.2.9", skip=range(1, 13))
    (path / "d" / "IM0000").rename(path / "d" / "scout")
    return write_dicom(path / "d", ct(SHAPE), STRAIGHT)


def twice(path):
    write_dicom(path / "d", ct(SHAPE), STRAIGHT)
    for file in list((path / "d").iterdir()):
        file.rename(file.with_name(f"a{file.name}"))
    return write_dicom(path / "d", ct(SHAPE), STRAIGHT)


def empty_folder(path):
    (path / "d").mkdir()
    return path / "d"


def folder_of_files(path):
    save(path / "d" / "a.nii.gz", ct())
    return path / "d"


def cut_slice(path):
    folder = write_dicom(path / "d", ct(SHAPE), STRAIGHT)
    file = sorted(folder.iterdir())[3]
    file.write_bytes(file.read_bytes()[:-300])
    return folder


WRONG = [
    (colours, "3 channels"),
    (text, "cannot be read"),
    (cut, "cannot be read"),
    (missing_raw, "cannot be read"),
    (picture, "single slice"),
    (constant, "every voxel is 7"),
    (nan, "1 voxels are NaN"),
    (gap, "3 to 6 mm apart"),
    (one_slice, "there is one slice"),
    (one_file, "single slice"),
    (two_series, "holds 2 DICOM series"),
    (twice, "mm apart"),
    (empty_folder, "no DICOM series"),
    (folder_of_files, r"no DICOM series \(1 files of other formats\)"),
    (cut_slice, "mm apart"),
]


@pytest.mark.parametrize(("make", "words"), WRONG, ids=[make.__name__ for make, _ in WRONG])
def test_what_is_no_scan_is_refused_with_its_reason(tmp_path, make, words, capfd):
    path = make(tmp_path)
    with pytest.raises(Refused, match=words) as caught:
        open_scan(path, "case").read()
    finding = caught.value.finding
    assert finding.file == str(path)
    assert finding.rule
    assert finding.remedy
    assert "\n" not in finding.what
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "WARNING" not in printed.err  # ITK's; its reader of MetaImage cannot be kept quiet


def test_another_modality_is_remarked(tmp_path):
    folder = write_dicom(tmp_path / "mr", ct(SHAPE), STRAIGHT, modality="MR")
    assert [f.what for f in open_scan(folder).header.findings] == ["the modality is MR"]


def test_a_damaged_slice_at_the_end_is_remarked(tmp_path):
    folder = write_dicom(tmp_path / "ct", ct(SHAPE), STRAIGHT)
    last = folder / f"IM{11 * 7:04d}"
    last.write_bytes(last.read_bytes()[:-300])
    scan = open_scan(folder)
    assert scan.header.shape == (18, 16, 11)
    (finding,) = scan.header.findings
    assert finding.what == f"1 DICOM files are no slices of the series (the first: {last.name})"


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.nii.gz", "a"),
        ("A.NII.GZ", "A"),
        ("scan 1.v2.nrrd", "scan 1.v2"),
        ("series.7", "series.7"),
        (".nii", ".nii"),
    ],
)
def test_names(tmp_path, name, stem):
    assert stem_of(tmp_path / name) == stem
