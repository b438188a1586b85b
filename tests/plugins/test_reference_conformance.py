"""The reference architectures keep the contract, by the same checks as everybody else's."""

from __future__ import annotations

import pytest

from kitsbench import conformance
from kitsbench.architecture import KITS21, Task

# These depend on the architecture more than on its settings, and take longest.
ONCE = {"ends of keys work", "other labels work", "configurations build", "ready for a gpu"}
# These do what every trial does, with the code of the networks of a family.
ROAD = {"takes every patch", "trains as run does", "predicts as run does"}
# Each network learns once here, and with all of its settings where there is time for it.
LEARNS = "learns one volume"
FAMILIES = (
    "unet3d",
    "residual_unet",
    "scau_unet",
    "nnunet_plain",
    "smp_unet",
    "attention_vnet",
    "msan_v2",
    "cascade_classifier",
    "boundary_aware",
)
CASES = [
    ("unet3d", {}),
    ("unet3d", {"padding": "valid", "size": "tiny"}),
    ("residual_unet", {}),
    ("scau_unet", {}),
    ("scau_unet", {"size": "tiny", "attention": "off", "logit_prelu": "off"}),
    ("scau_unet", {"preset": "repo", "attention": "spatial", "dice_background": "off"}),
    ("scau_unet", {"attention": "channel", "attention_floor": 4, "depth": 2}),
    ("nnunet_plain", {}),
    ("nnunet_plain", {"deep_supervision": "off", "depth": 2}),
    ("nnunet_resenc", {"block_cap": 3}),
    # Each decoder once; test_smp.py tries the other encoders.
    ("smp_unet", {}),
    ("smp_unetplusplus", {}),
    ("smp_fpn", {"encoder": "efficientnet-b0"}),
    ("smp_linknet", {"encoder": "densenet121"}),
    ("smp_manet", {"encoder": "efficientnet-b0", "bn_momentum": 0.1}),
    ("attention_vnet", {}),
    ("attention_vnet", {"size": "tiny", "supervision": "aux", "kernels": "auto", "dropout": 0.1}),
    ("attention_vnet", {"size": "tiny", "supervision": "none", "gates": "off", "batch_dice": "on"}),
    ("attention_vnet_assembly", {}),
    ("msan_v1", {}),
    ("msan_v1", {"deep_supervision": "on", "ds_up": "deconv", "msa_source": "sum"}),
    ("msan_v2", {"deep_supervision": "on", "res2_merge": "concat", "msa_span": "all"}),
    ("msan_vote", {}),
    ("cascade_classifier", {}),
    (
        "cascade_classifier",
        {
            "classifier": "off",
            "norm": "instance",
            "mask_path": "off",
            "lo_trainable_tail": "stages",
        },
    ),
    (
        "cascade_classifier",
        {
            "staging": "off",
            "volume_scale": "sum",
            "class_weights": "none",
            "mask_fusion": "input_channel",
            "postprocess": "off",
            "grid_ratio": 4,
        },
    ),
    ("boundary_aware", {}),
    ("boundary_aware", {"boundary": "off", "dice_num_smooth": 1.0}),
    ("boundary_aware", {"edge_loss": "off", "fuse": "prob", "gate_sum": "concat", "dropout": 0.1}),
    (
        "boundary_aware",
        {
            "gate_kernel": 1,
            "alpha_channels": "all",
            "gate_residual": "on",
            "gate_block": "none",
            "edge_target": "inner",
            "edge_bce": "sum",
            "nest_regions": "on",
        },
    ),
]


def checks_of_all():
    """Each check of each case; some of them with the first settings of an architecture only."""
    seen = set()
    for name, settings in CASES:
        for check in conformance.checks(name, settings, Task(KITS21)):
            again = name in seen
            if again and check.name in ONCE | ROAD:
                continue
            if check.name not in ROAD or name in FAMILIES:
                marks = [pytest.mark.exhaustive] if again and check.name == LEARNS else []
                yield pytest.param(check, id=f"{name}{settings or ''}-{check}", marks=marks)
        seen.add(name)


@pytest.mark.parametrize("check", checks_of_all())
def test_the_contract_is_kept(check):
    check()
