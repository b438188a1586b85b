"""Networks made of an encoder and a decoder of segmentation-models-pytorch-3d.

The parts are put together here, not by the package's own classes: of these only ``Unet`` can be
asked for fewer stages in 3D, and fails (version 1.0.2). Version 1.0.2 is what the comments on the
package's behaviour are about.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn

from kitsbench.errors import ContractError
from kitsbench_plugins.blocks import crop_to, pad_to_multiple, scaled

STAGES = 5  # of every encoder
CHANNELS = (256, 128, 64, 32, 16)  # of the decoder's steps up, deepest first
PYRAMID, SEGMENTATION = 256, 128  # channels of the feature pyramid network
LINKNET_LAST, POSITION_CHANNELS = 32, 64
GROUPS = 32  # of the group norm in the feature pyramid network


class EncoderDecoder(nn.Module):
    """Encoder, decoder and head, for inputs of any size.

    Parameters
    ----------
    encoder : Module
        Gives features of strides 1, 2, 4, ...
    decoder : Module
        Takes them all.
    head : Module
        Gives logits of the input's size.
    depth : int
        Halvings.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, head: nn.Module, depth: int):
        super().__init__()
        self.encoder, self.decoder, self.head = encoder, decoder, head
        self.multiple = (2**depth,) * 3

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 1, z, y, x) to logits (B, classes, z, y, x)."""
        features = self.encoder(pad_to_multiple(images, self.multiple))
        return crop_to(self.head(self.decoder(*features)), images.shape[2:])


def encoder(name: str, depth: int, weights: str = "none") -> nn.Module:
    """Encoder for one input channel, without the stages that ``depth`` leaves out.

    Parameters
    ----------
    name : str
        As the package names it.
    depth : int
        Halvings, 2 to 5.
    weights : {"none", "imagenet"}
        ``imagenet`` downloads weights of the 2D encoder and repeats them along the new axis.

    Raises
    ------
    ContractError
        The weights cannot be downloaded.
    """
    with warnings.catch_warnings():
        # What the package imports uses parts of torch that are to go; its users cannot help it.
        warnings.simplefilter("ignore", FutureWarning)
        from segmentation_models_pytorch_3d.encoders import get_encoder

    wanted = None if weights == "none" else weights
    halving = ((2, 2, 2),) * STAGES
    try:
        made = get_encoder(name, in_channels=1, depth=depth, weights=wanted, strides=halving)
    except URLError as error:
        raise ContractError(
            f"the weights '{weights}' of {name} cannot be downloaded ({error.reason}): connect "
            "this machine to the internet or set encoder_weights=none."
        ) from error
    if name.startswith("densenet") and depth < STAGES:
        # The last transition has handed out its features before it halves them.
        last = getattr(made.features, f"transition{depth - 1}")
        last.conv, last.pool = nn.Identity(), nn.Identity()
    used = {id(p) for stage in made.get_stages()[: depth + 1] for p in stage.parameters()}
    _cut(made, used)
    # The package makes the first convolution anew, and always on the CPU.
    return made.to(torch.empty(0).device)  # type: ignore[no-any-return]


def unet(
    channels: tuple[int, ...], depth: int, width: float, classes: int, kernel: int = 3
) -> tuple[nn.Module, nn.Module]:
    """Decoder and head of a U-Net (Ronneberger et al. 2015)."""
    from segmentation_models_pytorch_3d.decoders.unet.decoder import UnetDecoder

    steps = _steps(depth, width)
    made = UnetDecoder(channels, steps, depth, strides=((2, 2, 2),) * depth)
    return made, _head(steps[-1], classes, kernel)


def unetplusplus(
    channels: tuple[int, ...], depth: int, width: float, classes: int, kernel: int = 3
) -> tuple[nn.Module, nn.Module]:
    """Decoder and head of a U-Net++ (Zhou et al. 2018)."""
    from segmentation_models_pytorch_3d.decoders.unetplusplus.decoder import UnetPlusPlusDecoder

    steps = _steps(depth, width)
    return UnetPlusPlusDecoder(channels, steps, depth), _head(steps[-1], classes, kernel)


def fpn(
    channels: tuple[int, ...], depth: int, width: float, classes: int, kernel: int = 1
) -> tuple[nn.Module, nn.Module]:
    """Decoder and head of a feature pyramid network (Kirillov et al. 2019)."""
    from segmentation_models_pytorch_3d.decoders.fpn.decoder import FPNDecoder

    last = scaled(SEGMENTATION, width, GROUPS, GROUPS)
    made = FPNDecoder(channels, depth, scaled(PYRAMID, width), last)
    # Four levels, the finest of them 3 halvings above the bottom; the head covers the rest.
    return made, _head(last, classes, kernel, 2 ** (depth - 3))


def linknet(
    channels: tuple[int, ...], depth: int, width: float, classes: int, kernel: int = 1
) -> tuple[nn.Module, nn.Module]:
    """Decoder and head of a LinkNet (Chaurasia and Culurciello 2017)."""
    from segmentation_models_pytorch_3d.decoders.linknet.decoder import LinknetDecoder

    last = scaled(LINKNET_LAST, width)
    return LinknetDecoder(channels, last, depth), _head(last, classes, kernel)


def manet(
    channels: tuple[int, ...], depth: int, width: float, classes: int, kernel: int = 3
) -> tuple[nn.Module, nn.Module]:
    """Decoder and head of a MA-Net (Fan et al. 2020)."""
    from segmentation_models_pytorch_3d.decoders.manet.decoder import MAnetDecoder

    steps = _steps(depth, width)
    made = MAnetDecoder(channels, steps, depth, pab_channels=scaled(POSITION_CHANNELS, width))
    return made, _head(steps[-1], classes, kernel)


def assemble(
    decoder: Callable[..., tuple[nn.Module, nn.Module]],
    encoder_name: str,
    depth: int,
    width: float,
    classes: int,
    *,
    kernel: int,
    momentum: float = 0.1,
) -> EncoderDecoder:
    """Put a network together.

    Parameters
    ----------
    decoder : callable
        One of this module's, e.g. :func:`unet`.
    encoder_name : str
        See :func:`encoder`.
    depth : int
        Halvings.
    width : float
        Multiplies the decoder's channels.
    classes : int
        Output channels.
    kernel : int
        Edge of the head's kernel in voxels.
    momentum : float
        Of the running statistics of batch normalisation.
    """
    down = encoder(encoder_name, depth)
    up, head = decoder(tuple(down.out_channels), depth, width, classes, kernel)  # type: ignore[arg-type]
    network = EncoderDecoder(down, up, head, depth)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.momentum = momentum
    return network


def _steps(depth: int, width: float) -> list[int]:
    return [scaled(channels, width) for channels in CHANNELS[-depth:]]


def _head(inputs: int, classes: int, kernel: int, enlarge: int = 1) -> nn.Module:
    from segmentation_models_pytorch_3d.base import SegmentationHead

    return SegmentationHead(inputs, classes, kernel, upsampling=enlarge)  # type: ignore[no-any-return]


def _cut(module: Any, used: set[int]) -> None:
    """Replace every part whose parameters are all unused by nothing."""
    for name, part in list(module.named_children()):
        parameters = [id(p) for p in part.parameters()]
        if parameters and used.isdisjoint(parameters):
            setattr(module, name, nn.Identity())
        else:
            _cut(part, used)
