"""Attention VNet as a plugin, and the assembly of its two resolutions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from torch import Tensor, nn

from kitsbench import default_hooks, losses
from kitsbench.architecture import (
    WIDTH,
    Architecture,
    Head,
    Key,
    Member,
    Plain,
    Progress,
    Setting,
    Spec,
    Task,
)
from kitsbench_plugins.attention_vnet.network import AttentionVNetNetwork
from kitsbench_plugins.attention_vnet.plan import (
    PLANS,
    POOLS,
    auto_kernels,
    level_channels,
    paper_recipe,
    pooling,
)
from kitsbench_plugins.blocks import pooled_spec

PAPER = "Tureckova et al. 2019, KiTS19 challenge; journal version doi:10.3389/frobt.2020.00106"
SMOOTH = 1e-5

SHARED_KEYS = {
    "width": WIDTH,
    "depth": Key(POOLS, "table 1 of the paper", low=2, high=POOLS, help="most halvings of an axis"),
    "supervision": Key(
        "summed",
        "section 2.3; in the authors' code the deeper heads are there but unused",
        options=("summed", "none", "aux"),
        help="heads of the decoder: added up, finest alone, or each with a loss",
    ),
    "gates": Key(
        "on", "section 2.3", options=("on", "off"), help="attention gates on the two finest skips"
    ),
    "gate_init": Key(
        "open",
        "section 2.4 wants gates that pass at first; he is what the authors' code does",
        options=("open", "he"),
        help="initial weights of the gates: maps at 0.953, or about 0.5",
    ),
    "kernels": Key(
        "iso",
        "CHOICE: the paper mentions no other; auto is the rule of the authors' planner",
        options=("iso", "auto"),
        help="3x3x3 everywhere, or flat where the slices are thick",
    ),
    "batch_dice": Key(
        "off",
        "section 2.4; the authors' code sums over the batch for full",
        options=("off", "on"),
        help="whether the Dice loss takes the batch as one volume",
    ),
    "dropout": Key(
        0.0, "the authors' code", low=0.0, high=0.9, help="probability of the dropout layers"
    ),
    "spacing": Key(
        "table",
        "table 1; rule as section 2.3 says it, with which KiTS19 has other voxels than in table 1",
        options=("table", "rule"),
        help="voxels of the paper's recipe: those of table 1, or by its rule on any dataset",
    ),
    "paper_lr": Key(
        3e-4,
        "history of the authors' code; the paper prints 3e-5",
        options=(3e-4, 3e-5),
        help="learning rate of the paper's recipe",
    ),
}


class AttentionVNet(Architecture):
    """U-shaped network with attention gates and a sum of heads over the decoder's levels."""

    title = "Attention VNet"
    paper = PAPER
    keys: ClassVar = {
        "resolution": Key(
            "full",
            "table 1 of the paper has both",
            options=("full", "low"),
            help="which of the paper's patches and spacings",
        ),
        **SHARED_KEYS,
    }
    sizes: ClassVar = {
        "tiny": {"width": 16 / 30, "depth": 3},
        "small": {"width": 24 / 30, "depth": 3},
    }
    paper_patch = None  # the resolution's

    def spec(self, config: Mapping[str, Setting], task: Task) -> Spec:
        """One softmax head, or one a level; the strides follow the patch."""
        resolution = str(config["resolution"])
        plan = PLANS[resolution]
        pools = pooling(task.patch or plan.patch, resolution, int(config["depth"]))
        recipe = paper_recipe(resolution, config["paper_lr"], by_rule=config["spacing"] == "rule")
        spec = pooled_spec(config, task, pools, paper=recipe)
        if config["kernels"] == "auto":
            spec = replace(spec, spacing=task.spacing or plan.spacing)
        if config["supervision"] == "aux":
            spec = replace(spec, heads=_heads_of_levels(spec.primary, pools.strides))
        return spec

    def build(self, spec: Spec) -> nn.Module:
        """Make the network."""
        strides = pooling(spec.grids[0].shape, spec["resolution"], spec["depth"]).strides
        network = AttentionVNetNetwork(
            level_channels(spec["width"], len(strides) + 1),
            strides,
            spec.classes,
            heads=spec["supervision"],
            gates=spec["gates"] == "on",
            open_gates=spec["gate_init"] == "open",
            kernels=auto_kernels(spec.spacing, strides) if spec.spacing else None,
            dropout=spec["dropout"],
        )
        if spec["supervision"] == "aux":
            return LevelHeads(network, [head.name for head in spec.heads])
        return Plain(network)

    def loss(
        self,
        outputs: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
        progress: Progress,
        spec: Spec,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Dice of the foreground + cross-entropy, a sample or over the batch.

        Equal weights (section 2.4). Heads of several levels are weighted as by default.
        """
        total, parts = 0.0, {}
        for name, weight in default_hooks.head_weights(spec, spec.stages[0]).items():
            if name not in outputs:  # in evaluation mode
                continue
            logits, target = outputs[name], targets[name]
            dice = losses.soft_dice(
                logits.float().softmax(1),
                losses.one_hot(target, logits.shape[1]),
                batch=spec["batch_dice"] == "on",
                foreground_only=True,
                numerator_smooth=SMOOTH,
                denominator_smooth=SMOOTH,
            )
            entropy = losses.cross_entropy(logits, target)
            prefix = "" if len(spec.heads) == 1 else f"{name}."
            parts |= {f"{prefix}dice": dice.detach()}
            parts |= {f"{prefix}cross_entropy": entropy.detach()}
            total = total + weight * (dice + entropy)
        return total, parts  # type: ignore[return-value]


class LevelHeads(nn.Module):
    """Names the logits of the decoder's levels."""

    def __init__(self, network: AttentionVNetNetwork, names: list[str]):
        super().__init__()
        self.network, self.names = network, names

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map {"image": (B, 1, z, y, x)} to {head: logits}; in evaluation mode to the finest."""
        return dict(zip(self.names, self.network(inputs["image"]), strict=False))


class AttentionVNetAssembly(Architecture):
    """Mean of the probabilities of the two resolutions."""

    title = "Attention VNet, assembly of two resolutions"
    paper = PAPER
    keys: ClassVar = SHARED_KEYS
    paper_patch = None

    def spec(self, config: Mapping[str, Setting], task: Task) -> Spec:
        """Members, with the settings that differ from the defaults."""
        given = tuple(
            (k, v) for k, v in config.items() if k != "size" and v != self.keys[k].default
        )
        return Spec(
            config=tuple(config.items()),
            labels=task.labels,
            members=tuple(
                Member("attention_vnet", (("resolution", resolution), *given))
                for resolution in ("low", "full")
            ),
            combine="mean",
            notes=(
                "The members differ by patch and spacing only, and these are the recipe's. Under "
                "`matched` both are one network with one seed, so that their mean is no more than "
                "either; only `--recipe paper` gives each its own resolution.",
            ),
        )


def _heads_of_levels(finest: Head, strides: tuple[tuple[int, int, int], ...]) -> tuple[Head, ...]:
    """A head for each level of the decoder, the finest is the primary one."""
    heads, stride = [finest], (1, 1, 1)
    for level, step in enumerate(strides[:-1], start=1):
        stride = tuple(a * b for a, b in zip(stride, step, strict=True))  # type: ignore[assignment]
        shape = tuple(e // s for e, s in zip(finest.shape, stride, strict=True))
        heads.append(
            replace(finest, name=f"level{level}", shape=shape, stride=stride, role="auxiliary")
        )
    return tuple(heads)
