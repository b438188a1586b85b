"""Splits in files: nnU-Net's, MONAI's data lists and our own, matched to the cases by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kitsbench.data.splits.split import Split
from kitsbench.errors import DataError
from kitsbench.files import digest, read_json, write_json
from kitsbench.scans.names import (
    TRUTHS,
    case_of_scan,
    folded,
    match_names,
    nifti_stem,
    one_name_each,
)

PICKLES = (".pkl", ".pickle")
_CONVERT = (
    'python -c "import json, pickle; json.dump([{{k: [str(c) for c in v] for k, v in f.items()}} '
    "for f in pickle.load(open({pickle!r}, 'rb'))], open({json!r}, 'w'))\""
)


def import_split(path: Path, cases: Iterable[str] | None = None) -> Split:
    """Read a split from a file.

    Parameters
    ----------
    path : Path
        nnU-Net's ``splits_final.json`` (a list of ``{"train": [...], "val": [...]}``), a data list
        of MONAI (``{"training": [{"image": ..., "fold": 0}, ...]}``, or with a list
        ``validation``), or what :meth:`Split.to_dict` gave.
    cases : iterable of str, optional
        The cases that can be used. The names in the file are matched to them by the rule of
        :mod:`kitsbench.scans.names`, and may mean no other.

    Raises
    ------
    DataError
        There is no such file, it is no split, breaks a rule, names a case that is not there, or
        gives two names to one case.
    """
    refuse_pickle(path)
    try:
        content = read_json(path)
    except FileNotFoundError as error:
        raise DataError(
            f"There is no file {path}; give a splits_final.json or a stored split."
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}).") from error
    try:
        split = _read(content)
        return split if cases is None else _matched(split, list(cases))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def refuse_pickle(path: Path) -> None:
    """Refuse a split of nnU-Net 1, since reading a pickle runs whatever code its maker put in.

    Raises
    ------
    DataError
        The name is that of a pickle; the message says how to convert it.
    """
    if path.suffix.lower() in PICKLES:
        command = _CONVERT.format(pickle=str(path), json=str(path.with_suffix(".json")))
        raise DataError(
            f"{path} is a pickle, which may run any code when it is read. If you trust who made "
            f"it, turn it into JSON and give that file:\n{command}"
        )


def export_split(split: Split, path: Path) -> None:
    """Write a split as nnU-Net's ``splits_final.json``, or as ours if it has inner folds."""
    if split.inner is not None:  # of which nnU-Net's file has no word
        write_json(path, split.to_dict())
        return
    write_json(
        path,
        [{"train": split.train(fold), "val": split.test(fold)} for fold in range(len(split.folds))],
    )


def keep_split(split: Split, folder: Path) -> None:
    """Write a split under its id; with inner folds once more, under a hash of all."""
    write_json(folder / f"{split.id}.json", replace(split, inner=None).to_dict())
    if split.inner is not None:
        content = split.to_dict()
        write_json(folder / f"{digest(content)}.json", content)


def _read(content: Any) -> Split:
    if not isinstance(content, dict):
        return _from_nnunet(content)
    if "folds" not in content and "training" in content:
        return _from_monai(content)
    return Split.from_dict(content)


def _matched(split: Split, cases: list[str]) -> Split:
    """The same split with the dataset's own names of the cases."""
    found = match_names(split.cases, cases)
    missing = [name for name in split.cases if name not in found]
    if missing:
        raise DataError(
            f"it names {len(missing)} cases that cannot be used here: "
            f"{', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}. A split is used "
            "whole: restore the cases, or remove them from the file to make it another split."
        )
    one_name_each(found)
    training, inner = split.training, split.inner
    return Split(
        _renamed(split.folds, found),
        None if training is None else _renamed(training, found),
        None if inner is None else tuple(_renamed(parts, found) for parts in inner),
    )


def _renamed(
    lists: tuple[tuple[str, ...], ...], names: Mapping[str, str]
) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(names[case] for case in cases) for cases in lists)


def _from_nnunet(content: Any) -> Split:
    if not isinstance(content, list) or not content:
        raise DataError("this is no split. Expected a list of train and val, as nnU-Net writes it.")
    for number, fold in enumerate(content):
        good = isinstance(fold, dict) and all(
            isinstance(fold.get(key), list) and all(isinstance(case, str) for case in fold[key])
            for key in ("train", "val")
        )
        if not good:
            raise DataError(
                f"fold {number} is malformed. Expected "
                '{"train": [case, ...], "val": [case, ...]}.'
            )
    return Split(
        tuple(tuple(fold["val"]) for fold in content),
        tuple(tuple(fold["train"]) for fold in content),
    )


def _from_monai(content: Mapping[str, Any]) -> Split:
    """A data list: an entry's fold is the one that validates on it, or there is one validation."""
    training = [_listed("training", entry) for entry in _entries(content, "training")]
    if "validation" in content:
        tested = [_listed("validation", entry) for entry in _entries(content, "validation")]
        return Split((tuple(n for n, _ in tested),), (tuple(n for n, _ in training),))
    numbers = sorted({fold for _, fold in training if fold is not None})
    if numbers != list(range(len(numbers))) or any(fold is None for _, fold in training):
        raise DataError(
            'this data list is no split. Expected a "fold" of 0, 1, ... in every entry of '
            '"training", or a list "validation" beside it.'
        )
    return Split(tuple(tuple(n for n, fold in training if fold == number) for number in numbers))


def _entries(content: Mapping[str, Any], key: str) -> list[Any]:
    if not isinstance(content[key], list):
        raise DataError(f'"{key}" is no list. Expected [{{"image": path, "label": path}}, ...].')
    return content[key]


def _listed(key: str, entry: Any) -> tuple[str, int | None]:
    """Case and fold of an entry of a data list."""
    about = {"image": entry} if isinstance(entry, str) else entry
    fold = about.get("fold") if isinstance(about, dict) else None
    paths = [about.get(what) for what in ("image", "label")] if isinstance(about, dict) else []
    # MONAI lists the channels of a case under "image".
    image, label = (p[0] if isinstance(p, list) and p else p for p in paths or (None, None))
    path = image if isinstance(image, str) else label
    if not isinstance(path, str) or not (fold is None or type(fold) is int):
        raise DataError(
            f'an entry of "{key}" is malformed. Expected '
            '{"image": path, "label": path, "fold": 0}.'
        )
    place = Path(path.replace("\\", "/"))
    beside = Path(label.replace("\\", "/")).name if isinstance(label, str) else ""
    stem = nifti_stem(place.name) or place.name
    own = folded(nifti_stem(beside) or "") in map(folded, TRUTHS)
    if path is label and own:
        return place.parent.name or stem, fold
    return case_of_scan(stem, place.parent, own), fold
