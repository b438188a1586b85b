"""The label map of one scan by a system that was trained elsewhere."""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from kitsbench.architecture import System
from kitsbench.errors import ContractError, DataError
from kitsbench.inference.case import checked_labels
from kitsbench.scans.findings import Finding
from kitsbench.scans.formats import open_scan
from kitsbench.scans.geometry import spacing_of
from kitsbench.scans.header import Header, canonical
from kitsbench.scans.label_names import LabelNames, name_labels
from kitsbench.scans.writing import write_label
from kitsbench.spec import Spec

Spacing = tuple[float, float, float]
# Asks a system for the label map of a scan, given the scan's name.
Ask = Callable[["NativeScan", str], np.ndarray]


@dataclass(frozen=True)
class NativeScan:
    """A scan as a system gets it.

    Attributes
    ----------
    header : Header
        Of its file.
    image : ndarray of int16 (z, y, x)
        HU.
    findings : list of Finding
        What is remarkable about it.
    """

    header: Header
    image: np.ndarray
    findings: list[Finding]

    @classmethod
    def read(cls, file: Path, case: str = "") -> NativeScan:
        """Read a scan of any format.

        Raises
        ------
        Refused
            It cannot be read or is no CT volume.
        """
        scan = open_scan(file, case)
        image, remarks = scan.read()
        return cls(scan.header, image, [*scan.header.findings, *remarks])

    @property
    def spacing(self) -> Spacing:
        """mm, (z, y, x)."""
        return spacing_of(canonical(self.header)[0])


def ask_system(
    system: System,
    spec: Spec,
    image: np.ndarray,
    spacing: Spacing,
    device: torch.device,
    name: str,
) -> tuple[np.ndarray, float]:
    """Have a system segment a scan.

    Parameters
    ----------
    system : System
    spec : Spec
    image : ndarray (z, y, x)
        HU.
    spacing : (float, float, float)
        mm, (z, y, x).
    device : torch.device
    name : str
        Of the scan: whatever is drawn by lot follows it alone, not the scans before it.

    Returns
    -------
    labels : ndarray of uint8 (z, y, x)
    seconds : float
        That it took, until the device was done.

    Raises
    ------
    ContractError
        What it returned is no label map of the task.
    """
    given = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))
    shape = tuple(given.shape)
    seed = zlib.crc32(name.encode())
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (a system may draw from the global generator)
    torch.manual_seed(seed)
    began = time.perf_counter()
    found = system.predict(given, spacing, spec, device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # the host may be ahead of it
    seconds = time.perf_counter() - began
    if isinstance(found, np.ndarray):
        if found.dtype.kind not in "iubf":
            raise ContractError(
                f"predict() returned {found.dtype}: label values are uint8. Convert them."
            )
        # Of whatever order and type; torch knows few unsigned ones, and floats are refused below.
        kind = {"f": np.float64}.get(found.dtype.kind, np.int64)
        wide = found if found.dtype == np.uint8 else found.astype(kind, copy=False)
        found = torch.from_numpy(wide.copy())  # a view that runs backwards is none of torch's
    return checked_labels("predict", found, spec, shape).cpu().numpy(), seconds


def segment_by_system(
    ask: Ask,
    names: LabelNames,
    files: Sequence[tuple[Path, Path]],
    name_of: Callable[[Path], str],
) -> Generator[list[Finding] | DataError]:
    """Segment scans that lie in files of their own, one after the other.

    Parameters
    ----------
    ask : callable
        Gets a scan and its name, returns the label map, (z, y, x), or raises what is wrong in one
        of :class:`DataError` and :class:`ContractError`.
    names : LabelNames
        The values that labels get in the files.
    files : sequence of (Path, Path)
        Each scan and its label map.
    name_of : callable
        The case of a scan.

    Yields
    ------
    list of Finding, or DataError
        For each scan what is remarkable about it, or why it has no label map.
    """
    for image, output in files:
        try:
            scan = NativeScan.read(image)
            labels = ask(scan, name_of(image))
            disk = np.ascontiguousarray(scan.header.axes.from_zyx(labels))
            write_label(output, names.write(disk), scan.header.native())
            name_labels(output.parent, names)
            yield scan.findings
        except DataError as error:
            yield error
        except ContractError as error:  # another scan may well be segmented
            yield DataError(str(error))
