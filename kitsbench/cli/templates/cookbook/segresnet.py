"""SegResNet of MONAI: one tensor in, one tensor out, so ``Plain`` is all that it needs."""

from kitsbench.architecture import WIDTH, Architecture, Plain, SizeRule, softmax_spec
from monai.networks import nets


class SegResNet(Architecture):
    """Residual encoder, small decoder; three halvings, group normalisation in groups of eight."""

    title = "SegResNet"
    paper = "Myronenko 2018, arXiv:1810.11654"
    keys = {"width": WIDTH}
    sizes = {"tiny": {"width": 0.25}, "small": {"width": 0.5}}

    def spec(self, config, task):
        rule = SizeRule(multiple=(8, 8, 8), minimum=(8, 8, 8))
        return softmax_spec(config, task, rule, self.paper_patch)

    def build(self, spec):
        filters = 8 * max(1, round(4 * spec["width"]))
        network = nets.SegResNet(
            init_filters=filters, in_channels=1, out_channels=spec.classes, dropout_prob=0.2
        )
        return Plain(network)
