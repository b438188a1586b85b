"""Configuration keys of the MSAN family."""

from __future__ import annotations

from kitsbench.architecture import WIDTH, Key
from kitsbench_plugins.blocks import BN_MOMENTUM
from kitsbench_plugins.slab_pooling import THIN_AXIS

SILENT = "CHOICE: the paper is silent"

KEEP_COMPONENTS = Key(
    2,
    "CHOICE: section 3.1 keeps a maximal component; literally one, which loses a kidney",
    low=0,
    high=100,
    help="largest components of the foreground that are kept; 0 keeps all",
)

V1 = {
    "width": WIDTH,
    "depth": Key(4, "the 3D U-Net's", low=3, high=4, help="resolution levels"),
    "deep_supervision": Key(
        "off",
        "table 1 lists it as a variant",
        options=("off", "on"),
        help="auxiliary heads after the last two max-pools",
    ),
    "msa_source": Key(
        "fine", SILENT, options=("fine", "sum"), help="what the attention multiplies"
    ),
    "msa_span": Key(
        "next", SILENT, options=("next", "all"), help="coarser levels that a skip sees"
    ),
    "ds_up": Key(
        "trilinear",
        "CHOICE; deconv is that of Dou et al. 2016",
        options=("trilinear", "deconv"),
        help="how auxiliary logits become as large as the input",
    ),
    "ds_weight_shallow": Key(
        0.3,
        "Dou et al. 2016; the paper is silent",
        low=0.0,
        high=10.0,
        help="weight of the head after the last but one max-pool, at first",
    ),
    "ds_weight_deep": Key(
        0.4,
        "Dou et al. 2016; the paper is silent",
        low=0.0,
        high=10.0,
        help="weight of the head after the last max-pool, at first",
    ),
    "ds_decay": Key(
        0.95,
        "Dou et al. 2016, there every 10 epochs",
        low=0.0,
        high=1.0,
        help="factor of the weights at each decay",
    ),
    "ds_decay_count": Key(
        40, "CHOICE: a step of 1/40 of the budget", low=0, high=10_000, help="decays in a training"
    ),
    "dice_background": Key(
        "off", SILENT, options=("off", "on"), help="whether the background counts in the Dice loss"
    ),
    "bn_momentum": BN_MOMENTUM,
    "thin_axis": THIN_AXIS,
    "fg_prob": Key(
        0.0,
        SILENT,
        low=0.0,
        high=1.0,
        help="share of foreground patches in the paper's recipe; 0 is uniform sampling",
    ),
    "keep_components": KEEP_COMPONENTS,
}

V2 = {
    **V1,
    "res2_merge": Key(
        "add",
        SILENT,
        options=("add", "concat"),
        help="how the Res2Net block joins the bottom; concat has a linear 1x1x1 convolution after",
    ),
    "res2_scale": Key(
        4, "Res2Net's default; the paper is silent", options=(2, 4, 8), help="groups of channels"
    ),
}
