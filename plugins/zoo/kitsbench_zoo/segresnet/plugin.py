"""SegResNet of MONAI, and SegResNetDS as Auto3DSeg sets it up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from kitsbench_plugins.blocks import scaled
from torch import nn

from kitsbench.architecture import WIDTH, Key, Setting, Spec
from kitsbench_zoo.base import DEEP_SUPERVISION, SINGLE, Zoo, needs_monai
from kitsbench_zoo.segresnet.recipes import AUTO3DSEG, BRATS

needs_monai()

BASE = 32  # channels at full resolution
GROUPS = 8  # of the group norm
BLOCKS = (1, 2, 2, 4)  # of each level down
BLOCKS_DS = (1, 2, 2, 4, 4)
HEADS_DS = 4  # levels of the decoder that have a head


class SegResNet(Zoo):
    """Residual encoder, one block a level on the way up, trilinear upsampling."""

    title = "SegResNet"
    paper = "Myronenko 2018, arXiv:1810.11654"
    keys: ClassVar[Mapping[str, Key]] = {
        "width": WIDTH,
        "dropout": Key(0.2, "Myronenko 2018", low=0, high=0.9, help="after the stem"),
    }
    sizes: ClassVar[Mapping[str, Mapping[str, Setting]]] = {
        "tiny": {"width": 0.25, "dropout": 0.0},
        "small": {"width": 0.5},
    }
    paper_patch = (128, 192, 160)
    recipe = BRATS
    bottom = SINGLE  # groups of channels are normalised, not single ones

    def halvings(self, config: Mapping[str, Setting]) -> int:
        """Three."""
        return len(BLOCKS) - 1

    def network(self, spec: Spec) -> nn.Module:
        """MONAI's network, without the branch that reconstructs the image."""
        from monai.networks import nets

        return nets.SegResNet(
            init_filters=scaled(BASE, spec["width"], GROUPS, GROUPS),
            out_channels=spec.classes,
            dropout_prob=spec["dropout"] or None,
            blocks_down=BLOCKS,
            blocks_up=(1,) * (len(BLOCKS) - 1),
        )


class SegResNetDS(Zoo):
    """Five levels, transposed convolutions, heads at four levels."""

    title = "SegResNetDS"
    paper = "Myronenko et al. 2023, arXiv:2310.04110"
    keys: ClassVar[Mapping[str, Key]] = {
        "width": WIDTH,
        "depth": Key(
            len(BLOCKS_DS) - 1,
            "Auto3DSeg's template, blocks_down",
            low=2,
            high=len(BLOCKS_DS) - 1,
            help="halvings",
        ),
        "deep_supervision": DEEP_SUPERVISION,
    }
    sizes: ClassVar[Mapping[str, Mapping[str, Setting]]] = {
        "tiny": {"width": 0.25, "depth": 3},
        "small": {"width": 0.5},
    }
    paper_patch = (144, 224, 224)
    recipe = AUTO3DSEG

    def halvings(self, config: Mapping[str, Setting]) -> int:
        """Four, or fewer."""
        return int(config["depth"])  # type: ignore[arg-type]

    def strides(self, config: Mapping[str, Setting]) -> Sequence[int]:
        """Every level of the decoder but the bottom, four at most with the finest."""
        if config["deep_supervision"] == "off":
            return []
        return [2**level for level in range(1, min(HEADS_DS, self.halvings(config)))]

    def network(self, spec: Spec) -> nn.Module:
        """MONAI's network."""
        from monai.networks import nets

        return nets.SegResNetDS(
            init_filters=scaled(BASE, spec["width"]),
            out_channels=spec.classes,
            norm="instance",
            blocks_down=BLOCKS_DS[: spec["depth"] + 1],
            dsdepth=len(spec.heads),
        )
