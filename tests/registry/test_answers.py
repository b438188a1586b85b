"""What plugins have answered, kept so that a repeated run asks none of them again."""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from kitsbench.registry import answers
from kitsbench.registry.plugins_apart import asked, introduce

PLUGIN = """
import os
from torch import nn
from kitsbench.architecture import Architecture, Plain

class Net(Architecture):
    title = f"asked in {os.getpid()}"

    def build(self, spec):
        return Plain(nn.Conv3d(1, spec.classes, 1))
"""


def pid_of(architecture, *arguments):
    return os.getpid()


@pytest.fixture
def folder(tmp_path):
    """Answers are kept here; what this process knows is forgotten before and after."""
    answers.forget()
    answers.keep_in(tmp_path / "answers")
    yield tmp_path / "answers"
    answers.keep_in(None)
    answers.forget()


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(PLUGIN)
    return path


def test_another_process_finds_what_was_answered(folder, plugin):
    first = introduce(str(plugin))
    pid = asked(first.location, first.source_hash, pid_of, 1)
    answers.forget()  # as a process that starts
    assert introduce(str(plugin)) == first
    assert asked(first.location, first.source_hash, pid_of, 1) == pid
    assert asked(first.location, first.source_hash, pid_of, 2) != pid


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\0" * 200])
def test_a_damaged_answer_is_asked_for_again(folder, plugin, content):
    first = introduce(str(plugin))
    (file,) = folder.rglob("*.answer")
    file.write_bytes(content if content != b"rubbish" else file.read_bytes()[:-1] + b"x")
    answers.forget()
    again = introduce(str(plugin))
    assert again.title != first.title
    assert again.title.startswith("asked in ")


def test_a_changed_source_and_other_software_ask_again(folder, plugin, monkeypatch):
    first = introduce(str(plugin))
    plugin.write_text(PLUGIN.replace("asked in", "asked anew in"))
    answers.forget()
    second = introduce(str(plugin))
    assert second.title.startswith("asked anew in")
    theirs = folder / "notes" / "mine.txt"
    theirs.parent.mkdir()
    theirs.write_text("not of kitsbench")
    old = set(folder.rglob("*.answer"))
    assert len(old) == 2
    monkeypatch.setattr(answers, "_software", lambda: "f" * 64)
    answers.forget()
    assert introduce(str(plugin)).title != second.title != first.title
    assert not any(file.exists() for file in old)
    assert theirs.read_text() == "not of kitsbench"


def test_a_plugin_that_fails_is_asked_each_time(folder, tmp_path):
    path = tmp_path / "net.py"
    path.write_text("raise RuntimeError('the licence server is away')")
    assert introduce(str(path)).status == "broken"
    assert not list(folder.rglob("*.answer"))
    path.write_text(PLUGIN)
    assert introduce(str(path)).status == "ok"


def test_equal_questions_have_one_key_whatever_objects_they_are_made_of():
    text = "".join(["wi", "dth"])
    one, two = {"a": text, "b": text}, {"a": "width", "b": "".join(["wid", "th"])}
    assert answers.key_of(one) == answers.key_of(two)
    assert answers.key_of({"a": 1}) != answers.key_of({"a": 1.0})


@pytest.mark.parametrize("name", ["subprocess.Popen", "JobFiles", "slurm_queue"])
def test_nothing_is_run_from_a_file_that_others_could_write(folder, plugin, tmp_path, name):
    first = introduce(str(plugin))
    (file,) = folder.rglob("*.answer")
    mark = tmp_path / "mark"
    place = "kitsbench.experiments.executors.slurm_queue"
    # By hand, since pickle itself writes no name with a dot for a class of another module.
    content = (
        pickle.PROTO
        + b"\x04"
        + b"".join(b"\x8c" + bytes([len(t)]) + t.encode() for t in (place, name))
        + pickle.STACK_GLOBAL
        + pickle.dumps(["touch", str(mark)], 3)[2:-1]
        + pickle.TUPLE1
        + pickle.REDUCE
        + pickle.STOP
    )
    file.write_bytes(hashlib.sha256(content).digest() + content)
    answers.forget()
    assert introduce(str(plugin)).title != first.title
    assert not mark.exists()


def test_threads_that_answer_at_once_lose_nothing(folder):
    # Before the working directory is there, answers wait; then each thread may find them all.
    place = folder.parent / "work"
    answers.keep_in(place / "answers")
    keys = [answers.key_of(number) for number in range(64)]
    for key in keys[:32]:
        answers.remember(key, "early")
    place.mkdir()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda key: answers.remember(key, "late"), keys[32:]))
    finally:
        sys.setswitchinterval(interval)
    answers.forget()  # as a process that starts
    assert [answers.recall(key) for key in keys] == ["early"] * 32 + ["late"] * 32
