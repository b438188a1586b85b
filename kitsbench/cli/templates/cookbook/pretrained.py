"""Pretrained from a file: an encoder whose names in the file are not the network's."""

from kitsbench.architecture import WIDTH, Architecture, Key, Plain, SizeRule, softmax_spec
from kitsbench.pretrained import read_weights
from monai.networks import nets
from torch import nn


class Network(nn.Module):
    """Features of SegResNet that another task has trained, and a head for this one."""

    def __init__(self, filters, classes):
        super().__init__()
        self.features = nets.SegResNet(init_filters=filters, out_channels=filters)
        self.head = nn.Conv3d(filters, classes, 1)

    def forward(self, image):
        return self.head(self.features(image))


class Pretrained(Architecture):
    """``kitsbench run pretrained.py:weights=FILE`` begins with a file's weights, without from none.

    ``build`` knows nothing of the file, so that a finished trial predicts when it is gone.
    """

    title = "Pretrained SegResNet"
    paper = "Myronenko 2018, arXiv:1810.11654"
    keys = {"width": WIDTH, "weights": Key.file(help="state dict of MONAI's SegResNet")}
    sizes = {"tiny": {"width": 0.25}, "small": {"width": 0.5}}

    def spec(self, config, task):
        rule = SizeRule(multiple=(8, 8, 8), minimum=(8, 8, 8))
        data = "what the file's card says" if config["weights"] else ""
        return softmax_spec(config, task, rule, self.paper_patch, pretrained_on=data)

    def build(self, spec):
        return Plain(Network(8 * max(1, round(4 * spec["width"])), spec.classes))

    def weights(self, network, files, spec):
        if "weights" not in files:
            return None
        found = read_weights(files["weights"])
        return {f"network.features.{name}": value for name, value in found.items()}
