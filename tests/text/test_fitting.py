"""Tables of verbs in terminals that are narrow."""

from __future__ import annotations

import io
import re
import sys

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from kitsbench.cli.views import comparison_view
from kitsbench.statistics import compare
from kitsbench.text.screen import Column, make_table

NAMES = ["attention_vnet", "boundary_aware", "cascade_classifier", "unet3d:width=0.25"]


def printed(shown, width):
    console = Console(file=io.StringIO(), width=width)
    console.print(shown)
    return console.file.getvalue()


def ranking(frame=True):
    columns = [Column("rank", "right", whole=True), Column("architecture")]
    columns += [Column(name, "right", whole=True) for name in ("mean", "95 % CI")]
    columns += [Column(name, "right", whole=True, extra=True) for name in ("P(first)", "group")]
    rows = [[place + 1, name, "0.5067", "0.3517 to 0.6617", "0.66", "a"]
            for place, name in enumerate(NAMES)]  # fmt: skip
    return make_table(columns, rows, "tumor:dice", frame)


@pytest.mark.parametrize("frame", [True, False])
@pytest.mark.parametrize("width", [40, 50, 60, 70, 80, 90, 120])
def test_names_and_numbers_are_whole_at_every_width(width, frame):
    text = printed(ranking(frame), width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    for name in NAMES:
        assert name in text  # in one piece, which a column of no width would not show
    assert text.count("0.5067") == len(NAMES)
    assert " ".join(text.split()).count("0.3517 to 0.6617") == len(NAMES)
    assert text.startswith("tumor:dice")


def test_what_is_left_out_is_named():
    wide, narrow = printed(ranking(), 100), printed(ranking(), 66)
    assert "P(first)" in wide
    assert "wider terminal" not in wide
    assert "A wider terminal also shows: group." in narrow or "P(first), group." in narrow
    assert "A wider terminal" not in printed(ranking(), 40)  # there rows are lines, with all of it


def test_a_row_that_has_no_room_is_lines():
    text = printed(ranking(), 40)
    lines = text.splitlines()
    at = lines.index("unet3d:width=0.25")
    told = " ".join(" ".join(lines[at + 1 :]).split())
    assert told == "rank 4, mean 0.5067, 95 % CI 0.3517 to 0.6617, P(first) 0.66, group a"


def test_a_folded_head_is_read_in_one_line():
    columns = [Column("architecture"), Column("load-\ner", "right", whole=True)]
    columns += [Column("with\ndata", "right", whole=True, extra=True)]
    table = make_table(columns, [["a" * 18, "4105", "124"]], frame=False)
    assert "A wider terminal also shows: with data." in " ".join(printed(table, 28).split())
    assert "loader 4105, with data 124" in " ".join(printed(table, 18).split())


@pytest.fixture(scope="module")
def comparison():
    rng = np.random.default_rng(2)
    rows = [
        (name, case % 3, seed, f"case_{case}", "tumor", "dice", difficulty + 0.05 * place
         + rng.normal(0, 0.02))
        for case, difficulty in enumerate(rng.uniform(0.4, 0.7, 24))
        for place, name in enumerate(NAMES)
        for seed in range(2)
    ]  # fmt: skip
    columns = ["architecture", "fold", "seed", "case", "region", "metric", "value"]
    return compare(pd.DataFrame(rows, columns=columns), bootstrap=50)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_comparison_shows_who_is_compared(comparison, monkeypatch, capsys, width):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    comparison_view.show(comparison, rankings=True)
    text = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)  # its colours
    drawn = [line for line in text.splitlines() if line[:1] in "┏┃┡│└"]
    assert max(map(len, drawn)) <= width
    for row in comparison.ranking:
        assert any(row["architecture"] in line and f"{row['mean']:.4f}" in line for line in drawn)
    assert "\nKendall's tau" in text or "│ Kendall's tau" in text
