"""A trial scores its held-out cases as ``kitsbench evaluate`` scores the maps that it keeps."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest
from command_line import SMALL, call_kitsbench
from scans import KITS_AFFINE, case, ct, kidneys, save

from kitsbench.data.datasets.dataset import Case
from kitsbench.evaluation import evaluate, score_case
from kitsbench.experiments.trial.scoring import CaseReader

KEYS = ["case", "region", "metric"]


@pytest.fixture(scope="module")
def scored(plugin, tmp_path_factory):
    """Cases on a sheared grid, and a working directory that was run on two of them."""
    root = tmp_path_factory.mktemp("tilted")
    tilted = KITS_AFFINE.copy()
    tilted[1, 0] = 0.9
    for number in range(4):
        label = kidneys(cyst=True)
        case(root / "dataset", f"case_{number:05d}", ct(seed=number), label, tilted)
    options = ["--dataset", root, *SMALL, "--folds", "0", "--seeds", "1", "--budget", "1steps"]
    done = call_kitsbench("run", plugin("plain", "Smallest"), *options, "--workdir", root / "work")
    return root, done


def test_distances_on_sheared_grids_are_undefined_by_both(scored):
    root, done = scored
    assert done.code == 0, done.err
    table = pd.read_csv(root / "work" / "report" / "scores.csv")
    table = table[table["protocol"] == "kits23"].set_index(KEYS).sort_index()
    (folder,) = (root / "work" / "trials").glob("*/predictions")
    cases = [path.name.removesuffix(".nii.gz") for path in folder.iterdir()]
    found = evaluate(folder, root / "dataset", "kits23", cases=cases)
    frame = found.frame.set_index(KEYS).sort_index()
    pd.testing.assert_frame_equal(table[["value", "status"]], frame[["value", "status"]])
    undefined = table[table["status"] == "undefined"]
    assert set(undefined.index.get_level_values("case")) == set(cases)
    assert set(undefined.index.get_level_values("metric")) == {"surface_dice"}
    assert undefined["value"].isna().all()


def test_the_run_says_so(scored):
    root, done = scored
    for text in (done.out, (root / "work" / "report" / "report.md").read_text()):
        assert "The grid of 2 cases is sheared (case_" in " ".join(text.split())


@pytest.mark.parametrize("sides", [(1.03e-3, 0.97e-3), (0.97e-3, 1.03e-3)])
def test_the_grid_of_the_truth_says_whether_it_is_sheared(tmp_path, sides):
    """Scan and truth lie on one grid to rounding; one is just beyond what counts as sheared."""
    affines = [KITS_AFFINE.copy() for _ in sides]
    for affine, tilt in zip(affines, sides, strict=True):
        affine[1, 0] = 3 * tilt
    label = kidneys(cyst=True)
    scan = save(tmp_path / "imaging.nii.gz", ct(), affines[0])
    truth = save(tmp_path / "segmentation.nii.gz", label, affines[1])
    reader = CaseReader(SimpleNamespace(cases={"case": Case("case", scan, truth)}, names=None))
    labels, spacing, affine = reader.truth("case")
    rows = score_case(labels, labels, spacing, "kits23", affine=affine)
    found = evaluate(truth, truth, "kits23")
    assert rows == [{k: v for k, v in row.items() if k != "case"} for row in found.rows]
    sheared = "undefined" if sides[1] > 1e-3 else "ok"
    assert {row["status"] for row in rows if row["metric"] == "surface_dice"} == {sheared}
