"""Foreign text, shown as text: never as a control, a tag, a link, a formula or a style.

In: whatever plugins, files and servers say. Out: the same, made safe for a terminal, HTML,
Markdown, LaTeX or CSV. The tables of a terminal are in :mod:`kitsbench.text.screen`.
"""

from kitsbench.text.commands import without_folders
from kitsbench.text.media import (
    FIGURE,
    LONGEST,
    csv_cell,
    csv_table,
    csv_value,
    file_stem,
    html,
    json_document,
    latex,
    markdown,
    markdown_code,
    one_line,
    page_rules,
    paragraph,
    shorten,
    terminal,
    visible,
)

__all__ = [
    "FIGURE",
    "LONGEST",
    "csv_cell",
    "csv_table",
    "csv_value",
    "file_stem",
    "html",
    "json_document",
    "latex",
    "markdown",
    "markdown_code",
    "one_line",
    "page_rules",
    "paragraph",
    "shorten",
    "terminal",
    "visible",
    "without_folders",
]
