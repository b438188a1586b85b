"""The viewer beside a report: what lies there, what is left out, and what is said of it."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from viewer.conftest import HOSTILE
from viewer.decoded import document_of, in_file, voxels

from kitsbench.experiments.results import load_results
from kitsbench.reporting.analysis import analyse
from kitsbench.reporting.viewer_part import FEW, ViewerAsked, scans_of, viewer_section
from kitsbench.viewer import library
from kitsbench.viewer.choice import chosen_cases, endpoint_scores, leader
from kitsbench.viewer.library import viewer_library


@pytest.fixture(scope="module")
def viewer(viewed_report):
    """Folder of the viewer in a report."""
    return viewed_report.parent / "viewer"


@pytest.fixture(scope="module")
def viewed_analysis(viewed_results):
    return analyse(viewed_results)


def known(folder):
    page = (folder / "index.html").read_text(encoding="utf-8")
    return json.loads(re.search(r'id="viewer-data">(.*?)</script>', page, re.DOTALL)[1])


def test_labels_and_maps_are_those_of_the_files(viewer, viewed_results):
    one = known(viewer)["cases"][0]
    document = document_of(viewer / one["script"])
    where = in_file(document)
    found = dict(document["predictions"])
    assert set(found) == {"unet3d", "msff_net", HOSTILE}
    for name, volume in found.items():
        trial = next(t for t in viewed_results.trials if t.name == name and t.seed == 0
                     and one["name"] in t.record.context.test_cases)  # fmt: skip
        file = trial.folder.predictions / f"{one['name']}.nii.gz"
        stored = np.asarray(nib.load(file).dataobj)
        np.testing.assert_array_equal(voxels(volume, document["shape"]), stored[where])
    ((maker, name, volume),) = document["maps"]
    assert (maker, name) == ("msff_net", "attention gate")
    assert voxels(volume, document["shape"]).max() == 245


def test_the_page_says_how_it_was_made_small(viewer):
    document = document_of(viewer / "case-0000.js")
    assert "cut to everything that anybody labelled and 20 mm around" in document["said"]
    assert "HU in steps of 2 from −160 to 240" in document["said"]


def test_the_library_lies_there_with_its_licences(viewer):
    assert viewer_library().versions.startswith("NiiVue ")
    assert "BSD" in (viewer / "niivue-licences.txt").read_text(encoding="utf-8")
    assert "niivue-licences.txt" in (viewer / "index.html").read_text(encoding="utf-8")


def test_few_cases_come_with_their_reasons(viewed_results):
    few, every = chosen_cases(viewed_results, "few"), chosen_cases(viewed_results, "all")
    assert chosen_cases(viewed_results, "none") == {}
    assert list(every)[: len(few)] == list(few)
    scores = endpoint_scores(viewed_results)
    first = scores.mean().idxmax()
    worst = scores[first].idxmin()
    assert f"among the worst of {first}" in few[worst]
    widest = (scores.max(axis=1) - scores.min(axis=1)).idxmax()
    assert "architectures differ most" in few[widest]
    assert f"best of {first}" in few[scores[first].idxmax()]


def test_of_errors_to_both_sides_the_size_decides_which_case_is_worst(viewed_results):
    names = [str(entrant.name) for entrant in viewed_results.experiment.entrants]
    errors = {"case_00000": -90.0, "case_00001": 5.0, "case_00002": 20.0, "case_00003": 1.0}
    table = viewed_results.scores.query("region == 'tumor' and metric == 'dice'")
    shift = table["architecture"].map({name: at for at, name in enumerate(names)})
    table = table.assign(metric="volume_error_ml", value=table["case"].map(errors) * (1 + shift))
    experiment = viewed_results.experiment.model_copy(update={"endpoint": "tumor:volume_error_ml"})
    results = replace(viewed_results, scores=table, experiment=experiment)
    assert leader(results) == names[0]
    few = chosen_cases(results, "few")
    worst = [case for case, why in few.items() if f"among the worst of {names[0]}" in why]
    assert worst == ["case_00000", "case_00002"]
    assert f"best of {names[0]}" in few["case_00003"]


def test_what_does_not_fit_is_named(viewed_analysis, viewer, tmp_path):
    size = sum(file.stat().st_size for file in viewer.iterdir())
    one = (viewer / "case-0000.js").stat().st_size
    asked = ViewerAsked("all", (size - 2 * one) / 2**20)
    section, told = viewer_section(viewed_analysis, tmp_path, asked)
    left = len(known(tmp_path / "viewer")["cases"])
    assert 0 < left < 4
    assert len(list((tmp_path / "viewer").glob("case-*.js"))) == left
    assert f"The viewer holds {left} cases; {4 - left} more (" in told[0]
    assert "--viewer-limit" in told[0]
    assert section.blocks[-1].lines == told
    # What the figures of the report lead to: the page of the viewer, at that case.
    names = [one["name"] for one in known(tmp_path / "viewer")["cases"]]
    assert scans_of(section) == {name: f"viewer/index.html#case={name}" for name in names}


def test_none_leaves_nothing_of_it(viewed_analysis, tmp_path):
    assert viewer_section(viewed_analysis, tmp_path, ViewerAsked("none")) == (None, [])
    assert list(tmp_path.iterdir()) == []


def test_without_the_library_the_report_says_which_extra_brings_it(
    viewed_analysis, tmp_path, monkeypatch
):
    monkeypatch.setattr(library, "DISTRIBUTION", "a-distribution-that-nobody-has")
    section, told = viewer_section(viewed_analysis, tmp_path, FEW)
    assert list(tmp_path.iterdir()) == told == section.blocks == []
    assert "pip install 'kitsbench[viewer]', then `kitsbench report`" in section.lead


def test_names_stay_text(viewer):
    for file in viewer.iterdir():
        if file.suffix in (".js", ".html"):
            assert "<script>window.hacked" not in file.read_text(encoding="utf-8")
    report = (viewer.parent / "index.html").read_text(encoding="utf-8")
    assert "<script>window.hacked" not in report


def test_a_damaged_file_costs_itself_alone(viewed_workdir, tmp_path):
    work = tmp_path / "work"
    shutil.copytree(viewed_workdir, work)
    results = load_results(work)
    own = {trial.name: trial for trial in results.trials if trial.seed == trial.fold == 0}
    first, second = sorted(own["unet3d"].record.context.test_cases)

    def prediction(name, case):
        return own[name].folder.predictions / f"{case}.nii.gz"

    def cut(file):
        file.write_bytes(file.read_bytes()[:-40])

    cut(prediction("unet3d", first))
    cut(own["msff_net"].folder.maps / first / "attention gate.nii.gz")
    (truth,) = (work / "dataset").rglob(f"{second}/segmentation.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5), np.uint8), np.eye(4)), truth)
    experiment = results.experiment
    dataset = experiment.dataset.model_copy(update={"path": str(work / "dataset")})
    results = replace(results, experiment=experiment.model_copy(update={"dataset": dataset}))
    section, _ = viewer_section(analyse(results), tmp_path, ViewerAsked("all"))
    cases = {one["name"]: one for one in known(tmp_path / "viewer")["cases"]}
    assert len(cases) == 4
    assert set(cases[first]["makers"]) == {"msff_net", HOSTILE}
    assert document_of(tmp_path / "viewer" / cases[first]["script"])["maps"] == []
    assert document_of(tmp_path / "viewer" / cases[second]["script"])["truth"] is None
    said = "\n".join(section.blocks[-1].lines)
    assert f"The prediction of unet3d is left out of {first}: " in said
    assert f"The map msff_net: attention gate is left out of {first}: " in said
    assert f"The truth is left out of {second}: " in said
