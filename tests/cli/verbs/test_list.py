"""``kitsbench list``."""

from __future__ import annotations

import importlib.metadata
import sys

import pytest
from command_line import call_kitsbench

KEYS = ["name", "title", "paper", "distribution", "version", "status", "error"]


@pytest.fixture(scope="module")
def broken_plugin(tmp_path_factory):
    # One folder for all tests here: what the other plugins answered holds for the same software.
    folder = tmp_path_factory.mktemp("shattered")
    (folder / "shattered_net.py").write_text("raise RuntimeError('in two lines\\nshattered')\n")
    info = folder / "shattered-0.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shattered\nVersion: 0.5\n")
    (info / "entry_points.txt").write_text(
        "[kitsbench.architectures]\nshattered = shattered_net:Net\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield
    sys.modules.pop("shattered_net", None)


def listed(*options):
    done = call_kitsbench("list", "--json", *options)
    assert done.code == 0
    return {row["name"]: row for row in done.json}


def test_plain_listing_says_available(broken_plugin):
    rows = listed()
    assert list(rows["unet3d"])[: len(KEYS)] == KEYS
    assert rows["unet3d"]["status"] == rows["shattered"]["status"] == "available"
    assert rows["shattered"]["distribution"] == "shattered"
    assert rows["shattered"]["version"] == "0.5"


@pytest.fixture
def few_plugins(broken_plugin, monkeypatch):
    """As if of all that are installed there were four: each is loaded in a process of its own."""
    everybody = importlib.metadata.entry_points
    few = {"unet3d", "scau_unet", "residual_unet", "shattered"}
    monkeypatch.setattr(
        importlib.metadata,
        "entry_points",
        lambda **asked: [point for point in everybody(**asked) if point.name in few],
    )
    return few


def test_loading_gives_titles_counts_and_the_reason_of_what_is_broken(few_plugins):
    rows = listed("--load")
    assert set(rows) == few_plugins
    assert rows["unet3d"]["status"] == "ok"
    assert rows["unet3d"]["title"] == "3D U-Net"
    assert rows["unet3d"]["parameters"] == 19_073_795
    assert rows["scau_unet"]["parameters"] == 1_387_459
    assert rows["residual_unet"]["parameters"] == 4_808_537
    assert rows["shattered"]["status"] == "broken"
    assert rows["shattered"]["error"] == "shattered"


@pytest.mark.exhaustive
def test_the_table_has_a_row_for_each(broken_plugin):
    done = call_kitsbench("list", "--load")
    assert done.code == 0
    lines = {line.split()[0]: line for line in done.out.splitlines()}
    assert "19,073,795" in lines["unet3d"]
    assert "broken" in lines["shattered"]
    assert "Traceback" not in done.out + done.err
