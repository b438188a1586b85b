"""Tables of every verb in a pseudo-terminal: whole at 60, 80 and 120 columns."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import unicodedata

import pytest
from command_line import call_kitsbench
from reporting.workdirs import Plan, write_workdir

from kitsbench.cli import main

pty = pytest.importorskip("pty")

GAPS = {
    "unet3d": -0.1,
    "scau_unet:attention=off,width=0.25": 0.05,
    "attention_vnet:resolution=low": 0.0,
    "boundary_aware": 0.06,
}
STYLES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\]8;[^\x1b\x07]*(?:\x1b\\|\x07)")


@contextlib.contextmanager
def terminal(columns, monkeypatch):
    """A terminal as standard output; gives a list that holds all that it showed, afterwards."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm-256color")
    ours, theirs = pty.openpty()
    shown, pieces = [], []

    def read():
        with contextlib.suppress(OSError):  # the other end was closed
            while piece := os.read(ours, 65536):
                pieces.append(piece)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with open(theirs, "w", encoding="utf-8") as stream, contextlib.redirect_stdout(stream):
            yield shown
    finally:
        reader.join(20)
        os.close(ours)
        shown.append(b"".join(pieces).decode().replace("\r\n", "\n"))


def columns_of(line):
    """How many columns of a terminal a line takes."""
    return sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in line)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("terminals")
    failed = (("unet3d", 1, 0, "out-of-memory"),)
    plan = Plan(GAPS, folds=2, failed=failed, predictions=False, showcase=0)
    workdir = write_workdir(folder / "work", plan)
    assert call_kitsbench("report", workdir, "-o", folder / "report").code == 0
    return folder


VERBS = {
    "compare": ["compare", "{work}", "--rankings", "--secondary", "--demsar"],
    "trials": ["trials", "{work}"],
    "claims": ["claims"],
    "claims of an experiment": ["claims", "{work}"],
    "plan": ["plan", "--cases", "210", "--folds", "5", "--seeds", "3", "--architectures", "12"],
    "list": ["list"],
    "show": ["show", "unet3d", "--patch", "16"],
    "doctor": ["doctor"],
}
WITH_NAMES = ("compare", "trials")


@pytest.mark.exhaustive
@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("verb", VERBS)
def test_no_line_is_cut_and_names_can_be_read(place, verb, columns, monkeypatch):
    words = [word.format(work=place / "work") for word in VERBS[verb]]
    with terminal(columns, monkeypatch) as shown, pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code in (0, 1), shown
    text = STYLES.sub("", shown[0])
    lines = text.split("\n")
    # Where a table does not fit, its rows are told in lines, which the terminal may break.
    tables = [line for line in lines if re.search(r"[│┃━─]|\S {2,}\S", line)]
    assert text.strip()
    assert [line for line in tables if columns_of(line.rstrip()) > columns] == []
    for name in GAPS if verb in WITH_NAMES else ():
        # A long name may go on in another line, but not letter by letter.
        assert name[: min(len(name), 12)] in text, text
