"""What stands below the text of an architecture's card, made from the registry and the boards."""

from __future__ import annotations

import json
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path

import gpu_tables
import network_diagram
import network_memory

from kitsbench import registry
from kitsbench.architecture import Architecture, System, configure
from kitsbench.claims import read_registry
from kitsbench.configuration import all_keys
from kitsbench.leaderboard import Entry, read_board
from kitsbench.leaderboard.cells import paper
from kitsbench.spec import Spec
from kitsbench.text import markdown, markdown_code
from kitsbench.training.networks.meta import count_cost

ROOT = Path(__file__).resolve().parents[1]
DASH = "–"


def additions(package: str, out: Path) -> dict[str, str]:
    """Sections to add to the cards of a package's folders.

    Parameters
    ----------
    package : str
        Such as ``kitsbench_plugins``.
    out : Path
        Folder for diagrams, beside the cards.

    Returns
    -------
    dict of str to str
        Markdown by the folder's name. Architectures that cannot be imported here say why.
    """
    out.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[str]] = {}
    for name, folder in sorted(folders(package).items()):
        found.setdefault(folder, []).append(section(name, out))
    return {folder: "\n".join(parts) for folder, parts in found.items()}


def folders(package: str) -> dict[str, str]:
    """The folder of each architecture of a package, by which its card is called."""
    points = entry_points(group=registry.GROUP)
    return {p.name: p.module.split(".")[1] for p in points if p.module.startswith(f"{package}.")}


def section(name: str, out: Path) -> str:
    """One architecture: figures, diagram, layers, settings, claims, boards."""
    loaded = registry.load(name)
    if loaded.status != "ok":
        return f"## `{name}` as built\n\nNot built here: {markdown(loaded.error or 'unknown')}\n"
    plugin = loaded.architecture
    parts = [f"## `{name}` as built\n"]
    if plugin.paper:
        parts.append(f"Paper: {paper(plugin.paper)}.\n")
    spec = plugin.spec(configure(plugin, {}), registry.paper_task(plugin))
    if spec.members:
        parts.append(
            f"An ensemble of {len(spec.members)} networks, whose cards say what they are: "
            + ", ".join(
                f"`{one}`"
                for one in dict.fromkeys(
                    registry.display_name(m.architecture, dict(m.config)) for m in spec.members
                )
            )
            + ".\n"
        )
    elif not isinstance(plugin, System):
        parts += [_costs(name, plugin, spec), _drawn(name, plugin, spec, out)]
    parts += [_settings(plugin), _claims(name), _boards(name)]
    return "\n".join(filter(None, parts))


def _costs(name: str, plugin: Architecture, spec: Spec) -> str:
    cost = count_cost(plugin, spec)
    grid = spec.primary.shape
    voxels = grid[0] * grid[1] * grid[2]
    rows = [
        ("patch (z, y, x)", "×".join(map(str, grid))),
        ("parameters", f"{cost.parameters:,}"),
    ]
    if cost.flops_forward is not None and cost.flops_step is not None:
        rows += [
            ("FLOPs of a patch, forward", f"{cost.flops_forward:.4g}"),
            ("FLOPs of a training step, a patch", f"{cost.flops_step:.4g}"),
            ("FLOPs forward, a voxel of the patch", f"{cost.flops_forward / voxels:,.0f}"),
        ]
    said = ["A multiply-add counts as two FLOPs."]
    if (memory := network_memory.memory_of(plugin, spec)) is not None:
        of = "a patch" if memory.batch == 1 else "two patches"
        rows += [
            (f"memory of a training step on {of}", _gibibytes(memory.training)),
            (f"memory of predicting {of}", _gibibytes(memory.inference)),
        ]
        said.append(
            "Memory is counted, in float32: the most that weights, activations and, in training, "
            "gradients and AdamW's averages take at once, each tensor from when it is made until "
            "nobody holds it. Libraries take workspace besides."
        )
    lines = [
        "| at paper size | value |",
        "|---|---:|",
        *(f"| {key} | {value} |" for key, value in rows),
    ]
    return "\n".join(lines) + "\n\n" + " ".join([*said, *_measured(name)]) + "\n"


def _gibibytes(size: int) -> str:
    return f"{size / 2**30:.3g} GiB"


def _measured(name: str) -> list[str]:
    """Memory of training on real devices, from the profiles of the repository."""
    found = []
    for file in sorted(gpu_tables.MEASURED.glob("*.json")):
        for row in json.loads(file.read_text(encoding="utf-8")):
            if row["architecture"] == name and row.get("peak_memory_bytes") is not None:
                patch = "×".join(map(str, row["patch"]))
                found.append(
                    f"Measured on {markdown(row['device_name'])}, {file.stem[-10:]}: "
                    f"{_gibibytes(row['peak_memory_bytes'])} in training, batch {row['batch']} of "
                    f"{patch} voxels, {row['precision']}."
                )
    return found


def _drawn(name: str, plugin: Architecture, spec: Spec, out: Path) -> str:
    """The picture of a network with its table of layers."""
    try:
        found = network_diagram.blocks(network_diagram.follow(plugin, spec))
    except Exception as error:  # a card must not end the site
        return f"It cannot be followed without values: {markdown(str(error).splitlines()[0])}\n"
    file = out / f"{name}.svg"
    grid = "×".join(map(str, spec.primary.shape))
    title = f"{name}, {grid} voxels"
    network_diagram.draw(found, spec.primary.shape, title, file)
    return (
        f"```{{figure}} diagrams/{name}.svg\n:alt: {name}: {len(found)} blocks from left to right "
        "as they are computed, lower where the grid is coarser; the table below lists them\n\n"
        "From left to right as it is computed, lower where the grid is coarser, with the channels "
        "of each block; blue: coarser than before, orange: finer. Grey arrows: what is joined from "
        "earlier. Made by sending a patch through the network that is built.\n```\n\n"
        f":::{{dropdown}} Layers of `{name}` ({len(found)} blocks)\n"
        f"{network_diagram.table(found)}\n:::\n"
    )


def _settings(plugin: Architecture) -> str:
    keys = all_keys(plugin)
    if not keys:
        return ""
    lines = ["| setting | default | source |", "|---|---|---|"]
    lines += [
        f"| `{name}` | {markdown_code(str(key.default))} | {markdown(key.provenance)} |"
        for name, key in keys.items()
    ]
    return "\n".join(lines) + "\n"


def _claims(name: str) -> str:
    found = [
        claim.id
        for claim in read_registry()
        if any(name in (s.higher.split(":")[0], s.lower.split(":")[0]) for s in claim.step)
    ]
    return f"In the claims [{', '.join(found)}](../../claims.md).\n" if found else ""


@cache
def _on_boards() -> dict[str, list[Entry]]:
    """The entries of every board of the repository, read once for all cards."""
    boards = sorted(path for path in (ROOT / "leaderboards").iterdir() if path.is_dir())
    return {board.name: read_board(board) for board in boards}


def _boards(name: str) -> str:
    """What the boards of the repository say of it, in words that a board allows."""
    lines = []
    for board, entries in _on_boards().items():
        for entry in entries:
            score = entry.score(entry.endpoint)
            if entry.name.split(":")[0] != name or score is None or score.mean is None:
                continue
            between = (
                f" [{score.ci_low:.3f}, {score.ci_high:.3f}]"
                if score.ci_low is not None and score.ci_high is not None
                else ""
            )
            scans = ", synthetic scans" if entry.synthetic else ""
            peak = entry.cost.peak_memory_bytes
            memory = "" if peak is None else f", peak memory {peak / 2**20:.0f} MiB"
            lines.append(
                f"- [{board}](../leaderboards/{board}.md){scans}, {entry.budget.text}: "
                f"{markdown_code(entry.name)} {entry.endpoint} {score.mean:.3f}{between}{memory}"
            )
    return "On boards:\n\n" + "\n".join(lines) + "\n" if lines else ""
