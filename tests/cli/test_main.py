"""The command line as a whole: instant help, errors in words."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from command_line import call_kitsbench, run_kitsbench

from kitsbench.cli import VERBS
from kitsbench.files import path_trouble, write_text


@pytest.mark.parametrize("module", ["kitsbench", "kitsbench.cli", "kitsbench.registry"])
def test_importing_loads_neither_torch_nor_pandas(module):
    code = f"import sys, {module}; print([m for m in ('torch', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_loads_neither_torch_nor_pandas():
    code = (
        "import sys\nfrom kitsbench.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'pandas') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    for verb in VERBS:
        assert verb in done.stdout


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_has_help(verb):
    done = run_kitsbench(verb, "--help")
    assert done.code == 0, done.err
    assert f"kitsbench {verb}" in done.out


def test_debug_shows_the_traceback_and_nothing_else_does(tmp_path):
    arguments = ("report", tmp_path / "absent")
    plain, debug = run_kitsbench(*arguments), run_kitsbench(*arguments, "--debug")
    assert plain.code == 2
    assert plain.err.startswith("Error: ")
    assert "Traceback" not in plain.err
    assert "Traceback" in debug.err


def test_doctor_says_what_is_there(tmp_path):
    done = run_kitsbench("doctor", "--json", "--workdir", tmp_path / "new" / "folder")
    rows = {row["what"]: row for row in json.loads(done.out)}
    assert rows["torch"]["status"] == "ok"
    assert rows["architecture unet3d"]["status"] == "ok"
    assert all(row["remedy"] for row in rows.values() if row["status"] == "missing")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("place", ["file/report", "nothing"])
def test_a_path_that_leads_nowhere_is_named(tmp_path, place):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "nothing").symlink_to(tmp_path / "unmounted" / "disk")
    table = tmp_path / "scores.csv"
    rows = [f"{a},{case % 2},0,c{case},tumor,dice,0.{case}" for a in "ab" for case in range(1, 9)]
    table.write_text("architecture,fold,seed,case,region,metric,value\n" + "\n".join(rows))
    done = call_kitsbench("compare", table, "--figures", tmp_path / place)
    assert done.code == 2
    assert "Choose another path" in done.err
    assert str(tmp_path / place.split("/")[0]) in done.err


def test_a_folder_where_a_file_belongs_is_named(tmp_path):
    """A file is written under another name first, of which nobody knows."""
    (tmp_path / "board.json").mkdir()
    with pytest.raises(IsADirectoryError) as refused:
        write_text(tmp_path / "board.json", "mine")
    said = path_trouble(refused.value)
    assert said is not None
    assert said.startswith(f"{tmp_path / 'board.json'} cannot be read or written (Is a directory)")
    assert "Remove the folder" in said


def test_the_end_of_another_process_is_not_told_as_a_stop(tmp_path, monkeypatch):
    """click takes an end of file for Ctrl-C; here it is that of the server that forks processes."""
    from kitsbench.cli.verbs import run

    def lost(options):
        raise EOFError

    monkeypatch.setattr(run, "_request", lost)
    done = call_kitsbench("run", "unet3d", "--workdir", tmp_path)
    assert done.code == 2
    said = done.err.removeprefix("Starting ...\n")  # where that takes seconds
    assert said.startswith("Error: A process that this one had started")
    assert "Stopped." not in done.err
