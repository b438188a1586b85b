"""Profiles of two times: what changed, and what is noise."""

from __future__ import annotations

import copy
import json
import sys

import pytest
from command_line import call_kitsbench
from rows import row, times

from kitsbench.cli.views.profile_files import check_outputs, read_profiles, write_profiles
from kitsbench.cli.views.profile_view import print_comparison
from kitsbench.profiling.compare import compare
from kitsbench.profiling.formats import flat


def marked(old, new):
    changes, _ = compare([old], [new])
    return {change.figure.strip() for change in changes if change.beyond}


def slower_part(name, by):
    """A profile whose part takes longer, and its step with data as much longer."""
    found = copy.deepcopy(row())
    part = found["parts"][name]
    more = part["ms"] * (by - 1)
    part.update(times("ms", part["ms"] * by))
    found.update(times("full_step_ms", found["full_step_ms"] + more))
    return found


def test_noise_is_not_marked():
    assert marked(row(), row()) == set()
    # Apart, but by no more than one process is from another.
    assert marked(row(), row(**times("train_step_ms", 104.0, 0.001))) == set()
    # By much, but no more than repetitions differ.
    assert marked(row(), row(**times("train_step_ms", 120.0, 0.3))) == set()


@pytest.mark.parametrize("part", ["augmentation", "forward", "loss", "backward", "optimiser"])
def test_a_part_that_is_slower_by_30_per_cent_is_marked_and_no_other(part):
    found = marked(row(), slower_part(part, 1.3))
    assert part in found
    assert found <= {part, "step, with data"}


def test_counts_are_marked_where_they_differ_at_all():
    assert marked(row(), row(flops_step=6_000_001)) == {"FLOPs step"}
    assert marked(row(), row(peak_memory_bytes=310 * 2**20)) == set()
    assert marked(row(), row(peak_memory_bytes=330 * 2**20)) == {"peak memory"}


def test_other_conditions_and_strangers_are_told():
    old = [row(), row("gone"), {"architecture": "bad", "error": "no"}]
    new = [row(threads=2, busy=True, conditions={"torch": "2.12.0"}), row("new")]
    _, notes = compare(old, new)
    assert notes == [
        "new float32: not in the old file",
        "gone float32: in the old file alone",
        "net: threads was 1 and is 2",
        "net: torch was 2.11.0 and is 2.12.0",
        "net: the machine was busy now",
    ]


def test_what_is_known_of_one_time_alone_is_told_and_gives_no_ratio():
    old = row(flops_forward=None, **times("loader_ms", 1e-320))
    changes, notes = compare([old], [row(full_step_ms=None, parts=None)])
    figures = {change.figure for change in changes}
    assert notes == [
        "net: step, with data is not known of now",
        "net: FLOPs forward is not known of then",
    ]
    assert figures == {
        "step, on device", "inference", "parameters", "FLOPs step", "peak memory",
    }  # fmt: skip


def test_what_is_printed_fits_80_columns(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    old = [row("boundary_aware:width=0.5,levels=5")]
    new = [slower_part("forward", 1.3) | {"architecture": old[0]["architecture"]}]
    print_comparison(old, new)
    lines = capsys.readouterr().out.splitlines()
    (forward,) = [line for line in lines if " forward " in line and "FLOPs" not in line]
    assert "1.30" in forward
    assert "1.27-1.33" in forward
    assert "slower" in forward
    (memory,) = [line for line in lines if "peak memory" in line and "MiB" in line]
    assert memory.split()[2:6] == ["300", "MiB", "300", "MiB"]


@pytest.fixture
def stored(tmp_path):
    rows = [row(), row("other", precision="bfloat16"), {"architecture": "bad", "error": "no"}]
    files = {kind: tmp_path / f"costs.{kind}" for kind in ("json", "csv", "benchmark.json")}
    for file in files.values():
        write_profiles(file, rows)
    return files


def test_profiles_are_read_back_as_they_were(stored):
    assert [one["architecture"] for one in read_profiles(stored["json"])] == ["net", "other"]
    assert compare([row()], read_profiles(stored["json"])[:1])[1] == []


def test_csv_has_a_column_for_each_figure(stored):
    import pandas as pd

    table = pd.read_csv(stored["csv"])
    assert table["architecture"].tolist() == ["net", "other", "bad"]
    assert table["parts.forward.share"].iloc[0] == 0.3
    assert table["patch"].iloc[0] == "16x16x16"
    assert table["error"].tolist()[2] == "no"


def test_scans_and_memory_are_columns_of_a_csv_too():
    scan = {"size": "median", "shape": [104, 512, 512], "seconds": 1.5, "parts": {"network": 1.0}}
    line = {"bytes": 1.0, "bytes_per_voxel": 2.0, "worst": 0.0, "points": [[4096, 10], [8192, 20]]}
    failed = {"size": "largest", "error": "no room"}
    (found,), columns = flat([row(scans=[scan, failed], memory={"training": line})])
    assert found["scans.median.parts.network"] == 1.0
    assert found["scans.median.shape"] == "104x512x512"
    assert found["scans.largest.error"] == "no room"
    assert found["memory.training.bytes_per_voxel"] == 2.0
    assert not any(any(mark in str(value) for mark in "{[(") for value in found.values())
    assert "scans" not in columns


def test_pytest_benchmark_compares_them(stored, tmp_path, monkeypatch, capsys):
    from pytest_benchmark import cli

    slow = tmp_path / "slow.benchmark.json"
    write_profiles(slow, [row(samples_ms={"step": [199.0, 200.0, 201.0]})])
    files = [str(stored["benchmark.json"]), str(slow)]
    monkeypatch.chdir(tmp_path)
    table = tmp_path / "table.csv"
    words = ["pytest-benchmark", "compare", *files, "--group-by=fullname", f"--csv={table}"]
    monkeypatch.setattr(sys, "argv", words)
    cli.main()
    out = capsys.readouterr().out
    (head,) = [line for line in out.splitlines() if "net [float32]::step" in line]
    assert "2 tests" in head
    import pandas as pd

    found = pd.read_csv(table)
    steps = found[found["name"].str.contains("net") & found["name"].str.contains("float32")]
    assert sorted(steps["median"].round(3))[-2:] == [0.1, 0.2]
    assert {"q1", "q3", "stddev", "rounds"} <= set(
        json.loads(slow.read_text())["benchmarks"][0]["stats"]
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("{", "is no JSON"),
        ("{}", "holds no list of profiles"),
        ('[{"architecture": "bad", "error": "no"}]', "holds no profile of a network"),
        ('{"machine_info": {}}', "is in the format of pytest-benchmark"),
        ('[{"architecture": "net", "parameters": 3}]', "the key flops_forward of profile 1"),
        (json.dumps([row(), row(batch="two")]), "the key batch of profile 2 is wrong"),
        (json.dumps([row(), row()]), "holds two profiles of net in float32"),
        (json.dumps([row(scans=[{"size": "median"}])]), "a scan that was predicted has tiles"),
        (json.dumps([row(memory={})]), "memory that was measured is that of training"),
        (json.dumps([row(parts={})]), "profile 1 is wrong: loader_wait is a share of a step"),
        (json.dumps([row(patches_per_s_loader=None)]), "patches_per_s_full and _loader"),
        (json.dumps([row(patches_per_s_full=0)]), "the key patches_per_s_full of profile 1"),
        (json.dumps([row(train_step_ms_compiled=0)]), "the key train_step_ms_compiled"),
        (json.dumps([row(busy=True, company=None)]), "who kept the machine busy is missing"),
        (json.dumps([row(samples_ms={"step": []})]), "the key samples_ms.step"),
        (json.dumps([row(None)]), "the key architecture of profile 1 is wrong"),
        (json.dumps([row(parts={"forward": {"ms": -1}})]), "the key parts.forward.ms"),
    ],
)
def test_another_file_is_refused_before_anything_is_measured(content, message, tmp_path):
    file = tmp_path / "old.json"
    if content is not None:
        file.write_text(content)
    done = call_kitsbench("profile", "unet3d", "--compare", file, "--workdir", tmp_path / "work")
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "work").exists()


def test_a_file_of_no_known_format_is_refused_before_anything_is_measured(tmp_path):
    done = call_kitsbench("profile", "unet3d", "-o", tmp_path / "a.txt", "--workdir", tmp_path)
    assert done.code == 2
    assert "name it .json, .csv" in done.err


@pytest.mark.parametrize("name", ["file/costs.json", "/proc/costs.json", "file/new/costs.csv"])
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(name, tmp_path):
    (tmp_path / "file").write_text("")
    done = call_kitsbench(
        "profile", "unet3d", "-o", tmp_path / name, "--workdir", tmp_path / "work"
    )
    assert done.code == 2
    assert "costs" in done.err
    assert "cannot be written" in done.err
    assert not (tmp_path / "work").exists()


def test_the_folder_of_a_file_is_made(tmp_path):
    check_outputs([tmp_path / "a" / "b" / "costs.json"])
    assert not list(tmp_path.iterdir())
    write_profiles(tmp_path / "a" / "b" / "costs.json", [row()])
    assert read_profiles(tmp_path / "a" / "b" / "costs.json")
