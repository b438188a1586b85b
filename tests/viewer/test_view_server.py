"""The local server: who is answered, with what, and who is not."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import signal
import threading
import time
import urllib.request
from urllib.parse import urlsplit

import nibabel as nib
import numpy as np
import pytest
from reporting.drawn_scans import write_scan

from kitsbench.cli import main
from kitsbench.errors import DataError, UsageError
from kitsbench.scans.label_names import LabelNames
from kitsbench.viewer.cases import ViewedCase
from kitsbench.viewer.library import ViewerLibrary, viewer_library
from kitsbench.viewer.page import Shown
from kitsbench.viewer.server import LocalServer, Site
from kitsbench.viewer.sources import find_view

LIBRARY = ViewerLibrary("H4sIAAAAAAAAAwMAAAAAAAAAAAA=", "NiiVue", "its licence")


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "case_00001"
    write_scan(folder, "kits19", 1)
    return ViewedCase(
        "case_00001", folder / "imaging.nii.gz", LabelNames({"kidney": 1, "tumor": 2}),
        truth=folder / "segmentation.nii.gz", predictions={"mine": folder / "segmentation.nii.gz"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def server(case):
    found = LocalServer(Site(Shown("Scans", ["mine"]), [case], LIBRARY))
    thread = threading.Thread(target=found.serve)
    thread.start()
    yield found
    found.stop()
    thread.join()


def ask(server, path, host=None, method="GET"):
    """(status, body, headers) of a request with any path and host."""
    where = urlsplit(server.address)
    connection = http.client.HTTPConnection("127.0.0.1", where.port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    for name in [where.netloc] if host is None else host:
        connection.putheader("Host", name)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, answer.read(), dict(answer.getheaders())
    connection.close()
    return found


def test_it_listens_on_the_loopback_address_alone(server):
    where = urlsplit(server.address)
    assert where.hostname == "127.0.0.1"
    assert len(where.path.strip("/")) >= 32
    assert server._server.server_address[0] == "127.0.0.1"


def test_page_case_and_voxels_are_whole(server, case):
    base = urlsplit(server.address).path
    status, page, headers = ask(server, base)
    assert (status, headers["Cache-Control"]) == (200, "no-store")
    assert b"viewer-data" in page
    _, text, _ = ask(server, f"{base}case-0.js")
    document = json.loads(f"[{text.decode().partition('(')[2].rpartition(')')[0]}]")[1]
    assert document["said"] == ""
    read = {}
    for name, kind in (("image", np.int16), ("truth", np.uint8)):
        _, data, headers = ask(server, base + document[name]["url"])
        assert headers["Content-Encoding"] == "gzip"
        read[name] = np.frombuffer(gzip.decompress(data), kind).reshape(
            document["shape"], order="F"
        )
    for name, file in (("image", case.image), ("truth", case.truth)):
        canonical = nib.as_closest_canonical(nib.load(file))
        stored = np.asarray(canonical.dataobj).clip(-1024, 3071)  # as all scans are read
        np.testing.assert_array_equal(read[name], stored)
        np.testing.assert_allclose(document["affine"], canonical.affine)


def test_a_wrong_token_path_host_or_method_gets_nothing(server, case):
    base = urlsplit(server.address).path
    token, port = base.strip("/"), urlsplit(server.address).port
    secret = case.image.read_bytes()
    for path in (
        "/", f"/{token}", f"/{token[:-1]}/", f"/{token}x/", f"/{token.upper()}/",
        f"/{token}%C3%A9/", f"/%2F{token}/", f"{base}../../etc/passwd", f"{base}{case.image}",
        f"{base}%2e%2e/%2e%2e/etc/passwd", f"{base}case-0/image-1", f"{base}case-1.js",
        f"{base}case-0/prediction-1", f"{base}case-00000000.js", f"{base}case--1.js",
        f"{base}case-%D9%A0.js", f"{base}./",
    ):  # fmt: skip
        status, body, _ = ask(server, path)
        assert status == 404, path
        assert secret[:64] not in body
    for host in (
        ["evil.example"], [f"evil.example:{port}"], [f"127.0.0.1.evil.example:{port}"], [],
        ["127.0.0.1"], [f"127.0.0.1:{port + 1}"], [f"127.0.0.1:{port}", "evil.example"],
    ):  # fmt: skip
        status, body, _ = ask(server, base, host)
        assert status in (400, 403), host
        assert b"viewer-data" not in body
    assert ask(server, base, [f"LocalHost:{port}"])[0] == 200
    assert ask(server, base, method="POST")[0] == 501
    status, body, headers = ask(server, base, method="HEAD")
    assert (status, body) == (200, b"")
    assert "Access-Control-Allow-Origin" not in headers


def test_the_word_that_opens_the_page_is_good_once(server):
    # Everybody on the machine can read it among the words by which the browser was started.
    path = urlsplit(server.opening).path
    assert path.strip("/") not in server.address
    assert ask(server, f"{path}/")[0] == ask(server, f"{path}/case-0.js")[0] == 404
    status, _, headers = ask(server, path)
    assert (status, headers["Location"]) == (303, urlsplit(server.address).path)
    for again in (path, "/", "//"):
        status, _, headers = ask(server, again)
        assert (status, headers.get("Location")) == (404, None)


def test_a_file_that_is_gone_is_said(case, tmp_path):
    gone = ViewedCase("gone", tmp_path / "gone.nii.gz", case.names)
    with pytest.raises(DataError, match="no such file"):
        Site(Shown("Scans", []), [gone], LIBRARY).answer("case-0/image-0")


def test_the_verb_serves_until_it_is_interrupted(case, monkeypatch, capsys):
    if viewer_library() is None:
        pytest.skip("ipyniivue is not installed here (extra viewer)")
    opened, read = [], []
    monkeypatch.setattr("webbrowser.open", opened.append)

    def look():
        while not opened:
            time.sleep(0.01)
        with urllib.request.urlopen(opened[0], timeout=30) as answer:
            opened.append(answer.geturl())
        with urllib.request.urlopen(f"{opened[1]}case-0/truth-0", timeout=30) as answer:
            read.append(gzip.decompress(answer.read()))
        os.kill(os.getpid(), signal.SIGINT)

    looking = threading.Thread(target=look)
    # Who starts the tests in the background has them ignore the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        looking.start()
        with pytest.raises(SystemExit) as done:
            main(["view", str(case.image), str(case.truth)])
    finally:
        signal.signal(signal.SIGINT, before)
    looking.join()
    assert done.value.code == 0
    assert len(read[0]) == np.prod(nib.load(case.image).shape)
    assert capsys.readouterr().out.strip() == opened[1]


def names(region):
    return region


def endpoint(region, metric):
    return f"{region} {metric}"


def view(words, workdir, predictions=()):
    return find_view([*map(str, words)], workdir, None, predictions, endpoint, names)


def test_a_case_a_trial_and_a_working_directory_are_found(viewed_workdir, viewed_results):
    case = view(["case_00001"], viewed_workdir)
    assert [one.name for one in case.cases] == ["case_00001"]
    assert len(case.cases[0].predictions) == 3
    assert view(["00001"], viewed_workdir).cases[0].name == "case_00001"
    trial = viewed_results.trials[0]
    for word in (trial.id, trial.id[:10], trial.folder.path):
        found = view([word], viewed_workdir)
        assert {one.name for one in found.cases} == set(trial.record.context.test_cases)
        assert found.shown.makers == [trial.name]
        assert set(found.cases[0].predictions) == {trial.name}
    assert len(view([viewed_workdir], viewed_workdir).cases) == 4


def test_a_dataset_a_case_folder_and_files_are_found(viewed_workdir, viewed_results, tmp_path):
    dataset = viewed_workdir / "dataset"
    own = viewed_results.trials[0].folder.predictions
    found = view([dataset], tmp_path, [f"mine={own}"])
    assert len(found.cases) == 4
    assert sum("mine" in one.predictions for one in found.cases) == 2
    one = view([dataset / "case_00002"], tmp_path)
    assert [(c.name, c.truth.name) for c in one.cases] == [("case_00002", "segmentation.nii.gz")]
    files = view([dataset / "case_00000" / "imaging.nii.gz", own / "case_00000.nii.gz"], tmp_path)
    assert files.cases[0].name == "case_00000"
    assert list(files.cases[0].predictions) == ["case_00000"]
    assert files.cases[0].truth is None


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["nobody"], "There is no file or folder 'nobody'"),
        (["dataset/case_00000/imaging.nii.gz", "nothing.nii.gz"], "There is no file"),
        (["dataset/case_00000/imaging.nii.gz", "small.nii.gz"], "the prediction has"),
        (["no-scan.nii.gz"], "no-scan.nii.gz"),
    ],
)
def test_what_cannot_be_shown_is_said(viewed_workdir, tmp_path, words, expected):
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4)), tmp_path / "small.nii.gz")
    (tmp_path / "no-scan.nii.gz").write_bytes(b"text")
    paths = [viewed_workdir / w if w.startswith("dataset") else tmp_path / w for w in words]
    paths = words if words == ["nobody"] else paths
    with pytest.raises((UsageError, DataError), match=expected):
        view(paths, tmp_path)


def test_a_case_that_no_experiment_has_is_said(viewed_workdir):
    with pytest.raises(UsageError, match="no file, folder, case or trial 'case_00077'"):
        view(["case_00077"], viewed_workdir)


def test_the_verb_needs_its_extra(monkeypatch, capsys):
    from kitsbench.viewer import library

    monkeypatch.setattr(library, "DISTRIBUTION", "a-distribution-that-nobody-has")
    with pytest.raises(SystemExit) as done:
        main(["view", "anything"])
    assert done.value.code == 2
    assert "pip install 'kitsbench[viewer]'" in capsys.readouterr().err
