"""Preparation at its limits: a huge scan, a kill, a full disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import nibabel
import numpy as np
import pytest
from command_line import start_kitsbench, without_bytecode
from scans import case, ct, kidneys

from kitsbench.data.datasets.dataset import open_dataset
from kitsbench.data.preparation.prepare import prepare
from kitsbench.data.preparation.store import PreparedStore

SPACING = (3.0, 2.0, 2.0)
HUGE = (1000, 512, 796)  # the widest KiTS scan, with as many slices as any has

MEASURED = """
import sys
from pathlib import Path
from kitsbench.data.datasets.dataset import open_dataset
from kitsbench.data.preparation.prepare import prepare

prepare(open_dataset(sys.argv[1]), tuple(map(float, sys.argv[3:6])), Path(sys.argv[2]))
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(int(status["VmHWM"].split()[0]) * 1024)
"""


@pytest.fixture(scope="module")
def huge(tmp_path_factory):
    """One case of 796 x 512 x 1000 voxels, slices first as KiTS stores them."""
    affine = np.array([[0, 0, -0.7, 0], [0, -0.7, 0, 0], [-0.5, 0, 0, 0], [0, 0, 0, 1]], float)
    folder = tmp_path_factory.mktemp("huge") / "data" / "case_00000"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    plane = rng.normal(0, 300, HUGE[1:]).astype(np.int16)
    image = np.broadcast_to(plane, HUGE)
    nibabel.save(nibabel.Nifti1Image(image, affine), folder / "imaging.nii")
    label = np.zeros(HUGE, np.uint8)
    label[300:600, 200:350, 150:300] = 1
    label[400:500, 250:300, 200:260] = 2
    nibabel.save(nibabel.Nifti1Image(label, affine), folder / "segmentation.nii.gz")
    return folder.parent.parent


@pytest.mark.exhaustive
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads the memory from /proc")
@pytest.mark.parametrize("spacing", [(0.5, 0.7, 0.7), (0.501, 0.702, 0.702), (1.0, 1.0, 1.0)])
def test_memory_stays_below_four_times_the_scan(huge, tmp_path, spacing):
    """At its own spacing, at one that leaves as many voxels, and at a coarser one."""
    command = [sys.executable, "-c", MEASURED, huge, tmp_path, *map(str, spacing)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak, scan = int(done.stdout), 2 * int(np.prod(HUGE))
    print(f"peak {peak / 1e9:.2f} GB, {peak / scan:.2f} times the scan, at {spacing}")
    assert peak < 4 * scan


def start(dataset, out, *more, **options):
    """Start ``kitsbench data prepare`` in a process of its own."""
    spacing = ",".join(map(str, SPACING))
    return start_kitsbench(
        "data", "prepare", dataset, "-o", out, "--spacing", spacing, *more, **options
    )


def test_a_killed_preparation_is_continued_and_ends_the_same(tmp_path):
    """Killed with SIGKILL in the middle: what was finished is kept, no half case is left."""
    cases = [f"case_{k:05d}" for k in range(8)]
    shape = (60, 64, 66)
    for name in cases:
        case(tmp_path / "kits" / "data", name, ct(shape, seed=int(name[-1])), kidneys(shape))
    process = start(tmp_path / "kits", tmp_path / "out")
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("out/*/cases/case_*")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    (store,) = (tmp_path / "out").iterdir()
    finished = sorted(p.name for p in store.glob("cases/case_*"))
    assert 0 < len(finished) < len(cases)
    stamps = {name: (store / "cases" / name / "image.npy").stat().st_mtime_ns for name in finished}
    again = prepare(open_dataset(tmp_path / "kits"), SPACING, tmp_path / "out")
    assert again.cases == cases
    for name, stamp in stamps.items():
        assert (store / "cases" / name / "image.npy").stat().st_mtime_ns == stamp
    assert sorted(p.name for p in (store / "cases").iterdir()) == cases
    fresh = prepare(open_dataset(tmp_path / "kits"), SPACING, tmp_path / "fresh")
    assert again.manifest == fresh.manifest
    for name in cases:
        np.testing.assert_array_equal(again.case(name).image, fresh.case(name).image)


@pytest.mark.parametrize("jobs", [pytest.param(1, marks=pytest.mark.exhaustive), 2])
def test_a_file_that_cannot_be_written_whole_leaves_no_half_store(tmp_path, jobs):
    """A real limit of the system: no file may grow beyond 60 kB, as if the disk were full."""
    resource = pytest.importorskip("resource")
    case(tmp_path / "kits" / "data", "case_00000")
    case(tmp_path / "kits" / "data", "case_00001", ct((40, 40, 40)), kidneys((40, 40, 40)))

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    process = start(
        *(tmp_path / "kits", tmp_path / "out", "--jobs", jobs),
        **{"preexec_fn": limit, "env": without_bytecode()},
    )
    out, err = process.communicate(timeout=300)
    assert process.returncode == 2, err
    assert out == ""
    assert err.startswith("Error: ")
    assert "Traceback" not in err
    assert "the disk is full or a quota is reached" in err
    assert "finished cases are kept" in err
    (store,) = (tmp_path / "out").iterdir()
    assert not (store / "manifest.json").exists()
    # The small case was written; of the large one there is nothing, not even a temporary folder.
    left = sorted(p.name for p in (store / "cases").iterdir())
    assert set(left) <= {"case_00000"}
    found = prepare(open_dataset(tmp_path / "kits"), SPACING, tmp_path / "out")
    assert PreparedStore.open(found.folder).cases == ["case_00000", "case_00001"]
