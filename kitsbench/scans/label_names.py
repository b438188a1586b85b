"""Which label is which: by its name, never by its number.

Makers of datasets number their labels as they like, and ``dataset.json`` (nnU-Net, Medical
Segmentation Decathlon) says how. Here the labels of KiTS are always 1 kidney, 2 tumor and 3 cyst:
where a file has them in another order, its voxels are exchanged when they are read, and exchanged
back when label maps are written. A dataset that has other labels keeps its own names and values.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from kitsbench.errors import DataError
from kitsbench.files import read_json, write_json
from kitsbench.scans.labels import HIGHEST

KITS = {"kidney": 1, "tumor": 2, "cyst": 3}
"""Labels of KiTS and the values that they have here; KiTS19 has no cyst."""
IGNORED = HIGHEST
"""Value here of voxels that nobody labelled, where a dataset has such."""
DESCRIPTION = "dataset.json"
LEVELS = 3  # folders above a label map, as in fold_0/validation of an nnU-Net training

_EXPECTED = 'Expected is such as {"labels": {"background": 0, "kidney": 1, "tumor": 2}}.'
_SYNONYMS = {
    "kidneys": "kidney",
    **dict.fromkeys(("tumour", "tumors", "tumours"), "tumor"),
    **{f"{organ} {mass}": "tumor" for organ in ("kidney", "renal") for mass in ("tumor", "tumour")},
    **dict.fromkeys(("cysts", "kidney cyst", "renal cyst"), "cyst"),
    "masses": "mass",
    **{
        f"kidney and {mass}": "kidney"
        for mass in ("mass", "masses", "tumor", "tumour", "tumors", "tumours")
    },
}


@dataclass(frozen=True)
class LabelNames:
    """The labels of a dataset, and how its files number them.

    Attributes
    ----------
    labels : dict of str to int
        Values by name, as networks, scores and figures have them.
    on_disk : dict of int to int
        What each value in a file is here, the background left out; empty where files hold the
        values of ``labels``. Of several values that are the same here, the first is written.
    """

    labels: dict[str, int]
    on_disk: dict[int, int] = field(default_factory=dict)

    @property
    def known(self) -> set[int]:
        """Values that a file may hold besides 0."""
        return set(self.on_disk or self.labels.values())

    @property
    def ignores(self) -> bool:
        """Whether some voxels are marked as labelled by nobody."""
        return IGNORED in self.on_disk.values()

    @property
    def of_kits(self) -> bool:
        """Whether these are kidney, tumor and perhaps cyst, with the values of KiTS."""
        return {"kidney", "tumor"} <= set(self.labels) and self.labels.items() <= KITS.items()

    def told(self) -> str:
        """The labels as files have them, such as ``1 tumor, 2 kidney``."""
        names = {value: name for name, value in self.labels.items()} | {IGNORED: "ignored"}
        stored = self.on_disk or {value: value for value in self.labels.values()}
        return ", ".join(f"{value} {names[here]}" for value, here in sorted(stored.items()))

    def read(self, stored: np.ndarray) -> None:
        """Turn the values of a file into those here, in place (uint8, any axes)."""
        _exchange(stored, self.on_disk)

    def write(self, labels: np.ndarray) -> np.ndarray:
        """A label map (uint8, any axes) with the values of the dataset's files."""
        if not self.on_disk:
            return labels
        stored = labels.copy(order="K")
        _exchange(stored, {here: value for value, here in reversed(self.on_disk.items())})
        return stored

    def onto(self, other: LabelNames) -> LabelNames:
        """The same files read so that every label has the value that it has in ``other``.

        Raises
        ------
        DataError
            ``other`` lacks one of the labels.
        """
        lacking = [name for name in self.labels if name not in other.labels]
        if lacking:
            raise DataError(f"{', '.join(lacking)} is not among {', '.join(other.labels)}")
        if self.labels.items() <= other.labels.items():
            return LabelNames(other.labels, self.on_disk)
        change = {value: other.labels[name] for name, value in self.labels.items()}
        stored = self.on_disk or {value: value for value in self.labels.values()}
        return LabelNames(
            other.labels, {value: change.get(here, here) for value, here in stored.items()}
        )

    def described(self) -> dict[str, Any]:
        """What ``dataset.json`` beside label maps of these values says."""
        return {"labels": {"background": 0, **self.written()}}

    def written(self) -> dict[str, int]:
        """Values by name, as they are written to files."""
        stored = {here: value for value, here in reversed(self.on_disk.items())}
        return {name: stored.get(here, here) for name, here in self.labels.items()}

    def pairs(self) -> tuple[tuple[int, int], ...]:
        """``on_disk`` as it is stored in records."""
        return tuple(self.on_disk.items())

    @classmethod
    def stored(cls, labels: Iterable[tuple[str, int]], pairs: Iterable[tuple[int, int]]) -> Self:
        """Make it from what a record holds."""
        return cls(dict(labels), dict(pairs))


def names_of(labels: LabelNames | Mapping[str, int]) -> LabelNames:
    """Label values by name, of files that hold these very values."""
    return labels if isinstance(labels, LabelNames) else LabelNames(dict(labels))


def near(label_map: Path) -> LabelNames | None:
    """Labels of a file, as the nearest ``dataset.json`` in the folders above it names them.

    Raises
    ------
    DataError
        It names labels, but not as it should.
    """
    for folder in list(label_map.resolve().parents)[:LEVELS]:
        file = folder / DESCRIPTION
        if file.is_file() and "labels" in _content(file):
            return read_label_names(file)
    return None


def name_labels(folder: Path, names: LabelNames) -> None:
    """Say in a folder of label maps which label is which.

    Raises
    ------
    DataError
        Those that are there already are numbered in another way.
    """
    file = folder / DESCRIPTION
    check_named(folder, names)
    if not file.is_file():
        write_json(file, names.described())


def check_named(folder: Path, names: LabelNames) -> None:
    """Refuse a folder whose label maps are numbered in another way.

    Raises
    ------
    DataError
        They are.
    """
    file = folder / DESCRIPTION
    if file.is_file() and read_label_names(file).written() != names.written():
        raise DataError(
            f"{file} says {read_label_names(file).told()}, and label maps with {names.told()} "
            "cannot lie beside it.\nChoose another folder."
        )


def read_label_names(file: Path) -> LabelNames:
    """Read the labels of ``dataset.json``.

    Version 1 writes ``{"1": "kidney"}``, version 2 ``{"kidney": 1}``, and for overlapping regions
    ``{"kidney": [1, 2, 3], "tumor": 2}``: there a value is called like the smallest region that
    holds it, and a mass that is no tumor is a cyst, as in KiTS. ``ignore`` are voxels that nobody
    labelled.

    Raises
    ------
    DataError
        The file is missing or damaged, or does not give every label one name and one value.
    """
    content = _content(file)
    raw = content.get("labels")
    try:
        if not isinstance(raw, dict):
            raise _Wrong("does not name its labels")
        sets = _sets(raw)
        ignored = _take_ignored(sets)
        if not sets:
            raise _Wrong("names no label beside the background")
        if any(len(values) > 1 for values in sets.values()):
            meaning = _of_regions(sets, content.get("regions_class_order"))
        else:
            meaning = {}
            for name, (value,) in sets.items():
                if value in meaning:
                    raise _Wrong(f"gives '{meaning[value]}' and '{name}' one value, {value}")
                meaning[value] = name
    except _Wrong as error:
        raise DataError(f"{file} {error}.\n{_EXPECTED}") from error
    return _numbered(meaning, ignored)


class _Wrong(Exception):
    """What a description says and should not, as the rest of a sentence."""


def _numbered(meaning: dict[int, str], ignored: int | None) -> LabelNames:
    """Give the labels their values here."""
    found = set(meaning.values())
    kits = {"kidney", "tumor"} <= found <= set(KITS)
    labels: dict[str, int] = {}
    for value, name in meaning.items():
        labels.setdefault(name, KITS[name] if kits else value)
    on_disk = {value: labels[name] for value, name in meaning.items()}
    if ignored is not None:
        on_disk[ignored] = IGNORED
    if all(value == here for value, here in on_disk.items()) and ignored is None:
        return LabelNames(labels)
    return LabelNames(dict(sorted(labels.items(), key=lambda item: item[1])), on_disk)


def _content(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise DataError(f"{file} is missing. It names the labels of the dataset.\n{_EXPECTED}")
    try:
        content = read_json(file)
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read: {error}.\n{_EXPECTED}") from error
    if not isinstance(content, dict):
        raise DataError(f"{file} holds no object with keys.\n{_EXPECTED}")
    return content


def _sets(raw: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Values by name, the background left out."""
    decimal = re.compile(r"-?\d+")
    first = bool(raw) and all(isinstance(value, str) for value in raw.values())
    sets: dict[str, tuple[int, ...]] = {}
    seen: dict[str, str] = {}
    for key, value in raw.items():
        if first:
            if not decimal.fullmatch(key):
                raise _Wrong(
                    f"gives {value[:40]!r} the value {key[:40]!r}, which is no whole number"
                )
            written, values = value, [int(key)]
        else:
            written, values = key, value if isinstance(value, list) else [value]
        name = _name(written)
        known = " ".join(name.casefold().split())
        if known in seen:
            raise _Wrong(f"names one label twice, '{seen[known]}' and '{written.strip()}'")
        seen[known] = written.strip()
        for one in values:
            if type(one) is not int:
                raise _Wrong(
                    f"gives '{name}' the value {str(one)[:40]!r}, which is no whole number"
                )
            if not 0 <= one <= HIGHEST:
                raise _Wrong(f"gives '{name}' the value {one}; values are 0 to {HIGHEST}")
        if not values or len(set(values)) < len(values):
            raise _Wrong(f"gives '{name}' the values {values}; they must be some, each once")
        if known == "background" or 0 in values:
            if values != [0] or name in KITS:
                raise _Wrong(f"gives '{name}' the value {values[0]}; 0 and 'background' are one")
            continue
        sets[name] = tuple(values)
    return sets


def _exchange(labels: np.ndarray, values: Mapping[int, int]) -> None:
    """Replace values in place, slice by slice along the slowest axis in memory."""
    if all(old == new for old, new in values.items()):
        return
    table = np.arange(HIGHEST + 1, dtype=np.uint8)
    for old, new in values.items():
        table[old] = new
    for plane in np.moveaxis(labels, int(np.argmax(np.abs(labels.strides))), 0):
        plane[...] = table[plane]


def _name(written: str) -> str:
    """The name of a label: KiTS's own in one spelling, any other as it stands there."""
    text = " ".join(unicodedata.normalize("NFKC", written).split())
    if not text or not text.isprintable() or ":" in text or len(text) > 80:
        raise _Wrong(
            f"has a label called {written[:40]!r}; a name is 1 to 80 printable characters without "
            "a colon"
        )
    plain = " ".join(re.split(r"[\s_-]+", text.casefold()))
    plain = _SYNONYMS.get(plain, plain)
    return plain if plain in (*KITS, "mass", "background", "ignore") else text


def _take_ignored(sets: dict[str, tuple[int, ...]]) -> int | None:
    """Take the value of ``ignore`` out, which nnU-Net wants to be the highest."""
    if "ignore" not in sets:
        return None
    values = sets.pop("ignore")
    highest = max((value for others in sets.values() for value in others), default=0)
    if len(values) > 1 or values[0] <= highest:
        raise _Wrong(
            f"gives 'ignore' the value {', '.join(map(str, values))}; it is one value, above all "
            "others"
        )
    return values[0]


def _of_regions(sets: dict[str, tuple[int, ...]], order: Any) -> dict[int, str]:
    """What each value is called where names stand for overlapping regions."""
    writes: dict[str, int] = {}
    if order is not None:
        if not isinstance(order, list) or len(order) != len(sets):
            raise _Wrong(f"has {len(sets)} regions and regions_class_order {str(order)[:60]}")
        for (name, values), value in zip(sets.items(), order, strict=True):
            if type(value) is not int or value not in values:
                raise _Wrong(f"has {str(value)[:40]!r} in regions_class_order, not in '{name}'")
            writes[name] = value
    meaning: dict[int, str] = {}
    for value in sorted({value for values in sets.values() for value in values}):
        holding = [(set(values), name) for name, values in sets.items() if value in values]
        holding.sort(key=lambda pair: len(pair[0]))
        smallest, name = holding[0]
        for other, called in holding[1:]:
            if not smallest < other:
                raise _Wrong(
                    f"has the value {value} in '{name}' and '{called}', neither of which holds "
                    "the other"
                )
        if name == "mass" and "tumor" in sets and set(sets["tumor"]) < smallest:
            name = "cyst"  # KiTS's masses are tumours and cysts
        meaning[value] = name
    # The value that nnU-Net writes for a region comes first.
    chosen = set(writes.values())
    return dict(sorted(meaning.items(), key=lambda item: (item[0] not in chosen, item[0])))
