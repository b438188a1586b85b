"""MedNeXt-S of MONAI: a tuple while it trains, coarsest last, and one tensor afterwards."""

from dataclasses import replace

from kitsbench.architecture import WIDTH, Architecture, SizeRule, softmax_spec
from monai.networks import nets
from torch import nn

STEPS = (2, 4, 8, 16)  # strides of the heads beside the full one


class Supervised(nn.Module):
    """Names what the network gives."""

    def __init__(self, network, names):
        super().__init__()
        self.network, self.names = network, names

    def forward(self, inputs):
        logits = self.network(inputs["image"])
        logits = logits if self.training else [logits]
        return dict(zip(self.names, logits, strict=False))  # one tensor has the first name


class MedNeXt(Architecture):
    """Depthwise convolutions that widen and narrow, with deep supervision at every scale."""

    title = "MedNeXt-S"
    paper = "Roy et al. 2023, arXiv:2303.09975"
    keys = {"width": WIDTH}
    sizes = {"tiny": {"width": 0.125}, "small": {"width": 0.5}}

    def spec(self, config, task):
        rule = SizeRule(multiple=(16, 16, 16), minimum=(16, 16, 32))
        spec = softmax_spec(config, task, rule, self.paper_patch)
        heads = [spec.primary]
        for step in STEPS:
            shape = tuple(edge // step for edge in spec.primary.shape)
            stride = (step, step, step)
            heads.append(
                replace(
                    spec.primary, name=f"every{step}", shape=shape, stride=stride, role="auxiliary"
                )
            )
        return replace(spec, heads=tuple(heads))

    def build(self, spec):
        network = nets.MedNeXt(
            init_filters=max(2, round(32 * spec["width"])),
            in_channels=1,
            out_channels=spec.classes,
            kernel_size=3,
            deep_supervision=True,
            use_residual_connection=True,
        )
        return Supervised(network, [head.name for head in spec.heads])
