"""Prepared stores whose cases come with all channels of a grid.

What is a function of the scan is computed once for each case and kept beside the prepared volumes,
under a hash of everything that it depends on.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from kitsbench.data.channels.derived import Derive, Wanted, wanted_on, with_channels
from kitsbench.data.preparation.store import PreparedCase, PreparedStore, check_sum
from kitsbench.errors import DataError, telling
from kitsbench.files import digest, file_digest, read_text, write_text
from kitsbench.spec import Spec

FOLDER = "derived"
SUMS = "SHA256SUMS"  # as sha256sum writes and checks them
# Of what is kept of a case: a folder of another one is left alone.
FORMAT = 2
_KEY = re.compile(r"(.*):([^:]+):(\d{4})")


def image_key(grid: str, channel: str, number: int) -> str:
    """Key of a further image's store among those of the grids."""
    return f"{grid}:{channel}:{number:04d}"


def image_numbers(keys: Iterable[str]) -> dict[str, dict[str, int]]:
    """{grid: {further image: its number in nnU-Net's layout}} of keys by :func:`image_key`."""
    found: dict[str, dict[str, int]] = {}
    for key in keys:
        if match := _KEY.fullmatch(key):
            grid, name, number = match.groups()
            found.setdefault(grid, {})[name] = int(number)
    return found


def grid_stores(
    folders: Mapping[str, Path], spec: Spec, derive: Derive, source: str
) -> dict[str, PreparedStore]:
    """Open the stores of all grids.

    Parameters
    ----------
    folders : mapping of str to Path
        {grid: its prepared store}, and by :func:`image_key` those of further images.
    spec : Spec
    derive : callable
        The plugin's hook, given name and scan; called only where a channel or an input needs it.
    source : str
        Hash of the code that derives: of the plugin's source, with its packages' versions.

    Returns
    -------
    dict of str to PreparedStore
        {grid: store whose cases have its channels}.
    """
    opened = {key: PreparedStore.open(folder) for key, folder in folders.items()}
    numbers = image_numbers(folders)
    stores = {}
    for grid in spec.grids:
        store, wanted = opened[grid.name], wanted_on(grid, spec)
        if wanted.anything:
            others = {
                name: opened[image_key(grid.name, name, number)]
                for name, number in numbers.get(grid.name, {}).items()
            }
            images = sorted(s.id for s in others.values())
            made_by = [FORMAT, source, spec.digest(), grid.name, images, asdict(wanted)]
            store = ChannelStore(store, wanted, others, derive, digest(made_by))
        stores[grid.name] = store
    return stores


class ChannelStore(PreparedStore):
    """A store whose cases come with further channels and numbers.

    Parameters
    ----------
    store : PreparedStore
        Of the CT.
    wanted : Wanted
    others : mapping of str to PreparedStore
        {further image: its store}.
    derive : callable
    made_by : str
        Hash of everything that functions of the scan depend on beside the store.
    """

    def __init__(
        self,
        store: PreparedStore,
        wanted: Wanted,
        others: Mapping[str, PreparedStore],
        derive: Derive,
        made_by: str,
    ):
        super().__init__(store.folder, store.manifest)
        self.wanted, self.others, self.derive = wanted, dict(others), derive
        self.kept = store.folder / FOLDER / made_by

    def case(self, case: str) -> PreparedCase:
        """Open a case; its voxels are memory-mapped."""
        plain = super().case(case)
        others = {name: store.case(case) for name, store in self.others.items()}
        images = replace(self.wanted, functions=(), numbers=())
        if images == self.wanted:
            return with_channels(plain, images, others, self.derive)
        folder = self.kept / case
        if not folder.is_dir():
            made = with_channels(plain, self.wanted, others, self.derive)
            self._keep(made, folder)
        found = with_channels(plain, images, others, self.derive)
        functions = {
            name: _read(folder / f"channel_{place}.npy", plain.image.shape)
            for place, name in enumerate(self.wanted.functions)
        }
        numbers = {
            entry.name: np.array(_read(folder / f"input_{place}.npy", (entry.size,)))
            for place, entry in enumerate(self.wanted.numbers)
        }
        return replace(found, channels={**found.channels, **functions}, numbers=numbers)

    def verify(self, cases: Iterable[str], beat: Callable[[], None] = lambda: None) -> None:
        """See that cases are as they were prepared, and make what is a function of them.

        What was made before is compared with its checksums, as prepared volumes are.
        """
        names = list(cases)
        super().verify(names, beat)
        for store in self.others.values():
            store.verify(names, beat)
        for name in names:
            self.case(name)
            self._check(self.kept / name)
            beat()

    def _files(self) -> list[str]:
        """Names of what is kept of a case."""
        channels = [f"channel_{place}.npy" for place in range(len(self.wanted.functions))]
        return channels + [f"input_{place}.npy" for place in range(len(self.wanted.numbers))]

    def _check(self, folder: Path) -> None:
        names = self._files()
        if not names:
            return
        remedy, sums = _remedy(folder), folder / SUMS
        try:
            lines = read_text(sums).splitlines()
        except (OSError, ValueError) as error:
            raise DataError(f"{sums} cannot be read: {telling(error)}.\n{remedy}") from error
        noted = {name: found for found, _, name in (line.partition("  ") for line in lines)}
        for name in names:
            check_sum(folder / name, noted.get(name), SUMS, remedy)

    def _keep(self, case: PreparedCase, folder: Path) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{os.getpid()}.", dir=folder.parent))
        try:
            for place, name in enumerate(self.wanted.functions):
                np.save(temporary / f"channel_{place}.npy", case.channels[name])
            for place, entry in enumerate(self.wanted.numbers):
                np.save(temporary / f"input_{place}.npy", case.numbers[entry.name])
            sums = [f"{file_digest(temporary / name)}  {name}\n" for name in self._files()]
            write_text(temporary / SUMS, "".join(sums))
            temporary.chmod(0o755)
            try:
                os.replace(temporary, folder)
            except OSError:
                # Another process was faster; what it wrote is the same.
                if not folder.is_dir():
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _remedy(folder: Path) -> str:
    return f"Delete the folder {folder} and run the same command again."


def _read(file: Path, shape: tuple[int, ...]) -> np.ndarray:
    remedy = _remedy(file.parent)
    try:
        found = np.load(file, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{file} is damaged: {error}.\n{remedy}") from error
    if found.shape != shape or found.dtype != np.float32:
        raise DataError(f"{file} holds {found.dtype} of shape {found.shape}.\n{remedy}")
    return found
