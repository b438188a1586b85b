"""Where datasets keep their files: KiTS19, KiTS21, KiTS23, nnU-Net."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from kitsbench.errors import DataError
from kitsbench.files import read_json

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
IMAGE = "imaging"
TABLES = {"kits19": "kits.json", "kits21": "kits.json", "kits23": "kits23.json"}
SUFFIXES = (".nii.gz", ".nii")


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
            "segmentation.nii.gz (KiTS), or imagesTr and labelsTr (nnU-Net)."
        )
    if len(roots) > 1:
        names = ", ".join(str(root) for root in roots[:4])
        raise DataError(f"{path} holds {len(roots)} datasets ({names}). Name one of them.")
    root = roots[0]
    return layout or _recognise(root), root


def scan(root: Path, layout: str) -> Iterator[tuple[str, Path, Path]]:
    """Yield (case id, image, mask) for every case; the files need not exist."""
    if layout == "nnunet":
        yield from _scan_nnunet(root)
        return
    for folder in _folders(root):
        if folder.is_symlink() and not _exists(folder):
            yield folder.name, folder / f"{IMAGE}.nii.gz", folder / f"{MASKS[layout]}.nii.gz"
        elif folder.name.startswith("case_") or _is_case(folder) or not _readable(folder):
            yield folder.name, _file(folder, IMAGE), _file(folder, MASKS[layout])


def further_channels(root: Path) -> list[Path]:
    """Images of an nnU-Net dataset that are a second or later channel of their case."""
    images = root / "imagesTr"
    entries = _entries(images) if images.is_dir() else []
    return [e for e in entries if re.fullmatch(r".+_000[1-9]\.nii(\.gz)?", e.name)]


def nnunet_labels(root: Path) -> dict[str, int]:
    """Label values of an nnU-Net dataset, by name, without the background.

    Raises
    ------
    DataError
        ``dataset.json`` is missing or does not say.
    """
    path = root / "dataset.json"
    if not path.is_file():
        raise DataError(f"{path} is missing. An nnU-Net dataset names its labels there.")
    try:
        raw = read_json(path)["labels"]
        # Version 2 writes {name: value}, version 1 {value: name}.
        pairs = [(k, v) if isinstance(v, int) else (v, int(k)) for k, v in raw.items()]
        labels = {str(name): int(value) for name, value in pairs if int(value) != 0}
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} does not name its labels ({error!r}). Expected "
            '{"labels": {"background": 0, "kidney": 1, "tumor": 2}}.'
        ) from error
    return {"tumor" if name == "tumour" else name: value for name, value in labels.items()}


def _recognise(root: Path) -> str:
    if (root / "labelsTr").is_dir():
        return "nnunet"
    if (root / TABLES["kits23"]).is_file() or root.name == "dataset":
        return "kits23"
    for folder in _folders(root):
        if any(_exists(_file(folder, name)) for name in AGGREGATIONS):
            return "kits21"
        if _exists(_file(folder, MASKS["kits19"])) and not (root / TABLES["kits19"]).is_file():
            # No table says which year it is: case numbers from 400 on exist in KiTS23 alone.
            numbers = [re.fullmatch(r"case_(\d{5})", f.name) for f in _folders(root)]
            if any(m and int(m[1]) >= 300 for m in numbers):
                return "kits23"
            break
    return "kits19"


def _scan_nnunet(root: Path) -> Iterator[tuple[str, Path, Path]]:
    images, masks = root / "imagesTr", root / "labelsTr"
    names: dict[str, list[Path | None]] = {}
    for entry in _entries(masks):
        suffix = _suffix(entry.name)
        if suffix:
            names.setdefault(entry.name[: -len(suffix)], [None, None])[1] = entry
    for entry in _entries(images) if images.is_dir() else ():
        match = re.fullmatch(r"(.+)_0000(\.nii(?:\.gz)?)", entry.name)
        if match:
            names.setdefault(match[1], [None, None])[0] = entry
    if not names:
        other = {"".join(e.suffixes) for e in _entries(masks) if e.is_file()}
        if other:
            raise DataError(
                f"{masks} holds {', '.join(sorted(other))} files. Datasets are NIfTI (.nii or "
                ".nii.gz): convert images and masks, for example with SimpleITK."
            )
    for name, (image, mask) in sorted(names.items()):
        yield (
            name,
            image or images / f"{name}_0000.nii.gz",
            mask or masks / f"{name}.nii.gz",
        )


def _suffix(name: str) -> str | None:
    return next((s for s in SUFFIXES if name.endswith(s) and not name.startswith(".")), None)


def _file(folder: Path, name: str) -> Path:
    """The file in either spelling, compressed where neither exists."""
    plain = folder / f"{name}.nii"
    return plain if _exists(plain) else folder / f"{name}.nii.gz"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        return False


def _is_case(folder: Path) -> bool:
    names = [IMAGE, *MASKS.values()]
    return any(
        _exists(folder / f"{name}{s}") or (folder / f"{name}{s}").is_symlink()
        for name in names
        for s in SUFFIXES
    )


def _holds_cases(folder: Path) -> bool:
    if (folder / "labelsTr").is_dir():
        return True
    return any(entry.name.startswith("case_") or _is_case(entry) for entry in _folders(folder))


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
        if not entry.name.startswith(".")
        and (entry.is_dir() or (entry.is_symlink() and not entry.exists()))
    ]
