"""Fetching datasets from a server that misbehaves, and from folders."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import json
import os
import shutil
import signal
import socket
import sys
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from command_line import heed_interrupts, run_kitsbench, start_kitsbench, without_bytecode
from scans import ct, kidneys, save
from unreliable_server import UnreliableServer

from kitsbench.data.datasets.dataset import open_dataset
from kitsbench.data.fetching.attempt import (
    DiskFull,
    Patience,
    Promise,
    Unreachable,
    _LeadsAway,
    _Redirects,
)
from kitsbench.data.fetching.fetch import fetch
from kitsbench.data.fetching.sources import OFFICIAL, Source, find_source, parse_cases
from kitsbench.data.fetching.transfer import part_of
from kitsbench.errors import DataError, UsageError

QUICK = Patience(retries=3, backoff=0.001, timeout=20)
HASTY = Patience(retries=3, backoff=0.001, timeout=0.4)  # for servers that fall silent
KITS19 = OFFICIAL["kits19"]
IMAGE = "case_00000/imaging.nii.gz"


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """A copy of three cases of each dataset, as a mirror would hold it."""
    root = tmp_path_factory.mktemp("mirror")
    for name, official in OFFICIAL.items():
        for number in (0, 1, 2):
            folder = root / name / f"case_{number:05d}"
            save(folder / "imaging.nii.gz", ct(seed=number))
            for mask in official.masks:
                save(folder / f"{mask}.nii.gz", kidneys(cyst=name != "kits19"))
        (root / name / official.table).write_text(json.dumps([{"case_id": "case_00000"}]))
    return root


@pytest.fixture
def server(copy):
    with UnreliableServer(copy) as running:
        yield running


def cases(*numbers):
    return [f"case_{n:05d}" for n in numbers]


def get(server, out, *numbers, name="kits19", patience=QUICK, **options):
    official = OFFICIAL[name]
    source = find_source(official, f"{server.url}/{name}")
    return fetch(official, out, cases(*numbers), source, patience=fresh(patience), **options)


def fresh(patience):
    return Patience(patience.retries, patience.backoff, patience.timeout)


def leftovers(folder):
    return [p.name for p in folder.rglob(".*")]


@pytest.mark.parametrize("name", list(OFFICIAL))
def test_what_is_fetched_is_a_dataset(server, copy, tmp_path, name):
    result = get(server, tmp_path / "kits", 0, 2, name=name)
    assert result.findings == []
    assert result.complete == cases(0, 2)
    dataset = open_dataset(tmp_path / "kits")
    assert dataset.layout == name
    assert dataset.problems == []
    assert [case.id for case in dataset.cases] == cases(0, 2)
    for path in result.new:
        original = copy / name / path.relative_to(result.root)
        assert path.read_bytes() == original.read_bytes()
    assert result.received == sum(path.stat().st_size for path in result.new)
    assert leftovers(tmp_path) == []


def test_a_second_run_fetches_only_what_is_missing(server, tmp_path):
    get(server, tmp_path, 0, 1)
    server.requests.clear()
    (tmp_path / "data" / "case_00001" / "imaging.nii.gz").unlink()
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.gz")}
    result = get(server, tmp_path, 0, 1, 2)
    assert {path for path, _ in server.requests} == {
        "/kits19/case_00001/imaging.nii.gz",
        "/kits19/case_00002/imaging.nii.gz",
        "/kits19/case_00002/segmentation.nii.gz",
    }
    assert (len(result.new), len(result.kept)) == (3, 4)  # three files of cases and the table
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


RECOVERED = {
    "a dropped connection": ["drop:300"],
    "several dropped connections": ["drop:300", "drop:200", "drop:100"],
    "a drop, then a server that ignores Range": ["drop:300", "no-range"],
    "a drop, then another part than asked for": ["drop:300", "wrong-range"],
    "a chunked answer that breaks off": ["chunked-drop:400"],
    "fewer bytes announced than there are": ["short:500"],
    "more bytes announced than there are": ["long"],
    "a corrupt file, once": ["corrupt"],
    "a server error": ["500", "503"],
    "too many requests": ["429"],
    "a server that falls silent": ["stall"],
    "a redirect as Hugging Face makes it": ["redirect"],
    "a wrong hash, once": ["bad-hash"],
}


@pytest.mark.parametrize("faults", RECOVERED.values(), ids=RECOVERED)
def test_what_goes_wrong_once_is_repaired(server, copy, tmp_path, faults):
    server.faults[IMAGE] = list(faults)
    result = get(server, tmp_path, 0, patience=HASTY if "stall" in faults else QUICK)
    assert result.findings == []
    assert (tmp_path / "data" / IMAGE).read_bytes() == (copy / "kits19" / IMAGE).read_bytes()
    assert server.faults[IMAGE] == []
    assert leftovers(tmp_path) == []


def test_a_download_goes_on_where_it_broke_off(server, tmp_path):
    size = (server.folder / "kits19" / IMAGE).stat().st_size
    server.faults[IMAGE] = ["drop:1000"]
    get(server, tmp_path, 0)
    asked = [r for path, r in server.requests if path.endswith(IMAGE)]
    assert asked == [None, "bytes=1000-"]
    assert server.sent[f"/kits19/{IMAGE}"] == size  # nothing was sent twice


def test_a_later_run_goes_on_too(server, copy, tmp_path):
    server.faults[IMAGE] = ["drop:1000"] + ["503"] * 4
    result = get(server, tmp_path, 0)
    (finding,) = result.findings
    assert "HTTP 503" in finding.what
    assert "1000 bytes are kept" in finding.remedy
    part = part_of(tmp_path / "data" / IMAGE)
    assert part.stat().st_size == 1000
    server.requests.clear()
    assert get(server, tmp_path, 0).findings == []
    assert ("/kits19/" + IMAGE, "bytes=1000-") in server.requests
    assert leftovers(tmp_path) == []


def test_the_rest_of_another_version_is_not_glued_on(server, copy, tmp_path):
    """What a killed run left behind belongs to a file that has changed since."""
    part = part_of(tmp_path / "data" / IMAGE)
    part.parent.mkdir(parents=True)
    other = gzip.compress(np.random.default_rng(5).bytes(5000))
    part.write_bytes(other[:700])
    assert get(server, tmp_path, 0).findings == []
    assert (tmp_path / "data" / IMAGE).read_bytes() == (copy / "kits19" / IMAGE).read_bytes()


@pytest.mark.parametrize("extra", [b"", b"and more"])
def test_a_finished_part_is_recognised(server, copy, tmp_path, extra):
    part = part_of(tmp_path / "data" / IMAGE)
    part.parent.mkdir(parents=True)
    part.write_bytes((copy / "kits19" / IMAGE).read_bytes() + extra)
    assert get(server, tmp_path, 0).findings == []
    assert (tmp_path / "data" / IMAGE).read_bytes() == (copy / "kits19" / IMAGE).read_bytes()


GIVEN_UP = {
    "no such file": (["404", "..."], "HTTP 404"),
    "not for you": (["403", "..."], "HTTP 403"),
    "corrupt every time": (["corrupt", "..."], "corrupt"),
    "short every time": (["short:500", "..."], "cut off"),
    "a wrong hash every time": (["bad-hash", "..."], "SHA-256"),
    "a server error every time": (["500", "..."], "HTTP 500"),
    "silence every time": (["stall", "..."], "timed out"),
}


@pytest.mark.parametrize(("faults", "words"), GIVEN_UP.values(), ids=GIVEN_UP)
def test_what_stays_wrong_is_reported_and_the_rest_goes_on(server, tmp_path, faults, words):
    server.faults[IMAGE] = list(faults)
    result = get(server, tmp_path, 0, 1, patience=HASTY if "stall" in faults else QUICK)
    (finding,) = result.findings
    assert finding.case == "case_00000"
    assert finding.file == str(tmp_path / "data" / IMAGE)
    assert words in finding.what
    assert server.url in finding.what
    assert finding.rule
    assert finding.remedy
    assert result.complete == cases(1)
    assert not (tmp_path / "data" / IMAGE).exists()
    if words in ("HTTP 404", "HTTP 403"):  # asking again would not help
        assert sum(path.endswith(IMAGE) for path, _ in server.requests) == 1


def test_without_its_mask_no_image_is_fetched(server, tmp_path):
    server.faults["case_00000/segmentation.nii.gz"] = ["404", "..."]
    result = get(server, tmp_path, 0)
    assert [f.what for f in result.findings] == [
        f"the source does not give {server.url}/kits19/case_00000/segmentation.nii.gz: "
        "HTTP 404 Not Found"
    ]
    assert not any(path.endswith(IMAGE) for path, _ in server.requests)
    assert not (tmp_path / "data" / "case_00000").exists()


def test_an_image_must_fit_its_mask(copy, tmp_path):
    other = tmp_path / "images"
    save(other / "case_00000.nii.gz", ct((12, 16, 17)))
    source = find_source(KITS19, str(copy / "kits19"), images=f"{other}/{{case}}.nii.gz")
    result = fetch(KITS19, tmp_path / "out", cases(0), source)
    (finding,) = result.findings
    assert "the mask has 12 x 16 x 18 voxels, the image 12 x 16 x 17" in finding.what
    assert not (tmp_path / "out" / "data" / IMAGE).exists()


def test_a_web_page_in_place_of_a_file_is_called_that(server, copy, tmp_path):
    page = tmp_path / "login" / "case_00000"
    page.mkdir(parents=True)
    (page / "segmentation.nii.gz").write_text("<!DOCTYPE html><title>Please log in</title>" * 20)
    source = Source("none/{case}", f"{tmp_path}/login/{{case}}/{{file}}", None)
    result = fetch(KITS19, tmp_path / "out", cases(0), source)
    assert "it is a web page" in result.findings[0].what


def test_a_damaged_file_that_is_there_is_not_replaced(server, tmp_path):
    mine = tmp_path / "data" / IMAGE
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    result = get(server, tmp_path, 0)
    (finding,) = result.findings
    assert finding.file == str(mine)
    assert "remove it and run again" in finding.remedy
    assert mine.read_bytes() == b"mine"


def test_cases_are_fetched_side_by_side(server, tmp_path):
    for number in (0, 1, 2):
        server.faults[f"case_0000{number}/imaging.nii.gz"] = ["meet"]
    seen = []
    patient = Patience(retries=0, timeout=30)
    result = get(
        server, tmp_path, 0, 1, 2, patience=patient, jobs=3, progress=lambda *new: seen.append(new)
    )
    assert result.findings == []  # none of the three was answered before all had asked
    assert [news[1:] for news in seen if news[0] == ""][-1] == (3, 3)
    size = (server.folder / "kits19" / IMAGE).stat().st_size
    assert (IMAGE, size, size) in seen


def test_no_network_is_said_once(tmp_path):
    with UnreliableServer(tmp_path) as closed:
        url = closed.url
    source = find_source(KITS19, url)
    with pytest.raises(Unreachable, match="cannot be reached") as caught:
        fetch(KITS19, tmp_path / "out", cases(0, 1, 2), source, patience=fresh(QUICK))
    assert "mirror or a folder" in str(caught.value)
    assert not (tmp_path / "out" / "data").exists() or not any((tmp_path / "out/data").iterdir())


def test_a_file_that_does_not_fit_on_the_disk_is_not_begun(server, tmp_path):
    server.faults[IMAGE] = ["huge"]
    with pytest.raises(DiskFull, match="GB free"):
        get(server, tmp_path, 0)


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are of POSIX")
def test_a_disk_that_fills_up_leaves_what_came_for_the_next_run(server, copy, tmp_path):
    import resource

    command = ["data", "fetch", "kits19", "--cases", "0", "-o", tmp_path]
    done = run_kitsbench(
        *command,
        "--source",
        f"{server.url}/kits19",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)),
        env=without_bytecode(),
    )
    assert done.code == 2
    assert "the disk is full" in done.err
    assert "Traceback" not in done.err
    part = part_of(tmp_path / "data" / IMAGE)
    assert 0 < part.stat().st_size <= 2000
    assert get(server, tmp_path, 0).findings == []
    assert (tmp_path / "data" / IMAGE).read_bytes() == (copy / "kits19" / IMAGE).read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="files are locked by POSIX means")
def test_two_processes_do_not_write_one_file(server, tmp_path):
    import fcntl

    part = part_of(tmp_path / "data" / IMAGE)
    part.parent.mkdir(parents=True)
    with open(part, "ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        (finding,) = get(server, tmp_path, 0).findings
    assert finding.what == "another process is fetching this file"


def test_stopping_waits_for_no_server(server, tmp_path):
    """One file waits for its next attempt, another for a byte; neither is waited for."""
    server.faults[IMAGE] = ["500", "..."]
    server.faults["case_00001/imaging.nii.gz"] = ["stall"]
    patience = Patience(retries=50, backoff=300.0, timeout=300)
    threading.Timer(0.5, patience.halt).start()
    source = find_source(KITS19, f"{server.url}/kits19")
    with pytest.raises(Unreachable, match="stopped"):
        fetch(KITS19, tmp_path, cases(0, 1), source, patience=patience)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_control_c(server, copy, tmp_path):
    server.faults[IMAGE] = ["stall"]
    command = ["data", "fetch", "kits19", "--cases", "0", "-o", tmp_path, "--timeout", "300"]
    running = start_kitsbench(
        *command, "--source", f"{server.url}/kits19", preexec_fn=heed_interrupts
    )
    while not part_of(tmp_path / "data" / IMAGE).exists():
        assert running.poll() is None
        time.sleep(0.05)
    time.sleep(0.3)
    running.send_signal(signal.SIGINT)
    _, printed = running.communicate(timeout=60)
    assert running.returncode == 130
    assert printed.strip() == "Stopped."
    assert get(server, tmp_path, 0).findings == []
    assert (tmp_path / "data" / IMAGE).read_bytes() == (copy / "kits19" / IMAGE).read_bytes()


def test_a_folder_is_a_source_and_is_not_changed(copy, tmp_path):
    def marks():
        return {
            p: hashlib.sha256(p.read_bytes()).hexdigest() for p in copy.rglob("*") if p.is_file()
        }

    before = marks()
    source = find_source(KITS19, str(copy / "kits19"))
    result = fetch(KITS19, tmp_path / "out", cases(0, 1), source)
    assert result.findings == []
    assert len(open_dataset(tmp_path / "out").cases) == 2
    assert marks() == before
    missing = fetch(KITS19, tmp_path / "out", cases(9), source)
    assert "no such file" in missing.findings[0].what


def test_a_folder_of_another_dataset_is_refused(copy, tmp_path):
    fetch(KITS19, tmp_path, cases(0), find_source(KITS19, str(copy / "kits19")))
    kits23 = OFFICIAL["kits23"]
    with pytest.raises(UsageError, match="kits19 layout already"):
        fetch(kits23, tmp_path, cases(0), find_source(kits23, str(copy / "kits23")))
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file"):
        fetch(KITS19, tmp_path / "file", cases(0))


def test_the_folder_of_cases_may_be_named_itself(copy, tmp_path):
    source = find_source(KITS19, str(copy / "kits19"))
    fetch(KITS19, tmp_path / "k", cases(0), source)
    again = fetch(KITS19, tmp_path / "k" / "data", cases(0, 1), source)
    assert again.root == tmp_path / "k" / "data"
    assert len(open_dataset(tmp_path / "k").cases) == 2


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("kits19", "0-2", cases(0, 1, 2)),
        ("kits19", "7, 3,case_00005,3", cases(3, 5, 7)),
        ("kits23", "299,400-401", cases(299, 400, 401)),
    ],
)
def test_choices_of_cases(name, text, expected):
    assert parse_cases(text, OFFICIAL[name]) == expected


def test_all_cases_with_masks_by_default():
    counts = {name: len(parse_cases(None, official)) for name, official in OFFICIAL.items()}
    assert counts == {"kits19": 210, "kits21": 300, "kits23": 489}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("kits19", "210", "hidden test set; kits21 and kits23 have masks"),
        ("kits19", "205-215", "no mask for case 210 to 215"),
        ("kits23", "298-401", "no mask for case 300 to 399"),
        ("kits23", "589", "its cases are 0-299 and 400-588"),
        ("kits21", "5-3", "runs backwards; write 3-5"),
        ("kits21", "first", "'first' is no choice of cases"),
        ("kits21", "", "'' is no choice of cases"),
        ("kits21", "-1", "'-1' is no choice of cases"),
    ],
)
def test_wrong_choices_are_explained(name, text, words):
    with pytest.raises(UsageError, match=words):
        parse_cases(text, OFFICIAL[name])


def test_the_public_homes():
    assert KITS19.source.masks.format(case="case_00003", file="segmentation.nii.gz") == (
        "https://raw.githubusercontent.com/neheller/kits19/master/data/case_00003/"
        "segmentation.nii.gz"
    )
    assert OFFICIAL["kits23"].source.images.format(case="case_00400") == (
        "https://huggingface.co/datasets/neheller/KiTS-Challenge-Imaging/resolve/main/images/"
        "case_00400.nii.gz"
    )
    assert OFFICIAL["kits21"].source.table.endswith("neheller/kits21/master/kits21/data/kits.json")


@pytest.mark.parametrize(
    "template", ["https://a.org/x.nii.gz", "https://a.org/{number}.nii.gz", "{"]
)
def test_templates_need_the_case(template):
    with pytest.raises(UsageError, match=r"needs \{case\}"):
        find_source(KITS19, images=template)


@pytest.mark.parametrize(
    "template", ["{case:>99999999}", "{case.__class__}", "{case!r}", "{case}{"]
)
def test_a_template_holds_words_alone(template):
    with pytest.raises(UsageError, match=r"needs \{case\}"):
        find_source(KITS19, images=f"https://a.org/{template}")


def test_braces_of_a_copy_are_no_words(tmp_path, copy):
    shutil.copytree(copy / "kits19", tmp_path / "{number}")
    found = fetch(KITS19, tmp_path / "k", cases(0), find_source(KITS19, str(tmp_path / "{number}")))
    assert found.findings == []
    assert found.complete == cases(0)


def test_a_copy_without_a_table_gives_its_cases_all_the_same(tmp_path, copy, monkeypatch):
    shutil.copytree(copy / "kits19", tmp_path / "source")
    (tmp_path / "source" / KITS19.table).unlink()
    make, swept = os.mkdir, []

    def just_after_the_table(path, *mode):
        # No table came, so its thread sweeps the empty folder away while a case's makes its own.
        if Path(path).name == "case_00000" and Path(path).parent.is_dir() and not swept:
            swept.append(Path(path).parent)
            os.rmdir(swept[0])
        make(path, *mode)

    monkeypatch.setattr(os, "mkdir", just_after_the_table)
    source = find_source(KITS19, str(tmp_path / "source"))
    found = fetch(KITS19, tmp_path / "k", cases(0), source, jobs=1)
    assert swept == [found.root]
    assert found.complete == cases(0)
    assert [finding.file for finding in found.findings] == [str(found.root / KITS19.table)]


@pytest.mark.parametrize(
    "address",
    ["file:///etc/passwd", "ftp://127.0.0.1/x", "data://text", "gopher://x/y", "FILE:///x"],
)
def test_no_server_leads_to_another_scheme(server, tmp_path, address):
    server.faults[IMAGE] = [f"lead:{address}", "..."]
    found = fetch(KITS19, tmp_path, cases(0), find_source(KITS19, f"{server.url}/kits19"))
    (finding,) = found.findings
    assert f"it leads on to {address}, which is no web address" in finding.what
    assert f"{server.url}/kits19/{IMAGE}" in finding.what


def test_no_server_leads_from_https_to_http():
    request = urllib.request.Request("https://a.org/x")
    request.promise = Promise()
    for address, follows in (("https://b.org/x", True), ("http://b.org/x", False)):
        words = (request, io.BytesIO(), 302, "Found", http.client.HTTPMessage(), address)
        if follows:
            assert _Redirects().redirect_request(*words).full_url == address
            continue
        with pytest.raises(_LeadsAway, match="from https to http"):
            _Redirects().redirect_request(*words)


def test_the_host_that_cannot_be_reached_is_named(server, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server.faults[IMAGE] = [f"lead:http://user:word@127.0.0.1:{port}/x", "..."]
    source = find_source(KITS19, f"{server.url}/kits19")
    with pytest.raises(Unreachable, match=f"^127.0.0.1:{port} cannot be reached") as refused:
        fetch(KITS19, tmp_path, cases(0), source, patience=Patience(0, 0.01))
    assert "word" not in str(refused.value)


def test_a_file_has_an_end(server, tmp_path):
    server.faults[IMAGE] = ["endless", "..."]
    source = find_source(KITS19, f"{server.url}/kits19")
    found = fetch(KITS19, tmp_path, cases(0), source, patience=Patience(2, 0.01, most=1 << 20))
    (finding,) = found.findings
    assert "it does not end" in finding.what
    assert "A file has at most 0.00105 GB" in finding.rule
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("address", ["http://", "http://[::1", "http://a b/", "http://é\udc80/"])
def test_what_is_no_address_is_named(tmp_path, address):
    source = find_source(KITS19, images=address + "{case}", masks=address + "{case}{file}")
    try:
        said = str(fetch(KITS19, tmp_path, cases(0), source, patience=Patience(0, 0.01)).findings)
    except Unreachable as error:
        said = str(error)
    assert "no address" in said or "cannot be reached" in said or "no host" in said


def test_a_source_that_is_nowhere(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        find_source(KITS19, str(tmp_path / "nowhere"))


def test_the_command(server, tmp_path):
    options = ["--source", f"{server.url}/kits19", "--retries", "0", "-o", tmp_path]
    done = run_kitsbench("data", "fetch", "kits19", "--cases", "0-1", *options, "--json")
    assert done.code == 0, done.err
    assert done.json["n_complete"] == 2
    assert "2 of 2 cases are whole" in done.err
    assert "\x1b" not in done.err  # no bars where there is no terminal
    server.faults["case_00002/imaging.nii.gz"] = ["404", "..."]
    done = run_kitsbench("data", "fetch", "kits19", "--cases", "0-2", *options)
    assert done.code == 2
    assert "error: case_00002: the source does not give" in done.err
    wrong = run_kitsbench("data", "fetch", "kits20", "-o", tmp_path)
    assert wrong.code == 2
    assert "there are kits19, kits21, kits23" in wrong.err
    assert os.listdir(tmp_path) == ["data"]
