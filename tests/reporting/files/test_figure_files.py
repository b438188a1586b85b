"""Figures beside the page, for papers: SVG, PNG and PDF of the same data."""

from __future__ import annotations

import io
import re
import zlib

import pytest
from matplotlib.figure import Figure
from PIL import Image

from kitsbench.reporting.build import write_report
from kitsbench.reporting.drawing.figures import KINDS, picture, style


def test_every_figure_is_there_in_every_kind(report):
    files = {file.name for file in (report / "figures").iterdir()}
    names = {name.rpartition(".")[0] for name in files}
    assert {"ranking", "forest", "matrix", "cases", "budget", "learning"} < names
    assert any(name.startswith("overlay-") for name in names)
    assert files == {f"{name}.{kind}" for name in names for kind in KINDS}


def test_each_kind_is_what_its_ending_says(report):
    for file in (report / "figures").iterdir():
        head = file.read_bytes()[:400]
        start = {".svg": b"<", ".png": b"\x89PNG", ".pdf": b"%PDF"}[file.suffix]
        assert head.startswith(start), file
        if file.suffix == ".png":
            with Image.open(file) as image:
                assert min(image.size) > 100
                assert image.info.keys().isdisjoint({"Software", "Creation Time"})


def drawn(text):
    with style():
        figure = Figure(figsize=(2, 1))
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1])
        axes.set_title(text)
    return picture(figure, "one", "Title", "Caption")


def test_text_of_a_pdf_is_text_in_fonts_that_publishers_take():
    content = drawn("Kidney $x_1$").files()["pdf"]
    streams = re.findall(rb"stream\r?\n(.*?)endstream", content, re.DOTALL)
    drawing = b"".join(zlib.decompress(one) for one in streams if one[:1] == b"x")
    shown = b"".join(re.findall(rb"\(((?:\\.|[^()\\])*)\)", drawing))  # in pieces, for kerning
    assert b"Kidney $x_1$" in shown.replace(b"\0", b"")  # a letter may take two bytes
    assert b"/Type3" not in content
    assert b"/CreationDate" not in content


def test_figures_of_a_paper_are_dark_on_white():
    image = Image.open(io.BytesIO(drawn("A").files()["png"])).convert("RGB")
    assert image.getpixel((0, 0)) == (255, 255, 255)
    assert min(min(pixel) for _, pixel in image.getcolors(1 << 20)) < 0x30


@pytest.mark.parametrize("kind", KINDS)
def test_equal_figures_are_equal_files(kind):
    assert drawn("A").files()[kind] == drawn("A").files()[kind]


def test_a_report_that_is_written_again_is_the_same_byte_for_byte(report, analysis):
    (report / "tab-scores-gone.tex").write_text("of an older report")
    (report / "notes.txt").write_text("mine")
    before = {file: file.read_bytes() for file in report.rglob("*") if file.is_file()}
    write_report(analysis, report)
    after = {file: file.read_bytes() for file in report.rglob("*") if file.is_file()}
    assert before.keys() - after.keys() == {report / "tab-scores-gone.tex"}
    assert [file.name for file in after if before[file] != after[file]] == []
    names = re.findall(r"\\input\{(.*?)\}", (report / "tables.tex").read_text())
    assert {f"{name}.tex" for name in names} == {file.name for file in report.glob("tab-*.tex")}
