"""Every case as a row, the hardest first, and groups of cases."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from kitsbench.metrics import FAILED, TRUTH_EMPTY, find
from kitsbench.reporting import words
from kitsbench.reporting.analysis import Analysis
from kitsbench.reporting.tables import Table


def every_case(analysis: Analysis, links: Mapping[str, str]) -> Table | None:
    """The endpoint of every case, averaged over seeds, the worst mean over architectures first.

    Parameters
    ----------
    analysis : Analysis
    links : mapping of str to str
        Where the pictures of a case are: {case: address}.

    Returns
    -------
    Table or None
        A row for each case: the mean over architectures, who is lowest and highest, how far they
        lie apart, and each architecture. None where no case has a value.
    """
    wide = _values(analysis)
    if wide is None:
        return None
    order = [str(name) for name in wide.columns]
    means = wide.mean(axis="columns")
    badness = means.map(find(analysis.metric).order)
    rows = []
    for case in badness.sort_values(ascending=False, kind="stable").index:
        values = wide.loc[case].dropna()
        low, high = values.idxmin(), values.idxmax()
        rows.append(
            [
                str(case),
                words.number(means[case]),
                f"{words.number(values[low])}\n{low}",
                f"{words.number(values[high])}\n{high}",
                words.number(values[high] - values[low]),
                *(words.number(wide.loc[case, name]) for name in order),
            ]
        )
    endpoint = words.endpoint_name(analysis.region, analysis.metric)
    head = ["Case", "Mean of all", "Lowest", "Highest", "Apart by", *order]
    caption = (
        f"{endpoint[0].upper()}{endpoint[1:]} of each of {words.plural(len(rows), 'case')}, "
        "averaged over seeds, the hardest first. Sort by an architecture to see its own worst, by "
        "“Apart by” to see where they disagree most."
    )
    if links:
        caption += " A case that leads somewhere is drawn."
    own_links = {case: links[case] for case in map(str, wide.index) if case in links}
    return Table(head, rows, caption, links=own_links, answers=(1, 2, 3))


def strata(analysis: Analysis) -> Table | None:
    """Means over scans whose truth has a cyst, and over those without; None where all are alike.

    That is all that scores tell of the scans; it is the same for every report, and so fixed before
    any result is seen.
    """
    scores = analysis.results.scores
    cysts = scores[(scores["protocol"] == "labels") & (scores["region"] == "cyst")]
    known = cysts[~cysts["status"].isin(FAILED)]
    absent = known["status"].isin(TRUTH_EMPTY).groupby(known["case"]).first()
    if absent.nunique() < 2:
        return None
    wide = _values(analysis)
    if wide is None:
        return None
    groups = {
        level: wide.loc[wide.index.isin(absent.index[absent == empty])]
        for level, empty in (("with a cyst", False), ("without a cyst", True))
    }
    rows = [
        [str(name), *(words.number(part[name].mean()) for part in groups.values())]
        for name in wide.columns
    ]
    head = [f"{words.plural(len(part), 'scan')} {level}" for level, part in groups.items()]
    endpoint = words.endpoint_name(analysis.region, analysis.metric)
    caption = (
        f"Mean {endpoint} within groups of scans, averaged over seeds. Exploratory: nothing is "
        "tested, and a difference between columns may be chance."
    )
    return Table(["Architecture", *head], rows, caption)


def other_strata() -> str:
    """How to look at other groups of cases."""
    return (
        "Groups by the size of the tumour, the thickness of slices or the contrast phase are "
        "measured on the masks and scans of the dataset, in its folder DIR: kitsbench compare "
        "scores.csv --cases DIR --stratum tumor_volume_ml:10,100. Instead of DIR a table with a "
        "row for each case brings any other property. Declare groups before the results are "
        "looked at."
    )


def _values(analysis: Analysis) -> pd.DataFrame | None:
    """The endpoint by case and architecture, averaged over seeds; None where there is none."""
    scores = analysis.results.scores
    own = scores[
        (scores["protocol"] == analysis.protocol)
        & (scores["region"] == analysis.region)
        & (scores["metric"] == analysis.metric)
        & scores["value"].notna()
    ]
    if own.empty:
        return None
    wide = own.pivot_table(index="case", columns="architecture", values="value", aggfunc="mean")
    return wide[[name for name in analysis.scored if name in wide.columns]]
