"""The viewer in a real browser: from a folder, inside the report, and from the local server."""

from __future__ import annotations

import io
import itertools
import shutil
import threading
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from reporting.drawn_scans import write_scan
from viewer.conftest import HOSTILE

from kitsbench.scans.label_names import LabelNames
from kitsbench.viewer.cases import ViewedCase
from kitsbench.viewer.library import viewer_library
from kitsbench.viewer.page import Shown
from kitsbench.viewer.server import LocalServer, Site
from kitsbench.viewer.sources import find_view

READY = "document.documentElement.dataset.viewer === 'ready'"
IN_TUMOUR = "#case=case_00001&a=unet3d&plane=axial&w=bone&x=11&y=40&z=69"
NAMES = LabelNames({"kidney": 1, "tumor": 2})
SMALL = {"width": 860, "height": 520}  # drawn in software, so every pixel takes its time


def opened(seen, address, fragment=""):
    page = seen.open(address, fragment)
    seen.until(READY)
    return page


def settled(page):
    for _ in range(2000):
        if page.evaluate("document.documentElement.dataset.drawing === undefined"):
            return
        page.wait_for_timeout(10)
    raise AssertionError("it draws and draws")


def canvas(page, pane="pane-a"):
    """What a pane shows, as (rows, columns, 3)."""
    from PIL import Image

    data = page.locator(f"#{pane} canvas").screenshot()
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def orange(picture):
    """Where the colour of tumours is seen: the column as a share of the picture, and how often."""
    red, green, blue = np.moveaxis(picture, -1, 0)
    found = (red > 150) & (red - blue > 90) & (green > 70) & (green < red - 40)
    columns = np.nonzero(found)[1]
    return (columns.mean() / picture.shape[1], len(columns)) if len(columns) else (0, 0)


def test_it_answers_from_a_folder(viewed_report, browser_page):
    seen = browser_page(**SMALL)
    page = opened(seen, viewed_report.parent / "viewer" / "index.html")
    # The tumour is in the patient's left kidney, which radiologists see on the right.
    page.click("text=Truth, outlined")
    settled(page)
    column, count = orange(canvas(page))
    assert count > 50
    assert column > 0.55
    first = canvas(page)

    slices = page.locator("#slice").get_attribute("max")
    assert page.locator("#slice-told").inner_text().endswith(f" of {slices}")
    page.focus("#pane-a canvas")
    before = int(page.input_value("#slice"))
    page.keyboard.press("ArrowUp")
    assert int(page.input_value("#slice")) == before + 1
    page.hover("#pane-a canvas")
    page.mouse.wheel(0, 400)
    seen.until(f"document.getElementById('slice').value != '{before + 1}'")
    page.locator("#slice").fill("2")
    assert (canvas(page) != first).any()
    assert page.locator("#slice-told").inner_text().startswith("2 of")

    shown = {}
    for plane in ("coronal", "sagittal", "all", "3d", "axial"):
        page.click(f"[data-plane='{plane}']")
        settled(page)
        assert page.get_attribute(f"[data-plane='{plane}']", "aria-pressed") == "true"
        shown[plane] = canvas(page)
        assert np.ptp(shown[plane]) > 60, plane
    assert len({picture.tobytes() for picture in shown.values()}) == 5

    page.goto(page.url.partition("#")[0] + IN_TUMOUR)
    settled(page)
    assert page.locator("#case option:checked").inner_text().startswith("case_00001")
    bone = canvas(page)
    page.click("[data-window='tumour']")
    settled(page)
    assert page.input_value("#high") == "160"
    assert (canvas(page) != bone).any()

    before = canvas(page)
    page.select_option("#a", "msff_net")
    settled(page)
    assert "msff_net" in page.locator("#pane-a figcaption").inner_text()
    assert (canvas(page) != before).any()
    page.select_option("#map", "msff_net\nattention gate")
    settled(page)
    assert (canvas(page) != before).any()
    page.click("text=Errors")
    settled(page)
    assert "missed" in page.locator("#key").inner_text()

    case = page.input_value("#case")
    page.click("#after")
    settled(page)
    assert page.input_value("#case") != case
    assert seen.console == []
    assert seen.asked == []


def test_two_architectures_are_compared(viewed_report, browser_page):
    seen = browser_page(dark=True, **SMALL)
    page = opened(seen, viewed_report.parent / "viewer" / "index.html", "#case=case_00000&a=unet3d")
    page.click("#side")
    settled(page)
    seen.until("document.getElementById('pane-b').offsetWidth > 100")
    assert page.input_value("#b") not in ("", "unet3d")
    a, b = canvas(page), canvas(page, "pane-b")
    assert np.ptp(b) > 60
    assert a.shape == b.shape
    assert (a != b).any()
    page.keyboard.press("s")
    settled(page)
    assert page.is_hidden("#pane-b")
    page.click("#blink")
    captions = set()
    for _ in range(12):
        page.wait_for_timeout(250)
        captions.add(page.locator("#pane-a figcaption").inner_text().partition(":")[0])
    assert {"unet3d", page.input_value("#b").partition(":")[0]} <= captions
    page.click("#blink")
    page.click(f"#here button:has-text('{HOSTILE[:20]}')")
    settled(page)
    assert page.evaluate("window.hacked === undefined")
    assert HOSTILE in page.locator("#pane-a figcaption").inner_text()
    assert seen.console == []


def test_an_address_leads_to_a_voxel_whose_numbers_are_those_of_the_file(
    viewed_report, viewed_workdir, browser_page
):
    seen = browser_page(width=390, height=844)
    image = np.asarray(nib.load(viewed_workdir / "dataset/case_00002/imaging.nii.gz").dataobj)
    truth = np.asarray(nib.load(viewed_workdir / "dataset/case_00002/segmentation.nii.gz").dataobj)
    voxel = [int(value) for value in np.argwhere(truth == 2)[5]]
    words = "&".join(f"{name}={value}" for name, value in zip("xyz", voxel, strict=True))
    page = opened(seen, viewed_report.parent / "viewer" / "index.html", f"#case=case_00002&{words}")
    told = page.locator("#where").inner_text().replace("−", "-")
    assert f"Voxel {voxel} of the file" in told
    assert "truth: tumour" in told
    assert abs(int(told.split(" HU")[0]) - int(image[tuple(voxel)])) <= 1
    seen.until(f"location.hash.includes('x={voxel[0]}')")
    # A phone shows everything without scrolling to the side.
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.keyboard.press("?")
    assert page.locator("#help").get_attribute("open") is not None
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-core")
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert seen.console == []


def test_the_report_opens_it_in_place(viewed_report, browser_page):
    seen = browser_page(**SMALL)
    page = seen.open(viewed_report)
    page.click("text=Open it here")
    frame = page.frame_locator("iframe.viewer")
    frame.locator("html[data-viewer=ready]").wait_for(state="attached", timeout=60_000)
    seen.until("location.hash.startsWith('#case=')")
    link = page.locator("#viewer table a").first
    assert link.get_attribute("href").startswith("viewer/index.html#case=case_")
    # The same words behind the report's own address lead to the same case.
    page.evaluate("location.hash = '#case=case_00002&a=unet3d'")
    frame.locator("#case option:checked", has_text="case_00002").wait_for(state="attached")
    assert frame.locator("#a").input_value() == "unet3d"
    assert seen.console == []
    assert seen.asked == []


def test_whole_scans_come_from_the_local_server(viewed_workdir, browser_page):
    library = viewer_library()
    if library is None:
        pytest.skip("ipyniivue is not installed here (extra viewer)")
    found = find_view(
        ["case_00003"], viewed_workdir, None, (), lambda r, m: f"{r} {m}", lambda region: region
    )
    server = LocalServer(Site(found.shown, found.cases, library))
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        seen = browser_page(**SMALL)
        page = opened(seen, server.address)
        assert page.locator("#slice").get_attribute("max") == "20"  # every slice is there
        page.select_option("#a", "unet3d")
        settled(page)
        assert np.ptp(canvas(page)) > 60
        assert page.locator("#said").inner_text() == ""
        # Whole label maps are large, and what nobody chose is not read; then it is said.
        here = dict(
            zip(
                page.locator("#here tbody th").all_inner_texts(),
                page.locator("#here tbody td:last-child").all_inner_texts(),
                strict=True,
            )
        )
        assert here.pop("unet3d") != "read when chosen"
        assert here["msff_net"] == "read when chosen"
        assert seen.console == []
        assert all(address.startswith(server.address) for address in seen.asked)
    finally:
        server.stop()
        thread.join()


def test_a_case_that_was_half_copied_is_said_to_be_damaged(viewed_report, tmp_path, browser_page):
    folder = tmp_path / "viewer"
    shutil.copytree(viewed_report.parent / "viewer", folder)
    seen = browser_page(**SMALL)
    page = opened(seen, folder / "index.html")
    whole = page.input_value("#case")
    other = "1" if whole == "0" else "0"
    script = folder / f"case-000{other}.js"
    script.write_text(script.read_text()[:2000])
    page.select_option("#case", other)
    settled(page)
    told = page.locator("#status").inner_text()
    assert told == f"This cannot be shown: {script.name} is damaged"
    page.select_option("#case", whole)
    settled(page)
    assert page.locator("#status").inner_text() == ""


def test_letters_of_directions_stand_outside_of_the_body(viewed_report, browser_page):
    seen = browser_page(1300, 620)  # where a canvas is wider than the scan
    page = opened(seen, viewed_report.parent / "viewer" / "index.html", "#case=case_00000")
    for over in ("prediction", "truth"):
        page.click(f"[data-over='{over}']")
        settled(page)
    page.click("[data-window='bone']")  # in which no tissue is bright
    for plane in ("axial", "coronal", "sagittal"):
        page.click(f"[data-plane='{plane}']")
        settled(page)
        picture = canvas(page)
        for row, column in itertools.product((slice(8), slice(-8, None)), repeat=2):
            picture[row, column] = 0  # round corners, with the page behind them
        # Letters are brighter than what lies in the body, and grey, unlike the crosshair.
        letters = (picture.min(-1) > 130) & (np.ptp(picture, axis=-1) < 12)
        rows, columns = np.nonzero(letters)
        assert len(rows) > 4
        body = (picture.min(-1) > 60) & (picture.min(-1) < 120)
        left = np.nonzero(body.any(axis=0))[0].min()
        top = np.nonzero(body.sum(axis=1) > 40)[0].min()
        on_body = (columns > left + 12) & (rows > top + 24)
        assert not on_body.any(), plane


def test_names_of_every_object_a_lost_case_and_a_damaged_file(tmp_path, browser_page):
    library = viewer_library()
    if library is None:
        pytest.skip("ipyniivue is not installed here (extra viewer)")
    makers = ["constructor", "__proto__", "toString"]
    cases = []
    for number, name in enumerate(("__proto__", "whole")):
        folder = tmp_path / name
        write_scan(folder, "kits19", number)
        image, truth = folder / "imaging.nii.gz", folder / "segmentation.nii.gz"
        found = dict.fromkeys(makers[: 2 + number], truth)
        cases.append(ViewedCase(name, image, NAMES, truth, found, scores={"__proto__": 0.5}))
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(cases[1].truth.read_bytes()[:-40])
    cases[1] = replace(cases[1], predictions={**cases[1].predictions, "toString": cut})
    server = LocalServer(Site(Shown("Names", makers, score="Dice"), cases, library))
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        seen = browser_page(**SMALL)
        page = opened(seen, server.address, "#case=gone")
        assert "gone is not among these cases" in page.locator("#status").inner_text()
        scores = page.locator("#here tbody td.n").all_inner_texts()
        assert scores[:2] == ["–", "0.500"]
        assert page.locator("#pane-a figcaption").inner_text() == "constructor"
        page.select_option("#a", "__proto__")
        settled(page)
        assert page.locator("#pane-a figcaption").inner_text() == "__proto__: Dice 0.500"
        page.select_option("#case", label="whole · 0.500")
        page.select_option("#a", "toString")
        settled(page)
        # No picture of another choice stays beside the words.
        assert "This cannot be shown: whole: " in page.locator("#status").inner_text()
        assert not page.locator("#pane-a canvas").is_visible()
        page.click("#link")
        assert page.evaluate("location.hash").startswith("#case=whole&a=toString")
        page.wait_for_timeout(300)  # the address follows a moment after the crosshair
        assert [line for line in seen.console if "500 (Internal Server Error)" not in line] == []
        page.select_option("#a", "constructor")
        settled(page)
        assert page.locator("#status").inner_text() == ""
        assert np.ptp(canvas(page)) > 60
    finally:
        server.stop()
        thread.join()
