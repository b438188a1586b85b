"""Folders of label maps as entrants."""

from __future__ import annotations

from pathlib import Path

import pytest

from kitsbench.errors import UsageError
from kitsbench.experiments.asked.predictions import Predictions
from kitsbench.experiments.asked.request import Request
from kitsbench.experiments.plan.entrants import read_names


@pytest.mark.parametrize(
    ("architectures", "words"),
    [
        (("unet3d",), "that takes part"),
        (("residual_unet",), "which is an installed architecture"),
        ((), "which is an installed architecture"),
    ],
)
def test_label_maps_are_not_called_as_an_architecture_is(architectures, words):
    request = Request(
        Path("work"), architectures, predictions=(Predictions("unet3d", Path("maps")),)
    )
    with pytest.raises(UsageError, match=f"calls a folder 'unet3d', .*{words}"):
        read_names(request)
