"""The section of the looks, where a run stops by itself."""

from __future__ import annotations

from kitsbench.reporting import words
from kitsbench.reporting.analysis import Analysis
from kitsbench.reporting.drawing.looks_plot import paths
from kitsbench.reporting.first_screen.looked import summary
from kitsbench.reporting.page import looks
from kitsbench.reporting.page.blocks import Block, Section

FEW = 40
"""Rows of the paths that are shown without being asked for."""


def with_looks(found: list[Section], analysis: Analysis) -> list[Section]:
    """Put the looks behind the verdicts; of a fixed design there are none.

    Parameters
    ----------
    found : list of Section
    analysis : Analysis
    """
    if analysis.results.experiment.until is None:
        return found
    place = 1 + max((n for n, one in enumerate(found) if one.key == "pairs"), default=-1)
    return [*found[:place], _section(analysis), *found[place:]]


def _section(analysis: Analysis) -> Section:
    blocks = []
    taken = analysis.results.looks
    if (table := looks.looks_table(analysis)) is not None:
        blocks.append(Block(heading="Each look", table=table))
    if taken is not None:
        endpoint = words.endpoint_name(analysis.region, analysis.metric)
        if (figure := paths(taken, analysis.names, analysis.margin, endpoint)) is not None:
            blocks.append(Block(heading=figure.title, picture=figure))
    if (table := looks.path_table(analysis)) is not None:
        folded = len(table.rows) > FEW
        blocks.append(Block(heading="The same as numbers", table=table, folded=folded))
    if (table := looks.final_table(analysis)) is not None:
        heading = "What the looks allow, beside a test that knows of none"
        blocks.append(Block(heading=heading, table=table, folded=len(table.rows) > FEW))
    if (table := looks.spared_table(analysis)) is not None:
        blocks.append(Block(heading="Trials that were never run", table=table))
    lead = " ".join(summary(analysis.results))
    return Section("looks", "Looks, and what they spared", lead, blocks)
