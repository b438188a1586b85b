"""Whether a case has its files: what is wrong is seen from names and rights alone."""

from __future__ import annotations

import os
from pathlib import Path

from kitsbench.scans.findings import Finding


def _closed_folder(*files: Path | None) -> Path | None:
    """The folder of a case, if it is there but may not be entered."""
    for file in files:
        if file is None or not file.parent.is_dir():
            continue
        if not os.access(file.parent, os.R_OK | os.X_OK):
            return file.parent
    return None


def is_there(path: Path | None) -> bool:
    """Whether a case has this file."""
    return path is not None and path.is_file()


def file_fault(
    case: str, images: list[Path], masks: list[Path], masks_only: bool
) -> Finding | None:
    """Why a case cannot be used, from its files' names alone; None where nothing is wrong.

    Parameters
    ----------
    case : str
        Its id.
    images, masks : list of Path
        The file to take, which need not exist, and any others that claim its place.
    masks_only : bool
        Whether images do not matter.
    """
    image, label = images[0], masks[0]
    folder = _closed_folder(image, label)
    if folder is not None:
        return Finding(
            case,
            str(folder),
            "the folder cannot be read",
            "The user who runs kitsbench needs permission to read it.",
            "Change the permissions of the folder.",
        )
    for kind, files in (("image", images), ("mask", masks)):
        path, *others = files
        if masks_only and kind == "image":
            continue
        if path.is_symlink() and not _exists(path):
            return Finding(
                case,
                str(path),
                f"the {kind} is a link to {os.readlink(path)}, which does not exist",
                "A link must lead to a file.",
                "Mount or restore what it leads to, or replace the link by the file.",
            )
        if others:
            return Finding(
                case,
                str(others[0]),
                f"there are two files for the {kind}, {path.name} and {others[0].name}",
                "Every case has one image and one mask.",
                "Remove the one that is out of date.",
            )
        if path.is_dir():
            return Finding(
                case,
                str(path),
                f"the {kind} is a folder",
                f"The {kind} is one NIfTI file.",
                "Some programs unpack into a folder of that name: move the file inside it up.",
            )
        if _exists(path) and not path.is_file():
            return Finding(
                case,
                str(path),
                f"the {kind} is no regular file",
                f"The {kind} is one NIfTI file.",
                "Put the file itself there; pipes and devices cannot be read twice.",
            )
        if path.is_file() and not os.access(path, os.R_OK):
            return Finding(
                case,
                str(path),
                f"the {kind} cannot be read",
                "The user who runs kitsbench needs permission to read it.",
                "Change the permissions of the file.",
            )
    if not masks_only and not is_there(image):
        return Finding(
            case,
            str(image),
            "missing image",
            "Every case has an image and a mask.",
            "Get the scan (KiTS distributes images apart from the masks) or remove the case.",
        )
    if not is_there(label):
        return Finding(
            case,
            str(label),
            "missing mask",
            "Every case that is trained on or scored has a mask.",
            _where_masks_are(label),
        )
    return None


def _where_masks_are(label: Path | None) -> str:
    """What to do about a missing mask."""
    others = [] if label is None else sorted(p.name for p in label.parent.glob("aggregated_*"))
    if others and label is not None and label.name not in others:
        return f"There are {', '.join(others)}: choose with --layout kits21:AND, :MAJ or :OR."
    return "KiTS19 cases 00210 to 00299 have none; for others restore the file."


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a link that leads to itself, a folder that may not be entered
        return False
