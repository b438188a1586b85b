"""SwinUNETR-V2 of MONAI: windows of attention, with a residual convolution before each stage."""

from kitsbench.architecture import WIDTH, Architecture, Key, Plain, SizeRule, softmax_spec
from monai.networks import nets


class SwinUNETRV2(Architecture):
    """Five halvings; instance normalisation wants two voxels at the bottom, along x they are."""

    title = "SwinUNETR-V2"
    paper = "He et al. 2023, doi:10.1007/978-3-031-43901-8_40"
    keys = {
        "width": WIDTH,
        "blocks": Key(2, "MONAI's default", low=1, high=6, help="of each stage"),
        "window": Key(7, "MONAI's default", low=2, high=14, help="edge of a window, in tokens"),
    }
    sizes = {"tiny": {"width": 0.25, "blocks": 1, "window": 3}, "small": {"width": 0.5}}
    paper_patch = (96, 96, 96)

    def spec(self, config, task):
        rule = SizeRule(multiple=(32, 32, 32), minimum=(32, 32, 64))
        return softmax_spec(config, task, rule, self.paper_patch)

    def build(self, spec):
        network = nets.SwinUNETR(
            in_channels=1,
            out_channels=spec.classes,
            feature_size=12 * max(1, round(4 * spec["width"])),
            depths=[spec["blocks"]] * 4,
            window_size=spec["window"],
            use_v2=True,
        )
        return Plain(network)
