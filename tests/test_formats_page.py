"""The page of file formats, and the schemas that it links."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
jsonschema = pytest.importorskip("jsonschema")


@pytest.fixture(scope="module")
def formats():
    spec = importlib.util.spec_from_file_location(
        "format_tables", ROOT / "docs" / "format_tables.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def keyed(kind):
    return jsonschema.Draft202012Validator(kind.json_schema())


def test_every_key_stands_on_the_page(formats):
    page = formats.pages()
    for path, kind in formats.FILES.items():
        section = page.partition(f"### `{path}`")[2].partition("### ")[0]
        for key in kind.model_fields:
            assert f"| `{key}` |" in section, f"{path}: {key}"
        assert formats.schema_name(kind) in section
    names = [formats.schema_name(kind) for kind in formats.FILES.values()]
    assert len({*names}) == len(names)


def test_schemas_are_schemas(formats, tmp_path):
    formats.write_schemas(tmp_path)
    files = sorted((tmp_path / "schemas").iterdir())
    assert len(files) == len(formats.FILES)
    for file in files:
        schema = json.loads(file.read_text(encoding="utf-8"))
        jsonschema.Draft202012Validator.check_schema(schema)
        assert "schema_version" in schema["required"]
        assert schema["additionalProperties"] is False


@pytest.mark.parametrize("file", sorted((ROOT / "leaderboards").glob("*/*.json"))[:4], ids=str)
def test_entries_keep_their_schema_and_changed_ones_do_not(formats, file):
    validator = keyed(formats.Entry)
    entry = json.loads(file.read_text(encoding="utf-8"))
    assert list(validator.iter_errors(entry)) == []
    for key, value in (("seeds", "one"), ("schema_version", 99), ("scores", [{"mean": 0.5}])):
        assert list(validator.iter_errors({**entry, key: value})), key
    assert list(validator.iter_errors({**entry, "extra": 1}))
    assert list(validator.iter_errors({k: v for k, v in entry.items() if k != "identity"}))


def test_files_of_a_run_keep_their_schemas(formats, tmp_path):
    from reporting.workdirs import Plan, write_workdir

    work = write_workdir(tmp_path / "work", Plan({"a": 0.0, "b": 0.1}, folds=1, seeds=1))
    patterns = {
        "experiments/*.json": "experiments/ID.json",
        "trials/*/trial.json": "trials/ID/trial.json",
        "trials/*/status.json": "trials/ID/status.json",
        "trials/*/ledger.json": "trials/ID/ledger.json",
        "trials/*/environment.json": "trials/ID/environment.json",
        "profiles/*.json": "profiles/NAME-KEY.json",
    }
    for pattern, path in patterns.items():
        found = [f for f in work.glob(pattern) if f.name != "latest.json"]
        assert found, pattern
        validator = keyed(formats.FILES[path])
        for file in found:
            content = json.loads(file.read_text(encoding="utf-8"))
            assert list(validator.iter_errors(content)) == [], file
