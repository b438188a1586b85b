"""What ``kitsbench profile`` prints, in tables that fit 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kitsbench.cli.output import print_rich, say
from kitsbench.text.numbers import big, plain
from kitsbench.text.screen import Column, make_table

Row = dict[str, Any]
Shown = tuple[list[Column], list[tuple[str, ...]]]

# Of a step's parts, short enough for a column each.
SHORT = {
    "loader": "load",
    "transfer": "copy",
    "augmentation": "augm",
    "targets": "targ",
    "forward": "forw",
    "loss": "loss",
    "backward": "back",
    "optimiser": "opt",
}
SCAN_SHORT = {
    "tiling": "tile",
    "network": "netw",
    "blending": "blnd",
    "resampling": "resa",
    "decision": "deci",
    "post-processing": "post",
    "scoring": "scor",
    "writing": "writ",
}


def print_profiles(rows: Sequence[Row]) -> None:
    """Print profiles: what each costs, where a step's time goes, what to know, what failed."""
    if len({row["precision"] for row in rows if "precision" in row}) > 1:
        rows = [
            row | {"architecture": f"{row['architecture']} {row['precision']}"}
            if "precision" in row
            else row
            for row in rows
        ]
    networks = [row for row in rows if "parameters" in row]
    if networks:
        for table in (_costs, _speed):
            _print(*table(networks))
        if with_data := [row for row in networks if row.get("parts")]:
            _print(*_parts(with_data))
        columns, scans = _scans([row for row in networks if row.get("scans")])
        if scans:
            _print(columns, scans)
        _say_conditions(networks)
    for row in networks:
        for remark in _remarks(row):
            say(remark, row["architecture"])
    for row in (row for row in rows if "seconds" in row):
        say(
            f"{row['seconds']:.2f} s for a scan of {row['voxels']:,} voxels ({row['case']}), the "
            f"first time {row['seconds_first']:.2f} s; peak memory "
            f"{row['peak_memory_bytes'] / 2**20:.0f} MiB, {row['device_name']}.",
            row["architecture"],
        )
    for row in (row for row in rows if "error" in row):
        say(row["error"], row["architecture"], "red")


def _costs(rows: Sequence[Row]) -> Shown:
    """What is counted, and memory."""
    names = ("para-\nmeters", "GFLOP\nforward", "GFLOP\nstep", "kFLOP\n/voxel", "peak\nMiB")
    lines: list[tuple[str, ...]] = []
    for row in rows:
        lines.append(
            (
                row["architecture"],
                big(row["parameters"]),
                _counted(row["flops_forward"], 1e9),
                _counted(row["flops_step"], 1e9),
                _counted(row.get("flops_per_voxel"), 1e3),
                f"{row['peak_memory_bytes'] / 2**20:.0f}",
            )
        )
    return _columns(names), lines


def _speed(rows: Sequence[Row]) -> Shown:
    """Milliseconds of a step and of a patch, and patches a second three ways."""
    names = (
        "step\nms",
        "\nquartiles",
        "infer.\nms",
        "patches/s\nwith data",
        "on\ndevice",
        "load-\ner",
    )
    lines: list[tuple[str, ...]] = []
    for row in rows:
        rates = (row.get(f"patches_per_s_{kind}") for kind in ("full", "compute", "loader"))
        lines.append(
            (
                row["architecture"],
                plain(row["train_step_ms"]),
                f"{plain(row['train_step_ms_low'])}-{plain(row['train_step_ms_high'])}",
                plain(row["inference_ms"]),
                *("" if rate is None else plain(rate) for rate in rates),
            )
        )
    return _columns(names), lines


def _parts(rows: Sequence[Row]) -> Shown:
    """The parts of a step with data, in per cent."""
    lines: list[tuple[str, ...]] = []
    for row in rows:
        shares = {name: own["share"] for name, own in row["parts"].items()}
        lines.append((row["architecture"], *_per_cent(shares, SHORT, 1.0)))
    return _columns((*SHORT.values(), "rest"), "parts of a step, %"), lines


def _scans(rows: Sequence[Row]) -> Shown:
    """The parts of predicting scans, in per cent."""
    lines: list[tuple[str, ...]] = [
        (
            f"{row['architecture']} ({scan['size']})",
            *_per_cent(scan["parts"], SCAN_SHORT, scan["seconds"]),
        )
        for row in rows
        for scan in row["scans"]
        if not scan.get("error")
    ]
    return _columns((*SCAN_SHORT.values(), "rest"), "parts of a scan, %"), lines


def _print(columns: Sequence[Column], lines: Sequence[tuple[str, ...]]) -> None:
    print_rich(make_table(columns, lines, frame=False))
    say("")


def _columns(names: Sequence[str], first: str = "architecture") -> list[Column]:
    """Names may be folded, numbers never."""
    return [Column(first), *(Column(name, "right", whole=True) for name in names)]


def _per_cent(parts: Mapping[str, float], known: Mapping[str, str], whole: float) -> list[str]:
    rest = sum(value for name, value in parts.items() if name not in known)
    shown = [*(parts.get(name, 0.0) for name in known), rest]
    return [f"{100 * value / whole:.0f}" for value in shown]


def _say_conditions(rows: Sequence[Row]) -> None:
    def each(key: str) -> str:
        return " or ".join(dict.fromkeys(_size(row[key]) for row in rows))

    row = rows[0]
    threads = f"{row['threads']} thread{'s' * (row['threads'] != 1)}"
    say(
        f"Patch {each('patch')}, batch {each('batch')}, {each('precision')}, "
        f"{row['device_name']}, {threads}. FLOPs are those of one patch; kFLOP/voxel is the "
        "forward pass by the voxels of its output."
    )
    told = row.get("conditions") or {}
    if told:
        say(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in told.items()))


def _remarks(row: Row) -> list[str]:
    from kitsbench.profiling.reading import remarks

    found = remarks(row)
    if row.get("roofline"):
        from kitsbench.profiling.roofline import read

        found.append(read(row["roofline"]))
    if row["flops_forward"] is None:
        found.append("its FLOPs cannot be counted, since it does not run without values")
    if row.get("train_step_ms_compiled") is not None:
        ratio = row["train_step_ms"] / row["train_step_ms_compiled"]
        found.append(
            f"compiled, a step takes {plain(row['train_step_ms_compiled'])} ms ({ratio:.2f} times "
            "as fast)"
        )
    if row.get("energy_joules") is not None:
        found.append(f"a step takes {row['energy_joules']:.3g} J of the whole device")
    if row.get("memory"):
        found += _memory(row["memory"])
    for scan in row.get("scans") or ():
        if scan.get("error"):
            found.append(f"the {scan['size']} scan was not predicted: {scan['error']}")
            continue
        beside = ", beside other processes" if scan["busy"] else ""
        memory = f"{scan['peak_memory_bytes'] / 2**20:.0f} MiB"
        found.append(
            f"a scan of {scan['size']} size takes {plain(scan['seconds'])} s, "
            f"{scan['tiles']} tiles and {memory}{beside}"
        )
    return found


def _counted(value: float | None, unit: float) -> str:
    if value is None:
        return "?"
    return f"{value / unit:.0f}" if value >= 100 * unit else f"{value / unit:.3g}"


def print_comparison(old: Sequence[Row], new: Sequence[Row]) -> None:
    """Print new by old for each figure, with its spread, and what is more than noise."""
    from kitsbench.profiling.compare import SIZES, compare

    changes, notes = compare(old, new)
    columns = [
        Column("architecture"),
        Column("figure"),
        Column("old", "right"),
        Column("new", "right"),
        Column("ratio", "right"),
        Column("spread", "right", whole=True),
        Column("", whole=True),
    ]
    lines, before, sizes = [], "", set(SIZES.values())
    for change in changes:
        name = "" if change.architecture == before else change.architecture
        before = change.architecture
        timed = change.low != change.high
        told = "slower" if change.ratio > 1 else "faster"
        mark = "" if not change.beyond else told if timed else "changed"
        lines.append(
            (
                name,
                change.figure,
                # Memory as the table of costs has it.
                *(
                    f"{value / 2**20:.0f} MiB" if change.figure in sizes else _amount(value)
                    for value in (change.old, change.new)
                ),
                f"{change.ratio:.2f}",
                f"{change.low:.2f}-{change.high:.2f}" if change.low != change.high else "",
                mark,
            )
        )
    if lines:
        _print(columns, lines)
        say(
            "Times in ms, new by old. A time is marked where the quartiles of both lie apart and "
            "the medians differ by more than 5 %; memory by more than 5 %; a count where it "
            "differs at all."
        )
    for note in notes:
        say(note)


def _amount(value: float) -> str:
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= unit:
            return f"{value / (1e3 if name == 'k' else unit):.3g} {name}"
    return plain(value)


def comparison_content(old: Sequence[Row], new: Sequence[Row]) -> Row:
    """The same as plain data, for ``--json``."""
    from dataclasses import asdict

    from kitsbench.profiling.compare import compare

    changes, notes = compare(old, new)
    plainly = [asdict(one) | {"figure": one.figure.strip(), "ratio": one.ratio} for one in changes]
    return {"changes": plainly, "remarks": notes}


def _memory(found: Row) -> list[str]:
    """What is known of an architecture's memory, in sentences."""
    if found.get("error"):
        return [f"its memory was not measured: {found['error']}"]
    told = []
    for kind in ("training", "inference"):
        own = found[kind]
        # A line through noise may begin below nothing.
        base = max(own["bytes"], 0) / 2**20
        told.append(
            f"{kind} takes {base:.0f} MiB and {own['bytes_per_voxel']:.0f} bytes a "
            f"voxel (worst point {100 * own['worst']:.0f} % off the line)"
        )
    if found.get("limit") is None:
        return told
    limit = f"{found['limit'] / 2**20:.0f} MiB"
    for before, does in (("", "trains"), ("inference_", "predicts")):
        for kind in ("batch", "patch"):
            if own := found.get(before + kind):
                told.append(_largest(kind, own, does, limit))
    return told


def _largest(kind: str, own: Row, does: str, limit: str) -> str:
    largest, fails = (_size(own[key]) for key in ("largest", "fails"))
    if own["largest"] is None:
        return f"no {kind} {does} in {limit}: {own['why']}"
    if own["fails"] is None:
        return f"{kind} {largest} {does} in {limit}, and no larger one is allowed"
    edge = ", ".join(map(_size, own.get("sometimes", ())))
    edge = f"; {edge} in some tries" if edge else ""
    return f"largest {kind} that {does} in {limit}: {largest}{edge}; {fails} fails"


def _size(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
