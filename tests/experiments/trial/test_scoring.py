"""A trial scores its held-out cases as ``kitsbench evaluate`` scores the maps that it keeps."""

from __future__ import annotations

import pandas as pd
import pytest
from command_line import SMALL, call_kitsbench
from scans import KITS_AFFINE, case, ct, kidneys

from kitsbench.evaluation import evaluate

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
    text = " ".join((done.out + (root / "work" / "report" / "report.md").read_text()).split())
    assert text.count("The grid of 2 cases is sheared (case_") == 2
