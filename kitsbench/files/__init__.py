"""Small files: JSON, TOML, CSV and text.

In: a file that anybody may have written, or content to keep. Out: checked content, or one line on
what is wrong with it; a file that is whole or absent. What outlives a run is a model of
:mod:`kitsbench.files.documents`.
"""

from kitsbench.files.foreign import decode_text, parse_json, read_json, read_text
from kitsbench.files.plain import added, plain
from kitsbench.files.whole import (
    as_json,
    canonical_json,
    digest,
    disk_trouble,
    file_digest,
    path_trouble,
    write_atomic,
    write_folder,
    write_json,
    write_out_halves,
    write_table,
    write_text,
)

__all__ = [
    "added",
    "as_json",
    "canonical_json",
    "decode_text",
    "digest",
    "disk_trouble",
    "file_digest",
    "parse_json",
    "path_trouble",
    "plain",
    "read_json",
    "read_text",
    "write_atomic",
    "write_folder",
    "write_json",
    "write_out_halves",
    "write_table",
    "write_text",
]
