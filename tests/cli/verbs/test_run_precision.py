"""``--precision``: refused in a sentence where the device cannot, wherever it was asked for."""

from __future__ import annotations

import pytest
from command_line import call_kitsbench


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "asked.toml"
    file.write_text('precision = "float16"\n')
    return file


def test_a_cpu_has_no_float16(tmp_path, config):
    asked = ("run", "unet3d", "--device", "cpu", "--workdir", tmp_path / "work")
    for more in (("--precision", "float16"), ("--config", config)):
        done = call_kitsbench(*asked, *more)
        assert done.code == 2
        assert "--precision float16 needs a GPU" in done.err
        assert "Traceback" not in done.err
    assert not (tmp_path / "work").exists()


def test_profile_takes_it_too(tmp_path):
    done = call_kitsbench(
        "profile", "unet3d", "--device", "cpu", "--precision", "float16", "--workdir", tmp_path
    )
    assert done.code == 2
    assert "needs a GPU" in done.err
