"""Where the official KiTS datasets live, which cases they have, and where copies may be had."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

from kitsbench.data.datasets.layouts import AGGREGATIONS, TABLES, locate
from kitsbench.errors import UsageError
from kitsbench.files.foreign import brief
from kitsbench.scans.names import IMAGE

_IMAGES = (
    "https://huggingface.co/datasets/neheller/KiTS-Challenge-Imaging/resolve/main/images/"
    "{case}.nii.gz"
)
_GITHUB = "https://raw.githubusercontent.com/neheller"
LICENCE = "CC BY-NC-SA 4.0 (not for commercial use; cite the KiTS challenge)"


_MARKS = {"case": "\0", "file": "\1"}


@dataclass(frozen=True)
class Source:
    """Where the files of a dataset come from: URLs, or paths of files on this machine.

    Attributes
    ----------
    images : str
        Of an image, with ``{case}`` for the case id.
    masks : str
        Of a mask, with ``{case}`` and ``{file}`` (such as ``segmentation.nii.gz``).
    table : str or None
        Of the table of patients; None where the source has none.
    """

    images: str
    masks: str
    table: str | None


@dataclass(frozen=True)
class Official:
    """One of the public KiTS datasets.

    Attributes
    ----------
    name : str
        ``kits19``, ``kits21`` or ``kits23``.
    folder : str
        Folder of the cases inside the dataset, as in the official repository.
    numbers : tuple of range
        Numbers of the cases that have masks.
    masks : tuple of str
        Names of a case's masks, without suffix.
    source : Source
        The public home.
    """

    name: str
    folder: str
    numbers: tuple[range, ...]
    masks: tuple[str, ...]
    source: Source

    @property
    def cases(self) -> list[str]:
        """Ids of all cases."""
        return [case_id(number) for numbers in self.numbers for number in numbers]

    @property
    def table(self) -> str:
        """File name of the table of patients."""
        return TABLES[self.name]

    @property
    def span(self) -> str:
        """The numbers as a reader would write them."""
        return " and ".join(f"{r.start}-{r.stop - 1}" for r in self.numbers)


def _official(
    name: str, branch: str, folder: str, numbers: tuple[range, ...], masks: tuple[str, ...]
) -> Official:
    home = f"{_GITHUB}/{name}/{branch}/{folder}"
    source = Source(_IMAGES, f"{home}/{{case}}/{{file}}", f"{home}/{TABLES[name]}")
    return Official(name, folder, numbers, masks, source)


OFFICIAL = {
    "kits19": _official("kits19", "master", "data", (range(210),), ("segmentation",)),
    "kits21": _official("kits21", "master", "kits21/data", (range(300),), AGGREGATIONS),
    "kits23": _official(
        "kits23", "main", "dataset", (range(300), range(400, 589)), ("segmentation",)
    ),
}


def case_id(number: int) -> str:
    """Id of a KiTS case, such as ``case_00007``."""
    return f"case_{number:05d}"


def parse_cases(text: str | None, official: Official) -> list[str]:
    """Read a choice of cases such as ``0-9,17,case_00042``.

    Parameters
    ----------
    text : str or None
        Numbers, ids and ranges, separated by commas; None for all cases.
    official : Official
        The dataset.

    Returns
    -------
    list of str
        Ids in ascending order, each once.

    Raises
    ------
    UsageError
        A part cannot be read, a range runs backwards, or the dataset has no such case.
    """
    if text is None:
        return official.cases
    chosen: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(?:case_)?(\d{1,6})(?:\s*-\s*(?:case_)?(\d{1,6}))?\s*", part)
        if match is None:
            raise UsageError(
                f"'{part.strip()}' is no choice of cases. Give numbers and ranges such as 0-9,17."
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise UsageError(f"the range {first}-{last} runs backwards; write {last}-{first}.")
        known = {n for numbers in official.numbers for n in numbers}
        missing = [n for n in range(first, last + 1) if n not in known]
        if missing:
            raise UsageError(_no_such_case(missing, official))
        chosen.update(range(first, last + 1))
    return [case_id(number) for number in sorted(chosen)]


def _no_such_case(missing: list[int], official: Official) -> str:
    span = str(missing[0]) if len(missing) == 1 else f"{missing[0]} to {missing[-1]}"
    text = f"{official.name} publishes no mask for case {span}; its cases are {official.span}."
    if official.name == "kits19" and missing[-1] < 300:
        text += " Cases 210-299 were its hidden test set; kits21 and kits23 have masks for them."
    return text


def find_source(
    official: Official,
    base: str | None = None,
    images: str | None = None,
    masks: str | None = None,
) -> Source:
    """Where to fetch from: the public home, or what the user names.

    Parameters
    ----------
    official : Official
        The dataset.
    base : str, optional
        URL or folder of a copy: below it lie ``case_00000/imaging.nii.gz``, the masks beside it,
        and the table of patients.
    images, masks : str, optional
        URL or path with ``{case}`` (masks also ``{file}``), for images or masks alone.

    Raises
    ------
    UsageError
        A template has no ``{case}``, or unknown braces.
    DataError
        The folder does not exist or holds no dataset.
    """
    source = official.source
    if base is not None:
        if not is_url(base):
            base = str(locate(Path(base), None)[1])
        base = base.rstrip("/")
        braced = base.replace("{", "{{").replace("}", "}}")  # its braces are no words of a template
        source = Source(
            f"{braced}/{{case}}/{IMAGE}.nii.gz",
            f"{braced}/{{case}}/{{file}}",
            f"{base}/{official.table}",  # is no template
        )
    for kind, template in (("images", images), ("masks", masks)):
        if template is None:
            continue
        try:
            made = _filled(template)
        except ValueError:
            made = ""
        needed = "\0\1" if kind == "masks" and len(official.masks) > 1 else "\0"
        if not all(mark in made for mark in needed):
            words = "{case} and {file}" if len(needed) == 2 else "{case}"
            raise UsageError(
                f"--{kind} '{brief(template, 200)}' needs {words}, for example "
                f"{getattr(official.source, kind)}"
            )
    table = source.table
    if masks is not None and base is None:
        table = None if not is_url(masks) else source.table
    return Source(images or source.images, masks or source.masks, table)


def _filled(template: str) -> str:
    """The template with marks in place of its words; a width or an attribute is no word."""
    found = ""
    for text, name, form, conversion in Formatter().parse(template):
        if name is not None and (name not in _MARKS or form or conversion):
            raise ValueError(name)
        found += text + ("" if name is None else _MARKS[name])
    return found


def is_url(place: str) -> bool:
    """Whether a place is on the web rather than on this machine."""
    return place.startswith(("http://", "https://"))
