"""UNETR of MONAI: its positions are learned, so the network belongs to one patch."""

from kitsbench.architecture import WIDTH, Architecture, Plain, SizeRule, softmax_spec
from monai.networks import nets


class UNETR(Architecture):
    """A vision transformer over blocks of 16 voxels, and a convolutional decoder."""

    title = "UNETR"
    paper = "Hatamizadeh et al. 2022, arXiv:2103.10504"
    keys = {"width": WIDTH}
    sizes = {"tiny": {"width": 0.125}, "small": {"width": 0.5}}
    paper_patch = (96, 96, 96)

    def spec(self, config, task):
        rule = SizeRule(multiple=(16, 16, 16), minimum=(16, 16, 16))
        return softmax_spec(config, task, rule, self.paper_patch)

    def build(self, spec):
        hidden = 12 * max(1, round(64 * spec["width"]))  # a multiple of the 12 attention heads
        network = nets.UNETR(
            in_channels=1,
            out_channels=spec.classes,
            img_size=spec.grids[0].shape,
            feature_size=max(2, round(16 * spec["width"])),
            hidden_size=hidden,
            mlp_dim=4 * hidden,
            num_heads=12,
        )
        return Plain(network)
