"""Folders that are whole or say so."""

from __future__ import annotations

import os
import shutil
import stat
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from kitsbench.files.whole import STAGED, write_folder


def whole(text):
    """What writes a report of three files and a folder."""

    def write(folder):
        (folder / "parts").mkdir()
        (folder / "parts" / f"{text}.svg").write_text(text)
        for name in ("a.csv", "page.html", "z.csv"):
            (folder / name).write_text(text)

    return write


def broken(folder):
    """One that is stopped half way."""
    (folder / "page.html").write_text("half")
    raise KeyboardInterrupt


def contents(folder):
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_text() for file in files}


FIRST = {"a.csv": "1", "page.html": "1", "parts/1.svg": "1", "z.csv": "1"}


def test_a_new_folder_appears_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "made" / "out"
    with pytest.raises(KeyboardInterrupt):
        write_folder(folder, broken, "page.html")
    assert list(folder.parent.iterdir()) == []
    write_folder(folder, whole("1"), "page.html")
    assert contents(folder) == FIRST
    (tmp_path / "plain").mkdir()
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_in_an_old_folder_all_is_replaced_or_nothing_and_strangers_stay(tmp_path):
    write_folder(tmp_path, whole("1"), "page.html")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(KeyboardInterrupt):
        write_folder(tmp_path, broken, "page.html", ("parts",))
    assert contents(tmp_path) == {**FIRST, "notes.txt": "mine"}
    write_folder(tmp_path, whole("2"), "page.html", ("parts",))
    assert contents(tmp_path) == {
        "a.csv": "2",
        "notes.txt": "mine",
        "page.html": "2",
        "parts/2.svg": "2",
        "z.csv": "2",
    }


def test_who_is_stopped_among_the_moves_leaves_no_page_and_the_next_one_completes_it(tmp_path):
    write_folder(tmp_path, whole("1"), "page.html")
    (tmp_path / "z.csv").unlink()
    (tmp_path / "z.csv" / "in the way").mkdir(parents=True)
    with pytest.raises(OSError, match=r"z\.csv"):
        write_folder(tmp_path, whole("2"), "page.html", ("parts",))
    assert not (tmp_path / "page.html").exists()
    (tmp_path / "z.csv" / "in the way").rmdir()
    (tmp_path / "z.csv").rmdir()
    write_folder(tmp_path, whole("2"), "page.html", ("parts",))
    assert set(contents(tmp_path).values()) == {"2"}


def test_what_a_kill_left_goes_with_time_and_what_another_writes_stays(tmp_path):
    old, new = tmp_path / f"{STAGED}old", tmp_path / f"{STAGED}new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "page.html").write_text("half")
    hours_ago = time.time() - 2 * 3600
    os.utime(old, (hours_ago, hours_ago))
    write_folder(tmp_path, whole("1"), "page.html")
    assert not old.exists()
    assert new.exists()


def test_what_is_of_no_report_gets_another_name(tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "mine.svg").write_text("mine")
    (tmp_path / "a.csv").mkdir()
    moved = write_folder(tmp_path, whole("1"), "page.html", ("parts", "a.*"))
    assert [path.name for path in moved] == ["parts-before-1"]
    assert contents(tmp_path) == {**FIRST, "parts-before-1/mine.svg": "mine"}
    assert write_folder(tmp_path, whole("2"), "page.html", ("parts",)) == []


def test_two_that_write_at_once_leave_the_files_of_one(tmp_path):
    pytest.importorskip("fcntl", reason="this system locks no folder")
    for folder in (tmp_path / "new", tmp_path):  # one that is there, too
        with ThreadPoolExecutor(3) as pool:
            every = [
                pool.submit(write_folder, folder, whole(str(number % 3)), "page.html", ("parts",))
                for number in range(30)
            ]
        assert [one.result() for one in every] == [[]] * 30
    shutil.rmtree(tmp_path / "new")
    assert len(set(contents(tmp_path).values())) == 1
