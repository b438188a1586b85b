"""Table of what architectures cost on a GPU, from the profiles in ``docs/measured``.

``kitsbench profile --all --json`` wrote them: a file for a card and a day, which is called
``CARD-YYYY-MM-DD.json``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NOTHING = "–"
MEASURED = Path(__file__).resolve().parent / "measured"

HEAD = (
    "architecture",
    "step, ms",
    "patches/s",
    "with data",
    "inference, ms",
    "memory, GiB",
    "energy, J",
    "layout",
    "compiled, ms",
)


def costs() -> str:
    """A table for every file, the newest first, with what it was measured on."""
    files = sorted(MEASURED.glob("*.json"), key=lambda file: file.stem[-10:], reverse=True)
    return "\n".join(_card(file) for file in files)


def _card(file: Path) -> str:
    rows = json.loads(file.read_text(encoding="utf-8"))
    good = [row for row in rows if "error" not in row]
    first = good[0]
    # A column that nothing was measured for says nothing.
    cells = [_cells(row) for row in good]
    shown = [k for k in range(len(HEAD)) if any(row[k] != NOTHING for row in cells)]
    names = [HEAD[k] for k in shown]
    lines = [
        f"**{first['device_name']}**, {file.stem[-10:]}, {first['key'][5]}, "
        f"{first['threads']} CPU threads, {first['precision']}, batch {first['batch']}:\n",
        "| " + " | ".join(names) + " |",
        "|" + "".join("---|" if name in ("architecture", "layout") else "---:|" for name in names),
        *("| " + " | ".join(row[k] for k in shown) + " |" for row in cells),
    ]
    patches = sorted({tuple(row["patch"]) for row in good})
    shapes = " or ".join("×".join(map(str, patch)) for patch in patches)
    lines.append(f"\nPatches of {shapes} voxels, as the size rule of each makes of the recipe's.\n")
    return "\n".join(lines)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    def number(key: str, digits: int, scale: float = 1.0) -> str:
        value = row.get(key)
        return NOTHING if value is None else f"{value / scale:.{digits}f}"

    return (
        f"`{row['architecture']}`",
        number("train_step_ms", 1),
        number("patches_per_s_compute", 1),
        number("patches_per_s_full", 1),
        number("inference_ms", 1),
        number("peak_memory_bytes", 1, 2**30),
        number("energy_joules", 1),
        row.get("layout") or NOTHING,
        number("train_step_ms_compiled", 1),
    )
