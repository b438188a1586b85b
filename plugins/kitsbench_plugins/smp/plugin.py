"""The decoders of segmentation-models-pytorch-3d as plugins, one name each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from kitsbench.architecture import (
    WIDTH,
    Architecture,
    Key,
    Plain,
    Setting,
    SizeRule,
    Spec,
    Task,
    softmax_spec,
)
from kitsbench_plugins.blocks import BN_MOMENTUM, Shape
from kitsbench_plugins.recipes import NNUNET, in_the_plane
from kitsbench_plugins.requirements import require
from kitsbench_plugins.smp import network
from kitsbench_plugins.smp.network import encoder

require("segmentation_models_pytorch_3d", "pip install segmentation-models-pytorch-3d")

BOTTOM = 2  # smallest edge at the bottom, voxels: batch normalisation needs more than one
FEWEST = 2  # halvings

# What version 1.0.2 of the package can build for one input channel in 3D.
ENCODERS = ("resnet18", "resnet34", "resnet50", "densenet121", "efficientnet-b0", "mobileone_s0")

WORD = ("loss", "without deep supervision; the package has no recipe of its own")
RECIPE = replace(NNUNET, sources=(*NNUNET.sources, WORD))

# For a CPU: the encoder's first three stages, and a narrow decoder. At 16^3 voxels a step with
# resnet18 takes a quarter of the time of one with efficientnet-b0, whose convolutions of one
# channel each are slow there. With heads of 3x3x3 voxels Adam's first steps, as large for each of
# the 27 weights, drive the logits so far to background that too few of a short run's steps are
# left.
TINY: dict[str, Setting] = {
    "encoder": "resnet18",
    "depth": 3,
    "width": 0.5,
    "head_kernel": "1",
}
SMALL: dict[str, Setting] = {"encoder": "resnet18", "depth": 4, "width": 0.5}


def keys(fewest: int = FEWEST, head: int = 3) -> dict[str, Key]:
    """Keys of a decoder that needs so many halvings and has a head of this kernel."""
    return {
        "encoder": Key(
            "resnet34", "the package's default", options=ENCODERS, help="network that goes down"
        ),
        "encoder_weights": Key(
            "none",
            "CHOICE; all start from random weights. The package's default is imagenet",
            options=("none", "imagenet"),
            help="imagenet downloads weights of the 2D encoder",
        ),
        "depth": Key(
            network.STAGES,
            "the package's encoder_depth",
            low=fewest,
            high=network.STAGES,
            help="halvings; the encoder ends there",
        ),
        "width": Key(
            1.0,
            "1 is the package's",
            low=WIDTH.low,
            high=WIDTH.high,
            help="multiplies the decoder's channel counts; an encoder's are fixed",
        ),
        "head_kernel": Key(
            str(head), "the package's", options=("1", "3"), help="edge of the head's kernel, voxels"
        ),
        "bn_momentum": BN_MOMENTUM,
    }


class SmpUnet(Architecture):
    """U-Net on an encoder of the package; the base of its other decoders."""

    title = "U-Net (SMP 3D)"
    paper = "Ronneberger et al. 2015, arXiv:1505.04597"
    keys: ClassVar[Mapping[str, Key]] = keys()
    sizes: ClassVar[Mapping[str, Mapping[str, Setting]]] = {
        "tiny": TINY,
        "small": SMALL,
    }
    paper_patch = (128, 128, 128)
    decoder: ClassVar[Any] = staticmethod(network.unet)
    bottom: ClassVar[Shape] = (BOTTOM,) * 3  # of the smallest patch

    def spec(self, config: Mapping[str, Setting], task: Task) -> Spec:
        """One softmax head; the depth follows the patch."""
        patch = task.patch or self.paper_patch
        depth = self.depth(config, patch)
        step = 2**depth
        z, y, x = (edge * step for edge in self.bottom)
        return softmax_spec(
            config,
            task,
            SizeRule(multiple=(step,) * 3, minimum=(z, y, x)),
            self.paper_patch,
            paper=in_the_plane(RECIPE, patch),
            notes=_notes(depth, int(config["depth"]), patch),
            pretrained_on="ImageNet" if config["encoder_weights"] == "imagenet" else "",
        )

    def build(self, spec: Spec) -> nn.Module:
        """Make the network."""
        return Plain(
            network.assemble(
                self.decoder,
                spec["encoder"],
                self.depth(dict(spec.config), spec.grids[0].shape),
                spec["width"],
                spec.classes,
                kernel=int(spec["head_kernel"]),
                momentum=spec["bn_momentum"],
            )
        )

    def weights(
        self, network: nn.Module, files: Mapping[str, Path], spec: Spec
    ) -> dict[str, Tensor] | None:
        """Download the encoder's weights, where they are asked for."""
        if spec["encoder_weights"] == "none":
            return None
        depth = self.depth(dict(spec.config), spec.grids[0].shape)
        found = encoder(spec["encoder"], depth, spec["encoder_weights"]).state_dict()
        return {f"network.encoder.{name}": tensor for name, tensor in found.items()}

    def depth(self, config: Mapping[str, Setting], patch: Shape) -> int:
        """Halvings that a patch allows, those that are asked for at most."""
        fewest = int(self.keys["depth"].low or FEWEST)
        depth = int(config["depth"])
        while depth > fewest and min(patch) < BOTTOM * 2**depth:
            depth -= 1
        return depth


class SmpUnetPlusPlus(SmpUnet):
    """U-Net++: skips that pass through nested blocks."""

    title = "U-Net++ (SMP 3D)"
    paper = "Zhou et al. 2018, arXiv:1807.10165"
    sizes: ClassVar = {"tiny": TINY, "small": SMALL}
    decoder = staticmethod(network.unetplusplus)


class SmpFpn(SmpUnet):
    """Feature pyramid network."""

    title = "FPN (SMP 3D)"
    paper = "Kirillov et al. 2019, arXiv:1901.02446"
    # Its finest level lies 3 halvings above the bottom; with 3 that would be the image itself.
    keys = keys(fewest=4, head=1)
    # Four halvings of 32 voxels leave two; batch normalisation needs more than one in all.
    bottom = (1, 1, BOTTOM)
    sizes: ClassVar = {"tiny": {**TINY, "depth": 4, "width": 0.25}, "small": SMALL}
    decoder = staticmethod(network.fpn)


class SmpLinknet(SmpUnet):
    """LinkNet: skips are added."""

    title = "LinkNet (SMP 3D)"
    paper = "Chaurasia and Culurciello 2017, arXiv:1707.03718"
    keys: ClassVar[Mapping[str, Key]] = keys(head=1)
    decoder = staticmethod(network.linknet)


class SmpManet(SmpUnet):
    """MA-Net: attention between all places at the bottom, and between channels on the way up."""

    title = "MA-Net (SMP 3D)"
    paper = "Fan et al. 2020, doi:10.1109/ACCESS.2020.3025372"
    decoder = staticmethod(network.manet)


def _notes(depth: int, wanted: int, patch: Shape) -> tuple[str, ...]:
    if depth == wanted:
        return ()
    return (
        f"The depth follows the patch: {depth} halvings instead of {wanted}, because "
        f"{'x'.join(map(str, patch))} voxels leave no bottom edge of {BOTTOM} with more. The "
        "encoder's later stages are left out.",
    )
