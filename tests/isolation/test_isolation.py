"""Foreign code in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest

from kitsbench.errors import LONGEST, ContractError, KitsbenchError, shorten, telling
from kitsbench.isolation import (
    IsolatedFailure,
    Stopped,
    call_isolated,
    each_isolated,
    kept,
    process_context,
    stops_at_signals,
)
from kitsbench.isolation.kept import end_stopped_server, start_kept
from kitsbench.isolation.messages import Inbox, Outbox, unpickle_plain

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs processes of POSIX")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")


def double(value):
    print("printed by foreign code")
    return 2 * value


def raise_error():
    raise ValueError("no such thing")


def break_rule():
    raise ContractError("leave that alone.")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def stop():
    os.kill(os.getpid(), signal.SIGSTOP)


def leave():
    os._exit(0)


def return_own_class():
    class Own:
        pass

    Own.__module__, Own.__qualname__ = __name__, "Own"
    globals()["Own"] = Own
    return Own()


def write_half_a_message(outbox):
    """A frame's length and part of its content; then silence."""
    os.write(outbox.connection.fileno(), b"\0\0\0\x09abc")
    time.sleep(600)


def leave_a_daemon(file):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            Path(file).write_text(str(os.getpid()))
            time.sleep(600)
        os._exit(0)
    os.wait()


def leave_a_daemon_and_a_thread(file):
    leave_a_daemon(file)
    while not (Path(file).exists() and Path(file).read_text()):
        time.sleep(0.01)
    threading.Thread(target=time.sleep, args=(600,)).start()
    return "done"


def talk(say, words):
    for word in words:
        say(word)
    return len(words)


def print_much():
    print("\x1b[2J" + "x" * 10_000_000)
    print("the end", file=sys.stderr)


def test_a_result_comes_back_and_stdout_stays_clean(capfd):
    assert call_isolated(double, 21) == 42
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "printed by foreign code" in captured.err


def test_what_is_printed_is_cut_and_commands_no_terminal(capsys):
    assert call_isolated(print_much) is None
    said = capsys.readouterr().err
    assert "\\x1b[2J" in said
    assert "\x1b" not in said
    assert len(said) < 5000


@pytest.mark.parametrize(
    ("function", "arguments", "words"),
    [
        (raise_error, (), "ValueError: no such thing"),
        (break_rule, (), "^leave that alone"),
        (die, (), "SIGKILL"),
        (time.sleep, (60,), "longer than 2 s"),
        pytest.param(leave, (), "exit code 0 and no answer", marks=posix),
        pytest.param(stop, (), "longer than 2 s", marks=posix),
        (return_own_class, (), "no plain data"),
        (sys.exit, (3,), "SystemExit: 3"),
    ],
)
def test_a_failure_is_told_in_words(function, arguments, words):
    # On a busy machine even an honest answer may take a while.
    with pytest.raises(IsolatedFailure, match=words):
        call_isolated(function, *arguments, timeout=2 if "longer" in words else 300)


def test_what_is_heard_meanwhile_counts_as_a_sign_of_life():
    heard = []
    assert call_isolated(talk, ["one", "two"], hear=heard.append) == 2
    assert heard == ["one", "two"]


@linux
def test_what_a_call_leaves_behind_ends_with_it(tmp_path):
    file = tmp_path / "pid"
    assert call_isolated(leave_a_daemon_and_a_thread, str(file)) == "done"
    assert not psutil.pid_exists(int(file.read_text()))


@posix
def test_half_a_message_is_none_and_makes_nobody_wait():
    kept = start_kept(write_half_a_message)
    while kept.inbox.connection.poll(0.1) is False:
        continue
    assert list(kept.inbox.take()) == []
    assert not kept.ended()
    kept.close()
    assert kept.ended()
    assert list(kept.inbox.take()) == []


def sleep_for_ever(outbox, file):
    Path(file).write_text(str(os.getpid()))
    time.sleep(600)


@linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGSTOP])
@pytest.mark.parametrize("victim", ["keeper", "worker"])
def test_a_worker_ends_however_it_or_its_keeper_is_ended(tmp_path, victim, number):
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("whoever started these tests has them ignore the signal, as nohup does")
    file = tmp_path / "pid"
    kept = start_kept(sleep_for_ever, str(file))
    while not (file.exists() and file.read_text()):
        time.sleep(0.01)
    worker = int(file.read_text())
    assert not kept.ended()
    os.kill(worker if victim == "worker" else kept.process.pid, number)
    if number == signal.SIGSTOP:
        deadline = time.monotonic() + 20
        while not kept.is_stopped() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert kept.is_stopped()
    else:
        deadline = time.monotonic() + 20
        while not kept.ended() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert kept.ended()
    kept.close()
    for pid in (worker, kept.process.pid):
        deadline = time.monotonic() + 20  # the system may take its time on a busy machine
        while not is_gone(pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert is_gone(pid)


def is_gone(pid):
    """Whether a process has ended, be it that nobody has asked how."""
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def leave_a_daemon_and_sleep(outbox, file):
    leave_a_daemon(file)
    time.sleep(600)


@linux
def test_what_a_keeper_that_was_ended_would_have_ended_is_ended_all_the_same(tmp_path):
    file = tmp_path / "pid"
    left, other = (
        start_kept(leave_a_daemon_and_sleep, str(file)),
        start_kept(sleep_for_ever, os.devnull),
    )
    while not (file.exists() and file.read_text()):
        time.sleep(0.01)
    daemon = psutil.Process(int(file.read_text()))
    os.kill(left.process.pid, signal.SIGKILL)
    left.close()
    until = time.monotonic() + 20  # it has been told to end, and a busy machine takes a moment
    with contextlib.suppress(psutil.NoSuchProcess):
        while daemon.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < until
            time.sleep(0.05)
    assert not other.ended()
    other.close()


@linux
@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGKILL, marks=pytest.mark.exhaustive), signal.SIGSTOP]
)
def test_a_server_of_processes_that_was_ended_or_suspended_is_replaced(number):
    from multiprocessing.forkserver import _forkserver

    assert call_isolated(abs, -1) == 1
    before = _forkserver._forkserver_pid
    os.kill(before, number)
    try:
        assert call_isolated(abs, -2) == 2
    finally:
        end_stopped_server()
    assert _forkserver._forkserver_pid != before


SOCKET = """
from multiprocessing.connection import Listener
from kitsbench.isolation import process_context
process_context()
with Listener(family="AF_UNIX") as listener:
    print(listener.address)
"""


@posix
@pytest.mark.parametrize("name", ["here", "a" * 120, "missing/folder"])
def test_sockets_have_a_place_whatever_tmpdir_is(tmp_path, name):
    folder = tmp_path / name
    if "/" not in name:
        folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", SOCKET],
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    address = Path(done.stdout.strip())
    assert not address.parent.exists()
    assert not list(folder.glob("*"))


@posix
def test_where_no_socket_has_a_place_two_lines_say_so(tmp_path, monkeypatch):
    kept._choose_socket_folder.cache_clear()
    monkeypatch.setattr(kept, "SHORT_FOLDERS", (str(tmp_path / "a" / "missing"),))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("a" * 120)))
    with pytest.raises(KitsbenchError, match=r"No process can be started: .*\nSet TMPDIR to"):
        process_context()
    assert tempfile.gettempdir().endswith("a" * 120)


@posix
def test_a_signal_ends_calls_at_once():
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(Stopped, match="SIGTERM"), stops_at_signals():
        list(each_isolated(lambda hours: call_isolated(time.sleep, 3600 * hours), [1, 2], 2))
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_no_answer_brings_code_along():
    class Bomb:
        def __reduce__(self):
            return os.system, ("echo",)

    import pickle

    with pytest.raises(ValueError, match="no plain data"):
        unpickle_plain(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="no plain data"):
        unpickle_plain(pickle.dumps(call_isolated))
    assert unpickle_plain(pickle.dumps({"a": (1, 2.5, {3}, None)})) == {"a": (1, 2.5, {3}, None)}


@posix
def test_a_full_or_replaced_pipe_makes_nobody_wait(tmp_path):
    from multiprocessing import Pipe

    ours, theirs = Pipe(duplex=False)
    inbox, outbox = Inbox(ours), Outbox(theirs)
    for _ in range(100_000):
        outbox.drop(b"a message")
    found = list(inbox.take())
    assert 0 < len(found) < 100_000
    assert set(found) == {b"a message"}
    # Foreign code closes the pipe, and a file gets its number.
    os.close(theirs.fileno())
    file = os.open(tmp_path / "weights", os.O_CREAT | os.O_WRONLY)
    os.dup2(file, theirs.fileno())
    outbox.send(b"nothing for a file")
    assert (tmp_path / "weights").read_bytes() == b""
    inbox.close()


class Wordless(Exception):
    def __str__(self):
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("one\ntwo"), "ValueError: one"),
        (RuntimeError("Errors in X:\n\tMissing key\n\tmore"), "RuntimeError: Errors in X: Missing"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt: no message"),
        (Wordless(), "Wordless: its message cannot be had (RuntimeError in __str__)"),
        (ValueError("\udcff\ud800 bad"), "ValueError: \\udcff\\ud800 bad"),
    ],
)
def test_one_line_says_what_foreign_code_raised(error, words):
    assert telling(error).startswith(words)


@pytest.mark.parametrize("letter", ["x", "\u00fc", "\U0001f600", "\udcff"])
def test_a_message_is_cut_where_it_is_too_long(letter):
    told = telling(ValueError(letter * 5_000_000)).encode()
    assert LONGEST - 20 < len(told) <= LONGEST
    assert told.endswith(b" ...")
    assert shorten("short") == "short"


LEFT_ALONE = """
import os, signal, sys
from kitsbench.isolation.kept import start_kept
from multiprocessing.forkserver import _forkserver
from isolation.test_isolation import sleep_for_ever

kept = start_kept(sleep_for_ever, sys.argv[1])
while not (os.path.exists(sys.argv[1]) and open(sys.argv[1]).read()):
    pass
worker = int(open(sys.argv[1]).read())
victims = {"server": _forkserver._forkserver_pid, "keeper": kept.process.pid, "worker": worker}
print(*victims.values(), flush=True)
os.kill(victims[sys.argv[2]], signal.SIGSTOP)
os.kill(os.getpid(), signal.SIGKILL)
"""


@linux
@pytest.mark.parametrize("victim", ["server", "keeper", "worker"])
def test_what_was_suspended_ends_when_the_run_is_killed(tmp_path, victim):
    """A suspended process sees nothing; the end of its parent must wake it."""
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", LEFT_ALONE, tmp_path / "pid", victim],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), *sys.path])},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == -signal.SIGKILL
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 3
    deadline = time.monotonic() + 20
    while any(map(is_there, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_there, pids))


def is_there(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
