"""The networks of the distribution kitsbench-zoo: counts, contract, recipes, cards, remedies."""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace
from importlib.resources import files

import pytest
import torch
from command_line import call_kitsbench, run_kitsbench

from kitsbench import conformance, registry
from kitsbench.architecture import KITS19, KITS21, Progress, Task, configure
from kitsbench.conformance.fake_gpu.waits import trace
from kitsbench.registry.weightless import build_weightless
from kitsbench.training.networks.meta import count_cost, count_step
from kitsbench.training.recipes import MATCHED_CPU, MATCHED_GPU

pytest.importorskip("kitsbench_zoo", reason='needs "./plugins/zoo[all]"')

MONAI = [
    "mednext_s",
    "mednext_b",
    "mednext_m",
    "mednext_l",
    "segresnet",
    "segresnet_ds",
    "swin_unetr",
    "swin_unetr_v2",
    "unetr",
    "dynunet",
    "attention_unet",
    "vnet",
    "unetplusplus",
]
OWN = ["stunet", "umamba_base"]
NAMES = [*MONAI, "primus", *OWN]
HEADS_BELOW = 3 * (64 + 128 + 256 + 512) + 4 * 3  # of MedNeXt's coarser levels
# What tells most for its time; the exhaustive test runs all checks.
CORE = {"spec is data", "grids and heads fit", "sizes are admissible", "builds", "targets fit"}


def plugin(name):
    entry = registry.load(name)
    if entry.status == "missing dependency":
        pytest.skip(entry.error)
    return entry.architecture


def test_every_name_is_announced_by_the_distribution():
    found = {e.name for e in registry.discover() if e.distribution == "kitsbench-zoo"}
    assert found == set(NAMES)


@pytest.mark.parametrize(
    ("request_text", "parameters"),
    [
        ("mednext_s:deep_supervision=off", 5_550_947),
        ("mednext_b:deep_supervision=off", 10_510_883),
        ("mednext_m:deep_supervision=off", 17_533_539),
        ("mednext_l:deep_supervision=off", 61_726_787),
        ("mednext_s", 5_550_947 + HEADS_BELOW),
        ("mednext_s:kernel=5", 5_983_471),
        ("mednext_b:kernel=5", 10_943_407),
        ("mednext_m:kernel=5", 18_248_303),
        ("mednext_l:kernel=5", 62_943_311),
        ("segresnet", 18_796_035),
        ("segresnet_ds", 87_164_684),
        ("swin_unetr", 62_186_757),
        ("swin_unetr_v2", 72_762_117),
        ("dynunet:deep_supervision=off", 31_189_443),
        ("dynunet", 31_189_443 + 3 * (64 + 128 + 256) + 9),
        ("attention_unet", 5_909_147),
        ("vnet", 45_601_906),
        ("unetplusplus", 6_980_108),
        ("unetplusplus:deep_supervision=off", 6_980_108 - 3 * (3 * 32 + 3)),
        ("primus:variant=s", 24_838_671),
        ("primus:variant=b", 95_196_659),
        ("primus", 148_830_075),
        ("primus:variant=l", 328_275_459),
        ("stunet", 58_160_975),
        ("umamba_base", 41_445_359),
    ],
)
def test_parameters(request_text, parameters):
    """Of 3 classes; MONAI's as counted there, MedNeXt's and DynUNet's without coarser heads."""
    name, settings = registry.parse_request(request_text)
    architecture = plugin(name)
    task = Task(KITS19, architecture.paper_patch)
    assert registry.count_parameters(architecture, settings, task) == parameters


@pytest.mark.parametrize(("edge", "parameters"), [(96, 92_802_291), (128, 93_029_619)])
def test_parameters_of_unetr_are_those_of_the_monai_that_is_installed(edge, parameters):
    """Before 1.6 each layer has weights of an attention between two inputs, which nothing uses."""
    blocks = pytest.importorskip("monai.networks.blocks")
    layer = blocks.TransformerBlock(12, 12, 1)
    if any(name.startswith("cross_attn") for name, _ in layer.named_parameters()):
        parameters += 12 * (4 * 768**2 + 768)
    task = Task(KITS19, (edge,) * 3)
    assert registry.count_parameters(plugin("unetr"), {}, task) == parameters


@pytest.mark.parametrize("name", NAMES)
def test_the_core_of_the_contract_is_kept(name):
    plugin(name)
    found = [check for check in conformance.checks(name) if check.name in CORE]
    assert len(found) == len(CORE)
    for check in found:
        check()


@pytest.mark.exhaustive
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", NAMES)
def test_the_contract_is_kept(name):
    plugin(name)
    for check in conformance.checks(name, {}, Task(KITS21)):
        check()


@pytest.mark.parametrize("name", ["swin_unetr", "unetr", "primus", "vnet"])
def test_flops_are_counted_whatever_the_constructor_reads(name):
    """Also of Swin UNETR, whose constructor reads numbers that the meta device does not have."""
    costs_are_counted(name)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", NAMES)
def test_flops_of_all_are_counted(name):
    costs_are_counted(name)


def costs_are_counted(name):
    architecture = plugin(name)
    spec = architecture.spec(configure(architecture, {"size": "tiny"}), Task(KITS19, (16, 16, 16)))
    cost = count_cost(architecture, spec)
    assert cost.flops_step > cost.flops_forward > 0
    step = count_step(architecture, spec, spec.stages[0], MATCHED_CPU.batch)
    assert step == MATCHED_CPU.batch * cost.flops_step


@pytest.mark.parametrize("name", NAMES)
def test_the_papers_recipe_and_the_card_are_there(name):
    architecture = plugin(name)
    spec = architecture.spec(configure(architecture), registry.paper_task(architecture))
    assert spec.paper is not None
    assert spec.paper.sources
    assert spec.grids[0].shape == architecture.paper_patch
    assert spec.paper.patch in (None, architecture.paper_patch)
    family = type(architecture).__module__.rpartition(".")[0]
    card = (files(family) / "README.md").read_text(encoding="utf-8")
    assert architecture.title in card
    assert f"`{name}`" in card
    for key in architecture.keys:
        assert f"`{key}`" in card
    count = registry.count_parameters(architecture)
    assert f"{count:,}" in card


@pytest.mark.parametrize("name", NAMES)
def test_sizes_grow(name):
    architecture = plugin(name)
    sizes = [{"size": size} for size in ("tiny", "small", "paper")]
    counts = [registry.count_parameters(architecture, size) for size in sizes]
    assert counts[0] < counts[1] < counts[2]


@pytest.mark.exhaustive
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", NAMES)
def test_no_step_waits_for_a_gpu_and_none_is_refused(name):
    architecture = plugin(name)
    task = Task(KITS21, MATCHED_GPU.patch, MATCHED_GPU.spacing)
    spec = architecture.spec(configure(architecture, {"size": "tiny"}), task)
    found = trace(architecture, spec, batch=MATCHED_GPU.batch, precision=torch.bfloat16)
    assert (found.waits, found.refusals, found.unseen) == ([], [], [])


@pytest.mark.parametrize(
    ("name", "package", "command"),
    [
        *((name, "monai", '"monai>=1.5" einops') for name in ("mednext_s", "unetr", "vnet")),
        ("primus", "dynamic_network_architectures", '"dynamic-network-architectures>=0.4.4"'),
    ],
)
def test_a_missing_package_is_told_with_the_command_that_gets_it(
    name, package, command, monkeypatch
):
    module = type(plugin(name)).__module__
    monkeypatch.setitem(sys.modules, package, None)  # as Python marks what cannot be imported
    monkeypatch.delitem(sys.modules, module)
    entry = registry.load(name)
    assert entry.status == "missing dependency"
    assert f"pip install {command}" in entry.error


def test_loading_imports_no_package_that_only_building_needs():
    before = set(sys.modules)
    for name in NAMES:
        plugin(name)
    new = set(sys.modules) - before
    assert not [m for m in new if m.startswith(("monai", "dynamic_network_architectures", "timm"))]


# --- the networks are those of the packages -----------------------------------------------------


def built(name, patch=None, **settings):
    """The network of a plugin, with random weights, in evaluation mode, and its spec."""
    architecture = plugin(name)
    spec = architecture.spec(configure(architecture, settings), Task(KITS19, patch))
    torch.manual_seed(0)
    return architecture.build(spec).network.eval(), spec


def shapes(network):
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def assert_same(network, reference, patch):
    """The same numbers with the same weights."""
    assert shapes(network) == shapes(reference)
    reference.load_state_dict(network.state_dict())
    image = torch.randn(1, 1, *patch)
    with torch.no_grad():
        torch.testing.assert_close(network(image), reference.eval()(image))


@pytest.mark.parametrize("variant", "sbml")
@pytest.mark.parametrize("kernel", ["3", "5"])
def test_mednext_is_what_monais_factory_makes(variant, kernel):
    nets = pytest.importorskip("monai.networks.nets.mednext")
    architecture = plugin(f"mednext_{variant}")
    spec = architecture.spec(configure(architecture, {"kernel": kernel}), Task(KITS19))
    own = build_weightless(architecture, spec).network
    with torch.device("meta"):
        reference = nets.create_mednext(
            variant, out_channels=3, kernel_size=int(kernel), deep_supervision=True
        )
    assert shapes(own) == shapes(reference)


def test_a_large_kernel_begins_as_a_small_one_enlarged(tmp_path):
    """UpKern: what is constant over a small kernel is so over the large one."""
    small, _ = built("mednext_s", (16, 16, 16), size="tiny")
    state = {n: v.mean((2, 3, 4), keepdim=True).expand_as(v) if v.ndim == 5 else v
             for n, v in small.state_dict().items()}  # fmt: skip
    file = tmp_path / "small.pt"
    torch.save(state, file)
    architecture = plugin("mednext_s")
    config = configure(architecture, {"size": "tiny", "kernel": "5", "weights": str(file)})
    spec = architecture.spec(config, Task(KITS19, (16, 16, 16)))
    network = architecture.build(spec)
    found = architecture.weights(network, {"weights": file}, spec)
    assert shapes(network) == {name: tuple(value.shape) for name, value in found.items()}
    for name, value in state.items():
        mean = value.mean((2, 3, 4)) if value.ndim == 5 else value
        large = found[f"network.{name}"]
        torch.testing.assert_close(large.mean((2, 3, 4)) if value.ndim == 5 else large, mean)
    assert architecture.weights(network, {}, spec) is None


def test_a_narrow_vnet_is_monais_in_all_but_its_width():
    nets = pytest.importorskip("monai.networks.nets")
    own = build_weightless(plugin("vnet"), built_spec("vnet")).network
    with torch.device("meta"):
        assert shapes(own) == shapes(nets.VNet(out_channels=3))
    narrow, _ = built("vnet", (16, 16, 32), width=0.25)
    assert type(narrow).forward is nets.VNet.forward


def built_spec(name, **settings):
    architecture = plugin(name)
    return architecture.spec(
        configure(architecture, settings), Task(KITS19, architecture.paper_patch)
    )


def test_unetr_is_monais_where_monai_has_one():
    nets = pytest.importorskip("monai.networks.nets")
    own, spec = built("unetr", (16, 32, 32), width=0.0625, features=4)
    assert spec.grids[0].shape == (16, 32, 32)
    reference = nets.UNETR(
        1, 3, (16, 32, 32), feature_size=4, hidden_size=48, mlp_dim=192, num_heads=12
    )
    assert_same(own, reference, (16, 32, 32))


@pytest.mark.parametrize(("token", "levels"), [("4", 1), ("8", 2)])
def test_smaller_tokens_of_unetr_leave_levels_out(token, levels):
    own, spec = built("unetr", (16, 16, 16), size="tiny", token=token)
    names = {name.partition(".")[0] for name, _ in own.named_parameters()}
    assert names == {
        "vit",
        "out",
        *(f"encoder{n}" for n in range(1, levels + 2)),
        *(f"decoder{n}" for n in range(2, levels + 3)),
    }
    assert spec.size_rule.multiple == (int(token),) * 3


@pytest.mark.parametrize("name", ["swin_unetr", "swin_unetr_v2"])
def test_tokens_of_one_voxel_spare_swin_unetr_a_halving(name):
    architecture = plugin(name)
    two, one = (
        architecture.spec(configure(architecture, {"token": token}), Task(KITS19, (16, 16, 16)))
        for token in ("2", "1")
    )
    assert two.size_rule.multiple == (32, 32, 32)
    assert one.size_rule.multiple == (16, 16, 16)
    assert (two.size_rule.minimum[2], one.size_rule.minimum[2]) == (64, 32)
    own, spec = built(name, (16, 16, 16), size="tiny")
    assert spec.grids[0].shape == (16, 16, 16)
    with torch.no_grad():
        assert own(torch.randn(1, 1, 16, 16, 16)).shape == (1, 3, 16, 16, 16)


def test_heads_of_dynunet_have_the_full_size_and_are_weighted_by_halves():
    architecture = plugin("dynunet")
    spec = built_spec("dynunet", size="tiny")
    assert {head.shape for head in spec.heads} == {spec.grids[0].shape}
    shape = (1, 3, 4, 4, 4)
    spec = replace(spec, heads=tuple(replace(head, shape=(4, 4, 4)) for head in spec.heads))
    target = torch.zeros(1, 4, 4, 4, dtype=torch.int64)
    logits = {head.name: torch.randn(shape) for head in spec.heads}
    targets = {head.name: target for head in spec.heads}
    total, parts = architecture.loss(logits, targets, Progress(), spec)
    alone = [
        sum(value for name, value in parts.items() if name.startswith(f"{head.name}."))
        for head in spec.heads
    ]
    weights = torch.tensor([0.5**place for place in range(len(alone))])
    expected = (weights / weights.sum() * torch.stack(alone)).sum()
    torch.testing.assert_close(total, expected)


def test_the_last_node_of_unetplusplus_is_the_one_that_predicts():
    own, spec = built("unetplusplus", (16, 16, 32), size="tiny", norm="instance")
    image = torch.randn(1, 1, 16, 16, 32)
    with torch.no_grad():
        alone = own(image)
        several = own.train()(image)
    assert len(several) == len(spec.heads) == 4
    torch.testing.assert_close(several[0], alone)
    single, _ = built("unetplusplus", (16, 16, 32), size="tiny", deep_supervision="off")
    assert {n for n in shapes(own)} - {n for n in shapes(single)} == {
        f"final_conv_0_{node}.{part}" for node in (1, 2, 3) for part in ("weight", "bias")
    }


# --- Primus -------------------------------------------------------------------------------------


def test_positions_of_primus_are_timms():
    pytest.importorskip("dynamic_network_architectures")
    from kitsbench_zoo.primus.network import Positions
    from timm.layers import RotaryEmbeddingCat

    own = Positions(16, (2, 3, 4)).get_embed()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of torch.meshgrid, in old releases
        reference = RotaryEmbeddingCat(
            16, in_pixels=False, feat_shape=[2, 3, 4], ref_feat_shape=[2, 3, 4]
        )
    torch.testing.assert_close(torch.cat(list(own), -1), reference.get_embed())


def test_a_block_of_primus_is_timms():
    """An old release of timm leaves the first token unrotated, so it gets an angle of zero."""
    pytest.importorskip("dynamic_network_architectures")
    from kitsbench_zoo.primus.network import Block, Positions
    from timm.models.eva import EvaBlock

    torch.manual_seed(0)
    own = Block(24, 2, 8 / 3, 0.0, 0.1)
    options = {
        "qkv_fused": False,
        "swiglu_mlp": True,
        "scale_mlp": True,
        "scale_attn_inner": True,
        "norm_layer": torch.nn.LayerNorm,
    }
    reference = EvaBlock(24, 2, mlp_ratio=8 / 3, init_values=0.1, **options)
    assert shapes(own) == shapes(reference)
    for value in own.parameters():
        torch.nn.init.normal_(value, std=0.3)
    reference.load_state_dict(own.state_dict())
    angles = Positions(8, (2, 2, 2)).get_embed()
    first = torch.stack([torch.zeros(1, 12), torch.ones(1, 12)])
    tokens = torch.randn(2, 9, 24)
    with torch.no_grad():
        found = own(tokens, torch.cat([first, angles], 1))
        expected = reference(tokens, rope=torch.cat(list(angles), -1))
    torch.testing.assert_close(found, expected)


def test_primus_is_the_packages_where_its_timm_is_new():
    primus = pytest.importorskip("dynamic_network_architectures.architectures.primus")
    own, _ = built("primus", (16, 16, 16), size="tiny")
    try:
        reference = primus.Primus(
            1,
            own.eva.embed_dim,
            (4, 4, 4),
            3,
            4,
            6,
            (16, 16, 16),
            scale_attn_inner=True,
            init_values=0.1,
        )
    except TypeError as error:
        pytest.skip(f"the package's own does not work with this timm: {error}")
    reference.load_state_dict(own.state_dict(), strict=False)
    assert {n for n in shapes(reference)} - {n for n in shapes(own)} == {"mask_token"}
    image = torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(own(image), reference.eval()(image))


# --- STU-Net and U-Mamba's base -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("variant", "millions"), [("s", 14.60), ("b", 58.26), ("l", 440.30), ("h", 1457.33)]
)
def test_stunet_has_as_many_parameters_as_its_paper_says(variant, millions):
    """Table 1 of Huang et al. 2023, with the 105 classes of TotalSegmentator."""
    labels = tuple((f"label{n}", n) for n in range(1, 105))
    count = registry.count_parameters(
        plugin("stunet"), {"variant": variant}, Task(labels, (128, 128, 128))
    )
    assert round(count / 1e6, 2) == millions


def test_stunet_keeps_its_stages_where_a_patch_is_small():
    architecture = plugin("stunet")
    spec = architecture.spec(configure(architecture, {"width": 0.25}), Task(KITS19, (16, 32, 32)))
    network = architecture.build(spec).network
    assert len(network.down) == 6
    assert spec.size_rule.multiple == (4, 8, 8)
    strides = [head.stride for head in spec.heads]
    assert strides == [(1, 1, 1), (2, 2, 2), (4, 4, 4), (4, 8, 8), (4, 8, 8)]


def test_blocks_of_umamba_base_lie_where_the_authors_put_them():
    network, _ = built("umamba_base", (128, 128, 128), width=0.125)
    assert len(network.stem) == 2
    assert [len(stage) for stage in network.down] == [2, 2, 2, 1, 1, 1]
    assert [len(stage) for stage in network.up] == [1, 1, 2, 2, 2]


# --- the whole way ------------------------------------------------------------------------------


@pytest.mark.exhaustive
def test_a_budget_of_flops_can_be_planned_for_swin_unetr(tmp_path):
    plugin("swin_unetr")
    scans = tmp_path / "scans"
    assert call_kitsbench("data", "phantom", scans, "--cases", "4").code == 0
    planned = run_kitsbench(
        "run", "swin_unetr", "--dataset", scans, "--workdir", tmp_path / "work", "--budget",
        "1e10flops", "--split", "2", "--folds", "0", "--seeds", "1", "--dry-run", "--json",
    )  # fmt: skip
    assert planned.code == 0, planned.err
