"""Reports of a part of an experiment: what they leave, and what they say of their verdicts."""

from __future__ import annotations

import json

import pytest
from reporting.conftest import LONG
from reporting.workdirs import Plan, write_workdir

from kitsbench.errors import UsageError
from kitsbench.experiments.records import find_experiment, report_folder
from kitsbench.experiments.results import load_results
from kitsbench.reporting import build_report
from kitsbench.reporting.analysis import analyse
from kitsbench.reporting.asked.narrowing import Narrowing, narrow
from kitsbench.reporting.first_screen.screen import first_screen
from kitsbench.reporting.methods import methods
from kitsbench.statistics import Rule, compare


@pytest.fixture(scope="module")
def results(workdir):
    return load_results(workdir)


def narrowed(results, **asked):
    return analyse(*narrow(results, Narrowing(**asked)))


def test_nothing_asked_for_is_the_whole(results):
    left, how = narrow(results, Narrowing())
    assert how is None
    assert len(left.trials) == len(results.trials)
    every = tuple(entrant.name for entrant in results.experiment.entrants)
    assert narrow(results, Narrowing(every, "tumor:dice", margin=0.02))[1] is None


def test_only_the_asked_architectures_are_there(results):
    analysis = narrowed(results, architectures=("unet3d,msff_net",))
    assert analysis.names == ["unet3d", "msff_net"]
    assert {trial.name for trial in analysis.results.trials} == {"unet3d", "msff_net"}
    assert set(analysis.results.curves["architecture"]) == {"unet3d", "msff_net"}
    assert len(analysis.pairs) == 1
    told = first_screen(analysis).remarks[0]
    assert "2 of 4 entrants (unet3d and msff_net)" in told
    assert "1 pair is compared, and 6 in the report of the whole experiment" in told
    assert "exploratory" in told
    assert told in " ".join(methods(analysis))


def test_the_family_of_pairs_is_that_of_what_is_left(results):
    analysis = narrowed(results, architectures=("unet3d", "msff_net", LONG))
    scores = results.marked
    own = scores[scores["architecture"].isin(analysis.names)]
    again = compare(own, protocol="kits19", rule=Rule(fold_count=3)).to_dict()
    assert [p["p_adjusted"] for p in analysis.pairs] == [p["p_adjusted"] for p in again["pairs"]]


def test_a_name_may_hold_commas_itself(results):
    assert narrowed(results, architectures=(f"{LONG},late",)).names == [LONG, "late"]
    assert narrowed(results, architectures=(LONG,)).names == [LONG]


def test_a_baseline_leaves_its_pairs_and_is_what_all_stand_beside(results):
    analysis = narrowed(results, baseline="unet3d")
    assert {frozenset((pair["a"], pair["b"])) for pair in analysis.pairs} == {
        frozenset(("unet3d", other)) for other in ("msff_net", LONG, "late")
    }
    first = first_screen(analysis)
    assert "beside unet3d (mean tumour Dice" in first.headline
    assert f"{LONG} and msff_net are found better than it" in first.headline
    assert first.standing.places[0].name == "unet3d"
    states = {place.name: place.state for place in first.standing.places}
    assert states["unet3d"] == "first"
    assert states["msff_net"] == states[LONG] == "behind"  # told apart
    assert "not told apart from unet3d (blue); orange: told apart from it" in first.standing.legend
    for pair, place in ((p, {p["a"], p["b"]} - {"unet3d"}) for p in analysis.pairs):
        row = next(one for one in first.standing.places if one.name in place)
        mean = first.standing.places[0].mean
        crosses = row.low is not None and row.low <= mean <= row.high
        if row.state in ("level", "behind"):
            assert crosses == (pair["better"] is None)


def test_another_endpoint_and_margin_are_told_as_chosen_late(results):
    analysis = narrowed(results, endpoint="kidney_and_tumor:dice", margin=0.05)
    assert (analysis.region, analysis.margin) == ("kidney_and_tumor", 0.05)
    assert {pair["region"] for pair in analysis.pairs} == {"kidney_and_tumor"}
    text = " ".join(methods(analysis))
    assert "endpoint kidney_and_tumor:dice instead of tumor:dice" in text
    assert "margin 0.05 instead of 0.01" in text
    assert "fixed before" not in text
    assert "±0.05, was chosen when the report was made" in text


def test_regions_leave_the_verdicts_as_they_were(results, analysis):
    found = narrowed(results, regions=("tumor",))
    assert set(found.results.scores["region"]) == {"tumor"}
    assert [p["verdict"] for p in found.pairs] == [p["verdict"] for p in analysis.pairs]
    assert found.narrowed.told == (
        "Narrowed: only the region tumour. Pairs and verdicts are those of the whole experiment."
    )


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"architectures": ("unet",)}, "Did you mean unet3d"),
        ({"architectures": ("unet3d,nothing",)}, "no architecture 'nothing'"),
        ({"baseline": "lat"}, "Did you mean late"),
        ({"endpoint": "tumor:dise"}, "Did you mean tumor:dice"),
        ({"regions": ("tumour",)}, "Did you mean tumor"),
        # The kidney alone has scores by its label, and is no endpoint of KiTS19.
        ({"regions": ("kidney",)}, r"leaves out tumor. Name --region tumor as well\.$"),
        ({"regions": ("kidney_and_tumor",)}, "such as --endpoint kidney_and_tumor:dice"),
    ],
)
def test_what_is_not_there_is_refused(results, asked, told):
    with pytest.raises(UsageError, match=told):
        narrow(results, Narrowing(**asked))


def test_every_file_says_that_it_is_narrowed_and_how_to_make_it_again(tmp_path):
    gaps = {"a": 0.0, "b": 0.1, "c": 0.2}
    plan = Plan(gaps, folds=1, predictions=False, profiles=False, showcase=0)
    workdir = write_workdir(tmp_path, plan)
    asked = Narrowing(architectures=("a", "b"), margin=0.05)
    page = build_report(workdir, asked=asked)
    # Beside that of the whole experiment, which it does not replace.
    assert page.parent.parent == report_folder(workdir, find_experiment(workdir).id).parent
    assert not (workdir / "report").exists()
    for name in ("index.html", "report.md", "tab-ranking.tex", "report.json"):
        assert "Narrowed: " in (page.parent / name).read_text(encoding="utf-8"), name
    document = json.loads((page.parent / "report.json").read_text())
    again = document["experiment"]["rebuild"].split()
    assert again[:2] == ["kitsbench", "report"]
    assert again[5:] == ["--architectures", "a", "--architectures", "b", "--margin", "0.05"]
    assert document["narrowed"]["pairs"] == 1
    assert document["narrowed"]["planned_pairs"] == 3
