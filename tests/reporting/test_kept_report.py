"""A report is written again where anything has changed that it is made of, and only there."""

from __future__ import annotations

import io
import json
import re
import shutil

import pandas as pd
import pytest
from reporting.workdirs import Plan, write_workdir
from rich.console import Console

from kitsbench.errors import DataError
from kitsbench.experiments.results import load_results
from kitsbench.experiments.tables import SCORES, write_table
from kitsbench.reporting.kept_report import KeptReport, report_of
from kitsbench.reporting.terminal import terminal_table

SMALL = Plan({"unet3d": -0.2, "msff_net": 0.06})


def _shown(results, analysis):
    console = Console(file=io.StringIO(), width=120)
    console.print(terminal_table(results, analysis=analysis))
    return console.file.getvalue()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    workdir = write_workdir(tmp_path_factory.mktemp("kept"), SMALL)
    results = load_results(workdir)
    page, analysis = report_of(results)
    return workdir, page.relative_to(workdir), _shown(results, analysis)


@pytest.fixture
def reported(whole, tmp_path):
    """A working directory with its report, its page, and what the terminal shows."""
    workdir, page, shown = whole
    shutil.copytree(workdir, tmp_path / "moved", symlinks=True)
    return tmp_path / "moved", tmp_path / "moved" / page, shown


def _again(workdir):
    """The page's bytes and when it was written, and what the terminal shows."""
    results = load_results(workdir)
    page, analysis = report_of(results)
    return page.stat().st_mtime_ns, page.read_text(), _shown(results, analysis)


def test_an_unchanged_report_is_left_and_says_the_same(reported):
    workdir, page, shown = reported
    before = page.stat().st_mtime_ns, page.read_text(), shown
    assert _again(workdir) == before
    # To plan the same again is no change.
    file = next((workdir / "experiments").glob("[0-9a-f]*.json"))
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "created": "2031-01-01T00:00:00+00:00"}))
    assert _again(workdir) == before


def test_other_scores_make_another_report(reported):
    workdir, page, shown = reported
    before = page.read_text()
    file = next((workdir / "trials").glob("*/scores.parquet"))
    table = pd.read_parquet(file)
    table["value"] = table["value"].where(table["metric"] != "dice", table["value"] * 0.5)
    write_table(file, table, SCORES)
    _, text, now = _again(workdir)
    assert text != before
    assert now != shown


def test_a_report_that_was_spoilt_is_written_anew(reported):
    workdir, page, shown = reported
    before = page.read_text()
    spoilt = [page.parent / "figures" / "cases.svg", page.parent / "scores.csv", page]
    kept = [file.read_bytes() for file in spoilt]
    spoilt[0].write_bytes(kept[0][:100])
    spoilt[1].unlink()
    spoilt[2].write_bytes(b"")
    assert _again(workdir)[1:] == (before, shown)
    assert [file.read_bytes() for file in spoilt] == kept


@pytest.mark.parametrize("content", [b"", b"{}", b"[1, 2"])
def test_a_damaged_note_vouches_for_nothing(reported, content):
    _, page, _ = reported
    note = page.parent.parent / "report.json"
    assert KeptReport.read(note).files
    note.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(str(note))):
        KeptReport.read(note)
