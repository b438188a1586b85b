"""Every ratio that the project promises: what it is of, against whom, and what it was last.

A benchmark notes its rounds here; ``--ratios FILE.json`` writes them down and makes the page
``FILE.md`` of them, ``--against FILE.json`` fails where one has fallen by more than a fifth.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FALL = 0.2  # share by which a ratio may be worse than before; less is within the spread


@dataclass(frozen=True)
class Promise:
    """A ratio of ours to a peer, in the same run.

    Attributes
    ----------
    what, peer : str
        In words; the peer's name is that of its distribution where it is one.
    file : str
        Where it is measured, below ``tests/benchmarks``.
    needs : str
        What a machine without it cannot measure; empty if nothing.
    lower : bool
        Whether less is better: of memory. Else the ratio says how many times as fast ours is.
    """

    what: str
    peer: str
    file: str
    needs: str = ""
    lower: bool = False


PROMISES = {
    "start.help": Promise("`kitsbench --help`, CPU time", "`python -c pass`", "test_start.py"),
    "start.list": Promise("`kitsbench list`, CPU time", "`python -c pass`", "test_start.py"),
    "start.completion": Promise(
        "completing `kitsbench ru`, CPU time", "`python -c pass`", "test_start.py"
    ),
    "harness.unet3d": Promise(
        "a training step of `unet3d` (tiny)", "a bare loop in PyTorch", "test_harness.py"
    ),
    "harness.smallest": Promise(
        "a training step of the cheapest network", "a bare loop in PyTorch", "test_harness.py"
    ),
    **{
        f"loading.{place}.{name}": Promise(
            f"patches/s of the loader, {words}", peer, "test_loading.py", peer
        )
        for place, words in (("cached", "in the page cache"), ("cold", "not in it"))
        for name, peer in (("torchio", "torchio"), ("nnU-Net", "nnunetv2"))
    },
    **{
        f"augmentation.torchio.{edge}": Promise(
            f"augmentation at {edge} voxels an edge, one thread",
            "torchio",
            "test_augmentation_speed.py",
            "torchio",
        )
        for edge in (64, 96)
    },
    **{
        f"augmentation.{mode}.{edge}": Promise(
            f"moving voxels, labels {mode}, {edge} an edge, one thread",
            "batchgeneratorsv2",
            "test_augmentation_speed.py",
            "batchgeneratorsv2",
        )
        for mode in ("nearest", "bilinear")
        for edge in (64, 96)
    },
    **{
        f"window.{device}.{grid}.{name}": Promise(
            f"a scan by `{name}`, {grid} grid, on a {'GPU' if device == 'cuda' else 'CPU'}",
            "monai",
            "test_sliding_window.py",
            "a GPU" if device == "cuda" else "monai",
        )
        for device in ("cpu", "cuda")
        for grid in ("coarse", "native")
        for name in ("nnunet_plain", "residual_unet")
    },
    **{
        f"trainer.{device}.{data}": Promise(
            f"training `nnunet_plain`, {data} data, on a {'GPU' if device == 'cuda' else 'CPU'}",
            "nnunetv2",
            "test_nnunet_trainer.py",
            "a GPU and nnunetv2" if device == "cuda" else "nnunetv2",
        )
        for device in ("cpu", "cuda")
        for data in ("with", "without")
    },
    **{
        f"scores.volumes.{protocol}": Promise(
            f"volumetric scores by {protocol}", "boolean masks", "test_evaluation.py"
        )
        for protocol in ("kits19", "kits23")
    },
    **{
        f"scores.surface.{kind}": Promise(
            f"surface Dice, prediction {kind}", "distance maps", "test_evaluation.py"
        )
        for kind in ("moved", "stray")
    },
    **{
        f"scores.hd95.{kind}": Promise(
            f"HD95, prediction {kind}", "monai", "test_evaluation.py", "monai"
        )
        for kind in ("moved", "stray")
    },
    **{
        f"scores.memory.{kind}": Promise(
            f"memory of all metrics, prediction {kind}",
            "its two label maps",
            "test_evaluation.py",
            lower=True,
        )
        for kind in ("moved", "stray")
    },
    "statistics.bootstrap": Promise(
        "bootstrap of ranks, 12 architectures", "a plain loop", "test_statistics.py"
    ),
    "statistics.compare": Promise(
        "a whole comparison of them", "a plain loop of the bootstrap alone", "test_statistics.py"
    ),
}
PEERS = ("torch", "torchio", "monai", "nnunetv2", "batchgeneratorsv2", "numpy", "scipy")
_found: dict[str, list[float]] = {}
_busy: set[str] = set()
_seconds: dict[str, float] = {}
_begun: list[Any] = []


def watch() -> None:
    """Look from now on what other processes take of the machine."""
    from kitsbench.profiling.company import read_times

    _begun[:] = [read_times()]


def note(key: str, ratios: Sequence[float], seconds: float | None = None) -> None:
    """Keep the ratios of the rounds of a benchmark.

    Parameters
    ----------
    key : str
        Of :data:`PROMISES`. A benchmark of several cases notes each under the same.
    ratios : sequence of float
        One a round, of both ways in turn.
    seconds : float, optional
        Of ours, where a number of them is promised too.
    """
    assert key in PROMISES, key
    _found.setdefault(key, []).extend(ratios)
    if seconds is not None:
        _seconds[key] = seconds
    if is_busy():
        _busy.add(key)


def is_busy() -> bool:
    """Whether others took much of the machine since :func:`watch`; its own threads do not count."""
    from kitsbench.profiling.company import WHILE, others, read_times

    return bool(_begun) and others(_begun[0], read_times()) > WHILE


def noted() -> dict[str, dict[str, Any]]:
    """What was measured in this process: medians and quartiles of all rounds."""
    found = {key: _row(ratios, key in _busy) for key, ratios in _found.items()}
    for key, seconds in _seconds.items():
        found[key]["seconds"] = seconds
    return found


def _row(ratios: list[float], busy: bool) -> dict[str, Any]:
    low, _, high = (
        statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    )
    middle = statistics.median(ratios)
    return {"ratio": middle, "low": low, "high": high, "rounds": len(ratios), "busy": busy}


def document(found: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What is written down: today's rows, and earlier ones of this machine that were not repeated.

    Parameters
    ----------
    found : mapping
        As of :func:`noted`.
    before : mapping, optional
        An earlier document.
    """
    today, machine = datetime.datetime.now(datetime.UTC).date().isoformat(), describe_machine()
    rows = dict((before or {}).get("rows", {}))
    for key, row in found.items():
        rows[key] = {**row, "date": today, "machine": machine, "versions": versions()}
    return {"rows": {key: rows[key] for key in PROMISES if key in rows}}


def describe_machine() -> str:
    """Processor, cores and Python, in a few words."""
    import torch

    from kitsbench.experiments.machines.environment import device_name

    cuda = torch.cuda.is_available()
    names = [device_name(torch.device(name)) for name in ("cpu", *["cuda:0"] * cuda)]
    return f"{', '.join(names)}, {os.cpu_count()} cores, Python {platform.python_version()}"


def versions() -> dict[str, str]:
    """Versions of the peers that are installed here."""
    found = {}
    for name in PEERS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def fallen(found: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """Ratios that are worse than before by more than a fifth, in words.

    Parameters
    ----------
    found : mapping
        As of :func:`noted`.
    before : mapping
        A document.
    """
    worse = []
    for key, row in found.items():
        old = before.get("rows", {}).get(key)
        if old is None:
            continue
        share = row["ratio"] / old["ratio"]
        if PROMISES[key].lower:
            share = 1 / share
        if share < 1 - FALL:
            worse.append(
                f"{key}: {row['ratio']:.3g}, and {old['ratio']:.3g} on {old['date']}: "
                f"{100 * (1 - share):.0f} % worse"
            )
    return worse


def page(content: Mapping[str, Any]) -> str:
    """The documents' rows as a page in Markdown."""
    rows = content["rows"]
    lines = [
        "# Benchmarks",
        "",
        "Every ratio that this project promises, each measured against its peer in the same run",
        "and in turn, so that whatever else the machine does meets both. A ratio above 1 says how",
        "many times as fast kitsbench is; of memory, how much it takes. Brackets hold the",
        "quartiles of the rounds. The page is generated:",
        "",
        "<!-- not run: takes hours -->",
        "```console",
        "$ pytest tests/benchmarks -n 0 --benchmark-only --ratios docs/benchmarks.json",
        "$ pytest tests/benchmarks -n 0 --benchmark-only --against docs/benchmarks.json",
        "```",
        "",
        "The first command writes `docs/benchmarks.json` and this page; a row that it does not",
        "measure stays as it was. The second fails on a ratio that is more than a fifth worse.",
        "“Busy” rows were measured while other programs used the machine: their ratios hold, since",
        "both sides were slowed, but their spread is wider. What one GPU gave, before ratios were",
        "written down like this, stands in [On a GPU](gpu.md#beside-nnu-net-and-monai).",
        "",
        "| what | against | ratio | rounds | measured |",
        "|---|---|---:|---:|---|",
    ]
    places: dict[str, int] = {}
    for key, promise in PROMISES.items():
        row = rows.get(key)
        if row is None:
            why = "not on record" + f"; needs {promise.needs}" * bool(promise.needs)
            lines.append(f"| {promise.what} | {promise.peer} | – | – | {why} |")
            continue
        place = f"{row['machine']}; {_told(row['versions'])}"
        number = places.setdefault(place, len(places) + 1)
        peer = " ".join(filter(None, [promise.peer, row["versions"].get(promise.peer, "")]))
        ratio = f"{row['ratio']:.3g} ({row['low']:.3g} to {row['high']:.3g})"
        when = f"{row['date']}, machine {number}{', busy' * row['busy']}"
        seconds = f" ({row['seconds']:.3f} s)" if "seconds" in row else ""
        lines.append(f"| {promise.what}{seconds} | {peer} | {ratio} | {row['rounds']} | {when} |")
    lines += ["", *(f"Machine {number}: {place}." for place, number in places.items()), ""]
    return "\n".join(lines)


def _told(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())


def write(file: Path, before: Mapping[str, Any] | None) -> None:
    """Write what was noted, and the page beside it."""
    import json

    content = document(noted(), before)
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    file.with_suffix(".md").write_text(page(content), encoding="utf-8")
    print(f"\nwrote {file} and {file.with_suffix('.md')}", file=sys.stderr)
