"""What the page gets to know of a case: its geometry, and its volumes as bytes or as addresses."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from kitsbench.errors import KitsbenchError
from kitsbench.scans.geometry import spacing_of
from kitsbench.text import one_line
from kitsbench.viewer.cases import ViewedCase
from kitsbench.viewer.reduction import LEVELS, Box, Part, box_of, small, to_bytes, told, whole

Volume = dict[str, str]


def case_small(case: ViewedCase) -> tuple[dict[str, Any], ViewedCase, list[str]]:
    """A case with everything in it, made small, for a page that opens from its folder.

    Returns
    -------
    document : dict
    shown : ViewedCase
        With the files alone that are in it.
    problems : list of str
        A sentence for each file that cannot be laid over the scan.

    Raises
    ------
    Refused
        The scan itself, or every prediction of it, cannot be used.
    """
    affine, shape = case.grid()
    problems: list[str] = []

    def laid(what: str, read: Callable[[], np.ndarray | None]) -> np.ndarray | None:
        try:
            return read()
        except (KitsbenchError, OSError, ValueError) as error:
            problems.append(f"{what} is left out of {case.name}: {error}")
            return None

    truth = _Labels.of(laid("The truth", case.read_truth))
    # One at a time: of a whole scan each has as many bytes as it has voxels.
    predictions: dict[str, _Labels] = {}
    for name in case.predictions:
        labels = _Labels.of(laid(f"The prediction of {name}", partial(case.read_prediction, name)))
        if labels is not None:
            predictions[name] = labels
    if case.predictions and not predictions:
        raise KitsbenchError(" ".join(problems))
    boxes = [labels.box for labels in (truth, *predictions.values()) if labels is not None]
    part = small(shape, spacing_of(affine), boxes)

    def packed(array: np.ndarray) -> Volume:
        data = np.ascontiguousarray(array, dtype=np.uint8).tobytes()
        # Without a time in it: equal results give equal files.
        return {"data": base64.b64encode(gzip.compress(data, 6, mtime=0)).decode()}

    maps = {}
    for key in case.maps:
        array = laid(f"The map {': '.join(key)}", partial(case.read_map, key))
        if array is not None:
            maps[key] = packed(array[part.cut])
    document = {
        **_geometry(case, part),
        "image": packed(to_bytes(case.read_image()[part.cut])),
        "levels": LEVELS.tolist(),
        "truth": None if truth is None else packed(truth.whole(shape)[part.cut]),
        "predictions": [
            [one_line(name), packed(labels.whole(shape)[part.cut])]
            for name, labels in predictions.items()
        ],
        "maps": [
            [one_line(maker), one_line(name), volume] for (maker, name), volume in maps.items()
        ],
        "said": told(part, shape),
    }
    shown = replace(
        case,
        truth=None if truth is None else case.truth,
        predictions={name: case.predictions[name] for name in predictions},
        maps={key: case.maps[key] for key in maps},
    )
    return document, shown, problems


@dataclass(frozen=True)
class _Labels:
    """A label map without the empty space around its labels."""

    box: Box | None
    inside: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray | None) -> _Labels | None:
        """Keep what is needed of a label map (z, y, x)."""
        if labels is None:
            return None
        box = box_of(labels)
        return cls(box, labels[box].copy() if box is not None else labels[:0])

    def whole(self, shape: tuple[int, int, int]) -> np.ndarray:
        """The label map as it was."""
        labels = np.zeros(shape, np.uint8)
        if self.box is not None:
            labels[self.box] = self.inside
        return labels


def case_whole(case: ViewedCase, address: Callable[[str, int], str]) -> dict[str, Any]:
    """A case at full resolution, whose volumes the page asks a server for.

    Parameters
    ----------
    case : ViewedCase
    address : callable
        Of a volume, by its kind (``image``, ``truth``, ``prediction``, ``map``) and its number.
    """
    _, shape = case.grid()
    return {
        **_geometry(case, whole(shape)),
        "image": {"url": address("image", 0)},
        "levels": None,
        "truth": None if case.truth is None else {"url": address("truth", 0)},
        "predictions": [
            [one_line(name), {"url": address("prediction", number)}]
            for number, name in enumerate(case.predictions)
        ],
        "maps": [
            [one_line(maker), one_line(name), {"url": address("map", number)}]
            for number, (maker, name) in enumerate(case.maps)
        ],
        "said": "",
    }


def script(call: str, *values: Any) -> str:
    """A classic script that hands plain data to the page.

    Classic, since a browser refuses modules and requests for data to a page that was opened from
    a folder; in ASCII, with no sign that means anything in HTML.
    """
    return f"kitsbenchViewer.{call}({', '.join(map(plain_json, values))});\n"


def plain_json(value: Any) -> str:
    """JSON that may stand in a script of a page: nothing in it ends the script or begins a tag."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":  # in strings alone, which may write any letter by its number
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _geometry(case: ViewedCase, part: Part) -> dict[str, Any]:
    """Shape (x, y, z) of the volumes, whose x is fastest in memory, and what their voxels mean.

    ``affine`` maps (ix, iy, iz, 1) to mm, RAS; ``to_file`` maps mm to indices of the scan's file.
    """
    affine, _ = case.grid()
    own = part.affine(affine)
    shape = [len(range(*way)) for way in zip(part.start, part.stop, part.step, strict=True)]
    return {
        "shape": shape[::-1],
        "affine": own[:, [2, 1, 0, 3]].tolist(),
        "to_file": np.linalg.inv(case.scan.header.affine).tolist(),
    }
