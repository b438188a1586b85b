"""What a page is made of: sections, each a heading with blocks under it."""

from __future__ import annotations

from dataclasses import dataclass, field

from kitsbench.reporting.drawing.figures import Picture
from kitsbench.reporting.page import verdicts
from kitsbench.reporting.tables import Table


@dataclass(frozen=True)
class Block:
    """One table, one picture, or a list of sentences, under an optional heading.

    Attributes
    ----------
    heading : str
    table : Table or None
    picture : Picture or None
    forest : Forest or None
        In place of the picture on a page, which can lay all beside another baseline.
    lines : list of str
    paragraphs : list of str
        Text to take over as it is.
    code : str
        Lines to take over as they are.
    frame : str
        Address of a page beside this one that may be opened inside it.
    folded : bool
        Shown on demand, for what only a reviewer needs.
    key : str
        Anchor of the block.
    """

    heading: str = ""
    table: Table | None = None
    picture: Picture | None = None
    lines: list[str] = field(default_factory=list)
    folded: bool = False
    key: str = ""
    paragraphs: list[str] = field(default_factory=list)
    code: str = ""
    forest: verdicts.Forest | None = None
    frame: str = ""


@dataclass(frozen=True)
class Section:
    """A heading with what stands under it.

    Attributes
    ----------
    key : str
        Anchor.
    title, lead : str
        Heading, and the sentence to read first.
    blocks : list of Block
    """

    key: str
    title: str
    lead: str = ""
    blocks: list[Block] = field(default_factory=list)
