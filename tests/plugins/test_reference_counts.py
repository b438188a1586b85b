"""Parameters and multiply-accumulates of the reference architectures, as published or counted."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from kitsbench import registry
from kitsbench.architecture import KITS19, KITS21, Task, configure

NAMES = [
    "unet3d",
    "residual_unet",
    "scau_unet",
    "attention_vnet",
    "cascade_classifier",
    "boundary_aware",
    "nnunet_plain",
    "nnunet_resenc",
    "smp_unet",
    "smp_unetplusplus",
    "smp_fpn",
    "smp_linknet",
    "smp_manet",
]


@pytest.mark.parametrize(
    ("request_text", "labels", "parameters"),
    [
        ("unet3d", KITS19, 19_073_795),
        ("unet3d", KITS21, 19_073_860),
        ("unet3d:padding=valid", KITS19, 19_073_795),
        ("unet3d:width=0.5", KITS19, 4_770_691),
        ("unet3d:width=0.25", KITS19, 1_193_795),
        ("unet3d:width=0.125", KITS19, 299_011),
        ("residual_unet", KITS21, 4_808_537),
        ("residual_unet", KITS19, 4_807_482),
        ("residual_unet:width=0.5", KITS21, 1_203_985),
        ("residual_unet:width=0.25", KITS21, 302_093),
        ("scau_unet", KITS21, 1_387_459),
        ("scau_unet", KITS19, 1_387_395),
        ("scau_unet:logit_prelu=off", KITS21, 1_387_458),
        ("scau_unet:attention=off", KITS21, 1_384_039),
        ("scau_unet:attention=spatial", KITS21, 1_384_039 + 2 * 686),
        ("scau_unet:attention=channel", KITS21, 1_384_039 + 2_048),
        ("scau_unet:width=0.5", KITS21, 348_307),
        ("scau_unet:width=0.25", KITS21, 88_315),
        ("scau_unet:width=0.25,attention_floor=4", KITS21, 88_315 + 128),
        ("scau_unet:preset=repo", KITS21, 21_493_285),
        ("attention_vnet", KITS19, 29_695_642),
        ("attention_vnet:kernels=auto", KITS19, 29_678_902),
        ("attention_vnet:resolution=low", KITS19, 29_738_842),
        ("attention_vnet:resolution=low,supervision=none", KITS19, 29_736_622),
        ("attention_vnet:resolution=low,supervision=aux", KITS19, 29_738_842),
        ("attention_vnet:resolution=low,gates=off", KITS19, 29_688_080),
        ("attention_vnet:resolution=low,gates=off,supervision=none", KITS19, 29_685_860),
        ("attention_vnet:depth=3", KITS19, 4_979_162),
        ("attention_vnet:size=small", KITS19, 3_187_586),
        ("attention_vnet:size=tiny", KITS19, 1_417_730),
        ("attention_vnet_assembly", KITS19, 29_695_642 + 29_738_842),
        ("attention_vnet_assembly:size=tiny", KITS19, 2 * 1_417_730),
        ("msan_v1", KITS19, 19_246_275),
        ("msan_v1:deep_supervision=on", KITS19, 19_246_275 + 1_158),
        ("msan_v1:width=0.5", KITS19, 4_813_923),
        ("msan_v1:width=0.25", KITS19, 1_204_659),
        ("msan_v1:width=0.125", KITS19, 301_755),
        ("msan_v2", KITS19, 21_101_507),
        ("msan_v2:deep_supervision=on", KITS19, 21_101_507 + 1_158),
        ("msan_v2:deep_supervision=on,width=0.25", KITS19, 1_321_625),
        ("msan_v2:width=0.5", KITS19, 5_278_691),
        ("msan_v2:width=0.25", KITS19, 1_321_331),
        ("msan_v2:width=0.125", KITS19, 331_163),
        (
            "msan_vote",
            KITS19,
            19_073_795 + 2 * (19_246_275 + 21_101_507 + 1_158),
        ),
        ("cascade_classifier", KITS19, 24_946_613),
        ("cascade_classifier", KITS21, 24_946_678),
        ("cascade_classifier:fc=1024x256x128", KITS19, 24_905_525),
        ("cascade_classifier:classifier=off", KITS19, 24_946_613 - 935_153),
        ("cascade_classifier:mask_path=off", KITS19, 24_946_613 - 56_448 - 64 * 64 * 27),
        ("cascade_classifier:mask_fusion=input_channel", KITS19, 24_779_573 + 32 * 27),
        ("nnunet_plain", KITS19, 31_196_399),
        ("nnunet_plain:width=0.5,depth=5", KITS19, 4_139_644),
        ("nnunet_plain:width=0.25,depth=4", KITS19, 351_329),
        ("nnunet_resenc", KITS19, 102_350_575),
        ("nnunet_resenc:width=0.5,depth=5", KITS19, 15_710_364),
        ("nnunet_resenc:width=0.25,depth=4", KITS19, 1_621_681),
        ("smp_unet", KITS19, 72_921_619),
        ("smp_unet:size=small", KITS19, 9_218_283),
        ("smp_unet:size=tiny", KITS19, 2_270_075),
        ("smp_unetplusplus", KITS19, 77_844_755),
        ("smp_unetplusplus:size=tiny", KITS19, 2_629_755),
        ("smp_fpn", KITS19, 68_584_643),
        ("smp_linknet", KITS19, 65_013_731),
        ("smp_manet", KITS19, 94_424_659),
        ("boundary_aware", KITS19, 5_020_359),
        ("boundary_aware:boundary=off", KITS19, 4_424_050),
        ("boundary_aware:levels=5", KITS19, 20_142_664),
        ("boundary_aware:width=2", KITS19, 20_072_839),
        ("boundary_aware:width=0.5", KITS19, 1_256_167),
        ("boundary_aware:width=0.5,boundary=off", KITS19, 1_106_874),
        ("boundary_aware:alpha_channels=all", KITS19, 5_020_359 + 63 * 65 + 31 * 33 + 15 * 17),
        ("boundary_aware:gate_sum=concat", KITS19, 5_020_359 + 64 + 32 + 16),
        ("boundary_aware:edge_loss=off", KITS19, 5_020_359 - 34),
        ("boundary_aware:fuse=prob", KITS19, 5_020_359 - 28),
    ],
)
def test_parameters(request_text, labels, parameters):
    name, settings = registry.parse_request(request_text)
    architecture = registry.load(name).architecture
    task = Task(labels, architecture.paper_patch)
    assert registry.count_parameters(architecture, settings, task) == parameters


@pytest.mark.parametrize(
    ("request_text", "parameters"),
    [
        ("msan_v1", 18_197_699),
        ("msan_v1:deep_supervision=on", 18_197_699 + 1_158),
        ("msan_v2", 20_052_931),
        ("msan_v2:deep_supervision=on", 20_052_931 + 1_158),
    ],
)
def test_parameters_on_the_slabs_of_the_msan_paper(request_text, parameters):
    name, settings = registry.parse_request(request_text)
    task = Task(KITS19, (4, 512, 512))
    assert registry.count_parameters(registry.load(name).architecture, settings, task) == parameters


def test_the_original_3d_unet_is_the_published_one():
    """19 069 955 by Cicek et al.: 3 input channels, no batch norm, no bias of up-convolutions."""
    network = registry.load("unet3d").architecture
    spec = network.spec(configure(network), Task(KITS19))
    parameters = dict(network.build(spec).named_parameters())
    counted = sum(
        p.numel()
        for name, p in parameters.items()
        if p.ndim == 5
        or (
            ".ups." not in name
            and f"{name[: -len('bias')]}weight" in parameters
            and parameters[f"{name[: -len('bias')]}weight"].ndim == 5
        )
    )
    two_more_inputs = 2 * 27 * 32
    assert counted + two_more_inputs == 19_069_955


@pytest.mark.parametrize(
    ("request_text", "labels", "patch", "giga_macs"),
    [
        ("unet3d", KITS19, (96, 96, 96), 824.4),
        ("unet3d:padding=valid", KITS19, (108, 108, 108), 131.0),
        ("residual_unet", KITS21, (64, 160, 160), 10.4),
        ("scau_unet", KITS21, (64, 128, 128), 20.7),
        ("boundary_aware", KITS19, (176, 176, 176), 586.9),
        ("boundary_aware:boundary=off", KITS19, (176, 176, 176), 321.1),
        ("boundary_aware:levels=5", KITS19, (176, 176, 176), 606.5),
        ("nnunet_plain", KITS19, (128, 128, 128), 477.4),
        ("nnunet_resenc", KITS19, (128, 128, 128), 717.5),
        ("msan_v1", KITS19, (96, 96, 96), 825.9),
        ("msan_v1", KITS19, (4, 512, 512), 990.0),
        ("msan_v1:thin_axis=keep", KITS19, (4, 512, 512), 1769.6),
        ("msan_v2", KITS19, (96, 96, 96), 829.1),
        ("msan_v2", KITS19, (4, 512, 512), 997.6),
        ("attention_vnet", KITS19, (48, 160, 160), 488.4),
        ("attention_vnet:resolution=low", KITS19, (80, 128, 128), 402.7),
    ],
)
def test_multiply_accumulates(request_text, labels, patch, giga_macs):
    name, settings = registry.parse_request(request_text)
    architecture = registry.load(name).architecture
    spec = architecture.spec(configure(architecture, settings), Task(labels, patch))
    with torch.device("meta"):
        network, image = architecture.build(spec), torch.empty(1, 1, *patch)
    with FlopCounterMode(display=False) as counter:
        network({"image": image})
    assert counter.get_total_flops() / 2e9 == pytest.approx(giga_macs, abs=0.06)


@pytest.mark.parametrize("name", NAMES)
def test_the_papers_recipe_and_the_card_are_there(name):
    from importlib.resources import files

    architecture = registry.load(name).architecture
    spec = architecture.spec(configure(architecture), registry.paper_task(architecture))
    assert spec.paper is not None
    assert spec.paper.sources
    assert spec.notes == ()
    assert spec.grids[0].shape == (architecture.paper_patch or spec.paper.patch)
    family = type(architecture).__module__.rpartition(".")[0]
    card = (files(family) / "README.md").read_text()
    assert architecture.title in card
    for key in architecture.keys:
        assert f"`{key}`" in card


@pytest.mark.parametrize("name", NAMES)
def test_sizes_grow(name):
    architecture = registry.load(name).architecture
    counts = [
        registry.count_parameters(architecture, {"size": size})
        for size in ("tiny", "small", "paper")
    ]
    assert counts == sorted(counts)
    assert counts[0] < counts[1] < counts[2]
