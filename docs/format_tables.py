"""The page of file formats, made from the classes that read and write the files."""

from __future__ import annotations

import inspect
import json
import re
import textwrap
from pathlib import Path
from typing import Any

from kitsbench.data.datasets.patients import Provenance
from kitsbench.data.preparation.manifest import Manifest
from kitsbench.experiments import records, tables
from kitsbench.experiments.asked.again import RequestRecord
from kitsbench.files.documents import Document
from kitsbench.leaderboard import Entry

# What a user finds, in the order in which a run writes it.
FILES: dict[str, type[Document]] = {
    "experiments/ID.json": records.ExperimentRecord,
    "experiments/ID/request.json": RequestRecord,
    "experiments/latest.json": records.LatestRecord,
    "experiments/ID/accounts.json": records.AccountsRecord,
    "experiments/ID/looks.json": records.LooksRecord,
    "trials/ID/trial.json": records.TrialRecord,
    "trials/ID/status.json": records.Status,
    "trials/ID/ledger.json": records.LedgerRecord,
    "trials/ID/environment.json": records.EnvironmentRecord,
    "trials/ID/progress.json": records.TrialProgress,
    "trials/ID/unscored.json": records.Unscored,
    "profiles/NAME-KEY.json": records.ProfileRecord,
    "costs/HASH.json": records.CostsRecord,
    "cases/DATASET.json": records.CasesRecord,
    "manifest.json": Manifest,
    "provenance.json": Provenance,
    "leaderboards/BOARD/NAME.json": Entry,
}
TABLES = {
    "trials/ID/scores.parquet": tables.SCORES,
    "trials/ID/curve.parquet": tables.CURVE,
}


def pages() -> str:
    """A section for each file: what it says, its keys with types and meanings, its schema."""
    parts = []
    for path, kind in FILES.items():
        meanings = meaning_of(kind)
        rows = "\n".join(
            f"| `{key}` | {_type(key, kind)} | {meanings.get(key, '')} |"
            for key in kind.model_fields
        )
        parts.append(
            f"### `{path}`\n\n{_first_line(kind)} Version {_version(kind)}; "
            f'<a href="{schema_name(kind)}">schema</a>.\n\n'
            f"| key | type | meaning |\n|---|---|---|\n{rows}\n"
        )
    return "\n".join(parts)


def table_pages() -> str:
    """The same for the tables of trials."""
    parts = []
    for path, table in TABLES.items():
        rows = "\n".join(f"| `{name}` | {kind} |" for name, kind in columns(table).items())
        parts.append(f"### `{path}`\n\n| column | type |\n|---|---|\n{rows}\n")
    return "\n".join(parts)


def columns(table: Any) -> dict[str, str]:
    """Columns of a table, with their types in words."""
    return dict(table)


def schema_name(kind: type[Document]) -> str:
    """File of a class's schema, below the site's root."""
    words = re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__.removesuffix("Record")).lower()
    return f"schemas/{words}.schema.json"


def write_schemas(folder: Path) -> None:
    """Write the JSON Schema of every file."""
    for kind in FILES.values():
        file = folder / schema_name(kind)
        file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(kind.json_schema(), indent=1, ensure_ascii=False)
        file.write_text(text + "\n", encoding="utf-8")


def meaning_of(kind: type[Document]) -> dict[str, str]:
    """What a class's docstring says of its attributes, by their names."""
    text = inspect.getdoc(kind) or ""
    found: dict[str, str] = {}
    _, _, listed = text.partition("Attributes\n----------\n")
    for block in re.split(r"\n(?=\S)", listed):
        head, _, body = block.partition("\n")
        names, colon, _ = head.partition(" : ")
        if colon:
            said = " ".join(textwrap.dedent(body).split())
            found |= {name.strip(): _plain(said) for name in names.split(",")}
    return found


def _plain(text: str) -> str:
    """A docstring's roles as plain code, and nothing that would end a cell."""
    text = re.sub(r":\w+:`~?([^`]+)`", lambda m: f"`{m[1].rpartition('.')[2]}`", text)
    return text.replace("``", "`").replace("|", "\\|")


def _first_line(kind: type[Document]) -> str:
    text = (inspect.getdoc(kind) or "").split("\n\n")[0]
    line = _plain(" ".join(text.split()))
    line = re.sub(r"^`[^`]+`: ", "", line)
    return line[:1].upper() + line[1:].rstrip(".") + "."


def _version(kind: type[Document]) -> int:
    return int(kind.model_fields["schema_version"].default)


def _type(key: str, kind: type[Document]) -> str:
    return _said(kind.model_json_schema()["properties"].get(key, {}))


def _said(schema: dict[str, Any]) -> str:
    """A type of a JSON Schema in a few words."""
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return " or ".join(f"`{json.dumps(one)}`" for one in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_said(one) for one in schema["anyOf"]))
    if "$ref" in schema:
        return f"object ({schema['$ref'].rpartition('/')[2]})"
    if schema.get("type") == "array":
        items = schema.get("items") or {}
        return f"list of {_said(items)}" if items else "list"
    if schema.get("type") == "object":
        inner = schema.get("additionalProperties")
        return f"object of {_said(inner)}" if isinstance(inner, dict) and inner else "object"
    return str(schema.get("type", "any"))
