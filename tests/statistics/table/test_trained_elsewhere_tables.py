"""Tables that say who was trained elsewhere: nobody is compared who is set apart."""

from __future__ import annotations

import pandas as pd
import pytest
from score_tables import dice_table, plain

from kitsbench.claims.check import evidence_of_table
from kitsbench.errors import DataError, UsageError
from kitsbench.statistics import Rule, compare, pilot_components, read_scores, validate_scores
from kitsbench.statistics.table.elsewhere import ELSEWHERE


def table(**words):
    """Scores of four architectures, some of which ran once in a fold and were trained elsewhere."""
    rows = dice_table(4, cases=6, seeds=2)
    once = rows["architecture"].isin(words) & (rows["seed"] > 0)
    rows = rows[~once]
    return rows.assign(**{ELSEWHERE: rows["architecture"].map(words).fillna("")})


def test_who_is_set_apart_is_left_out_with_a_word_and_the_others_as_if_it_were_not_there(tmp_path):
    rows = table(arch3="apart")
    rows.to_csv(tmp_path / "scores.csv", index=False)
    found = plain(compare(read_scores(tmp_path / "scores.csv")))
    others = plain(compare(rows[rows["architecture"] != "arch3"].drop(columns=ELSEWHERE)))
    (said,) = (note for note in found["warnings"] if note not in others["warnings"])
    assert said.startswith("arch3 may know the test scans and is left out: no rank and no verdict")
    assert {**found, "warnings": []} == {**others, "warnings": []}


def test_pairs_with_who_was_trained_elsewhere_say_so_and_no_run_of_it_is_missing():
    found = plain(compare(table(arch2="compared", arch3="allowed")))
    assert not any("missing" in note for note in found["warnings"])
    for pair in found["pairs"]:
        names = {pair["a"], pair["b"]}
        assert ("not under this budget" in pair["sentence"]) == bool(names & {"arch2", "arch3"})
        assert ("arch3 may know the test scans" in pair["sentence"]) == ("arch3" in names)


def test_tables_are_put_together_with_those_that_do_not_say(tmp_path):
    rows = table(arch3="apart")
    rows[rows["architecture"] == "arch3"].to_csv(tmp_path / "a.csv", index=False)
    rest = rows[rows["architecture"] != "arch3"].drop(columns=ELSEWHERE)
    rest.to_csv(tmp_path / "b.csv", index=False)
    found = compare(read_scores([tmp_path / "a.csv", tmp_path / "b.csv"]))
    assert {row["architecture"] for row in found.ranking} == {"arch0", "arch1", "arch2"}


def test_what_is_wrong_with_the_column_is_told():
    wrong = table(arch3="apartt")
    with pytest.raises(DataError, match=r"row 181: column 'trained_elsewhere' holds 'apartt'; it"):
        validate_scores(wrong)
    rows = table(arch3="apart")
    rows.loc[rows.index[-1], ELSEWHERE] = ""
    with pytest.raises(DataError, match="is '' for arch3, and 'apart' in row"):
        validate_scores(rows)


def test_a_baseline_that_is_set_apart_and_a_table_of_nobody_else_are_refused():
    with pytest.raises(UsageError, match="arch3 cannot be the baseline: arch3 may know"):
        compare(table(arch3="apart"), rule=Rule(baseline="arch3"))
    everybody = {f"arch{number}": "apart" for number in range(4)}
    with pytest.raises(DataError, match="nobody else has scores, so there is nothing to compare"):
        compare(table(**everybody))


def test_claims_and_pilots_rest_on_who_was_trained(tmp_path):
    rows = table(arch2="compared", arch3="allowed")
    rows.to_csv(tmp_path / "scores.csv", index=False)
    evidence = evidence_of_table(tmp_path / "scores.csv", "matched")
    assert set(evidence.scores["architecture"]) == {"arch0", "arch1"}
    own = rows[rows["architecture"].isin(["arch0", "arch1"])].drop(columns=ELSEWHERE)
    assert pilot_components(rows) == pilot_components(own)
    with pytest.raises(DataError, match="Everybody in the pilot table was trained elsewhere"):
        pilot_components(pd.DataFrame(rows[rows["architecture"] == "arch2"]))
