"""Every trap: the documented finding, the file's name, no traceback, and no changed byte."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
from damage import CORPUS, IMAGE, MASK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scans import case, ct, kidneys, save

from kitsbench.data.datasets.dataset import open_dataset
from kitsbench.data.inspection.verify import verify
from kitsbench.data.preparation.prepare import prepare
from kitsbench.data.preparation.volumes import load_case
from kitsbench.scans.findings import Refused

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes of POSIX")


def marks(folder: Path) -> dict[str, str]:
    """Content of every file below a folder."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A dataset of all entries and a good case, and what its files held."""
    root = tmp_path_factory.mktemp("corpus") / "data"
    case(root, "good")
    for number, entry in enumerate(CORPUS):
        folder = case(root, entry.name, ct(seed=1000 + number))
        entry.make(folder)
    return root, marks(root)


@pytest.fixture(scope="module")
def verified(corpus):
    """What ``verify`` finds in the corpus."""
    return verify(open_dataset(corpus[0]))


@pytest.fixture(scope="module")
def prepared(corpus, tmp_path_factory):
    """The corpus, prepared."""
    out = tmp_path_factory.mktemp("prepared")
    return prepare(open_dataset(corpus[0]), (6.0, 6.0, 6.0), out)


def test_there_are_enough_and_each_once():
    names = [entry.name for entry in CORPUS]
    assert len(names) >= 60
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("entry", CORPUS, ids=[entry.name for entry in CORPUS])
def test_each_gives_its_finding(entry, corpus, verified, prepared):
    root, before = corpus
    found = [f for f in verified.findings if f.case == entry.name]
    if not entry.severity:
        assert found == []
    else:
        matching = [f for f in found if entry.words in f.what]
        assert matching, [f.what for f in found]
        assert entry.file in {Path(f.file).name for f in matching}
        for finding in matching:
            assert finding.severity == entry.severity
            assert finding.file.startswith(str(root / entry.name))
            assert finding.rule
            assert finding.remedy
            assert "\n" not in str(finding)
    # The case is set aside exactly if there is an error, by verify and by prepare alike.
    bad = entry.severity == "error"
    assert (entry.name not in verified.usable) == bad
    assert (entry.name in prepared.excluded) == bad
    after = marks(root / entry.name)
    assert after == {name: mark for name, mark in before.items() if name in after}
    assert len(after) == sum(name.startswith(f"{root / entry.name}/") for name in before)


def test_the_good_case_goes_on(verified, prepared):
    assert "good" in verified.usable
    assert "good" in prepared.cases


def test_the_command_lists_them_all(corpus, verified, tmp_path):
    import csv

    from command_line import run_kitsbench

    table = tmp_path / "findings.csv"
    done = run_kitsbench("data", "verify", corpus[0], "-o", table)
    assert done.code == 2
    assert "Traceback" not in done.err
    for finding in verified.findings:
        assert f"{finding.severity}: {finding}" in done.out
    with open(table, encoding="utf-8", newline="") as file:
        listed = list(csv.DictReader(file))
    assert listed == [f.to_dict() for f in verified.findings]


def test_names_that_are_no_text(tmp_path):
    """Bytes that are no UTF-8: in the name of the dataset, of a good case and of a bad one."""
    good = case(tmp_path, "case_00000")
    root = os.fsencode(tmp_path) + b"/Gr\xf6\xdfe/data"
    try:
        os.makedirs(root)
        for name in (b"/case_00000", b"/case_\xfe", b"/case_\xff"):
            shutil.copytree(os.fsencode(good), root + name)
    except OSError:
        pytest.skip("this file system takes names of UTF-8 only")
    with open(root + b"/case_\xff/" + os.fsencode(IMAGE), "r+b") as file:
        file.truncate(100)
    from command_line import run_kitsbench

    folder = os.fsdecode(root)
    done = run_kitsbench("data", "verify", folder, "--json")
    assert done.code == 2, done.err
    found = {(f["case"], f["severity"]) for f in done.json["findings"]}
    assert found == {("case_\\xff", "error"), ("case_\\xfe", "warning")}  # the latter is a copy
    store = prepare(open_dataset(folder), (6.0, 6.0, 6.0), tmp_path / "out")
    assert sorted(store.cases) == ["case_00000", "case_\\xfe"]
    assert list(store.excluded) == ["case_\\xff"]


def test_the_same_scan_twice_is_remarked(tmp_path):
    for name in ("case_00000", "case_00001"):
        case(tmp_path, name, ct())
    (finding,) = verify(open_dataset(tmp_path)).findings
    assert (finding.case, finding.severity) == ("case_00001", "warning")


def test_case_ids_that_differ_in_capitals_are_duplicates(tmp_path):
    case(tmp_path, "case_a")
    try:
        case(tmp_path, "Case_A", ct(seed=3))
        case(tmp_path, "Mu\u0308ller")
        case(tmp_path, "M\u00fcller", ct(seed=4))
    except OSError:
        pytest.skip("this file system has one name for these")
    if len(list(tmp_path.iterdir())) < 4:
        pytest.skip("this file system has one name for these")
    found = open_dataset(tmp_path)
    assert len(found.cases) == 2
    assert all("up to capitals or accents" in f.what for f in found.problems)


@pytest.fixture
def open_folder():
    """A folder that others may enter; every start of pytest closes the one around tmp_path."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for place in (folder, *folder.parents):
            if os.geteuid() == 0 and place.stat().st_uid == 0 and place != Path("/"):
                place.chmod(place.stat().st_mode | 0o011)
        yield folder


@pytest.mark.parametrize("what", ["folder", "file"])
def test_what_may_not_be_read_is_named(open_folder, what):
    """As a user without rights, even where the tests run as root."""
    import subprocess

    root = open_folder / "data"
    case(root, "case_00000")
    closed = case(root, "case_00001")
    closed = closed if what == "folder" else closed / MASK
    closed.chmod(0)
    # The first call imports everything, since others may not read this installation.
    code = (
        "import contextlib, os, sys\n"
        "from kitsbench.cli import main\n"
        "with contextlib.suppress(SystemExit): main(['data', 'verify', sys.argv[1]])\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "main(['data', 'verify', sys.argv[2]])"
    )
    case(open_folder / "elsewhere", "case_00000")
    command = [sys.executable, "-c", code, str(open_folder / "elsewhere"), str(root)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        closed.chmod(0o755)
    assert done.returncode == 2, done.stderr
    assert "cannot be read" in done.stdout
    assert str(closed) in done.stdout
    assert "1 of 2 cases can be used" in done.stdout


# Any damage at all: an answer that names the file, or a case that can be used.

LABELS = {"kidney": 1, "tumor": 2}
GOOD = st.sampled_from([IMAGE, MASK])


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original")
    save(folder / IMAGE, ct())
    save(folder / MASK, kidneys())
    return {file: gzip.decompress((folder / file).read_bytes()) for file in (IMAGE, MASK)}


@pytest.fixture(scope="module")
def victim(tmp_path_factory):
    return case(tmp_path_factory.mktemp("victim"), "case_00000")


def survives(victim, original, file, data):
    """Write damaged bytes, look at the case in every way, and put things right again."""
    for name, good in original.items():
        (victim / name).write_bytes(gzip.compress(good, 1))
    (victim / file).write_bytes(data)
    before = marks(victim)
    result = verify(open_dataset(victim.parent))
    for finding in result.findings:
        assert finding.case == "case_00000"
        assert Path(finding.file).parent == victim
        assert "\n" not in str(finding)
    refused = None
    try:
        load_case("case_00000", victim / IMAGE, victim / MASK, (10.0, 10.0, 10.0), LABELS)
    except Refused as error:
        refused = error.finding.what
    # Reading the case for training comes to the same conclusion.
    assert (result.usable == ["case_00000"]) == (refused is None)
    assert refused is None or refused in [f.what for f in result.errors]
    assert marks(victim) == before


many = settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
changes = st.lists(st.tuples(st.integers(0, 351), st.integers(1, 255)), min_size=1, max_size=3)


@many
@given(file=GOOD, flips=changes)
def test_any_bytes_of_a_header_may_change(victim, original, file, flips):
    data = bytearray(original[file])
    for where, change in flips:
        data[where] ^= change
    survives(victim, original, file, gzip.compress(bytes(data), 1))


@many
@given(file=GOOD, packed=st.booleans(), share=st.floats(0, 1))
def test_a_file_may_end_anywhere(victim, original, file, packed, share):
    data = gzip.compress(original[file], 1) if packed else original[file]
    survives(victim, original, file, data[: int(share * len(data))])


@many
@given(
    file=GOOD,
    flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), min_size=1, max_size=4),
)
def test_any_bytes_of_a_stream_may_change(victim, original, file, flips):
    data = bytearray(gzip.compress(original[file], 1))
    for share, change in flips:
        data[int(share * len(data))] ^= change
    survives(victim, original, file, bytes(data))


@many
@given(file=GOOD, data=st.binary(max_size=600))
def test_any_bytes_at_all(victim, original, file, data):
    survives(victim, original, file, data)
