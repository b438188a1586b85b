"""The script behind the pictures and the table of the page about the phantom still runs."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[3] / "docs"


@pytest.fixture(scope="module")
def gallery():
    path = DOCS / "phantom_gallery.py"
    if not path.is_file():
        pytest.skip("the documentation is not part of this installation")
    spec = importlib.util.spec_from_file_location("phantom_gallery", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_picture_shows_slices_and_outlines(gallery, tmp_path):
    image = pytest.importorskip("PIL.Image")
    gallery.small(tmp_path)
    with image.open(tmp_path / "small.png") as picture:
        width, height = picture.size
        colours = {colour for _, colour in picture.convert("RGB").getcolors()}
    assert width == 800
    assert height > 100
    for name in (1, 2):
        outline = gallery.COLOURS[name]
        assert tuple(int(outline[k : k + 2], 16) for k in (1, 3, 5)) in colours


def test_the_page_shows_every_picture_and_they_are_small():
    page = (DOCS / "phantom.md").read_text()
    pictures = sorted((DOCS / "_static" / "phantom").glob("*.png"))
    assert len(pictures) >= 5
    for picture in pictures:
        assert f"_static/phantom/{picture.name}" in page
    assert sum(p.stat().st_size for p in pictures) < 600_000


def test_the_table_compares_with_what_was_measured(gallery):
    lines = gallery.table("small", 2).splitlines()
    assert lines[0] == "| measure | KiTS | phantom, 2 cases |"
    kidney = next(line for line in lines if line.startswith("| kidney, HU, mean / SD"))
    simulated = kidney.split("|")[3]
    mean, sd = (float(v) for v in simulated.split("/"))
    assert 60 < mean < 200
    assert 40 < sd < 110
    assert len(lines) == 2 + 6 + 3 + 4
