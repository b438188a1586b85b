"""``kitsbench doctor``: what this machine can do, and what is missing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import click

from kitsbench.cli.options import json_option, workdir_option
from kitsbench.cli.output import print_json, print_rich
from kitsbench.text.screen import make_table, words

ARCHITECTURE = "architecture "
"""Before the name in a row about an architecture."""


@click.command("doctor")
@workdir_option("Folder whose disk is looked at.")
@json_option
def command(workdir: Path, as_json: bool) -> int:
    """Say what this machine can do, what is missing, and how to get it."""
    rows = examine(workdir)
    if as_json:
        print_json(rows)
    else:
        styles = {"ok": "green", "note": "yellow", "missing": "red"}
        shown = [
            (words(row["status"], styles[row["status"]]), row["what"], row["found"], row["remedy"])
            for row in _brief(rows)
        ]
        print_rich(make_table(["", "what", "found", "what to do"], shown))
    return 1 if any(row["status"] == "missing" for row in rows) else 0


def _brief(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows for a reader: all architectures that are fine in one."""
    fine = [row for row in rows if row["what"].startswith(ARCHITECTURE) and row["status"] == "ok"]
    if len(fine) < 2:
        return rows
    names = ", ".join(row["what"].removeprefix(ARCHITECTURE) for row in fine)
    one = {"what": f"{len(fine)} architectures", "status": "ok", "found": names, "remedy": ""}
    return [one if row is fine[0] else row for row in rows if row is fine[0] or row not in fine]


def examine(workdir: Path) -> list[dict[str, Any]]:
    """Rows of the table: ``what``, ``status`` (ok, note, missing), ``found``, ``remedy``."""
    import psutil
    import torch

    from kitsbench.devices.choose import choose_device
    from kitsbench.experiments.machines.environment import describe_environment, usable_cores
    from kitsbench.registry.plugins_apart import introduce_all

    device = choose_device("auto")
    environment = describe_environment(device, usable_cores())
    rows: list[dict[str, Any]] = []

    def add(what: str, status: str, found: str, remedy: str = "") -> None:
        rows.append({"what": what, "status": status, "found": found, "remedy": remedy})

    add("kitsbench", "ok", f"{environment['kitsbench']}, Python {environment['python']}")
    if device.type == "cuda":
        for row in _gpus(environment):
            add(*row)
    else:
        add(
            "GPU",
            "note",
            f"none that torch {torch.__version__} can use",
            "training runs on the CPU, with small presets; "
            + (
                "torch is built for CUDA, and sees no NVIDIA driver or no card (nvidia-smi tells)"
                if torch.version.cuda
                else "for a GPU install a CUDA build of torch"
            ),
        )
    add(
        "processor",
        "ok",
        f"{environment['cpu_name']} {usable_cores()} cores".strip(),
    )
    memory = psutil.virtual_memory().available / 2**30
    add(
        "memory",
        "ok" if memory > 4 else "note",
        f"{memory:.1f} GiB free",
        "" if memory > 4 else "close other programs, or use --max-memory and small patches",
    )
    place = workdir.absolute()
    while not place.exists():
        place = place.parent
    disk = shutil.disk_usage(place).free / 2**30
    add(
        "disk",
        "ok" if disk > 5 else "note",
        f"{disk:.0f} GiB free at {workdir}",
        "" if disk > 5 else "choose a --workdir on a larger disk",
    )
    for package, release in environment["packages"].items():
        if release is None:
            add(package, "missing", "not installed", f"pip install {package}")
        else:
            add(package, "ok", str(release))
    entries = introduce_all()
    if not entries:
        add(
            "architectures",
            "missing",
            "none installed",
            "pip install ./plugins in a checkout of kitsbench",
        )
    for entry in entries:
        good = entry.status == "ok"
        add(
            f"{ARCHITECTURE}{entry.name}",
            "ok" if good else "missing",
            entry.status,
            "" if good else str(entry.error),
        )
    return rows


def _gpus(environment: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Rows about the GPUs and what drives them."""
    import torch

    from kitsbench.devices.norms import norm_kernels
    from kitsbench.devices.nvml import open_device
    from kitsbench.devices.precision import best_precision

    rows = []
    for index in range(torch.cuda.device_count()):
        device = torch.device("cuda", index)
        known = torch.cuda.get_device_properties(device)
        rows.append(
            (
                f"GPU cuda:{index}",
                "ok",
                f"{known.name}, {known.total_memory / 2**30:.0f} GiB, compute capability "
                f"{known.major}.{known.minor}; networks in {best_precision(device)}",
                "",
            )
        )
    found = [f"CUDA {environment['cuda']}"]
    if environment["driver"]:
        found.insert(0, f"driver {environment['driver']}")
    if environment["cudnn"]:
        found.append(f"cuDNN {environment['cudnn']}")
    else:
        rows.append(
            ("cuDNN", "missing", "torch finds none", "install a build of torch that brings it")
        )
    rows.append(("CUDA", "ok", ", ".join(found), ""))
    if norm_kernels(torch.device("cuda", 0)) == "torch":
        rows.append(
            (
                "instance norms",
                "note",
                "run in torch's kernels, which leave most of a large card idle",
                "install triton (torch's builds for Linux bring it) and a C compiler such as gcc",
            )
        )
    if open_device(torch.device("cuda", 0)) is None:
        rows.append(
            (
                "nvidia-ml-py",
                "note",
                "does not answer, so energy and power caps are not recorded",
                "pip install 'kitsbench[gpu]'; parts of a GPU (MIG) do not tell them",
            )
        )
    return rows
