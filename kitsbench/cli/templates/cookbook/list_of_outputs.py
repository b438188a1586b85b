"""U-Net++ of MONAI, which returns a list: two lines take its only entry."""

from kitsbench.architecture import WIDTH, Architecture, Plain, SizeRule, softmax_spec
from monai.networks import nets


class Network(nets.BasicUNetPlusPlus):
    def forward(self, image):
        return super().forward(image)[0]


class UNetPlusPlus(Architecture):
    """Nested skips, without deep supervision."""

    title = "U-Net++"
    paper = "Zhou et al. 2018, arXiv:1807.10165"
    keys = {"width": WIDTH}
    sizes = {"tiny": {"width": 0.125}, "small": {"width": 0.5}}

    def spec(self, config, task):
        rule = SizeRule(multiple=(16, 16, 16), minimum=(16, 16, 32))
        return softmax_spec(config, task, rule, self.paper_patch)

    def build(self, spec):
        features = [max(2, round(f * spec["width"])) for f in (32, 32, 64, 128, 256, 32)]
        return Plain(Network(3, 1, spec.classes, features))
