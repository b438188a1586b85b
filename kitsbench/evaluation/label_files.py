"""Label maps on disk: which file belongs to which case. :mod:`kitsbench.scans` reads them."""

from __future__ import annotations

from pathlib import Path

from kitsbench.errors import DataError
from kitsbench.scans.names import TRUTHS, folded, is_hidden, match_names, nifti_stem
from kitsbench.text import visible

_PREDICTION_NAMES = ("prediction", *TRUTHS)
# Folders in which a dataset or a run of some tool keeps its label maps.
_TRUTH_FOLDERS = ("labelsTr", "labelsTs", "data", "dataset", "kits21/data")
_PREDICTION_FOLDERS = ("predictions", *_TRUTH_FOLDERS)


def find_label_maps(folder: Path, predictions: bool) -> dict[str, Path]:
    """Find the label maps of a folder by case.

    Understood are a flat folder of ``<case>.nii.gz``, a folder for each case as KiTS19, KiTS21
    and KiTS23 have it (``<case>/segmentation.nii.gz``, ``<case>/aggregated_MAJ_seg.nii.gz``),
    nnU-Net's ``labelsTr``, the folder that contains one of these, and a single file; of
    predictions also the folder of an nnU-Net training, whose ``fold_<k>/validation`` are taken
    together.

    Parameters
    ----------
    folder : Path
        Where to look.
    predictions : bool
        Whether these are predictions rather than the truth.

    Raises
    ------
    DataError
        There is no such folder, it holds no label map, or two files claim one case.
    """
    folder = Path(folder)
    role = "predictions" if predictions else "truth"
    if folder.is_file():
        return {_case_of_file(folder): folder}
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder} ({role}).")
    inner = _PREDICTION_FOLDERS if predictions else _TRUTH_FOLDERS
    names = _PREDICTION_NAMES if predictions else TRUTHS
    for candidate in (folder, *(folder / name for name in inner)):
        found = _find_here(candidate, names) if candidate.is_dir() else {}
        if found:
            return found
    by_fold = _validation_folders(folder) if predictions else {}
    found = {}
    for inside in by_fold.values():
        for case, path in _find_here(inside, names).items():
            if case in found:
                raise DataError(
                    f"{found[case]} and {path} both claim the case {case}. A case is tested in one "
                    "fold: remove one of them, or evaluate each fold's folder by itself."
                )
            found[case] = path
    if found:
        return found
    raise DataError(
        f"{folder} ({role}) holds no label map. Understood are <case>.nii.gz, "
        "<case>/segmentation.nii.gz (KiTS) and labelsTr/<case>.nii.gz (nnU-Net)."
    )


def folds_of(folder: Path) -> dict[str, int]:
    """Fold in which each case was predicted, where the folder of an nnU-Net training says so.

    Returns
    -------
    dict
        Name of the label map to fold; empty for any other folder.
    """
    return {
        case: fold
        for fold, inside in _validation_folders(Path(folder)).items()
        for case in _find_here(inside, _PREDICTION_NAMES)
    }


def _validation_folders(folder: Path) -> dict[int, Path]:
    """Validation predictions of an nnU-Net training by fold."""
    found = {}
    for path in folder.glob("fold_*/validation") if folder.is_dir() else ():
        number = path.parent.name.removeprefix("fold_")
        if number.isdecimal() and path.is_dir():
            found[int(number)] = path
    return dict(sorted(found.items()))


def _find_here(folder: Path, names: tuple[str, ...]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    seen: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if is_hidden(path.name):
            continue
        label_map: Path | None = path
        case = _stem(path)
        if path.is_dir():
            label_map, case = _in_case_folder(path, names), path.name
        if label_map is None or case is None:
            continue
        other = seen.setdefault(folded(case), label_map)
        if other is not label_map:
            raise DataError(
                f"{other} and {label_map} both claim the case {visible(case)}. Names that differ "
                "in capitals or in how a letter is coded are one: remove or rename one of them."
            )
        found[visible(case)] = label_map
    return found


def _in_case_folder(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The label map in the folder of one case, by the first of some names that is there."""
    try:
        files = [path for path in sorted(folder.iterdir()) if _stem(path) is not None]
    except PermissionError as error:
        raise DataError(
            f"{folder} cannot be read: permission denied. Change its permissions."
        ) from error
    for name in map(folded, names):
        same = [path for path in files if folded(_stem(path) or "") == name]
        if len(same) > 1:
            raise DataError(
                f"{same[0]} and {same[1]} both claim the case {folder.name}. Remove one of them."
            )
        if same:
            return same[0]
    return None


def _stem(path: Path) -> str | None:
    """File name without the NIfTI suffix; None for anything else."""
    return nifti_stem(path.name) if path.is_file() else None


def _case_of_file(path: Path) -> str:
    stem = _stem(path)
    if stem is None:
        raise DataError(f"{path} is no NIfTI file (.nii or .nii.gz).")
    own = folded(stem) in map(folded, _PREDICTION_NAMES)
    return visible(path.resolve().parent.name if own else stem)


def match_cases(
    predictions: dict[str, Path], truth: dict[str, Path]
) -> tuple[dict[str, Path], list[str]]:
    """Give every case of the truth its prediction, by the rule of :mod:`kitsbench.scans.names`.

    Returns
    -------
    matched : dict
        Case of the truth -> prediction, in the order of the truth.
    extra : list of str
        Predictions that belong to no case.

    Raises
    ------
    DataError
        Two predictions belong to one case, or one may belong to two.
    """
    matched = match_names(predictions, truth)
    found: dict[str, Path] = {}
    for name, case in matched.items():
        if case in found:
            raise DataError(
                f"{found[case]} and {predictions[name]} both claim the case {case}. Remove one of "
                "them."
            )
        found[case] = predictions[name]
    extra = [name for name in predictions if name not in matched]
    return {case: found[case] for case in truth if case in found}, extra


def find_samples(truth: Path) -> tuple[Path, ...]:
    """Find the sampled annotations of a case in KiTS21's layout.

    The organisers' script writes them to ``<case>/segmentation_samples/group_*/*.nii.gz``, next
    to the majority mask.

    Parameters
    ----------
    truth : Path
        The case's majority mask.

    Returns
    -------
    tuple of Path
        All members of all groups; empty where there are none.
    """
    members = truth.parent.glob("segmentation_samples/group*/*")
    return tuple(sorted(path for path in members if _stem(path)))
