"""Checkpoints: atomic, checksummed, the previous one kept, read without executing code.

A checkpoint is a folder ``step-00000120`` with ``model.safetensors``, ``optimiser.pt`` (read
with ``weights_only``), ``state.json`` and ``SHA256.json``; a second one of the same step is called
``step-00000120-01``. The newest whose checksums hold is the one that counts. Nothing that counts is
ever written into, renamed or removed before its successor is whole.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save

from kitsbench.errors import DataError
from kitsbench.files import file_digest, read_json, write_json
from kitsbench.files.foreign import brief

FILES = ("model.safetensors", "optimiser.pt", "state.json")


def save_checkpoint(
    folder: Path, step: int, model: dict[str, Any], optimiser: Any, state: dict[str, Any]
) -> Path:
    """Write a checkpoint and drop all but the one before it.

    Parameters
    ----------
    folder : Path
        The trial's ``checkpoint`` folder.
    step : int
    model : dict
        State dictionary of the network.
    optimiser : object
        Anything that torch loads with ``weights_only``.
    state : dict
        Plain data.
    """
    for left in folder.glob(".partial-*"):  # by a process that was killed while it wrote
        shutil.rmtree(left, ignore_errors=True)
    partial = folder / f".partial-{step:08d}-{os.getpid()}"
    partial.mkdir(parents=True)
    try:
        # Tensors that share memory would be refused by safetensors. Python writes the bytes, so
        # that a full disk is an OSError, and no private error of a library.
        tensors = {k: v.detach().cpu().clone().contiguous() for k, v in model.items()}
        (partial / FILES[0]).write_bytes(save(tensors))
        buffer = io.BytesIO()
        torch.save(optimiser, buffer)
        (partial / FILES[1]).write_bytes(buffer.getbuffer())
        write_json(partial / FILES[2], state)
        write_json(partial / "SHA256.json", {name: file_digest(partial / name) for name in FILES})
        target = _free_name(folder, step)
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    for old in sorted(folder.glob("step-*"))[:-2]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def _free_name(folder: Path, step: int) -> Path:
    target, again = folder / f"step-{step:08d}", 0
    while target.exists():
        again += 1
        target = folder / f"step-{step:08d}-{again:02d}"
    return target


def is_whole(folder: Path) -> bool:
    """Whether every file of a checkpoint has the checksum that was written with it."""
    try:
        sums = read_json(folder / "SHA256.json")
        return all(file_digest(folder / name) == sums[name] for name in FILES)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint, or None."""
    for candidate in sorted(folder.glob("step-*"), reverse=True):
        if is_whole(candidate):
            return candidate
    return None


def drop_damaged(folder: Path) -> None:
    """Remove the checkpoints that are newer than the newest whole one.

    A training that goes on does this first; otherwise a damaged one would count as the previous
    checkpoint that is kept.
    """
    for candidate in sorted(folder.glob("step-*"), reverse=True):
        if is_whole(candidate):
            return
        shutil.rmtree(candidate, ignore_errors=True)


def load_checkpoint(folder: Path) -> tuple[dict[str, Any], Any, dict[str, Any]]:
    """Model state, optimiser state and plain state of a checkpoint.

    Raises
    ------
    DataError
        The folder is no whole checkpoint, or a file of it is none of its kind.
    """
    if not is_whole(folder):
        raise DataError(
            f"{folder} is no whole checkpoint: a file is missing or its checksum differs. "
            "Use another one, or train again."
        )
    readers: tuple[Callable[[Path], Any], ...] = (
        load_file,
        lambda file: torch.load(file, weights_only=True, map_location="cpu"),
        read_json,
    )
    found = []
    for name, read in zip(FILES, readers, strict=True):
        try:
            found.append(read(folder / name))
        except Exception as error:  # each library has classes of its own for a file it cannot read
            raise DataError(
                f"{folder / name} cannot be read, though its checksum holds ({brief(error, 200)}). "
                "Use another checkpoint, or train again."
            ) from error
    return found[0], found[1], found[2]
