"""One small experiment whose every case can be looked at, maps of a network's inside included."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from command_line import call_kitsbench
from reporting.workdirs import Plan, write_workdir

from kitsbench.experiments.results import load_results
from kitsbench.viewer.library import viewer_library

HOSTILE = 'scau_unet:attention=</script><script>window.hacked=1</script>,"quoted"'
GAPS = {"unet3d": -0.2, "msff_net": 0.06, HOSTILE: 0.061}
PLAN = Plan(GAPS, folds=2, cases_per_fold=2, showcase=4, profiles=False)


@pytest.fixture(scope="session")
def viewed_workdir(tmp_path_factory):
    """Four cases with scan, truth and three predictions each; one network shows its attention."""
    folder = write_workdir(tmp_path_factory.mktemp("viewed"), PLAN)
    results = load_results(folder)
    for trial in results.trials:
        if trial.name != "msff_net":
            continue
        for file in trial.folder.predictions.glob("*.nii.gz"):
            label = nib.load(file)
            levels = np.zeros(label.shape, np.uint8)
            levels[5:15, 30:50, 20:70] = np.arange(50)[None, None] * 5
            out = trial.folder.maps / file.name.removesuffix(".nii.gz")
            out.mkdir(parents=True)
            nib.save(nib.Nifti1Image(levels, label.affine), out / "attention gate.nii.gz")
    return folder


@pytest.fixture(scope="session")
def viewed_results(viewed_workdir):
    return load_results(viewed_workdir)


@pytest.fixture(scope="session")
def viewed_report(viewed_workdir, tmp_path_factory):
    """Page of a report with the viewer beside it."""
    if viewer_library() is None:
        pytest.skip("ipyniivue is not installed here (extra viewer)")
    out = tmp_path_factory.mktemp("with") / "report"
    asked = ("--viewer", "all", "--viewer-limit", 50)
    done = call_kitsbench("report", viewed_workdir, "-o", out, *asked)
    assert done.code == 0, done.err
    return out / "index.html"
