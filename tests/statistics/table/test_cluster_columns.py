"""Which cases belong together."""

from __future__ import annotations

import pandas as pd
import pytest
from score_tables import dice_table

from kitsbench.errors import DataError
from kitsbench.statistics import read_scores, validate_scores
from kitsbench.statistics.table.clusters import clusters_of, column_of_scores


def number(data):
    return data["case"].str[-2:].astype(int)


@pytest.fixture
def data():
    """Twelve cases in three folds, two to a patient, three patients to a hospital."""
    data = dice_table(2, 3, 4, 2)
    return data.assign(
        patient="p" + (number(data) // 2).astype(str),
        hospital=(number(data) // 6).map({0: "north", 1: "south"}),
    )


@pytest.fixture
def cases(data):
    one = data.drop_duplicates("case").set_index("case")
    return one[["hospital"]].assign(scanner=["a", "b", "c"] * 4)


def test_a_column_patient_is_used_by_itself(data):
    found = clusters_of(validate_scores(data))
    assert (found.column, found.count) == ("patient", 6)
    (note,) = found.notes
    assert note.startswith("Cases of one patient are taken together: ")
    assert note.endswith(" cases in 6 clusters.")
    assert found.of["", "case_00003"] == "p1"
    # A table that was validated stays one.
    assert clusters_of(validate_scores(validate_scores(data))) == found
    assert clusters_of(validate_scores(data.drop(columns="patient"))) is None


def test_other_columns_are_used_where_asked(data, tmp_path):
    kept = validate_scores(data, cluster="hospital")
    assert list(kept.columns[-3:]) == ["status", "patient", "hospital"]
    found = clusters_of(kept, cluster="hospital")
    assert (found.column, found.count) == ("hospital", 2)
    file = tmp_path / "scores.csv"
    data.to_csv(file, index=False)
    assert clusters_of(read_scores(file, cluster="hospital"), cluster="hospital") == found
    assert "hospital" not in read_scores(file).columns


def test_a_table_of_cases_tells_them_too(data, cases):
    kept = validate_scores(data)
    found = clusters_of(kept, cases, "scanner")
    assert (found.count, found.of["", "case_00004"]) == (3, "b")
    assert column_of_scores("scanner", cases) is None
    assert column_of_scores("hospital", None) == "hospital"
    assert column_of_scores("patient", cases) == "patient"


def test_clusters_of_two_datasets_are_never_the_same(data):
    both = pd.concat([data.assign(dataset="one"), data.assign(dataset="two")])
    found = clusters_of(validate_scores(both))
    assert found.count == 12
    assert found.of["one", "case_00000"] == found.of["two", "case_00000"]
    assert found.of_cases("two")["case_00003"] == "p1"
    assert len(found.of_cases("two")) == 12


def test_cases_that_stand_alone_change_nothing(data):
    assert clusters_of(validate_scores(data.assign(patient=data["case"]))) is None
    assert clusters_of(validate_scores(data), cluster="case") is None
    assert clusters_of(validate_scores(data.assign(patient=""))) is None


def test_numbers_may_name_clusters(data):
    found = clusters_of(validate_scores(data.assign(patient=number(data) // 2)))
    assert found.of["", "case_00003"] == "1"


def test_patients_in_several_folds_are_told(data):
    data["patient"] = (number(data) % 6).astype(str)
    found = clusters_of(validate_scores(data))
    assert found.notes[1:] == [
        "Scans of 6 patients lie in several folds (0, 1, 2, 3, 4 and 5): networks were tested on "
        "patients that they were trained on."
    ]
    hospitals = clusters_of(validate_scores(data, cluster="hospital"), cluster="hospital")
    assert len(hospitals.notes) == 1


def test_a_case_in_two_clusters_is_refused(data):
    data.loc[1, "patient"] = "p9"
    with pytest.raises(DataError, match=r"Case case_00000 has 2 entries in .*'patient'.*p0 and p9"):
        clusters_of(validate_scores(data))


@pytest.mark.parametrize("nothing", ["", " ", "nan", None])
def test_a_case_without_a_cluster_is_refused(data, nothing):
    data.loc[data["case"] == "case_00003", "hospital"] = nothing
    data.loc[0, "hospital"] = nothing  # a row may be silent where another of the case tells it
    kept = validate_scores(data, cluster="hospital")
    with pytest.raises(DataError, match="Case case_00003 has no entry in the column 'hospital' of"):
        clusters_of(kept, cluster="hospital")


def test_a_case_that_the_table_of_cases_lacks_is_refused(data, cases):
    with pytest.raises(DataError, match=r"case_00001 .* of the table of cases, as 1 more; which"):
        clusters_of(validate_scores(data), cases.drop(["case_00001", "case_00002"]), "scanner")


def test_a_column_that_is_not_there_is_refused(data, cases):
    with pytest.raises(DataError, match=r"no column 'hospitl' .*\(did you mean hospital\?\)"):
        validate_scores(data, cluster="hospitl")
    with pytest.raises(DataError, match=r"table of cases has no .*\(did you mean scanner\?\)"):
        column_of_scores("scaner", cases)
    with pytest.raises(DataError, match="Neither the score table nor a table of cases"):
        clusters_of(validate_scores(data), cases, "site")
