"""The report for programs: JSON that keeps its schema, CSV and Parquet that say the same."""

from __future__ import annotations

import json

import jsonschema
import pandas as pd
import pytest
from reporting.workdirs import Plan, broken_entrant, trained_elsewhere, write_workdir
from stored_files import replan

from kitsbench.experiments.records import find_experiment
from kitsbench.experiments.results import load_results
from kitsbench.files import write_json
from kitsbench.reporting.analysis import analyse
from kitsbench.reporting.files.data import write_tables
from kitsbench.reporting.files.document import comparison_document, report_document, schema
from kitsbench.reporting.first_screen.screen import first_screen
from kitsbench.statistics import compare, read_scores


def check(whole, comparison):
    """See that both documents of a report keep the schema."""
    part = {"$ref": "#/$defs/comparison", "$defs": schema()["$defs"]}
    if "obstacle" in comparison:
        part = {"required": ["schema_version", "obstacle"], "additionalProperties": True}
    for document, own in ((whole, schema()), (comparison, part)):
        jsonschema.validate(document, own, cls=jsonschema.Draft202012Validator)


def validated(folder):
    """Both documents of a report, seen to keep the schema that lies beside them."""
    published = json.loads((folder / "report.schema.json").read_text(encoding="utf-8"))
    assert published == schema()
    jsonschema.Draft202012Validator.check_schema(published)
    names = ("report.json", "comparison.json")
    whole, comparison = (json.loads((folder / name).read_text(encoding="utf-8")) for name in names)
    check(whole, comparison)
    return whole, comparison


def test_the_report_keeps_its_schema_and_says_what_the_page_says(report, analysis):
    whole, comparison = validated(report)
    assert whole["comparison"]["ranking"] == comparison["ranking"]
    assert [trial["id"] for trial in whole["trials"]] == [t.id for t in analysis.results.trials]
    assert whole["dataset"]["excluded"] == analysis.results.experiment.dataset.excluded
    assert whole["narrowed"] is None
    page = (report / "index.html").read_text(encoding="utf-8")
    assert whole["experiment"]["rebuild"] in page
    assert whole["answer"]["headline"].split(":")[0] in page
    means = {row["id"]: row["mean"] for row in whole["trials"]}
    scores = pd.read_csv(report / "scores.csv")
    own = scores.query("protocol == 'kits19' and region == 'tumor' and metric == 'dice'")
    for trial, mean in own.groupby("trial")["value"].mean().items():
        assert means[trial] == pytest.approx(mean)


@pytest.mark.parametrize(
    "plan",
    [
        Plan({"a": 0.0}, folds=1, seeds=1, failed=(("a", 0, 0, "non-finite loss"),)),
        Plan({"a": 0.0}, predictions=False, showcase=0),
        Plan({"a": 0.0, "b": 0.1}, folds=1, seeds=1, layout="kits23", showcase=0),
        Plan({"a": 0.0, "b": 0.1, "c": 0.2}, elsewhere={"c": trained_elsewhere()}, showcase=0),
    ],
    ids=["nothing finished", "one architecture", "no verdicts, cysts", "one trained elsewhere"],
)
def test_thin_and_mixed_experiments_keep_it_too(tmp_path, plan):
    workdir = write_workdir(tmp_path, plan)
    broken = broken_entrant("ghost", "ImportError")
    replan(workdir, entrants=(*find_experiment(workdir).entrants, broken))
    analysis = analyse(load_results(workdir))
    write_json(tmp_path / "report.json", report_document(analysis, first_screen(analysis)))
    write_tables(analysis, tmp_path)
    whole = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    check(whole, comparison_document(analysis))
    assert len(list(tmp_path.glob("*.parquet"))) == 4
    assert [entrant["status"] for entrant in whole["entrants"]].count("broken") == 1


def test_a_document_of_other_content_is_refused_by_the_schema(report):
    whole, _ = validated(report)
    checker = jsonschema.Draft202012Validator(schema())
    for spoil in (
        lambda d: d.pop("trials"),
        lambda d: d["comparison"]["pairs"][0].update(verdict="won"),
        lambda d: d["trials"][0].update(id="../x"),
        lambda d: d.update(schema_version=2),
        lambda d: d["dataset"].update(more=1),
    ):
        found = json.loads(json.dumps(whole))
        spoil(found)
        assert not checker.is_valid(found)


@pytest.mark.parametrize("name", ["scores", "summary", "pairs", "ledger"])
def test_parquet_holds_what_csv_holds(report, name):
    text = pd.read_csv(report / f"{name}.csv")
    table = pd.read_parquet(report / f"{name}.parquet")
    assert list(table.columns) == list(text.columns)
    assert len(table) == len(text) > 0
    for column in table.columns:
        if pd.api.types.is_numeric_dtype(text[column]):
            assert table[column].to_numpy(dtype=float) == pytest.approx(
                text[column].to_numpy(dtype=float), nan_ok=True
            )
        elif not table[column].astype(str).str.startswith(("[", "{")).any():
            assert table[column].isna().tolist() == text[column].isna().tolist()


def test_scores_of_both_kinds_can_be_compared_and_lead_to_their_trials(report, analysis):
    ids = {trial.id for trial in analysis.results.trials}
    first = None
    for kind in ("csv", "parquet"):
        file = report / f"scores.{kind}"
        table = pd.read_csv(file) if kind == "csv" else pd.read_parquet(file)
        assert set(table["trial"]) == ids
        found = compare(read_scores(file), protocol="kits19").to_dict()
        first = first or found
        assert found["ranking"] == first["ranking"]


def test_a_ledger_in_parquet_keeps_numbers_as_numbers_and_parts_as_json(report):
    ledger = pd.read_parquet(report / "ledger.parquet")
    assert ledger["device_seconds"].dtype == float
    stages = json.loads(ledger["stages"].dropna().iloc[0])
    assert stages[0]["name"] == "train"
