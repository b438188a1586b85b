"""MONAI's U-Net++, its last node first."""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks.nets import BasicUNetPlusPlus
from torch import Tensor, nn

from kitsbench_zoo.base import GROUP


class UNetPlusPlusNetwork(BasicUNetPlusPlus):
    """Logits of the last node, in training mode with those of the nodes before it.

    Parameters
    ----------
    classes : int
    features : sequence of int
        Of the five levels, and of the last step up.
    norm : str
        Normalisation.
    deep : bool
        Keep the heads of the nodes before the last.
    """

    def __init__(self, classes: int, features: Sequence[int], *, norm: str, deep: bool):
        given = GROUP if norm == "group" else (norm, {"affine": True})
        super().__init__(3, 1, classes, features, deep_supervision=deep, norm=given)
        if not deep:
            for node in (1, 2, 3):  # the package asks for their logits and throws them away
                self.add_module(f"final_conv_0_{node}", nn.Identity())

    def forward(self, x: Tensor) -> Tensor | Sequence[Tensor]:
        """Map (B, 1, z, y, x) to (B, C, z, y, x), or to one of these for each node."""
        found: list[Tensor] = super().forward(x)
        return found[::-1] if self.training and self.deep_supervision else found[-1]
