"""What ``kitsbench profile`` prints: whole numbers in 80 columns, and sentences."""

from __future__ import annotations

import io

import pytest
from profiling.rows import row, times
from rich.console import Console

from kitsbench.cli.views import profile_view
from kitsbench.text.screen import make_table

LARGE = row(
    "attention_vnet:resolution=low,width=0.25",
    parameters=102_350_575,
    flops_forward=2_802_800_000_000,
    flops_step=8_408_400_000_000,
    flops_per_voxel=684_000.0,
    peak_memory_bytes=70_123 * 2**20,
    **times("train_step_ms", 12345.0),
    **times("inference_ms", 4321.0),
)
PARTS = dict.fromkeys(profile_view.SCAN_SHORT, 2.0)
SCAN = {
    "size": "largest",
    "seconds": 16.5,
    "tiles": 9,
    "parts": PARTS | {"other": 0.5},
    "busy": False,
    "peak_memory_bytes": 3 * 2**30,
}
MEMORY = {
    "training": {"bytes": 2**27, "bytes_per_voxel": 812.0, "worst": 0.03, "points": []},
    "inference": {"bytes": 2**26, "bytes_per_voxel": 120.0, "worst": 0.01, "points": []},
    "limit": 2**31,
    "batch": {"largest": 11, "fails": 12, "why": "x"},
    "patch": {"largest": [48, 48, 48], "fails": [56, 56, 56], "why": "x"},
    "inference_batch": {"largest": 90, "sometimes": [91, 92], "fails": 93, "why": "x"},
    "inference_patch": {"largest": [96, 96, 96], "fails": None, "why": None},
}


@pytest.mark.parametrize(
    ("table", "cells"),
    [
        ("_costs", ["102 M", "2803", "70123"]),
        ("_speed", ["12345", "12222-12468", "4321", "18.2", "20.0", "100"]),
        ("_parts", ["30", "40"]),
        ("_scans", ["(largest)", "12"]),
    ],
)
def test_tables_fit_80_columns_with_whole_numbers(table, cells):
    console = Console(file=io.StringIO(), width=80)
    shown = LARGE | {"scans": [SCAN]}
    console.print(make_table(*getattr(profile_view, table)([shown]), frame=False))
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    for cell in cells:
        assert cell in text


def test_sentences_say_what_numbers_do_not(capsys):
    rows = [
        row(loader_wait=0.31, memory=MEMORY, energy_joules=16.0, scans=[SCAN]),
        row("uncountable", flops_forward=None, flops_step=None),
        {"architecture": "bad", "error": "forward is broken"},
    ]
    profile_view.print_profiles(rows)
    out = capsys.readouterr().out
    for sentence in (
        "net: loader-bound: the device waits 31 %",
        "net: training takes 128 MiB and 812 bytes a voxel (worst point 3 % off the line)",
        "net: largest batch that trains in 2048 MiB: 11; 12 fails",
        "net: largest patch that trains in 2048 MiB: 48x48x48; 56x56x56 fails",
        "net: largest batch that predicts in 2048 MiB: 90; 91, 92 in some tries; 93 fails",
        "net: patch 96x96x96 predicts in 2048 MiB, and no larger one is allowed",
        "net: a step takes 16 J of the whole device",
        "net: a scan of largest size takes 16.5 s, 9 tiles and 3072 MiB",
        "uncountable: its FLOPs cannot be counted",
        "bad: forward is broken",
    ):
        assert sentence in out


def test_nothing_takes_less_memory_than_none(capsys):
    memory = MEMORY | {"inference": MEMORY["inference"] | {"bytes": -3e6}}
    profile_view.print_profiles([row(memory=memory)])
    assert "inference takes 0 MiB and 120 bytes a voxel" in capsys.readouterr().out


def test_precisions_stand_side_by_side(capsys):
    profile_view.print_profiles([row(), row(precision="bfloat16")])
    out = capsys.readouterr().out
    assert "net float32" in out
    assert "net bfloat16: not loader-bound" in out
    assert "batch 2, float32 or bfloat16, A processor" in out


def test_of_a_precision_that_fails_it_is_said_which(capsys):
    failed = {"architecture": "net", "precision": "float16", "error": "not in half"}
    profile_view.print_profiles([row(), failed])
    out = capsys.readouterr().out
    assert "net float16: not in half" in out
    assert "net float32" in out


def test_where_patches_differ_each_is_named(capsys):
    profile_view.print_profiles([row(), row("other", patch=[8, 16, 16], batch=1)])
    assert "Patch 16x16x16 or 8x16x16, batch 2 or 1, float32, A" in capsys.readouterr().out


def test_scans_that_could_not_be_predicted_have_a_sentence_and_no_table(capsys):
    profile_view.print_profiles([row(scans=[{"size": "median", "error": "no room"}])])
    out = capsys.readouterr().out
    assert "net: the median scan was not predicted: no room" in out
    assert "parts of a scan" not in out
