"""Examples of docs/contract.md, which tests run as they are printed."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "contract.md"


def example(heading: str, number: int = 0) -> str:
    """Source of a section's Python block.

    Parameters
    ----------
    heading : str
    number : int
        Of the block in the section.
    """
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")
    section = rest.partition("\n## ")[0]
    return re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)[number]
