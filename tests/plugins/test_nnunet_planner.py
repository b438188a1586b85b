"""nnU-Net's own planner finds the patches of the presets."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from kitsbench_plugins.nnunet.plugin import BATCH, PRESETS

from kitsbench.data.datasets.voxels import nnunet_spacing

planners = pytest.importorskip(
    "nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners"
)
# Of the scans of KiTS19 and KiTS23.
FOUND = {
    "kits23": PRESETS,
    "kits19": {"M": (128, 128, 128), "L": (192, 192, 192), "XL": (256, 224, 224)},
}
# Their constructors want a dataset on disk; what else they set, for three dimensions.
COMMON = {
    "UNet_base_num_features": 32,
    "UNet_reference_val_corresp_bs_3d": 2,
    "UNet_featuremap_min_edge_length": 4,
    "UNet_blocks_per_stage_encoder": (1, 3, 4, *(6,) * 10),
    "UNet_blocks_per_stage_decoder": (1,) * 12,
    "UNet_min_batch_size": 2,
    "UNet_max_features_3d": 320,
    "UNet_reference_val_2d": 1,
    "max_dataset_covered": 1,
    "preprocessor_name": "DefaultPreprocessor",
}
MEMORY = {"M": (8, 680_000_000), "L": (24, 2_100_000_000), "XL": (40, 3_600_000_000)}


@pytest.mark.exhaustive
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("dataset", FOUND)
def test_the_planner_finds_the_patch(dataset, preset, shared):
    with open(shared / "data" / "statistics" / f"{dataset}_mask_stats.csv") as file:
        rows = list(csv.DictReader(file))
    spacings = [tuple(float(row[key]) for key in ("sz", "sy", "sx")) for row in rows]
    shapes = [tuple(int(row[key]) for key in ("nz", "ny", "nx")) for row in rows]
    spacing = np.array(nnunet_spacing(spacings, shapes))
    resampled = np.round(np.array(spacings) / spacing * np.array(shapes))
    kind = getattr(planners, f"nnUNetPlannerResEnc{preset}")
    planner, (memory, reference) = object.__new__(kind), MEMORY[preset]
    own = {"UNet_vram_target_GB": memory, "UNet_reference_val_corresp_GB": memory}
    own |= {"UNet_reference_val_3d": reference, "UNet_class": planners.ResidualEncoderUNet}
    for name, value in {**COMMON, **own}.items():
        setattr(planner, name, value)
    labels = {"background": 0, "kidney": 1, "masses": 2, "tumor": 3}
    planner.dataset_json = {"channel_names": {"0": "CT"}, "labels": labels}
    planner.dataset_fingerprint = {"median_relative_size_after_cropping": 1.0}
    voxels = float(np.prod(np.median(resampled, 0)) * len(rows))
    plan = planner.get_plans_for_configuration(spacing, np.median(resampled, 0), "", voxels, {})
    assert tuple(int(edge) for edge in plan["patch_size"]) == FOUND[dataset][preset]
    assert plan["batch_size"] == BATCH
