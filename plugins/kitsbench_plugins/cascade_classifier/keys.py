"""Configuration keys of the single cascade network: switches, and what its paper leaves open."""

from __future__ import annotations

from kitsbench.architecture import WIDTH, Key
from kitsbench_plugins.blocks import BN_MOMENTUM

# Which parameters of the low-resolution net train in the second stage.
TAILS = {
    "blocks": ("low.decoders.{last}.*", "low.head.*"),
    "stages": ("low.ups.*", "low.decoders.*", "low.head.*"),
    "all": ("low.*",),
}
ON_OFF = ("on", "off")

KEYS = {
    "width": WIDTH,
    "depth": Key(
        4,
        "derived: only three halvings turn 108 voxels into 20 (section 2.3.3)",
        options=(2, 3, 4),
        help="resolution levels of both nets",
    ),
    "classifier": Key("on", "section 2.3.2", options=ON_OFF, help="the classification task"),
    "staging": Key("on", "section 3", options=ON_OFF, help="the low-resolution net trains first"),
    "mask_path": Key(
        "on",
        "section 2.3.1",
        options=ON_OFF,
        help="the masked image enters the high-resolution net",
    ),
    "mask_fusion": Key(
        "skip0",
        "section 2.3.1, a branch that passes through the skip; its 32 and 64 filters are CHOICE",
        options=("skip0", "input_channel"),
        help="how it enters: as a branch into the finest skip, or as a second input channel",
    ),
    "fc": Key(
        (1024, 256, 256),
        "section 2.3.2; its 129 neurons would rather fit 1024x256x128",
        help="fully connected layers before the volume joins",
    ),
    "volume_scale": Key(
        "mean",
        "CHOICE; the paper sums, which sets values up to 8000 beside others of about one",
        options=("mean", "sum"),
        help="predicted tumour volume as a share of the output or in voxels",
    ),
    "top_k": Key(
        0.7, "section 2.3.4", low=0.01, high=1.0, help="share of the largest voxel losses kept"
    ),
    "class_weights": Key(
        "inverse",
        "CHOICE; the paper does not give its weights",
        options=("inverse", "none"),
        help="cross-entropy weights: inverse frequency in the batch, 1 to 20, mean 1",
    ),
    "lo_trainable_tail": Key(
        "blocks",
        "section 3, the last three blocks; that a block is a convolution is CHOICE",
        options=tuple(TAILS),
        help="what of the low-resolution net trains in the second stage: its last three "
        "convolutions, its decoder, or all",
    ),
    "stage_share": Key(
        0.3,
        "CHOICE; the paper trains until the Dice is reached",
        low=0.01,
        high=0.99,
        help="largest share of the budget for the first stage",
    ),
    "stage_dice": Key(
        0.9,
        "section 3; there on validation cases, here a moving average over batches",
        low=0.0,
        high=1.0,
        help="Dice of the low-resolution net that ends the first stage",
    ),
    "grid_ratio": Key(
        4,
        "section 2.2; 2 where the volumes are small",
        options=(2, 4),
        help="voxel size of the coarse grid relative to the fine one",
    ),
    "least_output": Key(
        1,
        "CHOICE; 12 at size=tiny, where a patch of 16 voxels would leave an output of 6",
        low=1,
        high=128,
        help="smallest edge of the output in voxels; a smaller patch grows",
    ),
    "norm": Key(
        "batch",
        "Cicek et al. 2016, which the paper builds on",
        options=("batch", "instance"),
        help="normalisation after each convolution of the two nets",
    ),
    "bn_momentum": BN_MOMENTUM,
    "postprocess": Key(
        "on", "section 2.5", options=ON_OFF, help="largest kidneys, touching tumours, mask"
    ),
    "tumor_label": Key("tumor", "section 2.3.2", help="label that the classifier looks for"),
    "kidney_label": Key(
        "kidney",
        "section 2.5",
        help="label of which the post-processing keeps one part on each side; masses touch it",
    ),
    "dilation_mm": Key(
        10.0,
        "section 2.5: 10 iterations at 1 mm",
        low=0.0,
        high=100.0,
        help="how far beyond the low-resolution mask labels are kept",
    ),
}
