"""The official KiTS datasets, brought here: only what is missing, several cases at once, checked.

The result has the layout of the official repository, so that
:func:`~kitsbench.data.datasets.dataset.open_dataset` reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kitsbench.data.datasets.layouts import locate
from kitsbench.data.fetching.attempt import DiskFull, Patience, Unreachable
from kitsbench.data.fetching.sources import Official, Source
from kitsbench.data.fetching.transfer import transfer
from kitsbench.errors import DataError, UsageError
from kitsbench.files import read_json
from kitsbench.scans.findings import Finding, Refused
from kitsbench.scans.grids import shape_findings
from kitsbench.scans.header import Header
from kitsbench.scans.names import IMAGE
from kitsbench.scans.nifti import check_file, read_header

Progress = Callable[[str, int, int | None], None]


@dataclass
class Fetched:
    """What :func:`fetch` did.

    Attributes
    ----------
    root : Path
        Folder of the cases.
    cases : list of str
        Cases that were asked for.
    new, kept : list of Path
        Files that were fetched, and files that were there already.
    received : int
        Bytes that came from the source.
    findings : list of Finding
        Files that could not be had, or that are there and no good.
    """

    root: Path
    cases: list[str]
    new: list[Path] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)
    received: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def complete(self) -> list[str]:
        """Cases with all their files."""
        bad = {f.case for f in self.findings}
        return [case for case in self.cases if case not in bad]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "root": str(self.root),
            "n_cases": len(self.cases),
            "n_complete": len(self.complete),
            "n_fetched": len(self.new),
            "n_kept": len(self.kept),
            "received_bytes": self.received,
            "findings": [f.to_dict() for f in self.findings],
        }


def fetch(
    official: Official,
    out: Path,
    cases: list[str],
    source: Source | None = None,
    jobs: int = 4,
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> Fetched:
    """Fetch cases of a dataset into a folder.

    Parameters
    ----------
    official : Official
        Which dataset.
    out : Path
        Folder of the dataset; files that are there are kept, and never changed.
    cases : list of str
        Ids of the cases.
    source : Source, optional
        Where from; the public home by default.
    jobs : int
        Cases that are fetched at once.
    progress : callable, optional
        Called as ``progress(file, received, size)`` in bytes for each file, and as
        ``progress("", done, total)`` when a case is done; from several threads.
    patience : Patience, optional
        How hard to try.

    Returns
    -------
    Fetched
        With a finding for each file that could not be had; the other files are there.

    Raises
    ------
    UsageError
        The folder holds another dataset.
    Unreachable
        There is no way to a server; what has arrived is kept.
    DiskFull
        There is no room; what has arrived is kept.
    """
    out = Path(out)
    source, patience = source or official.source, patience or Patience()
    root = _root(official, out)
    tell: Progress = progress or (lambda name, received, size: None)
    result = Fetched(root, list(cases))
    tell("", 0, len(cases))
    fatal: DataError | None = None
    pool = ThreadPoolExecutor(max(1, jobs), thread_name_prefix="fetch")
    try:
        todo = [pool.submit(_table, official, source, root, tell, patience)]
        todo += [pool.submit(_case, c, official, source, root, tell, patience) for c in cases]
        done = -1  # the table is no case
        for future in as_completed(todo):
            try:
                one = future.result()
            except (Unreachable, DiskFull) as error:
                fatal = fatal or error
                break
            result.new += one.new
            result.kept += one.kept
            result.received += one.received
            result.findings += one.findings
            done += 1
            tell("", max(done, 0), len(cases))
    finally:
        patience.halt()  # also where the user stops it
        pool.shutdown(wait=True, cancel_futures=True)
    if fatal is not None:
        raise fatal
    result.findings.sort(key=lambda f: (f.case, f.file))
    result.new.sort()
    result.kept.sort()
    return result


def _root(official: Official, out: Path) -> Path:
    """Folder of the cases; refuse a folder that holds another dataset."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file. Give a folder for the dataset.")
    root = out / official.folder
    if root.is_dir() or not out.is_dir():
        other = None
    else:
        try:
            other = locate(out, None)
        except DataError:
            other = None
    if other is not None:
        if other[0] == official.name and other[1].name == root.name:
            return other[1]  # the folder of cases itself, or one above the dataset, was named
        raise UsageError(
            f"{out} holds a dataset in the {other[0]} layout already ({other[1]}). "
            f"Give {official.name} a folder of its own."
        )
    return root


def _table(
    official: Official, source: Source, root: Path, tell: Progress, patience: Patience
) -> Fetched:
    """The table of patients: useful, and it tells the years apart."""
    result = Fetched(root, [])
    if source.table is not None:
        _one(source.table, root / official.table, "", _check_table, result, tell, patience)
    return result


def _check_table(path: Path) -> None:
    try:
        if not isinstance(read_json(path), list | dict):
            raise ValueError("neither a list nor a mapping")
    except ValueError as error:
        raise Refused(
            Finding(
                "",
                str(path),
                f"the table of patients is no JSON ({error})",
                "The table is one JSON document.",
                "Check what the source gives; a proxy's login page is a common reason.",
            )
        ) from error


def _case(
    case: str,
    official: Official,
    source: Source,
    root: Path,
    tell: Progress,
    patience: Patience,
) -> Fetched:
    """Fetch one case: its masks first, so that the image can be compared with them."""
    result = Fetched(root, [case])
    folder = root / case
    mask = folder / f"{official.masks[-1]}.nii.gz"
    for name in official.masks:
        file = f"{name}.nii.gz"
        place = source.masks.format(case=case, file=file)
        _one(place, folder / file, case, lambda p: check_file(p, case), result, tell, patience)
    if patience.stop.is_set() or result.findings:
        return result  # without its mask an image of up to 500 MB helps nobody

    def check(path: Path) -> None:
        _same_shape(check_file(path, case), read_header(mask, case))

    image = folder / f"{IMAGE}.nii.gz"
    _one(source.images.format(case=case), image, case, check, result, tell, patience)
    if image in result.kept:
        try:
            _same_shape(read_header(image, case), read_header(mask, case))
        except Refused as error:
            result.findings.append(error.finding)
    return result


def _same_shape(image: Header, mask: Header) -> None:
    """Refuse an image of another shape than its mask; `data verify` compares their affines too."""
    found = shape_findings(image, mask)
    if found:
        raise Refused(found[0])


def _one(
    place: str,
    target: Path,
    case: str,
    check: Callable[[Path], Any],
    result: Fetched,
    tell: Progress,
    patience: Patience,
) -> None:
    """Fetch one file unless it is there; note what happened."""
    name = f"{case}/{target.name}" if case else target.name
    if target.exists() or target.is_symlink():
        try:
            if case:
                read_header(target, case)
            result.kept.append(target)
        except Refused as error:
            found = error.finding
            remedy = "It is not replaced: remove it and run again."
            result.findings.append(Finding(case, str(target), found.what, found.rule, remedy))
        return
    if patience.stop.is_set():
        return
    try:
        result.received += transfer(
            place, target, check, case, patience, lambda done, size: tell(name, done, size)
        )
        result.new.append(target)
    except Refused as error:
        found = error.finding
        result.findings.append(Finding(case, str(target), found.what, found.rule, found.remedy))
    finally:
        tell(name, -1, None)
