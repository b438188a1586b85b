"""Where datasets keep their files: KiTS19, KiTS21, KiTS23, nnU-Net and the Decathlon (MSD).

Names are read by the rule of :mod:`kitsbench.scans.names`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from kitsbench.errors import DataError
from kitsbench.files import read_json
from kitsbench.scans.names import IMAGE, folded, is_hidden, nifti_stem

KIDNEY_TUMOUR = {"kidney": 1, "tumor": 2}
LABELS = {
    "kits19": KIDNEY_TUMOUR,
    "kits21": {**KIDNEY_TUMOUR, "cyst": 3},
    "kits23": {**KIDNEY_TUMOUR, "cyst": 3},
}
# KiTS21 was annotated three times; a mask is where all agree, most agree, or anyone saw it.
AGGREGATIONS = ("aggregated_AND_seg", "aggregated_MAJ_seg", "aggregated_OR_seg")
MASKS = {
    "kits19": "segmentation",
    "kits21": "aggregated_MAJ_seg",
    "kits21:AND": "aggregated_AND_seg",
    "kits21:MAJ": "aggregated_MAJ_seg",
    "kits21:OR": "aggregated_OR_seg",
    "kits23": "segmentation",
}
LAYOUTS = (*MASKS, "nnunet")
TABLES = {"kits19": "kits.json", "kits21": "kits.json", "kits23": "kits23.json"}
_CHANNEL = re.compile(r"(.+)_(\d{4})")  # nnU-Net's number of a channel


def locate(path: Path, layout: str | None) -> tuple[str, Path]:
    """Find the layout of a dataset and the folder that holds its cases.

    Parameters
    ----------
    path : Path
        The folder of cases or one up to two levels above it.
    layout : str or None
        The layout, where the user names it.

    Returns
    -------
    layout : str
        One of ``LAYOUTS``; ``kits21`` alone means its majority masks.
    root : Path
        Folder whose entries are the cases (for ``nnunet``: the one with ``labelsTr``).

    Raises
    ------
    DataError
        There is no such folder, it cannot be read, or no dataset or more than one is in it.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist. Give the folder of a dataset.")
    if not path.is_dir() and path.suffix.lower() == ".json":
        raise DataError(
            f"{path} is a file. A dataset is a folder: of case folders (KiTS), or with imagesTr "
            "and labelsTr (nnU-Net, MSD). Link the files of a MONAI data list into one; its folds "
            f"can be used: --split {path.name}."
        )
    if not path.is_dir():
        raise DataError(f"{path} is a file. Give the folder of a dataset, not one scan.")
    if not _readable(path):
        raise DataError(f"{path} cannot be read: permission denied. Change its permissions.")
    if _is_case(path):
        raise DataError(
            f"{path} is one case, not a dataset. Give the folder that holds the cases: "
            f"{path.resolve().parent}."
        )
    roots = [path] if _holds_cases(path) else []
    if not roots:
        below = _folders(path)
        roots = [folder for folder in below if _holds_cases(folder)]
        if not roots:
            roots = [inner for folder in below for inner in _folders(folder) if _holds_cases(inner)]
    if not roots:
        raise DataError(
            f"{path} holds no dataset. Expected case folders with imaging.nii.gz and "
            "segmentation.nii.gz (KiTS), or imagesTr and labelsTr (nnU-Net, MSD)."
        )
    if len(roots) > 1:
        names = ", ".join(str(root) for root in roots[:4])
        raise DataError(f"{path} holds {len(roots)} datasets ({names}). Name one of them.")
    root = roots[0]
    return layout or _recognise(root), root


def scan(root: Path, layout: str) -> Iterator[tuple[str, list[Path], list[Path]]]:
    """Yield (case id, images, masks) for every case.

    The first image and mask is the one to take, which need not exist; any others claim its place.
    """
    if layout == "nnunet":
        cases, _ = _nnunet_files(root)
        for name, (scans, maps) in sorted(cases.items()):
            expected = root / "imagesTr" / f"{name}_0000.nii.gz"
            yield name, scans or [expected], maps or [root / "labelsTr" / f"{name}.nii.gz"]
        return
    for folder in _folders(root):
        if folder.is_symlink() and not _exists(folder):
            files = {}
        elif _looks_like_case(folder) or not _readable(folder):
            files = _by_stem(folder)
        else:
            continue
        scans, maps = (
            files.get(folded(name)) or [folder / f"{name}.nii.gz"]
            for name in (IMAGE, MASKS[layout])
        )
        yield folder.name, scans, maps


def further_channels(root: Path) -> dict[str, dict[int, Path]]:
    """Second and later channels of an nnU-Net dataset, {case: {number: image}}."""
    found: dict[str, dict[int, Path]] = {}
    for case, number, path in _nnunet_files(root)[1]:
        found.setdefault(case, {}).setdefault(number, path)
    return found


def channel_names(root: Path) -> dict[str, int]:
    """Numbers of the channels that ``dataset.json`` names: ``channel_names``, or ``modality``."""
    try:
        content = read_json(root / "dataset.json")
        named = content.get("channel_names", content.get("modality"))
        return {str(name): int(number) for number, name in named.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def listed_cases(root: Path) -> list[str]:
    """Cases that ``dataset.json`` lists for training, as the Decathlon and nnU-Net 1 write it.

    Returns
    -------
    list of str
        Names of the masks without their suffix; empty where there is no such list.
    """
    try:
        listed = read_json(root / "dataset.json")["training"]
        paths = [entry["label"].replace("\\", "/") for entry in listed]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    stems = [nifti_stem(path.rpartition("/")[2]) for path in paths]
    return [stem for stem in stems if stem is not None]


def _recognise(root: Path) -> str:
    if (root / "labelsTr").is_dir():
        return "nnunet"
    if (root / TABLES["kits23"]).is_file() or root.name == "dataset":
        return "kits23"
    for folder in _folders(root):
        files = _by_stem(folder)
        if any(map(_exists, (f for name in AGGREGATIONS for f in files.get(folded(name), ())))):
            return "kits21"
        if (
            any(map(_exists, files.get(MASKS["kits19"], ())))
            and not (root / TABLES["kits19"]).is_file()
        ):
            # No table says which year it is: case numbers from 400 on exist in KiTS23 alone.
            numbers = [re.fullmatch(r"case_(\d{5})", f.name) for f in _folders(root)]
            if any(m and int(m[1]) >= 300 for m in numbers):
                return "kits23"
            break
    return "kits19"


def _nnunet_files(
    root: Path,
) -> tuple[dict[str, tuple[list[Path], list[Path]]], list[tuple[str, int, Path]]]:
    """Images and masks by case, and the images that are further channels: (case, number, image).

    nnU-Net calls the image of ``x`` ``x_0000``, the Decathlon ``x``; which one is meant is seen
    from the masks, since cases themselves may end on such a number.
    """
    images, masks = root / "imagesTr", root / "labelsTr"
    found: dict[str, tuple[list[Path], list[Path]]] = {}
    for entry in _entries(masks):
        stem = nifti_stem(entry.name)
        if stem is not None:
            found.setdefault(stem, ([], []))[1].append(entry)
    labelled = {folded(stem): stem for stem in reversed(found)} | {stem: stem for stem in found}

    def mask_of(name: str) -> str | None:
        return labelled.get(name) or labelled.get(folded(name))

    channels = []
    for entry in _entries(images) if images.is_dir() else ():
        stem = nifti_stem(entry.name)
        if stem is None:
            continue
        match = _CHANNEL.fullmatch(stem)
        first, number = match.groups() if match else (stem, "0000")
        case = mask_of(first)
        if case is None and mask_of(stem):
            case, number = mask_of(stem), "0000"
        if case is None:  # there is no mask; a later channel comes after the first
            case = first if number == "0000" or first in found else stem
            number = number if case == first else "0000"
        if number == "0000":
            found.setdefault(case, ([], []))[0].append(entry)
        else:
            channels.append((case or first, int(number), entry))
    if not found:
        other = {"".join(e.suffixes) for e in _entries(masks) if e.is_file()}
        if other:
            raise DataError(
                f"{masks} holds {', '.join(sorted(other))} files. Datasets are NIfTI (.nii or "
                ".nii.gz): convert images and masks, for example with SimpleITK."
            )
    return found, channels


def _by_stem(folder: Path) -> dict[str, list[Path]]:
    """NIfTI files of a folder by their folded name; none where it may not be read."""
    found: dict[str, list[Path]] = {}
    if _readable(folder):
        for entry in _entries(folder):
            stem = nifti_stem(entry.name)
            if stem is not None:
                found.setdefault(folded(stem), []).append(entry)
    return found


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        return False


def _is_case(folder: Path) -> bool:
    return not {folded(name) for name in (IMAGE, *MASKS.values())}.isdisjoint(_by_stem(folder))


def _looks_like_case(folder: Path) -> bool:
    return folded(folder.name).startswith("case_") or _is_case(folder)


def _holds_cases(folder: Path) -> bool:
    return (folder / "labelsTr").is_dir() or any(map(_looks_like_case, _folders(folder)))


def _readable(folder: Path) -> bool:
    return os.access(folder, os.R_OK | os.X_OK)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except PermissionError as error:
        raise DataError(
            f"{folder} cannot be read: permission denied. Change its permissions."
        ) from error


def _folders(folder: Path) -> list[Path]:
    """Folders and dangling links inside a folder, sorted, hidden ones left out."""
    if not _readable(folder):
        if folder.is_dir():
            return []
        raise DataError(f"{folder} cannot be read. Change its permissions.")
    return [
        entry
        for entry in _entries(folder)
        if not is_hidden(entry.name)
        and (entry.is_dir() or (entry.is_symlink() and not entry.exists()))
    ]
