"""Every case as a row, the hardest first, and groups of cases."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from kitsbench.experiments.records import CaseSize
from kitsbench.metrics import FAILED, TRUTH_EMPTY, find
from kitsbench.reporting import words
from kitsbench.reporting.analysis import Analysis
from kitsbench.reporting.first_screen.entrants import each_counts
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
        f"{endpoint[0].upper()}{endpoint[1:]} of each of {words.plural(len(rows), 'case')}"
        f"{analysis.each_case}, the hardest first. Sort by an architecture to see its own worst, "
        "by “Apart by” to see where they disagree most."
    )
    caption += each_counts(analysis)
    if links:
        caption += " A case that is a link has pictures below."
    own_links = {case: links[case] for case in map(str, wide.index) if case in links}
    return Table(head, rows, caption, links=own_links, answers=(1, 2, 3))


# Volumes in ml of spheres of 4 and 7 cm, the diameters at which the TNM classification (8th
# edition) parts the stages T1a, T1b and T2; of slices, round numbers that were chosen.
_TUMOUR_ML, _SLICES_MM = (33.5, 179.6), (2.0, 4.0)


def strata(analysis: Analysis) -> list[tuple[str, Table]]:
    """Means within groups of scans: {heading: table}, of every property by which they differ.

    The properties and where they are cut are the same for every report, and so fixed before any
    result is seen: whether the truth has a cyst, the volume of the tumour, the distance of slices.
    """
    wide = _values(analysis)
    if wide is None:
        return []
    # A scan with nothing to find has a score by convention, which would hide the others; and a
    # group holds the same scans for everybody.
    nothing = _without_region(analysis)
    left = wide.loc[~wide.index.isin(nothing)].dropna()
    some = f" Scans without the region are left out ({len(nothing)})." if nothing else ""
    if len(left) < len(wide) - len(nothing):
        some += " So are those that not everybody has."
    wide = left
    found = {
        "With and without a cyst": _by_cyst(analysis),
        "By the size of the tumour": _by_size(analysis),
        "By the distance of slices": _by_slices(analysis),
    }
    endpoint = words.endpoint_name(analysis.region, analysis.metric)
    tables = []
    for heading, (groups, told) in found.items():
        parts = {name: wide.loc[wide.index.isin(cases)] for name, cases in groups.items()}
        parts = {name: part for name, part in parts.items() if len(part)}
        if len(parts) < 2:
            continue
        head = [f"{words.plural(len(part), 'scan')} {name}" for name, part in parts.items()]
        rows = [
            [str(name), *(words.number(part[name].mean()) for part in parts.values())]
            for name in wide.columns
        ]
        caption = (
            f"Mean {endpoint} within groups of scans{analysis.each_case}.{told}{some} Exploratory: "
            "nothing is tested, and a difference between columns may be chance."
        )
        answers = tuple(range(1, 1 + len(head)))
        table = Table(["Architecture", *head], rows, caption, answers=answers)
        tables.append((heading, table))
    return tables


Groups = tuple[dict[str, set[str]], str]


def _by_cyst(analysis: Analysis) -> Groups:
    """By what the scores say of cysts, which is known of results without their scans, too."""
    scores = analysis.results.scores
    cysts = scores[(scores["protocol"] == "labels") & (scores["region"] == "cyst")]
    known = cysts[~cysts["status"].isin(FAILED)]
    absent = known["status"].isin(TRUTH_EMPTY).groupby(known["case"]).first()
    groups = {"with a cyst": False, "without a cyst": True}
    return {name: set(absent.index[absent == empty]) for name, empty in groups.items()}, ""


def _by_size(analysis: Analysis) -> Groups:
    low, high = _TUMOUR_ML
    sizes = {
        case: size.volumes_ml["tumor"]
        for case, size in _sizes(analysis).items()
        if size.volumes_ml.get("tumor", 0) > 0
    }
    groups = {
        f"up to {low:g} ml": {case for case, ml in sizes.items() if ml <= low},
        f"{low:g} to {high:g} ml": {case for case, ml in sizes.items() if low < ml <= high},
        f"above {high:g} ml": {case for case, ml in sizes.items() if ml > high},
    }
    told = (
        f" The volume is that of all tumours of a scan; {low:g} and {high:g} ml are spheres of 4 "
        "and 7 cm, where the stages T1a, T1b and T2 of kidney cancer part (TNM)."
    )
    return groups, told


def _by_slices(analysis: Analysis) -> Groups:
    low, high = _SLICES_MM
    sizes = {case: size.slice_thickness_mm for case, size in _sizes(analysis).items()}
    groups = {
        f"below {low:g} mm": {case for case, mm in sizes.items() if mm < low},
        f"{low:g} to {high:g} mm": {case for case, mm in sizes.items() if low <= mm <= high},
        f"above {high:g} mm": {case for case, mm in sizes.items() if mm > high},
    }
    return groups, ""


def _without_region(analysis: Analysis) -> set[str]:
    """Cases whose truth does not hold the region of the endpoint."""
    scores = analysis.results.scores
    own = scores[(scores["protocol"] == analysis.protocol) & (scores["region"] == analysis.region)]
    return set(own.loc[own["status"].isin(TRUTH_EMPTY), "case"])


def _sizes(analysis: Analysis) -> Mapping[str, CaseSize]:
    found = analysis.results.cases
    return {} if found is None else found.cases


def other_strata() -> str:
    """How to look at other groups of cases."""
    return (
        "Other groups, such as by the contrast phase, are measured on the masks and scans of the "
        "dataset, in its folder DIR, and compared with tests: kitsbench compare scores.csv "
        "--cases DIR --stratum tumor_volume_ml:10,100. Instead of DIR a table with a row for each "
        "case brings any other property. Declare groups before the results are looked at."
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
