"""Fixed multiples: what the network's strides ask of a patch is said in its size rule."""

from math import prod

from kitsbench.architecture import WIDTH, Architecture, Plain, SizeRule, softmax_spec
from monai.networks import nets

STRIDES = ((1, 2, 2), (2, 2, 2), (2, 2, 2))  # along (z, y, x); thick slices are halved less often


class Multiples(Architecture):
    """MONAI's residual U-Net; whatever patch is asked for is rounded to what it can take."""

    title = "Residual U-Net for thick slices"
    paper = "Kerfoot et al. 2018, doi:10.1007/978-3-030-12029-0_40"
    keys = {"width": WIDTH}
    sizes = {"tiny": {"width": 0.25}, "small": {"width": 0.5}}
    paper_patch = (48, 128, 128)

    def spec(self, config, task):
        multiple = tuple(prod(edges) for edges in zip(*STRIDES, strict=True))  # (4, 8, 8)
        rule = SizeRule(multiple=multiple, minimum=(4, 16, 16))
        return softmax_spec(config, task, rule, self.paper_patch)

    def build(self, spec):
        channels = [max(2, round(c * spec["width"])) for c in (32, 64, 128, 256)]
        network = nets.UNet(3, 1, spec.classes, channels, STRIDES, num_res_units=2)
        return Plain(network)
