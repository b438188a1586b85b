"""An architecture whose paper prepared its scans in every way that a recipe has a word for."""

from __future__ import annotations

from architectures import Smallest
from kitsbench.architecture import SizeRule, softmax_spec
from kitsbench.recipe import OwnVoxels, Preparation, Recipe, Sampling


class Prepared(Smallest):
    """Cut and resampled scans, each with twice its own voxels."""

    title = "Prepared"

    def spec(self, config, task):
        recipe = Recipe(
            "prepared",
            spacing=OwnVoxels((1.0, 2.0, 1.0)),
            patch=(8, 8, 8),
            batch=1,
            preparation=Preparation("cubic", "linear", crop_above=-500.0),
            sampling=Sampling(
                "mixture",
                weights=(("foreground", 0.5), ("background", 0.5)),
                background_above=-500.0,
                inside=True,
            ),
        )
        return softmax_spec(config, task, SizeRule(), (8, 8, 8), paper=recipe)
