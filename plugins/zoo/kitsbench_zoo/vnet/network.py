"""MONAI's V-Net with another number of channels."""

from __future__ import annotations

from monai.networks.nets import VNet
from monai.networks.nets.vnet import (
    DownTransition,
    InputTransition,
    OutputTransition,
    UpTransition,
)
from torch import nn

ELU = ("elu", {"inplace": True})


class VNetNetwork(VNet):
    """At 16 channels and a dropout of 0.5 MONAI's own network, which knows no other number.

    Parameters
    ----------
    classes : int
    base : int
        Channels at full resolution.
    dropout : float
        In the two lowest levels, and of all skips.
    """

    def __init__(self, classes: int, base: int, dropout: float):
        nn.Module.__init__(self)  # the other's would make the layers for 16
        down = {"act": ELU, "dropout_prob": dropout}
        up = {"act": ELU, "dropout_prob": (dropout, dropout)}
        skips = {"act": ELU, "dropout_prob": (None, dropout)}
        self.in_tr = InputTransition(3, 1, base, ELU)
        self.down_tr32 = DownTransition(3, base, 1, ELU)
        self.down_tr64 = DownTransition(3, 2 * base, 2, ELU)
        self.down_tr128 = DownTransition(3, 4 * base, 3, **down)
        self.down_tr256 = DownTransition(3, 8 * base, 2, **down)
        self.up_tr256 = UpTransition(3, 16 * base, 16 * base, 2, **up)
        self.up_tr128 = UpTransition(3, 16 * base, 8 * base, 2, **up)
        self.up_tr64 = UpTransition(3, 8 * base, 4 * base, 1, **skips)
        self.up_tr32 = UpTransition(3, 4 * base, 2 * base, 1, **skips)
        self.out_tr = OutputTransition(3, 2 * base, classes, ELU)
