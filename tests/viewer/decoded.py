"""Reads what the viewer writes for browsers, by the standard library alone."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np


def document_of(file: Path) -> dict[str, Any]:
    """What the script of a case hands to the page."""
    text = file.read_text(encoding="ascii")
    before, after = 'kitsbenchViewer.take("', ");\n"
    assert text.startswith(before)
    assert text.endswith(after)
    _, document = json.loads(f"[{text[len(before) - 1 : -len(after)]}]")
    return document


def voxels(volume: dict[str, str], shape: list[int]) -> np.ndarray:
    """Bytes of a volume as (x, y, z)."""
    data = gzip.decompress(base64.b64decode(volume["data"]))
    return np.frombuffer(data, np.uint8).reshape(shape, order="F")


def in_file(document: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """Indices of the scan's file for each voxel of the document, as (x, y, z) arrays."""
    grid = np.indices(document["shape"]).reshape(3, -1)
    mm = np.array(document["affine"]) @ np.vstack([grid, np.ones(grid.shape[1])])
    found = np.array(document["to_file"]) @ mm
    whole = np.rint(found[:3]).astype(int)
    assert np.abs(found[:3] - whole).max() < 1e-3
    return tuple(own.reshape(document["shape"]) for own in whole)
