"""Commands are shown without the folders in which somebody keeps things."""

from __future__ import annotations

import pytest

from kitsbench.text import without_folders


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        (
            "kitsbench run --all --workdir /home/ann/runs/work1 --yes",
            "kitsbench run --all --workdir work1 --yes",
        ),
        ("kitsbench run --dataset=/data/kits19/", "kitsbench run --dataset=kits19"),
        (
            "kitsbench run '/home/ann/my net.py' --split 80:20/5",
            "kitsbench run 'my net.py' --split 80:20/5",
        ),
        ("kitsbench run unet3d --workdir here/work", "kitsbench run unet3d --workdir here/work"),
    ],
)
def test_a_command_names_no_folder_of_whoever_called_it(typed, shown):
    assert without_folders(typed) == shown
