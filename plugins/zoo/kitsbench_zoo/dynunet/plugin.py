"""DynUNet of MONAI, shaped as its tutorial does for the Medical Segmentation Decathlon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from kitsbench_plugins.blocks import scaled
from torch import Tensor, nn

from kitsbench.architecture import WIDTH, Key, Progress, Setting, Spec
from kitsbench.default_hooks import head_losses
from kitsbench_zoo.base import DEEP_SUPERVISION, Zoo, needs_monai
from kitsbench_zoo.recipes import nnunet_with

needs_monai()

FILTERS = (32, 64, 128, 256, 320, 320)
HEADS = 3  # beside the full one, at most


class DynUNet(Zoo):
    """Strided convolutions, instance norm, leaky ReLU; coarse heads are enlarged to full size."""

    title = "DynUNet"
    paper = "Isensee et al. 2021, doi:10.1038/s41592-020-01008-z"
    keys: ClassVar[Mapping[str, Key]] = {
        "width": WIDTH,
        "depth": Key(
            len(FILTERS) - 1, "nnU-Net's plan for 128 voxels", low=2, high=5, help="halvings"
        ),
        "deep_supervision": DEEP_SUPERVISION,
    }
    sizes: ClassVar[Mapping[str, Mapping[str, Setting]]] = {
        "tiny": {"width": 0.375, "depth": 3},
        "small": {"width": 0.5},
    }
    paper_patch = (128, 128, 128)
    recipe = nnunet_with("MONAI's tutorial on this network, which follows nnU-Net")

    def halvings(self, config: Mapping[str, Setting]) -> int:
        """Five, or fewer."""
        return int(config["depth"])  # type: ignore[arg-type]

    def strides(self, config: Mapping[str, Setting]) -> Sequence[int]:
        """All heads have the full size."""
        if config["deep_supervision"] == "off":
            return []
        return [1] * min(HEADS, self.halvings(config) - 1)

    def network(self, spec: Spec) -> nn.Module:
        """MONAI's network."""
        from kitsbench_zoo.dynunet.network import DynUNetNetwork

        steps = (1, *(2,) * spec["depth"])
        return DynUNetNetwork(
            3,
            in_channels=1,
            out_channels=spec.classes,
            kernel_size=[3] * len(steps),
            strides=steps,
            upsample_kernel_size=steps[1:],
            filters=[scaled(count, spec["width"]) for count in FILTERS[: len(steps)]],
            deep_supervision=len(spec.heads) > 1,
            deep_supr_num=max(1, len(spec.heads) - 1),
        )

    def loss(
        self,
        outputs: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
        progress: Progress,
        spec: Spec,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Dice + cross-entropy of each head against the labels at full size, weighted by halves."""
        weights = [0.5**place for place in range(len(spec.heads))]
        total: Any = 0.0
        parts: dict[str, Tensor] = {}
        for head, weight in zip(spec.heads, weights, strict=True):
            for name, value in head_losses(outputs[head.name], targets[head.name], head).items():
                total = total + weight / sum(weights) * value
                parts[name if len(weights) == 1 else f"{head.name}.{name}"] = value.detach()
        return total, parts
