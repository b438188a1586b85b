"""The page of what others print, made from `leaderboards/reported.toml`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parents[1] / "leaderboards" / "reported.toml"
DASH = "–"
COLUMNS = ("kidney", "tumor", "cyst", "mean")
HEADS = ("Kidney", "Tumour", "Cyst", "Mean")


def read() -> dict[str, Any]:
    """The file, with sources and protocols by their ids."""
    found = tomllib.loads(FILE.read_text(encoding="utf-8"))
    return {
        "sources": {one["id"]: one for one in found["source"]},
        "protocols": {one["id"]: one for one in found["protocol"]},
        "rows": found["row"],
    }


def families() -> str:
    """What is printed of one network, where that is more than one number."""
    known = read()
    named: dict[str, list[dict[str, Any]]] = {}
    for row in known["rows"]:
        if "family" in row:
            named.setdefault(row["family"], []).append(row)
    head = ["Network", "Mean", "Data", "What the mean is of", "Cases", "Who says so"]
    rows = []
    for family, printed in named.items():
        ordered = sorted(printed, key=lambda row: row["mean"])
        for row in ordered:
            protocol = known["protocols"][row["protocol"]]
            said = ", ".join(filter(None, [_source(known, row), row.get("note", "")]))
            name = row["system"] if row["system"] != family else f"{family}"
            cells = [name, f"**{row['mean']:.3f}**", row["data"], protocol["regions"]]
            rows.append([*cells, protocol["split"], said])
    return _table(head, rows)


def by_protocol() -> str:
    """All rows, a table for each protocol: only within one may numbers be laid side by side."""
    known = read()
    parts = []
    for name, protocol in known["protocols"].items():
        rows = [row for row in known["rows"] if row.get("protocol") == name]
        shown = [c for c in COLUMNS if any(c in row for row in rows)]
        head = ["System", *(HEADS[COLUMNS.index(c)] for c in shown), "Source"]
        lines = [
            [
                row["system"],
                *(f"{row[c]:.4g}" if c in row else DASH for c in shown),
                ", ".join(filter(None, [_source(known, row), row.get("note", "")])),
            ]
            for row in rows
        ]
        data = " and ".join(dict.fromkeys(row["data"] for row in rows))
        split = protocol["split"][0].upper() + protocol["split"][1:]
        parts.append(f"### {data}: {split}\n\nRegions: {protocol['regions']}.\n")
        parts.append(_table(head, lines))
    silent = [row["system"] for row in known["rows"] if "protocol" not in row]
    parts.append(f"Without a score in its paper: {', '.join(silent)}.")
    return "\n".join(parts)


def sources() -> str:
    """Where each number stands."""
    return "\n".join(f"- {one['name']}: {one['where']}" for one in read()["sources"].values())


def _source(known: dict[str, Any], row: dict[str, Any]) -> str:
    return str(known["sources"][row["source"]]["name"])


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
