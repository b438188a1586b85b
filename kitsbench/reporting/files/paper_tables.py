"""Which tables a paper gets: ranking, scores of each region, pairs, costs, and the full titles.

Cells hold names alone; titles stand in a list of their own. Every caption says what was scored by
which protocol, on how many cases, in how many folds and seeds, under which budget, and how far the
result reaches.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from kitsbench.reporting import costs, scores, words
from kitsbench.reporting.analysis import Analysis
from kitsbench.reporting.files.latex import COLUMN, Cell, PaperTable, width_of
from kitsbench.reporting.first_screen.leading import winner
from kitsbench.reporting.page.verdicts import GLYPHS, MEANINGS

MOST_PAIRS = 12
"""Pairs of the table that fits a column; all are in the one of several pages."""
_NAME = 62.0  # points that a name shall have beside numbers
# Of the page's table what a column of a paper has room for, the most telling first.
_COSTS = {
    "Parameters": "Parameters",
    "Training step": "Step",
    "Peak memory of a step": "Memory",
    "Forward pass": "Forward",
    "Inference, a patch": "Inference",
}


def paper_tables(analysis: Analysis) -> list[PaperTable]:
    """Every table, in the order of a paper.

    Parameters
    ----------
    analysis : Analysis
    """
    found = [_ranking(analysis)]
    if not analysis.results.scores.empty:
        found += _scores(analysis)
    found += [_pairs(analysis, long=False), _pairs(analysis, long=True), _cost(analysis)]
    found.append(_names(analysis))
    return [table for table in found if table is not None]


def design(analysis: Analysis) -> str:
    """What was done, in one sentence, such as a caption needs."""
    experiment = analysis.results.experiment
    table = analysis.results.scores
    tested = table.loc[table["protocol"] == analysis.protocol, "case"].nunique()
    folds = len(experiment.folds.used)
    kind = " (synthetic)" if experiment.dataset.synthetic else ""
    told = (
        f"Dataset {experiment.dataset.name}{kind}, "
        f"n = {words.plural(tested, 'test case')}, protocol {experiment.protocol}, "
        f"{words.plural(folds, 'fold')} × {analysis.seeds_told}"
    )
    if experiment.budget.unit != "none":
        told += f", {words.spent(experiment.budget)} of training a run"
    if analysis.scope:
        told += f"; scope {analysis.scope}: {words.SCOPES[analysis.scope]}"
    narrowed = "" if analysis.narrowed is None else f" {analysis.narrowed.brief}"
    return f"{told}.{narrowed}"


def _ranking(analysis: Analysis) -> PaperTable | None:
    if not analysis.ranking:
        return None
    first = str(analysis.ranking[0]["architecture"])
    against = analysis.baseline or first
    verdicts = _against(analysis, against)
    groups = any(row.get("group") for row in analysis.ranking)
    official = {
        str(row["architecture"]): row["rank"]
        for row in (analysis.comparison.get("official") or {}).get("rows", [])
    }
    named = [str(row["architecture"]) for row in analysis.ranking]
    trials = {name: scores.trials_done(analysis, name) for name in named}
    gaps = any(done != total for done, total in trials.values())
    head = ["", "Architecture", "Mean", "95 % CI"]
    head += ["Gr."] * groups + ["KiTS"] * bool(official) + ["v."] * bool(verdicts)
    head += ["Trials"] * gaps
    best = winner(analysis)
    rows = []
    for row in analysis.ranking:
        name = str(row["architecture"])
        cells = [Cell(f"{row['rank']:g}"), Cell(name)]
        cells.append(Cell(words.number(row["mean"]), bold=name == best))
        cells.append(Cell(scores.interval_of_mean({**row, "metric": analysis.metric})))
        cells += [Cell(str(row.get("group") or words.DASH))] * groups
        cells += [Cell(str(official.get(name, words.DASH)))] * bool(official)
        cells += [Cell(verdicts.get(name, ""))] * bool(verdicts)
        cells += [Cell("{}/{}".format(*trials[name]))] * gaps
        rows.append(cells)
    endpoint = words.endpoint_name(analysis.region, analysis.metric)
    told = [f"Ranking by the mean {endpoint} over {analysis.averaged}, with its 95 % interval."]
    if best is not None:
        told.append("Bold: separated from all others that learned it.")
    if groups:
        told.append("Gr.: architectures that share a letter are not separated.")
    if official:
        told.append("KiTS: rank by the rule of the challenge, which has no test.")
    if verdicts:
        told.append(f"v.: verdict beside {against} ({_legend(verdicts.values())}).")
    if gaps:
        told.append("Trials: finished of planned; cases of failed ones count as missed.")
    caption = " ".join([*told, design(analysis)])
    return PaperTable("tab-ranking", caption, head, rows, text_columns=(1,))


def _against(analysis: Analysis, one: str) -> dict[str, str]:
    """The mark of every other beside one; empty where there are no verdicts at all."""
    if analysis.scope == "L0" and not analysis.settled:
        return {}
    return {
        pair["b"] if pair["a"] == one else pair["a"]: GLYPHS[words.kind_of(pair)]
        for pair in analysis.pairs
        if one in (pair["a"], pair["b"])
    }


def _legend(marks: Iterable[str]) -> str:
    shown = set(marks)
    return ", ".join(f"{GLYPHS[kind]} {MEANINGS[kind]}" for kind in GLYPHS if GLYPHS[kind] in shown)


def _scores(analysis: Analysis) -> list[PaperTable]:
    """A table for each region, or several where a column of a paper has no room for all metrics."""
    found, taken = [], set()
    for region in scores.regions_of(analysis):
        name = "tab-scores-" + (re.sub("[^A-Za-z0-9]+", "-", region.name).strip("-") or "region")
        if region.protocol != analysis.protocol:
            name += "-alone"
        while name in taken:
            name += "-too"
        taken.add(name)
        columns = {
            metric: [
                _score(analysis.row(region.protocol, entrant, region.name, metric))
                for entrant in analysis.scored
            ]
            for metric in region.metrics
        }
        for part, metrics in enumerate(_fitting(columns)):
            rows = [
                [Cell(entrant), *(columns[metric][at] for metric in metrics)]
                for at, entrant in enumerate(analysis.scored)
            ]
            spread = any("±" in cell.text for row in rows for cell in row)
            below = any(cell.below for row in rows for cell in row)
            caption = (
                f"{region.heading} ({region.meaning}; protocol {region.protocol}): mean"
                f"{' ± standard deviation over folds' * spread}"
                f"{', 95 % interval of the mean below' * below}. {design(analysis)}"
            )
            head = ["Architecture", *map(words.metric_name, metrics)]
            found.append(PaperTable(f"{name}{f'-{part + 1}' * bool(part)}", caption, head, rows))
    return found


def _score(row: dict[str, Any]) -> Cell:
    if not row or words.missing(row.get("mean")):
        return Cell(words.DASH)
    text = words.number(row["mean"])
    if not words.missing(row.get("sd_over_folds")):
        text += f" ± {words.number(row['sd_over_folds'])}"
    span = scores.interval_of_mean(row)
    return Cell(text, below="" if span == words.DASH else span)


def _fitting(columns: dict[str, list[Cell]]) -> list[list[str]]:
    """Metrics in parts of which each has room beside the names."""
    parts: list[list[str]] = []
    room = 0.0
    for metric, cells in columns.items():
        need = 6 + max([width_of(words.metric_name(metric)), *(cell.width for cell in cells)])
        if not parts or need > room:
            parts.append([])
            room = COLUMN - _NAME
        parts[-1].append(metric)
        room -= need
    return parts


def _pairs(analysis: Analysis, long: bool) -> PaperTable | None:
    if not analysis.pairs or (long and len(analysis.pairs) <= MOST_PAIRS):
        return None
    first = analysis.baseline or str(analysis.ranking[0]["architecture"])
    ordered = sorted(
        analysis.pairs, key=lambda p: (first not in (p["a"], p["b"]), -abs(p["difference"]))
    )
    shown = ordered if long else ordered[:MOST_PAIRS]
    judged = any(pair.get("p_adjusted") is not None for pair in shown)
    head = ["Pair", "", "Difference", "95 % CI"] + ["p", "v."] * judged
    rows = []
    for pair in shown:
        cells = [Cell(str(pair["a"])), Cell(f"− {pair['b']}")]
        cells.append(Cell(words.number(pair["difference"], signed=True)))
        low, high = pair.get("ci_simultaneous_low"), pair.get("ci_simultaneous_high")
        cells.append(Cell(words.interval(low, high, signed=True)))
        if judged:
            cells.append(Cell(words.probability(pair.get("p_adjusted"))))
            cells.append(Cell(GLYPHS[words.kind_of(pair)]))
        rows.append(cells)
    endpoint = words.endpoint_name(analysis.region, analysis.metric)
    told = [f"Differences of the mean {endpoint}, the first minus the second."]
    number = words.plural(len(analysis.pairs), "pair")
    if judged:
        marks = _legend(row[-1].text for row in rows)
        correction = str(analysis.comparison.get("correction", "")).capitalize()
        told.append(
            f"The intervals of all {number} hold together; p is adjusted by {correction}; v.: "
            f"verdict ({marks})."
        )
    else:
        told.append("Each interval is of a pair of trained networks by itself; no verdicts.")
    if len(shown) < len(analysis.pairs):
        told.append(f"{len(shown)} of {number}: those of {first} first, the largest first.")
    name = "tab-pairs" if long or len(analysis.pairs) <= MOST_PAIRS else "tab-pairs-first"
    caption = " ".join([*told, design(analysis)])
    return PaperTable(name, caption, head, rows, text_columns=(0, 1), long=long)


def _cost(analysis: Analysis) -> PaperTable | None:
    table = costs.cost(analysis)
    if table is None:
        return None
    lines = [[cell.split("\n")[0] for cell in row] for row in table.rows]
    columns = {
        short: [Cell(line[table.head.index(head)]) for line in lines]
        for head, short in _COSTS.items()
        if any(line[table.head.index(head)] != words.DASH for line in lines)
    }
    room, kept = COLUMN - _NAME, []
    for head, cells in columns.items():
        need = 6 + max([width_of(head), *(cell.width for cell in cells)])
        if need <= room:
            kept.append(head)
            room -= need
    rows = [[Cell(line[0]), *(columns[head][at] for head in kept)] for at, line in enumerate(lines)]
    return PaperTable("tab-cost", f"Size and speed. {table.caption}", ["Architecture", *kept], rows)


def _names(analysis: Analysis) -> PaperTable:
    rows = [
        [Cell(name), Cell(scores.title_of(analysis, name) or words.DASH)] for name in analysis.names
    ]
    caption = "Names of the tables and what they stand for."
    return PaperTable("tab-names", caption, ["Name", "Title"], rows, text_columns=(0, 1))


def inputs(tables: Sequence[PaperTable]) -> str:
    """``tables.tex``: takes in every table, and of pairs the one that the page has room for."""
    names = [table.name for table in tables]
    lines = [
        "% Tables of a kitsbench report. They need the packages booktabs and longtable, and fit a",
        f"% column of {COLUMN:g} pt. Each has a file of its own; tables-alone.tex is a document.",
    ]
    for name in names:
        if name == "tab-pairs" and "tab-pairs-first" in names:
            continue
        if name == "tab-pairs-first":
            lines += [
                r"\makeatletter",
                r"\if@twocolumn\input{tab-pairs-first}\else\input{tab-pairs}\fi",
                r"\makeatother",
            ]
            continue
        lines.append(rf"\input{{{name}}}")
    return "\n".join(lines) + "\n"


ALONE = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage{booktabs,longtable}
\begin{document}
\input{tables}
\end{document}
"""
"""``tables-alone.tex``: a document of nothing but the tables."""
