"""DynUNet of MONAI with deep supervision: coarse heads that learn, and only one that predicts."""

from dataclasses import replace

from kitsbench.architecture import WIDTH, Architecture, SizeRule, softmax_spec
from kitsbench.default_hooks import head_losses
from monai.networks import nets
from torch import nn

STRIDES = (1, 2, 2, 2, 2)
COARSE = (2, 4)  # strides of the heads beside the full one


class Supervised(nn.Module):
    """Names what the network gives; in evaluation mode it gives the full head only."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, inputs):
        logits = self.network(inputs["image"])
        if not self.training:
            return {"segmentation": logits}
        # (B, head, C, z, y, x): MONAI brings the coarse heads to the full size
        names = ["segmentation", *(f"every{step}" for step in COARSE)]
        return dict(zip(names, logits.unbind(1), strict=True))


class DeepSupervision(Architecture):
    """Targets are the labels at full size for every head, as MONAI stacks them."""

    title = "DynUNet, deep supervision"
    paper = "Isensee et al. 2021, doi:10.1038/s41592-020-01008-z"
    keys = {"width": WIDTH}
    sizes = {"tiny": {"width": 0.125}, "small": {"width": 0.5}}

    def spec(self, config, task):
        rule = SizeRule(multiple=(16, 16, 16), minimum=(16, 16, 32))
        spec = softmax_spec(config, task, rule, self.paper_patch)
        coarse = (replace(spec.primary, name=f"every{s}", role="auxiliary") for s in COARSE)
        return replace(spec, heads=(spec.primary, *coarse))

    def build(self, spec):
        filters = [max(2, round(f * spec["width"])) for f in (32, 64, 128, 256, 320)]
        network = nets.DynUNet(
            3,
            in_channels=1,
            out_channels=spec.classes,
            kernel_size=[3] * len(STRIDES),
            strides=STRIDES,
            upsample_kernel_size=STRIDES[1:],
            filters=filters,
            deep_supervision=True,
            deep_supr_num=len(COARSE),
        )
        return Supervised(network)

    def loss(self, outputs, targets, progress, spec):
        total, parts = 0.0, {}
        weights = [0.5**place for place in range(len(spec.heads))]
        for head, weight in zip(spec.heads, weights, strict=True):
            found = head_losses(outputs[head.name], targets[head.name], head)
            total = total + weight / sum(weights) * sum(found.values())
            parts |= {f"{head.name}.{name}": value.detach() for name, value in found.items()}
        return total, parts
