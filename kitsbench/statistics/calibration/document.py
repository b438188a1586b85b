"""The tables of a calibration in Markdown."""

from __future__ import annotations

from kitsbench.statistics.calibration.benchmark import Calibration
from kitsbench.statistics.calibration.promises import Promise
from kitsbench.statistics.calibration.rates import Rate
from kitsbench.statistics.calibration.study import BANDS, CellResult
from kitsbench.statistics.calibration.tables import mark, percent, summary, table

_SHORT = {
    "pair error": "pair",
    "differs": "differs",
    "any statement": "any",
    "false equivalence": "false equiv.",
    "coverage": "coverage",
    "rank coverage": "ranks",
    "classic differs": "pair by pair: differs",
}


def tables(found: Calibration) -> str:
    """Write everything that was measured, with what was not."""
    parts = [_said(found)]
    if found.cells:
        parts += [summary(found.cells, BANDS, _where), _power(found.cells), _clusters(found.cells)]
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
                    percent(found.rates["power"]),
                    percent(found.rates["classic power"]),
                    percent(found.rates["differs"]),
                    percent(found.rates["classic differs"]),
                ]
            )
    if not rows:
        return ""
    head = ["folds x seeds", "architectures", "tau", "power", "power, pair by pair",
            "false", "false, pair by pair"]  # fmt: skip
    return (
        "**Power for a true gap of 0.02 of one architecture, 210 cases, Holm over all pairs** (%)\n"
        "\n" + table(head, rows, 3)
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
                percent(pair[known].rates[name]) + mark(pair[known].rates[name])
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
        + table(head, rows, 2)
    )


def _first_places(found: Calibration) -> str:
    rows = [
        [
            f"{place.field.folds} x {place.field.seeds}, {place.field.cases} cases",
            str(place.field.architectures),
            f"{place.field.tau:g}",
            f"{place.field.spread:g}",
            str(place.experiments),
            percent(place.named),
            percent(place.right),
        ]
        for place in found.first_places
    ]
    head = ["folds x seeds", "architectures", "tau", "SD of true means", "experiments",
            "P(first) > 0.95", "of these truly best"]  # fmt: skip
    return "**P(first)** (%; no band)\n\n" + table(head, rows, 2)


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
                percent(kept.found) + mark(kept.found),
            ]
            for kept in members
            if kept.found is not None and kept.gap is not None
        ]
        title = f"**Power that `plan --pilot` promises, scores: {generator}** (%)"
        if all(kept.found is None or kept.found.passed is None for kept in members):
            title += ", no band"
        parts.append(f"{title}\n\n" + table(head, rows, 3))
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
                row.append("" if rate is None else percent(rate) + mark(rate))
            rows.append(row)
        head = ["folds x seeds", "cases", "architectures", "tau", "truth", "experiments",
                *_SHORT.values()]  # fmt: skip
        parts.append(f"**Grid, scores: {generator}** (%)\n\n" + table(head, rows, 5))
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
        parts.append(f"**{quantity}, {design}** (%)\n\n" + table(["what", *heads], rows, 1))
    return parts


def _cell(rate: Rate) -> str:
    mark = "" if rate.passed is None else " ✓" if rate.inside else " ≈" if rate.passed else " ✗"
    return f"{100 * rate.rate:.1f}{mark}"
