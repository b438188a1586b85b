"""A slice-wise U-Net: a 2D network that sees the slices of a patch as a batch."""

from kitsbench.architecture import WIDTH, Architecture, Plain, SizeRule, softmax_spec
from monai.networks import nets
from torch import nn


class BySlice(nn.Module):
    """Lets a 2D network serve a volume."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, volume):
        slices = volume.transpose(1, 2).flatten(0, 1)  # (B * z, 1, y, x)
        logits = self.network(slices)
        return logits.unflatten(0, (len(volume), -1)).transpose(1, 2)


class SliceUNet(Architecture):
    """MONAI's basic U-Net in 2D; along z a patch may have any size."""

    title = "Slice-wise U-Net"
    paper = "Ronneberger et al. 2015, arXiv:1505.04597"
    keys = {"width": WIDTH}
    sizes = {"tiny": {"width": 0.125}, "small": {"width": 0.5}}
    paper_patch = (8, 256, 256)

    def spec(self, config, task):
        rule = SizeRule(multiple=(1, 16, 16), minimum=(1, 32, 32))
        return softmax_spec(config, task, rule, self.paper_patch)

    def build(self, spec):
        features = [max(2, round(f * spec["width"])) for f in (32, 32, 64, 128, 256, 32)]
        network = nets.BasicUNet(2, 1, spec.classes, features)
        return Plain(BySlice(network))
