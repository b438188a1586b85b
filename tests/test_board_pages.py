"""Boards of the repository: they pass, their pages are theirs, and a gallery shows them."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from command_line import call_kitsbench

ROOT = Path(__file__).resolve().parents[1]
DOCS, BOARDS = ROOT / "docs", ROOT / "leaderboards"


@pytest.fixture(scope="module")
def board_pages():
    sys.path.insert(0, str(DOCS))
    try:
        import board_pages

        yield board_pages
    finally:
        sys.path.remove(str(DOCS))


@pytest.mark.slow
def test_the_boards_of_the_repository_pass_and_their_pages_are_theirs(tmp_path):
    copy = shutil.copytree(BOARDS, tmp_path / "leaderboards")
    before = {page.name: page.read_bytes() for page in copy.glob("*.md")}
    done = call_kitsbench("leaderboard", "render", copy)  # which checks first
    assert done.code == 0, done.err
    assert {page.name: page.read_bytes() for page in copy.glob("*.md")} == before


def test_names_on_a_board_lead_to_their_cards(board_pages):
    text = (BOARDS / "phantom.md").read_text(encoding="utf-8")
    found = board_pages.linked(text, {"msan_v1": "../cards/msan.md", "unet3d": "../cards/u.md"})
    assert "| [`unet3d`](../cards/u.md) 3D U-Net |" in found
    assert "| [`msan_v1:deep_supervision=on`](../cards/msan.md) MSAN-V1 |" in found
    assert "| `scau_unet` SCAU U-Net |" in found
    plain = re.sub(r"\[(`[^`]+`)\]\(\.\./cards/\w+\.md\)", r"\1", found)
    plain = re.sub(r"^:::(\{div\} board)?\n", "", plain, flags=re.MULTILINE)
    assert plain == text


def test_a_gallery_is_drawn_from_the_scores_of_a_board(board_pages, tmp_path, monkeypatch):
    board = tmp_path / "few"
    board.mkdir()
    names = ("unet3d", "scau_unet", "msan_v1")
    for name in names:
        for ending in (".json", ".scores.csv.gz"):
            shutil.copy(BOARDS / "phantom" / f"{name}{ending}", board)
    shutil.copy(BOARDS / "phantom" / "board.toml", board)
    monkeypatch.setattr(board_pages, "BOARDS", tmp_path)
    (page,) = board_pages.gallery(tmp_path / "out").values()
    files = re.findall(r"```\{figure\} (figures/few-\w+\.svg)", page)
    assert len(files) == 4
    for file in files:
        drawn = (tmp_path / "out" / file).read_text(encoding="utf-8")
        assert drawn.startswith("<svg ")
        assert all(name in drawn for name in names)
        assert "$" not in drawn  # a formula, shown as its text
    # The command on the page gives the same pairs as the figure shows.
    command = re.search(r"\$ kitsbench compare \S+ (.*)\n", page)[1].split()
    tables = sorted(board.glob("*.scores.csv.gz"))
    pairs = call_kitsbench("compare", *tables, *command, "--json").json["pairs"]
    assert len(pairs) == 3
    dice = {
        name: next(
            score["mean"]
            for score in json.loads((board / f"{name}.json").read_text())["scores"]
            if (score["protocol"], score["region"], score["metric"]) == ("kits19", "tumor", "dice")
        )
        for name in names
    }
    for pair in pairs:
        assert pair["difference"] == pytest.approx(dice[pair["a"]] - dice[pair["b"]])
