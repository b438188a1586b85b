"""BasicUNetPlusPlus of MONAI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from kitsbench_plugins.blocks import scaled
from torch import nn

from kitsbench.architecture import WIDTH, Key, Setting, Spec
from kitsbench_zoo.base import DEEP_SUPERVISION, NORM, Zoo, needs_monai
from kitsbench_zoo.recipes import nnunet_with

needs_monai()

FEATURES = (32, 32, 64, 128, 256, 32)  # of the five levels, and of the last step up


class UNetPlusPlus(Zoo):
    """Four halvings; every level's features reach every finer one, and four nodes have heads."""

    title = "U-Net++ (MONAI)"
    paper = "Zhou et al. 2018, arXiv:1807.10165"
    keys: ClassVar[Mapping[str, Key]] = {
        "width": WIDTH,
        "norm": NORM,
        "deep_supervision": DEEP_SUPERVISION,
    }
    sizes: ClassVar[Mapping[str, Mapping[str, Setting]]] = {
        "tiny": {"width": 0.25, "norm": "group"},
        "small": {"width": 0.5},
    }
    paper_patch = (96, 96, 96)
    recipe = nnunet_with("CHOICE: the paper's is for images of two dimensions")

    def halvings(self, config: Mapping[str, Setting]) -> int:
        """Four."""
        return 4

    def strides(self, config: Mapping[str, Setting]) -> Sequence[int]:
        """Heads of the three nested nodes at full resolution, which count as much as the last."""
        return [1, 1, 1] if config["deep_supervision"] == "on" else []

    def network(self, spec: Spec) -> nn.Module:
        """MONAI's network; without deep supervision it has no heads that never learn."""
        from kitsbench_zoo.unetplusplus.network import UNetPlusPlusNetwork

        features = [scaled(count, spec["width"]) for count in FEATURES]
        deep = len(spec.heads) > 1
        return UNetPlusPlusNetwork(spec.classes, features, norm=spec["norm"], deep=deep)
