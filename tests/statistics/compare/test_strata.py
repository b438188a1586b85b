"""Groups of cases: what is in which, and which cells say nothing."""

from __future__ import annotations

import pandas as pd
import pytest

from kitsbench.statistics.compare.strata import levels, parse_stratum


@pytest.mark.parametrize("empty", ["", " ", "NaN", "n/a", "NA", "None", None])
@pytest.mark.parametrize("text", ["volume", "volume:2"])
def test_a_cell_that_holds_nothing_is_unknown(empty, text):
    cases = pd.DataFrame({"volume": ["1", empty, "3"]}, index=["a", "b", "c"])
    groups, order = levels(cases, ["c", "b", "a", "not in the table"], parse_stratum(text))
    assert groups[["b", "not in the table"]].tolist() == ["unknown", "unknown"]
    assert order == (["1", "3", "unknown"] if text == "volume" else ["< 2", ">= 2", "unknown"])
    assert groups[["a", "c"]].tolist() == order[:2]
