"""The networks of dynamic-network-architectures, with heads by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from kitsbench_plugins.blocks import Shape, crop_to, pad_to_multiple
from kitsbench_plugins.nnunet.plan import Plan, total_stride

UNITS = 2  # convolutions of a plain stage


class NNUNetNetwork(nn.Module):
    """A U-Net of the package with one head for each resolution of its decoder.

    Parameters
    ----------
    network : Module
        ``PlainConvUNet`` or ``ResidualEncoderUNet``.
    heads : sequence of str
        Names of the outputs, finest first; one without deep supervision.
    strides : sequence of (int, int, int)
        Of each step down.
    """

    def __init__(self, network: Any, heads: Sequence[str], strides: Sequence[Shape]):
        super().__init__()
        self.network = network
        self.heads = tuple(heads)
        self.strides = tuple(strides)

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map {"image": (B, 1, z, y, x)} to {head: logits}."""
        images = inputs["image"]
        found = self.network(pad_to_multiple(images, total_stride(self.strides)))
        found = found if isinstance(found, list) else [found]
        outputs = {}
        for level, (name, value) in enumerate(zip(self.heads, found, strict=True)):
            stride = total_stride(self.strides[:level])
            shape = [-(-edge // s) for edge, s in zip(images.shape[2:], stride, strict=True)]
            outputs[name] = crop_to(value, shape)
        return outputs


def plain(plan: Plan, channels: Sequence[int], classes: int, heads: Sequence[str]) -> nn.Module:
    """Plain U-Net: two convolutions a stage on both sides."""
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    return _made(
        PlainConvUNet,
        plan,
        channels,
        classes,
        heads,
        n_conv_per_stage=UNITS,
        n_conv_per_stage_decoder=UNITS,
    )


def residual(
    plan: Plan, channels: Sequence[int], blocks: Sequence[int], classes: int, heads: Sequence[str]
) -> nn.Module:
    """Residual encoder of so many blocks a stage; one convolution a stage on the way up."""
    from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet

    return _made(
        ResidualEncoderUNet,
        plan,
        channels,
        classes,
        heads,
        n_blocks_per_stage=list(blocks),
        n_conv_per_stage_decoder=1,
    )


def _made(
    kind: Any,
    plan: Plan,
    channels: Sequence[int],
    classes: int,
    heads: Sequence[str],
    **options: Any,
) -> nn.Module:
    network = kind(
        input_channels=1,
        n_stages=plan.stages,
        features_per_stage=list(channels),
        conv_op=nn.Conv3d,
        kernel_sizes=[list(kernel) for kernel in plan.kernels],
        strides=[[1, 1, 1], *(list(stride) for stride in plan.strides)],
        num_classes=classes,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"negative_slope": 0.01, "inplace": True},
        deep_supervision=len(heads) > 1,
        **options,
    )
    network.apply(network.initialize)
    if len(heads) == 1:  # the other heads would never learn
        network.decoder.seg_layers = network.decoder.seg_layers[-1:]
    _forget_second_names(network)
    return NNUNetNetwork(network, heads, plan.strides)


def _forget_second_names(network: Any) -> None:
    """Let every parameter have one name, as the package registers most of them two to four times.

    Both networks run without these names; with them a checkpoint would be several times larger.
    """
    del network.decoder.encoder
    for module in list(network.modules()):
        if hasattr(module, "all_modules"):
            for name in ("conv", "norm", "nonlin"):
                module._modules.pop(name, None)
