"""How a network's weights lie in memory, and what was found to be faster on a GPU."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import nn

from kitsbench.devices.norms import norm_kernels
from kitsbench.errors import DataError
from kitsbench.files import digest
from kitsbench.files.documents import Document, Part

Layout = Literal["contiguous", "channels_last_3d"]
Seconds = dict[Layout, float | None]

# Channels last has to be faster by so much: within it, noise would decide.
MARGIN = 0.02


def set_layout(network: nn.Module, layout: Layout) -> None:
    """Lay the weights of convolutions in 3D out; convolutions hand their layout on to features.

    Parameters
    ----------
    network : nn.Module
        Changed in place. Weights of any other rank stay as they are: only five axes have channels
        and three directions.
    layout : {"contiguous", "channels_last_3d"}
    """
    wanted = getattr(torch, "contiguous_format" if layout == "contiguous" else layout)
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.dim() == 5:
            tensor.data = tensor.data.to(memory_format=wanted)


def layout_of(network: nn.Module) -> Layout:
    """How the weights of a network lie; contiguous where it has none that could lie otherwise."""
    for tensor in network.parameters():
        # With one tap the two layouts are one.
        if tensor.dim() == 5 and tensor.shape[2:].numel() > 1 and tensor.stride(1) == 1:
            return "channels_last_3d"
    return "contiguous"


class LayoutKey(Part):
    """What a choice of layout holds for.

    Attributes
    ----------
    source, spec : str
        Hashes of the plugin's source and of the configured network.
    batch : int
        Patches that go through one device in a step.
    precision : str
    device : str
        Name of the GPU.
    torch, cudnn : str
        Versions.
    norms : {"triton", "torch"}
        Whose kernels instance norms run in; torch's copy what lies channels-last.
    """

    source: str
    spec: str
    batch: int = Field(ge=1)
    precision: str
    device: str
    torch: str
    cudnn: str
    norms: Literal["triton", "torch"]


def layout_key(
    source: str, spec: str, batch: int, precision: str, device: torch.device
) -> LayoutKey:
    """What a choice in this process holds for, see :class:`LayoutKey`."""
    return LayoutKey(
        source=source,
        spec=spec,
        batch=batch,
        precision=precision,
        device=torch.cuda.get_device_name(device),
        torch=str(torch.__version__),
        cudnn=str(torch.backends.cudnn.version()),
        norms=norm_kernels(device),
    )


class LayoutRecord(Document):
    """``devices/layouts/*.json``: the layout that all trials of one kind train in.

    Attributes
    ----------
    layout : {"contiguous", "channels_last_3d"}
    seconds : dict of str to (float or None)
        Of a step in each layout, median; None where the network failed or did not fit.
    samples : int
        Patches of the steps that were timed; fewer than a batch where memory held no more.
    """

    remedy: ClassVar[str] = "Delete it: the next trial measures again."

    schema_version: Literal[1] = 1
    key: LayoutKey
    layout: Layout
    seconds: Seconds
    samples: int = Field(ge=1)


def layouts_of(workdir: Path) -> Path:
    """Where a working directory keeps what was chosen."""
    return workdir / "devices" / "layouts"


def faster(seconds: Mapping[Layout, float | None]) -> Layout:
    """The layout to train in: contiguous unless channels last is clearly faster, or alone runs."""
    plain, last = seconds["contiguous"], seconds["channels_last_3d"]
    if last is None:
        return "contiguous"
    return "channels_last_3d" if plain is None or last < plain * (1 - MARGIN) else "contiguous"


def kept_layout(
    key: LayoutKey, folder: Path | None, measure: Callable[[], tuple[Seconds, int]]
) -> LayoutRecord:
    """The layout for a kind of trial, measured once and kept if a step could be taken.

    Parameters
    ----------
    key : LayoutKey
    folder : Path or None
        Where it is kept; None to measure in any case.
    measure : callable
        Returns the seconds of a step by layout, and the patches of that step.
    """
    file = None if folder is None else folder / f"{digest(key.model_dump(mode='json'))}.json"
    # What is damaged is measured again: nothing but time is lost.
    with contextlib.suppress(DataError):
        if file is not None:
            return LayoutRecord.read(file)
    seconds, samples = measure()
    made = LayoutRecord(key=key, layout=faster(seconds), seconds=seconds, samples=samples)
    # Where neither ran there was no choice: memory may have been another process's at that time.
    chosen = any(one is not None for one in seconds.values())
    return made if file is None or not chosen else _keep(made, file)


def _keep(made: LayoutRecord, file: Path) -> LayoutRecord:
    """Write a choice down unless another trial was first, whose choice then counts."""
    own = file.with_name(f".{os.getpid()}-{file.name}")
    made.write(own)
    try:
        os.link(own, file)  # fails where the file is there, as no way of writing it would
    except FileExistsError:
        with contextlib.suppress(DataError):
            return LayoutRecord.read(file)
        os.replace(own, file)  # what is there is damaged
    except OSError:  # a file system without links
        os.replace(own, file)
    finally:
        own.unlink(missing_ok=True)
    return made
