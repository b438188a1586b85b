"""The viewer of cases beside a report, and the section that leads to it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from kitsbench.reporting import words
from kitsbench.reporting.analysis import Analysis
from kitsbench.reporting.page.blocks import Block, Section
from kitsbench.reporting.tables import Table
from kitsbench.scans.label_names import KITS
from kitsbench.text import one_line
from kitsbench.viewer.choice import (
    NOTHING_KEPT,
    Which,
    chosen_cases,
    endpoint_scores,
    viewed_cases,
)
from kitsbench.viewer.folder import FOLDER, LIMIT_MIB, PAGE, Written, write_viewer
from kitsbench.viewer.library import DISTRIBUTION, REMEDY, viewer_library
from kitsbench.viewer.sources import shown_of

KEY = "viewer"
_SHOWN_AT_ONCE = 12


@dataclass(frozen=True)
class ViewerAsked:
    """How much of the viewer a report shall have.

    Attributes
    ----------
    which : {"none", "few", "all"}
        Cases: none, the most telling ones, or all of which a prediction was kept.
    limit_mib : float
        Of its files together.
    """

    which: Which = "few"
    limit_mib: float = LIMIT_MIB


FEW = ViewerAsked()


def viewer_section(
    analysis: Analysis, report: Path, asked: ViewerAsked
) -> tuple[Section | None, list[str]]:
    """Write the viewer into the folder of a report.

    Parameters
    ----------
    analysis : Analysis
    report : Path
        Gets the folder ``viewer``.
    asked : ViewerAsked

    Returns
    -------
    section : Section or None
        None where nothing was asked for, or nobody predicted anything.
    remarks : list of str
        What who asked for the report should know.
    """
    results = analysis.results
    chosen = chosen_cases(results, asked.which)
    if not chosen:
        return None, []
    library = viewer_library()
    if library is None:
        lead = (
            "Slices of these scans can be leafed through in three planes, with every architecture "
            f"laid over them, where the package {DISTRIBUTION} is installed when the report is "
            f"made: {REMEDY}, then `kitsbench report`. Below are pictures that stand still."
        )
        return Section(KEY, "Case viewer", lead), []
    makers = list(dict.fromkeys([*analysis.scored, *analysis.names]))
    cases, problems = viewed_cases(results, chosen, makers)
    if not cases:
        if all(problem.endswith(NOTHING_KEPT) for problem in problems):
            return None, []
        return Section(KEY, "Case viewer", "No case can be shown.", [Block(lines=problems)]), []
    shown = shown_of(results, makers, words.endpoint_name)
    shown.titles.update({name: words.region_name(name).lower() for name in KITS})
    written = write_viewer(report / FOLDER, shown, cases, library, asked.limit_mib)
    over = written.over(asked.limit_mib)
    blocks = []
    if written.cases:
        table = _table(analysis, written, chosen, shown.first)
        many = len(table.rows) > _SHOWN_AT_ONCE
        blocks += [
            Block(frame=f"{FOLDER}/{PAGE}"),
            Block(heading="Cases in the viewer" if many else "", table=table, folded=many),
        ]
    if lines := [*filter(None, [over]), *problems, *written.problems]:
        blocks.append(Block(lines=lines))
    size = max(1, round(written.size / 2**20))
    lead = (
        "Scans in three planes and in 3D, with truth and every architecture's labels over them. "
        f"They lie beside this page in the folder {FOLDER} ({size} MiB, made small: see there) and "
        "are read when they are looked at."
    )
    return Section(KEY, "Case viewer", lead, blocks), [*filter(None, [over])]


def scans_of(section: Section | None) -> dict[str, str]:
    """{case: its address in the viewer}."""
    blocks = [] if section is None else section.blocks
    return {k: v for block in blocks if block.table for k, v in block.table.links.items()}


def with_viewer(found: list[Section], section: Section | None) -> list[Section]:
    """Put the section before the pictures that stand still."""
    if section is None:
        return found
    keys = [one.key for one in found]
    place = next((keys.index(key) for key in ("overlays", "failures") if key in keys), len(keys))
    return [*found[:place], section, *found[place:]]


def _table(
    analysis: Analysis, written: Written, chosen: dict[str, list[str]], first: str | None
) -> Table:
    scores = endpoint_scores(analysis.results)
    name = words.endpoint_name(analysis.region, analysis.metric)
    head = ["Case", "Why", one_line(first) if first else name, "Lowest", "Highest"]
    rows, links = [], {}
    for case in written.cases:
        own = scores.loc[case.name] if case.name in scores.index else None
        values = [None, None, None] if own is None else [own.get(first), own.min(), own.max()]
        rows.append([case.name, "; ".join(chosen[case.name]), *map(words.number, values)])
        links[case.name] = f"{FOLDER}/{PAGE}#{urlencode({'case': one_line(case.name)})}"
    caption = f"{name[0].upper()}{name[1:]} of the label maps that are shown."
    return Table(head, rows, caption, text_columns=2, links=links)
