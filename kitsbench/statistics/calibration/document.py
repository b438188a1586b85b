"""The tables of a calibration in Markdown, and the document that holds them."""

from __future__ import annotations

from pathlib import Path

from kitsbench.errors import UsageError
from kitsbench.statistics.calibration.benchmark import Calibration
from kitsbench.statistics.calibration.promises import Promise
from kitsbench.statistics.calibration.rates import Rate
from kitsbench.statistics.calibration.situation import Measured
from kitsbench.statistics.calibration.study import BANDS, CellResult

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
_SHORT = {
    "pair error": "pair",
    "differs": "differs",
    "any statement": "any",
    "false equivalence": "false equiv.",
    "coverage": "coverage",
    "rank coverage": "ranks",
    "classic differs": "pair by pair: differs",
}


def read_document(path: Path) -> tuple[str, str]:
    """Read what stands before and after the tables of a document.

    Parameters
    ----------
    path : path
        A text file with :data:`BEGIN` and :data:`END`, each once.

    Raises
    ------
    UsageError
        There is no such file, or it lacks the marks.
    """
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise UsageError(
            f"{path} is no document with the lines '{BEGIN}' and '{END}'; the tables are written "
            "between them. Add both, or print the tables with --markdown."
        )
    head, _, rest = text.partition(BEGIN)
    return head, rest.partition(END)[2]


def write_into(path: Path, found: Calibration) -> None:
    """Replace what stands between the two marks of a document by the tables.

    Parameters
    ----------
    path : path
        As for :func:`read_document`, whose errors it raises.
    found : Calibration
        What was measured.
    """
    head, tail = read_document(path)
    path.write_text(f"{head}{BEGIN}\n\n{tables(found)}\n\n{END}{tail}", encoding="utf-8")


def tables(found: Calibration) -> str:
    """Write everything that was measured, with what was not."""
    parts = [_said(found)]
    if found.cells:
        parts += [_summary(found.cells), _power(found.cells), _clusters(found.cells)]
    if found.promises:
        parts += _promises(found.promises)
    if found.first_places:
        parts.append(_first_places(found))
    parts += _grid(found.cells)
    parts += _side_by_side(found.rates)
    return "\n\n".join(part for part in parts if part)


def _said(found: Calibration) -> str:
    experiments = sum(cell.experiments for cell in found.cells)
    text = (
        f"Cells of the grid: {len(found.cells)}, with {experiments:,} experiments, seed "
        f"{found.random_seed}: {found.experiments} in each, and five times as many where a rate "
        "lay outside its band."
    )
    if found.missing:
        text += f" **Not run: {found.missing} of the situations.**"
    return text


def _percent(rate: Measured) -> str:
    return f"{100 * rate.rate:.1f} [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"


def _mark(rate: Measured) -> str:
    return "" if rate.passed is None else "" if rate.inside else " ≈" if rate.passed else " ✗"


def _table(head: list[str], rows: list[list[str]], words: int) -> str:
    """Lay out a table whose first columns are words and whose others are numbers."""
    lines = ["| " + " | ".join(head) + " |"]
    lines.append("|" + "---|" * words + "---:|" * (len(head) - words))
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _summary(cells: list[CellResult]) -> str:
    rows = []
    for name, (least, most) in BANDS.items():
        judged = [c for c in cells if name in c.rates and c.rates[name].passed is not None]
        if not judged:
            continue
        rates = [cell.rates[name] for cell in judged]
        worst = (max if least is None else min)(judged, key=lambda c: c.rates[name].rate)
        band = f"≤ {100 * (most or 0):g}" if least is None else f"≥ {100 * least:g}"
        rows.append(
            [
                name,
                _where(worst),
                band,
                str(len(rates)),
                str(sum(rate.inside is True for rate in rates)),
                str(sum(rate.inside is False and rate.passed is True for rate in rates)),
                str(sum(rate.passed is False for rate in rates)),
                _percent(worst.rates[name]),
            ]
        )
    head = ["what", "worst cell", "band (%)", "cells", "inside", "≈", "✗", "worst"]
    return "**What must hold, in all cells** (%)\n\n" + _table(head, rows, 2)


def _where(found: CellResult) -> str:
    cell = found.cell
    return (
        f"{cell.generator}, {cell.architectures} architectures, {cell.folds} x {cell.seeds}, "
        f"{cell.cases} cases, tau {cell.scatter}, {cell.truth}"
    )


def _power(cells: list[CellResult]) -> str:
    rows = []
    for found in cells:
        cell = found.cell
        usual = cell.generator == "specification" and cell.folds == 5 and cell.cases == 210
        usual = usual and cell.scatter in ("0.01", "0.02") and cell.truth == "one ahead"
        if usual and "classic power" in found.rates:
            rows.append(
                [
                    f"{cell.folds} x {cell.seeds}",
                    str(cell.architectures),
                    cell.scatter,
                    _percent(found.rates["power"]),
                    _percent(found.rates["classic power"]),
                    _percent(found.rates["differs"]),
                    _percent(found.rates["classic differs"]),
                ]
            )
    if not rows:
        return ""
    head = ["folds x seeds", "architectures", "tau", "power", "power, pair by pair",
            "false", "false, pair by pair"]  # fmt: skip
    return (
        "**Power for a true gap of 0.02 of one architecture, 210 cases, Holm over all pairs** (%)\n"
        "\n" + _table(head, rows, 3)
    )


def _clusters(cells: list[CellResult]) -> str:
    by_design: dict[tuple[int, int, int, int], dict[bool, CellResult]] = {}
    for found in cells:
        cell = found.cell
        if cell.generator == "two scans":
            design = (cell.architectures, cell.folds, cell.seeds, cell.cases)
            by_design.setdefault(design, {})[cell.clusters] = found
    rows = [
        [
            f"{folds} x {seeds}, {cases} scans",
            str(k),
            *(
                _percent(pair[known].rates[name]) + _mark(pair[known].rates[name])
                for name in ("pair error", "differs")
                for known in (False, True)
            ),
        ]
        for (k, folds, seeds, cases), pair in by_design.items()
        if len(pair) == 2
    ]
    if not rows:
        return ""
    head = ["folds x seeds", "architectures", "pair, no column", "pair, with the column",
            "differs, no column", "differs, with the column"]  # fmt: skip
    return (
        "**Two scans of each patient, equal architectures, tau 0.01: the cluster column** (%)\n\n"
        + _table(head, rows, 2)
    )


def _first_places(found: Calibration) -> str:
    rows = [
        [
            f"{place.field.folds} x {place.field.seeds}, {place.field.cases} cases",
            str(place.field.architectures),
            f"{place.field.tau:g}",
            f"{place.field.spread:g}",
            str(place.experiments),
            _percent(place.named),
            _percent(place.right),
        ]
        for place in found.first_places
    ]
    head = ["folds x seeds", "architectures", "tau", "SD of true means", "experiments",
            "P(first) > 0.95", "of these truly best"]  # fmt: skip
    return "**P(first)** (%; no band)\n\n" + _table(head, rows, 2)


def _promises(promises: list[Promise]) -> list[str]:
    """Write promised and found power, by kind of scores."""
    parts = []
    kinds: dict[str, list[Promise]] = {}
    for kept in promises:
        kinds.setdefault(kept.request.generator, []).append(kept)
    head = ["folds x seeds", "architectures", "tau", "experiments", "gap", "promised",
            "found"]  # fmt: skip
    for generator, members in kinds.items():
        rows = [
            [
                f"{kept.request.folds} x {kept.request.seeds}, {kept.request.cases} cases",
                str(kept.request.architectures),
                f"{kept.request.tau:g}",
                str(kept.experiments),
                f"{kept.gap:.3f}",
                f"{100 * kept.request.power:g}",
                _percent(kept.found) + _mark(kept.found),
            ]
            for kept in members
            if kept.found is not None and kept.gap is not None
        ]
        title = f"**Power that `plan --pilot` promises, scores: {generator}** (%)"
        if all(kept.found is None or kept.found.passed is None for kept in members):
            title += ", no band"
        parts.append(f"{title}\n\n" + _table(head, rows, 3))
    return parts


def _grid(cells: list[CellResult]) -> list[str]:
    parts = []
    groups: dict[str, list[CellResult]] = {}
    for found in cells:
        groups.setdefault(found.cell.generator, []).append(found)
    for generator, members in groups.items():
        rows = []
        for found in sorted(members, key=_order):
            cell = found.cell
            row = [
                f"{cell.folds} x {cell.seeds}",
                str(cell.cases),
                str(cell.architectures),
                cell.scatter,
                cell.truth + ", column" * cell.clusters,
                str(found.experiments),
            ]
            for name in _SHORT:
                rate = found.rates.get(name)
                row.append("" if rate is None else _percent(rate) + _mark(rate))
            rows.append(row)
        head = ["folds x seeds", "cases", "architectures", "tau", "truth", "experiments",
                *_SHORT.values()]  # fmt: skip
        parts.append(f"**Grid, scores: {generator}** (%)\n\n" + _table(head, rows, 5))
    return parts


def _order(found: CellResult) -> tuple[int, int, int, int, str, str, bool]:
    cell = found.cell
    size = (cell.folds, cell.seeds, cell.cases, cell.architectures)
    return (*size, cell.scatter, cell.truth, cell.clusters)


def design_of(rate: Rate) -> str:
    """Write the design of a rate."""
    design = f"{rate.cases} cases, {rate.folds} fold{'s' * (rate.folds != 1)}, "
    return design + f"{rate.seeds} seed{'s' * (rate.seeds != 1)}"


def _side_by_side(rates: list[Rate]) -> list[str]:
    """Write one table a design and quantity: procedures down, situations across."""
    parts = []
    groups: dict[tuple[str, str], list[Rate]] = {}
    for rate in rates:
        quantity = "Family-wise error" if rate.quantity == "family-wise error" else "Rejections"
        if rate.quantity in ("coverage", "false equivalence"):
            quantity = "Intervals and equivalence"
        groups.setdefault((design_of(rate), quantity), []).append(rate)
    for (design, quantity), members in groups.items():
        situations = list(dict.fromkeys((r.tau, r.tau_train, r.gap) for r in members))
        heads = [
            (f"gap {gap:g}" if gap else "equal")
            + f", tau {tau:g}"
            + (f" + training set {train:g}" if train else "")
            for tau, train, gap in situations
        ]
        rows = []
        for name in dict.fromkeys(rate.procedure for rate in members):
            own = {(r.tau, r.tau_train, r.gap): r for r in members if r.procedure == name}
            title = f"**{name}**" if next(iter(own.values())).own else name
            rows.append([title] + [_cell(own[at]) if at in own else "" for at in situations])
        parts.append(f"**{quantity}, {design}** (%)\n\n" + _table(["what", *heads], rows, 1))
    return parts


def _cell(rate: Rate) -> str:
    mark = "" if rate.passed is None else " ✓" if rate.inside else " ≈" if rate.passed else " ✗"
    return f"{100 * rate.rate:.1f}{mark}"
