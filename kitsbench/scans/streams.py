"""The bytes of a NIfTI file: unpacked, read to their end, slice by slice.

A stream holds a header, the voxels that it announces, and nothing more. gzip's checksum lies after
the last voxel, so that only who reads on to the end knows that the voxels are whole.
"""

from __future__ import annotations

import contextlib
import gzip
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from kitsbench.scans.header import Header, refuse

CHUNK_BYTES = 1 << 20  # what fits a processor's cache is unpacked fastest
DEFLATE_LIMIT = 1032  # no stream of deflate unpacks to more times its size
DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error)


@contextlib.contextmanager
def open_stream(path: Path, case: str) -> Iterator[IO[bytes]]:
    """Open a file for reading, unpacked if its first bytes say gzip (whatever its name says).

    Raises
    ------
    Refused
        On opening or in the block: the file cannot be read, is cut off or corrupt.
    """
    with reading(path, case), open(path, "rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if not packed:
            yield raw
            return
        with gzip.GzipFile(fileobj=raw, mode="rb") as unpacked:
            yield unpacked  # type: ignore[misc]


@contextlib.contextmanager
def reading(path: Path, case: str) -> Iterator[None]:
    """Turn what can go wrong while a file is read into a finding.

    Raises
    ------
    Refused
        The block failed because the file cannot be read, is cut off or corrupt.
    """
    try:
        yield
    except DAMAGED as error:
        kind = "is cut off" if isinstance(error, EOFError) else "is corrupt"
        raise refuse(
            path,
            case,
            f"the compressed file {kind} ({error})",
            "gzip's own check must pass.",
            "Download or copy it again.",
        ) from error
    except OSError as error:
        raise refuse(
            path,
            case,
            f"cannot be read: {error.strerror or error}",
            "The user who runs kitsbench needs permission to read it, and the disk must work.",
            "Change the permissions, or copy the file from elsewhere.",
        ) from error


def check_size(header: Header) -> None:
    """Refuse a header that promises more voxels than its file can hold, before they get memory.

    Raises
    ------
    Refused
        The file is too small.
    """
    needed = header.offset + math.prod(header.shape) * header.dtype.itemsize
    size = header.path.stat().st_size
    packed = is_packed(header.path)
    if needed > size * (DEFLATE_LIMIT if packed else 1):
        raise refuse(
            header.path,
            header.case,
            f"the file is cut off: {' x '.join(map(str, header.shape))} voxels of type "
            f"{header.dtype} take {needed} bytes, it has {size}"
            + (" compressed ones" if packed else ""),
            "A file holds every voxel that its header announces.",
            "Download or copy it again.",
        )


def is_packed(path: Path) -> bool:
    """Whether the first bytes of a file say gzip."""
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def stored_planes(header: Header) -> Iterator[tuple[slice, np.ndarray]]:
    """Stream stored numbers: slices of the last disk axis with their values (i, j, planes).

    Raises
    ------
    Refused
        The voxels are cut off or corrupt, or the file goes on after them.
    """
    plane = header.shape[0] * header.shape[1]
    size = plane * header.dtype.itemsize
    step = max(1, CHUNK_BYTES // size)
    with open_stream(header.path, header.case) as file:
        file.seek(header.offset)
        for first in range(0, header.shape[2], step):
            count = min(step, header.shape[2] - first)
            block = file.read(count * size)
            if len(block) < count * size:
                raise EOFError(f"{first + len(block) // size} of {header.shape[2]} slices")
            values = np.frombuffer(block, header.dtype).reshape(
                (header.shape[0], header.shape[1], count), order="F"
            )
            yield slice(first, first + count), values
        # On to the end, where gzip's checksum is; a little padding there is harmless.
        left = 0
        while block := file.read(CHUNK_BYTES):
            left += len(block)
            if left >= size:
                raise refuse(
                    header.path,
                    header.case,
                    f"the file goes on after its {header.shape[2]} slices",
                    "A file holds the voxels that its header announces, and no more.",
                    "Write the file again from its source: its header or its voxels are wrong.",
                )
