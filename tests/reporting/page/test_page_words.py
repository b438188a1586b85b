"""What a page says of its numbers, verdicts and cases, in designs that differ."""

from __future__ import annotations

import dataclasses
import re

import pytest
from reporting.conftest import LONG, PLAN
from reporting.workdirs import broken_entrant, trained_elsewhere
from scipy import stats

from kitsbench.experiments.records import CaseSize, CasesRecord
from kitsbench.recipe import Recipe, Schedule, Transform
from kitsbench.reporting import scores, words
from kitsbench.reporting.drawing import plots
from kitsbench.reporting.first_screen.answer import details
from kitsbench.reporting.methods import methods
from kitsbench.reporting.page import cases, stability, verdicts
from kitsbench.reporting.page.checklist import checklist
from kitsbench.reporting.page.citations import bibtex, read_works
from kitsbench.reporting.page.facts import facts
from kitsbench.reporting.page.papers_claims import claims
from kitsbench.reporting.page.recipe_words import recipe_words
from kitsbench.statistics.design.power import POWER


def with_results(analysis, **changed):
    """The analysis of changed results."""
    return dataclasses.replace(analysis, results=dataclasses.replace(analysis.results, **changed))


def with_pairs(analysis, *changed, **more):
    """The analysis with the first pairs changed."""
    pairs = [pair | new for pair, new in zip(analysis.pairs, changed, strict=False)]
    pairs += analysis.pairs[len(changed) :]
    comparison = {**analysis.comparison, "pairs": pairs, **more}
    return dataclasses.replace(analysis, comparison=comparison)


def test_the_facts_tell_a_design_with_verdicts(analysis):
    told = dict(facts(analysis))
    for name, part in {
        "Scans": "phantom, 12 cases (1 set aside); synthetic: a program made the images "
        "from the labels; fingerprint 0123",
        "Scored by": "its challenge ranks by the mean of two Dice scores, of kidney and tumour "
        "together and of tumour alone",
        "Endpoint": "mean tumour Dice over cases and seeds, declared on 2026-11-21; differences "
        "within ±0.02 do not matter",
        "Tested on": "12 scans that no network had seen, all with a tumour",
        "Runs": "3 test folds of 3 × 2 seeds for each of 4 entrants: 23 of 24 trials finished, 1 ",
        "Budget and recipe": "20 s a training; the same recipe for all, “matched”",
        "Test": "two-sided, α = 0.05; units are cases and training runs; adjusted by Holm over 6 p",
        "Intervals of means": "two-sided t intervals by a two-way analysis of cases and training",
        "Noise of training": "between seeds (of a fold's mean)",
        "Drawn again": "1000 times (random start 0)",
        "Device": "Test CPU, 1 thread a trial; 57 GFLOP/s in a fixed mix of work",
        "Experiment": "split feedbeeffeedbeef, planned 2026-11-21",
    }.items():
        assert part in told[name], (name, told[name])


def test_the_facts_tell_another_protocol_budget_and_no_verdict(small):
    told = dict(facts(small))
    for name, part in {
        "Scans": "kits19, 4 cases (1 set aside); real scans",
        "Scored by": "KiTS23: hierarchical regions",
        "Tested on": "4 scans",
        "Runs": "one split × 1 seed for each of 2 entrants: 2 of 2 trials finished",
        "Budget and recipe": "400 steps a training",
        "Test": "a unit is a case; no verdict in this design, so no p-value is given",
        "Intervals of means": "by the cases alone",
        "Gap that would be seen": "cannot be computed with one run of training each, which does "
        "not tell how much training again changes a score; what more seeds would find says "
        "kitsbench plan --cases 4 --folds 1 --seeds 3 --architectures 2",
        "Noise of training": "not to be told from 1 seed",
    }.items():
        assert part in told[name], (name, told[name])
    assert "Drawn again" not in told


def test_the_gap_is_that_of_the_first_beside_all_other_pairs(analysis):
    first = analysis.ranking[0]["architecture"]
    # On the one whose predictions failed there is no verdict.
    own = [p for p in analysis.pairs if first in (p["a"], p["b"]) and "late" not in p.values()]
    level = 0.05 / len(analysis.pairs)

    def power(gap, pair):
        """Two-sided power of the t test, by scipy's noncentral t."""
        limit, shift = stats.t.ppf(1 - level / 2, pair["df"]), gap / pair["se"]
        return stats.nct.sf(limit, pair["df"], shift) + stats.nct.cdf(-limit, pair["df"], shift)

    powers = [power(analysis.gap, pair) for pair in own]
    assert min(powers) == pytest.approx(POWER, abs=1e-3)
    alone = max(pair["smallest_detectable_gap"] for pair in own)
    assert analysis.gap > alone  # which is of one comparison by itself


def test_a_gap_that_no_dice_can_have_is_not_quoted(analysis):
    """Few runs judged beside many pairs have so heavy tails that no difference would do."""
    wide = with_pairs(analysis, *[{"se": 0.5, "df": 1.5}] * len(analysis.pairs))
    assert wide.gap > 1
    assert wide.finds_nothing
    told = dict(facts(wide))["Gap that would be seen"]
    for text in (" ".join(details(wide)), " ".join(methods(wide)), told):
        assert words.number(wide.gap) not in text
    assert "nothing for sure" in " ".join(details(wide))
    assert not analysis.finds_nothing


def test_verdicts_are_said_once_for_each_kind(analysis):
    lines = verdicts.grouped(analysis)
    assert len(lines) <= len(analysis.pairs)
    text = " ".join(lines)
    for name in PLAN.gaps:
        assert name in text
    better = [line for line in lines if line.startswith("●")]
    assert better
    assert all("by more than the margin of 0.02." in line for line in better)


def test_identical_scores_are_called_so(analysis):
    # The spread of runs is that of all architectures together, also beside a pair without any.
    same = {"difference": 0.0, "se": 0.03, "identical": True}
    same |= {"verdict": "inconclusive", "better": None}
    changed = with_pairs(analysis, same)
    (line,) = [line for line in verdicts.grouped(changed) if line.startswith("=")]
    pair = changed.pairs[0]
    assert "1 of 6 pairs has identical scores in every case" in line
    assert pair["a"] in line
    assert pair["b"] in line
    assert words.verdict_name(pair) == "identical scores"
    assert words.verdict_name(pair | {"identical": False}) == "inconclusive"


def test_where_one_run_allows_no_verdict_no_pair_is_called_inconclusive(small):
    (pair,) = small.pairs
    assert words.verdict_name(pair) == "no verdict possible (one run)"
    (line,) = verdicts.grouped(small)
    low, high = pair["ci_simultaneous_low"], pair["ci_simultaneous_high"]
    away = low > 0 or high < 0
    assert line.startswith("¦ 1 of 1 pair can get no verdict, because one run of training each")
    assert f"the interval of {1 - away} includes 0, that of {int(away)} does not" in line
    # Why there is no p-value is said at the figure and at the table, before anybody opens a fold.
    forest = verdicts.forest(small)
    assert "no verdict possible" in forest.legend
    assert "inconclusive" not in forest.legend
    for told in (forest.legend, scores.pair_table(small).caption):
        assert "No p-value and no verdict are given, however far a line lies from 0" in told


def test_no_p_value_of_any_endpoint_is_given_where_the_design_allows_none(small, analysis):
    assert small.secondary
    assert all(row["p_adjusted"] is None for row in small.secondary)
    assert not any("; p = " in row["sentence"] for row in small.secondary)
    table = scores.secondary_table(small)
    assert "p (adjusted)" not in table.head
    assert "no p-value" in table.caption
    assert any(row["p_adjusted"] is not None for row in analysis.secondary)
    assert "p (adjusted)" in scores.secondary_table(analysis).head


def test_advice_names_the_folds_that_the_split_has(small):
    def told(count):
        folds = small.results.experiment.folds.model_copy(update={"count": count})
        record = small.results.experiment.model_copy(update={"folds": folds})
        results = dataclasses.replace(small.results, experiment=record)
        return dataclasses.replace(small, results=results).advice

    assert told(1).endswith("or split the cases into 4 folds or more and run them.")
    assert told(4).endswith("or run all 4 folds.")
    assert told(5).endswith("or run 4 or more of the 5 folds.")
    assert any(told(1)[:40] in warning for warning in small.warnings)


def test_legends_name_the_marks_that_are_drawn(small, analysis):
    order = [str(row["architecture"]) for row in analysis.ranking]
    every = plots.matrix(analysis.pairs, order).caption
    assert "● difference beyond the margin" in every
    none = plots.matrix(small.pairs, ["a", "b"]).caption
    assert none.endswith("No cell has a mark: no verdict possible.")
    assert "●" not in plots.forest(small.pairs, "b", 0.02).caption


def test_each_pair_is_laid_beside_both_of_its_baselines(analysis):
    found = verdicts.forest(analysis)
    assert list(found.baselines) == [row["architecture"] for row in analysis.ranking]
    for pair in analysis.pairs:
        (one,) = [row for row in found.baselines[pair["b"]] if row.name == pair["a"]]
        (other,) = [row for row in found.baselines[pair["a"]] if row.name == pair["b"]]
        assert one.difference == pytest.approx(pair["difference"])
        assert other.difference == pytest.approx(-pair["difference"])
        assert other.low == pytest.approx(-pair["ci_simultaneous_high"])
        assert found.low <= one.low <= one.high <= found.high
        if pair["better"]:
            assert {one.verdict.split(",")[0], other.verdict.split(",")[0]} == {"better", "worse"}
            assert (one if pair["better"] == pair["a"] else other).verdict.startswith("better")
    assert "simultaneous" in found.legend


def test_without_verdicts_the_legend_and_stability_say_so(small, analysis):
    assert "of each pair of trained networks by itself (scope L0)" in verdicts.forest(small).legend
    assert "one run of training" in stability.why_not(small)
    assert stability.bubbles(small) is None
    assert stability.why_not(analysis) == ""


def test_other_rankings_agree_as_kendall_says(analysis):
    table = stability.agreement(analysis)
    places = [row["rank"] for row in analysis.ranking]
    names = [row["architecture"] for row in analysis.ranking]
    schemes = analysis.comparison["rankings"]["schemes"]
    by_name = {row[0]: row for row in table.rows}
    for key, (title, _) in stability.SCHEMES.items():
        ranks = [schemes[key]["ranks"][name] for name in names]
        assert by_name[title][-1] == f"{stats.kendalltau(ranks, places).statistic:.2f}"
    assert {"Without fold 0", "Without fold 2", "Drawn again"} <= {*by_name}
    every = stability.ranks(analysis)
    assert [row[1] for row in every.rows] == [str(place) for place in places]
    without = stability.without_failed(analysis)
    assert [row[0] for row in without.rows] == names


def test_without_failed_cases_the_nearest_comes_first_of_a_distance(analysis):
    names = [row["architecture"] for row in analysis.ranking]
    means = [{"architecture": name, "mean": 4.0 - place} for place, name in enumerate(names)]
    means[-1]["mean"] = means[-2]["mean"]
    found = {**analysis.comparison, "sensitivity": {"n_cases": 8, "means": means}}
    changed = dataclasses.replace(analysis, metric="hd95_mm", comparison=found)
    table = stability.without_failed(changed)
    places = {row[0]: row[-1] for row in table.rows}
    assert places[names[0]] == str(len(names))
    assert places[names[-1]] == places[names[-2]] == "1"


def test_the_hardest_case_comes_first_with_every_value(analysis):
    table = cases.every_case(analysis, {"case_00000": "#case-case_00000"})
    means = [float(row[1]) for row in table.rows]
    assert means == sorted(means)
    assert len(means) == 12
    assert table.links == {"case_00000": "#case-case_00000"}
    own = analysis.results.scores.query(
        "protocol == 'kits19' and region == 'tumor' and metric == 'dice' and case == @name"
        " and architecture == 'unet3d'",
        local_dict={"name": table.rows[0][0]},
    )
    assert table.rows[0][table.head.index("unet3d")] == f"{own['value'].mean():.3f}"
    assert LONG in table.head


def test_scans_with_and_without_cysts_are_set_apart(small, analysis):
    ((heading, table),) = cases.strata(small)
    assert heading == "With and without a cyst"
    assert table.head == ["Architecture", "2 scans with a cyst", "2 scans without a cyst"]
    own = small.results.scores.query(
        "protocol == 'kits23' and region == 'tumor' and metric == 'dice' and architecture == 'b'"
        " and case in ('case_00000', 'case_00002')"
    )
    assert table.rows[0][:2] == ["b", f"{own['value'].mean():.3f}"]
    assert cases.strata(analysis) == []


def test_scans_are_set_apart_by_the_size_of_the_tumour_and_by_their_slices(small):
    names = [f"case_{number:05}" for number in range(4)]
    of = {  # at a bound, above it, at the next, and nothing to find
        names[0]: (33.5, 1.0),
        names[1]: (33.6, 2.0),
        names[2]: (179.6, 4.0),
        names[3]: (0.0, 4.1),
    }
    sizes = {
        case: CaseSize(volumes_ml={"kidney": 300.0, "tumor": ml}, slice_thickness_mm=mm)
        for case, (ml, mm) in of.items()
    }
    record = CasesRecord(dataset="x", cases=sizes)
    found = dict(cases.strata(with_results(small, cases=record)))
    assert list(found) == [
        "With and without a cyst",
        "By the size of the tumour",
        "By the distance of slices",
    ]
    by_size = found["By the size of the tumour"]
    assert by_size.head == ["Architecture", "1 scan up to 33.5 ml", "2 scans 33.5 to 179.6 ml"]
    own = small.results.scores.query(
        "protocol == 'kits23' and region == 'tumor' and metric == 'dice' and architecture == 'b'"
        " and case in ('case_00001', 'case_00002')"
    )
    assert by_size.rows[0][2] == f"{own['value'].mean():.3f}"
    assert found["By the distance of slices"].head[1:] == [
        "1 scan below 2 mm",
        "2 scans 2 to 4 mm",
        "1 scan above 4 mm",
    ]


def test_groups_leave_out_scans_with_nothing_to_find_and_those_that_not_all_have(small):
    size = CaseSize(volumes_ml={"tumor": 50.0}, slice_thickness_mm=1.0)
    sizes = {f"case_{number:05}": size for number in range(4)}
    sizes["case_00001"] = CaseSize(volumes_ml={"tumor": 50.0}, slice_thickness_mm=5.0)
    scores = small.results.scores.copy()
    own = (scores["protocol"] == small.protocol) & (scores["region"] == small.region)
    empty = own & (scores["case"] == "case_00003")
    scores.loc[empty, ["value", "status"]] = [1.0, "both_empty"]
    scores = scores[~(own & (scores["case"] == "case_00000") & (scores["architecture"] == "b"))]
    record = CasesRecord(dataset="x", cases=sizes)
    found = dict(cases.strata(with_results(small, cases=record, scores=scores)))
    table = found["By the distance of slices"]
    assert table.head[1:] == ["1 scan below 2 mm", "1 scan above 4 mm"]
    assert "Scans without the region are left out (1)." in table.caption
    assert "So are those that not everybody has." in table.caption


def test_the_checklist_answers_by_what_was_done(analysis, small):
    there = {"pairs", "cases", "scores", "setup", "failures", "stability", "fairness", "provenance"}
    wide = {row[0]: row[1] for row in checklist(analysis, there).rows}
    thin = {row[0]: row[1] for row in checklist(small, there).rows}
    for question, (one, other) in {
        "Are they scans of patients?": ("no", "yes"),
        "Is it said who drew the reference and how?": (
            "yes: the images were made from it",
            "no",
        ),
        "Was training repeated?": ("yes, 6 runs each", "no"),
        "Do failed runs count?": ("yes, 1 of them", "yes, none failed"),
        "Do the tests count the luck of training?": ("yes", "no, scope L0"),
        "Are they corrected for the number of pairs?": ("yes, Holm", "no verdict, so none"),
        "Is it fixed what an empty region scores?": ("yes, by kits19", "yes, by kits23"),
    }.items():
        assert (wide[question], thin[question]) == (one, other), question
    assert checklist(small, {"cases"}).links.keys() == {"Every case", "What these numbers are"}


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        (
            "Oktay et al. 2018, arXiv:1804.03999",
            ["@misc{oktay2018,", "author        = {Oktay and others}",
             "eprint        = {1804.03999}",
             "title         = {{Attention U-Net: learning where to look for the pancreas}}"],
        ),
        (
            "Doe & Roe 2031, \"My net, in 3D\", doi:10.1000/x-1",
            ["author = {Doe and Roe}", "title  = {{My net, in 3D}}", "doi    = {10.1000/x-1}"],
        ),
        (
            "Doe 2031, doi:10.1000/x{1",
            ["title  = {{Net}}", "note   = {DOI 10.1000/x(1; title to be looked up}"],
        ),
        ("my {thesis\\", ["author = {{Authors of Net}}", "note   = {my (thesis"]),
    ],
)  # fmt: skip
def test_a_line_on_a_paper_becomes_an_entry_with_author_and_title(line, fields):
    (work,) = read_works(line, "Net")
    entry = work.entry(work.key)
    assert entry.count("{") == entry.count("}")
    for field in fields:
        assert field in entry


def test_several_papers_of_one_line_have_an_entry_each():
    line = "Sun et al. 2019, KiTS19 challenge; journal version doi:10.3389/frobt.2020.00106"
    first, second = read_works(line, "Net")
    assert (first.who, first.year, second.who, second.year) == (
        "Sun et al.",
        "2019",
        "Sun et al.",
        "",
    )
    assert second.title.startswith("Improving CT image")


def test_who_could_not_take_part_was_not_compared_and_what_waits_has_not_failed(small):
    results = small.results
    broken = broken_entrant("ghost", "ImportError")
    entrants = (*results.experiment.entrants, broken)
    experiment = results.experiment.model_copy(update={"entrants": entrants})
    first, *others = results.trials
    waiting = first.status.model_copy(update={"status": "pending"})
    trials = [dataclasses.replace(first, status=waiting), *others]
    results = dataclasses.replace(results, experiment=experiment, trials=trials)
    changed = dataclasses.replace(small, results=results)
    assert methods(changed)[0].startswith("2 entrants (a and b) were compared with")
    assert "1 seed for each of 2 entrants: 1 of 2 trials finished" in dict(facts(changed))["Runs"]
    answers = {row[0]: row[1] for row in checklist(changed, set()).rows}
    assert answers["Do failed runs count?"] == "yes, none failed"


def test_of_what_was_trained_elsewhere_nobody_says_that_it_has_not_seen_the_scans(small):
    first, second = small.results.experiment.entrants
    outside = second.model_copy(update={"elsewhere": trained_elsewhere()})
    experiment = small.results.experiment.model_copy(update={"entrants": (first, outside)})
    results = dataclasses.replace(small.results, experiment=experiment)
    told = dict(facts(dataclasses.replace(small, results=results)))["Tested on"]
    assert told.startswith("4 scans that no network that was trained here had seen")


def test_references_are_bibtex_too(analysis, small):
    text = bibtex(analysis)
    assert text.count("{") == text.count("}")
    assert "@article{holm1979simple," in text
    assert "@article{heller2021kits19," in text
    assert "note   = {A paper, 2020; title and authors to be looked up}" in text
    # Styles of BibTeX ask for both.
    entries = re.split(r"\n\n(?=@)", text)
    assert all(
        re.search(rf"^  {word} +=", one, re.M) for one in entries for word in ("author", "title")
    )
    assert "holm" not in bibtex(small)
    assert "@misc{heller2023kits21," in bibtex(small)
    keys = re.findall(r"^@\w+\{([^,]+),$", text, re.MULTILINE)
    assert len(keys) == len(set(keys)) >= 4


def test_a_recipe_is_told_in_words_with_units():
    recipe = Recipe(
        "mine",
        spacing=(3.0, 1.62, 1.62),
        patch=(16, 64, 64),
        schedule=Schedule(rule="cosine", warmup=0.02),
        augmentation=(Transform("mirror", parameters=(("axes", (1, 2)),)),
                      Transform("gamma", 0.3, (("range", (0.7, 1.5)),))),
    )  # fmt: skip
    told = dict(recipe_words(recipe).rows)
    assert told["Voxels"].startswith("3×1.62×1.62 mm; images by linear, label maps by nearest")
    assert told["Augmentation"] == (
        "mirror (along y, x); gamma (range 0.7 to 1.5), 30 % of samples"
    )
    assert told["Optimiser"].startswith("AdamW, weight decay 0, gradients cut at a norm of 12")
    assert told["Learning rate"] == "0.001 at first, cosine decay, warm-up over 2 % of the budget"
    assert "50 % of a batch centred near foreground" in told["Patches"]


def test_claims_of_papers_are_told_with_what_they_lack(analysis):
    table, sentence = claims(analysis)
    found = re.match(r"Of (\d+) claims of papers that kitsbench knows, this experiment f", sentence)
    assert found is not None
    assert "not tested" in sentence
    if table is not None and len(table.rows) < int(found[1]):
        assert f"of the other {int(found[1]) - len(table.rows)} they have none" in sentence
    if table is not None:
        assert "Synthetic scans support no claim" in sentence
        assert all("real scans" in row[-1] for row in table.rows)
