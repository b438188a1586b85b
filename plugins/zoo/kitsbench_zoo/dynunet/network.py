"""MONAI's DynUNet, its heads one by one."""

from __future__ import annotations

from collections.abc import Sequence

from monai.networks.nets import DynUNet
from torch import Tensor


class DynUNetNetwork(DynUNet):
    """In training mode the logits of all heads, which MONAI brings to the full size and stacks."""

    def forward(self, x: Tensor) -> Tensor | Sequence[Tensor]:
        """Map (B, 1, z, y, x) to (B, C, z, y, x), or to one of these for each head."""
        found: Tensor = super().forward(x)
        # (B, head, C, z, y, x)
        return found.unbind(1) if self.training and self.deep_supervision else found
