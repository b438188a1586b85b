"""A 2.5D U-Net: each slice with its neighbours as channels of a 2D network."""

import torch.nn.functional as F
from kitsbench.architecture import WIDTH, Architecture, Key, Plain, SizeRule, softmax_spec
from monai.networks import nets
from torch import nn


class BySlab(nn.Module):
    """Lets a 2D network of several channels serve a volume, slice by slice."""

    def __init__(self, network, neighbours):
        super().__init__()
        self.network, self.neighbours = network, neighbours

    def forward(self, volume):
        reach = self.neighbours
        padded = F.pad(volume[:, 0], (0, 0, 0, 0, reach, reach), mode="replicate")
        slabs = padded.unfold(1, 2 * reach + 1, 1)  # (B, z, y, x, slices)
        logits = self.network(slabs.permute(0, 1, 4, 2, 3).flatten(0, 1))
        return logits.unflatten(0, (len(volume), -1)).transpose(1, 2)


class SlabUNet(Architecture):
    """MONAI's basic U-Net in 2D over slabs of three slices or more."""

    title = "2.5D U-Net"
    keys = {
        "width": WIDTH,
        "neighbours": Key(1, low=0, high=5, help="slices on each side of the one that is decided"),
    }
    sizes = {"tiny": {"width": 0.125}, "small": {"width": 0.5}}
    paper_patch = (8, 256, 256)

    def spec(self, config, task):
        rule = SizeRule(multiple=(1, 16, 16), minimum=(1, 32, 32))
        return softmax_spec(config, task, rule, self.paper_patch)

    def build(self, spec):
        features = [max(2, round(f * spec["width"])) for f in (32, 32, 64, 128, 256, 32)]
        slices = 2 * spec["neighbours"] + 1
        network = nets.BasicUNet(
            2, in_channels=slices, out_channels=spec.classes, features=features
        )
        return Plain(BySlab(network, spec["neighbours"]))
