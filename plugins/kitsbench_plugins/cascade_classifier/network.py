"""Two 3D U-Nets on two grids, the coarse one masking the fine one, and a tumour classifier.

After Humpire-Mamani, *KITS19: Kidney and kidney tumor segmentation in CT scans using a 3D U-Net
based network with additional tasks*, KiTS19 challenge. Shapes are (B, C, z, y, x).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kitsbench_plugins.blocks import Shape, crop_to

LARGEST_EDGE = 2  # of the classifier's last map; the paper's has 2 voxels
CLASSIFIER_MAPS = (32, 16)
CLASSIFIER_LAST = (64, 32)


def unit(inputs: int, outputs: int, norm: str, momentum: float) -> list[nn.Module]:
    """3x3x3 convolution without padding, normalisation, ReLU."""
    layer: nn.Module = nn.BatchNorm3d(outputs, momentum=momentum)
    if norm == "instance":
        layer = nn.InstanceNorm3d(outputs, affine=True)
    return [nn.Conv3d(inputs, outputs, 3), layer, nn.ReLU(inplace=True)]


def two_units(inputs: int, middle: int, outputs: int, norm: str, momentum: float) -> nn.Sequential:
    """Two units; each side of the image loses two voxels."""
    return nn.Sequential(
        *unit(inputs, middle, norm, momentum), *unit(middle, outputs, norm, momentum)
    )


class ValidUNet(nn.Module):
    """3D U-Net of Cicek et al. 2016 without padding, open to more channels in its finest skip.

    Parameters
    ----------
    inputs, classes : int
        Input and output channels.
    base : int
        Channels of the first convolution; level l has base*2^l, then base*2^(l+1).
    steps : int
        Halvings.
    extra : int
        Channels that join the skip of level 0.
    norm : {"batch", "instance"}
    momentum : float
        Of the running statistics of batch normalisation.
    """

    def __init__(
        self,
        inputs: int,
        classes: int,
        base: int,
        steps: int,
        *,
        extra: int = 0,
        norm: str = "batch",
        momentum: float = 0.1,
    ):
        super().__init__()
        widths = [base * 2 ** (level + 1) for level in range(steps + 1)]
        self.encoders = nn.ModuleList(
            two_units(
                widths[level - 1] if level else inputs, widths[level] // 2, wide, norm, momentum
            )
            for level, wide in enumerate(widths)
        )
        self.ups, self.decoders = nn.ModuleList(), nn.ModuleList()
        for level in reversed(range(steps)):
            deep, wide = widths[level + 1], widths[level]
            joined = deep + wide + (extra if level == 0 else 0)
            self.ups.append(nn.ConvTranspose3d(deep, deep, 2, 2))
            self.decoders.append(two_units(joined, wide, wide, norm, momentum))
        self.head = nn.Conv3d(widths[0], classes, 1)
        self.widths = widths
        self.shrink = 12 * 2**steps - 8  # voxels an edge that the output lacks

    def encode(self, images: Tensor) -> list[Tensor]:
        """Features of every level, the bottom last."""
        features, found = images, []
        for level, encoder in enumerate(self.encoders):
            features = encoder(F.max_pool3d(features, 2) if level else features)
            found.append(features)
        return found

    def decode(self, features: Sequence[Tensor], extra: Tensor | None = None) -> Tensor:
        """Logits from the features of every level; ``extra`` is cropped like the finest skip."""
        rest = list(features)
        found = rest.pop()
        for up, decoder in zip(self.ups, self.decoders, strict=True):
            found = up(found)
            joined = [rest.pop()] + ([extra] if not rest and extra is not None else [])
            skips = [crop_to(skip, found.shape[2:], centred=True) for skip in joined]
            found = decoder(torch.cat([*skips, found], 1))
        return self.head(found)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, inputs, z, y, x) to the logits of its centre."""
        return self.decode(self.encode(images))


class TumorClassifier(nn.Module):
    """Logit of "there is tumour in the output", from the bottom features and the volume found.

    Parameters
    ----------
    channels : int
        Of the bottom.
    bottom : (int, int, int)
        Its edges; a last map of more than two voxels an edge is averaged down to two, so that
        the fully connected layers have the paper's size whatever the patch.
    widths : sequence of int
        Of the fully connected layers before the volume joins.
    """

    def __init__(self, channels: int, bottom: Shape, widths: Sequence[int]):
        super().__init__()
        first, second = CLASSIFIER_MAPS
        self.maps = nn.Sequential(
            nn.Conv3d(channels, first, 3),
            nn.ReLU(inplace=True),
            nn.Conv3d(first, second, 3),
            nn.ReLU(inplace=True),
        )
        self.edges = tuple(min(edge - 4, LARGEST_EDGE) for edge in bottom)
        size = second * self.edges[0] * self.edges[1] * self.edges[2]
        self.before = _dense([size, *widths])
        self.after = _dense([widths[-1] + 1, *CLASSIFIER_LAST])
        self.last = nn.Linear(CLASSIFIER_LAST[-1], 1)

    def forward(self, bottom: Tensor, volume: Tensor) -> Tensor:
        """Map bottom features and the volume (B, 1) to logits (B, 1)."""
        maps = self.maps(bottom)
        if tuple(maps.shape[2:]) != self.edges:
            maps = F.adaptive_avg_pool3d(maps, self.edges)  # type: ignore[arg-type]
        dtype = self.last.weight.dtype
        features = self.before(maps.flatten(1)).to(dtype)
        # A sum of probabilities over a patch may be more than float16 can hold.
        device = "cpu" if volume.is_meta else volume.device.type
        with torch.autocast(device, enabled=False):
            return self.last(self.after(torch.cat([features, volume.to(dtype)], 1)))


class CascadeNetwork(nn.Module):
    """The whole: low-resolution net, mask, high-resolution net, classifier.

    Parameters
    ----------
    classes : int
        Channels of the fine output.
    tumor : int
        Which of them is tumour.
    bases : (int, int)
        First channels of the low- and the high-resolution net.
    steps : int
        Halvings of both.
    bottom : (int, int, int)
        Edges of the bottom.
    ratio : int
        Voxel size of the coarse grid relative to the fine one.
    mask : {"skip0", "input_channel", "off"}
        How the masked image enters the high-resolution net.
    classifier : sequence of int or None
        Widths of its fully connected layers; None leaves it out.
    mean_volume : bool
        The classifier is given the mean of the tumour probabilities instead of their sum.
    norm, momentum
        See :class:`ValidUNet`.
    """

    def __init__(
        self,
        classes: int,
        tumor: int,
        bases: tuple[int, int],
        steps: int,
        bottom: Shape,
        ratio: int,
        *,
        mask: str = "skip0",
        classifier: Sequence[int] | None = (1024, 256, 256),
        mean_volume: bool = True,
        norm: str = "batch",
        momentum: float = 0.1,
    ):
        super().__init__()
        low, high = bases
        options = {"norm": norm, "momentum": momentum}
        self.low = ValidUNet(1, 1, low, steps, **options)  # type: ignore[arg-type]
        self.high = ValidUNet(
            2 if mask == "input_channel" else 1,
            classes,
            high,
            steps,
            extra=2 * high if mask == "skip0" else 0,
            **options,  # type: ignore[arg-type]
        )
        self.mask_branch = two_units(1, high, 2 * high, norm, momentum) if mask == "skip0" else None
        self.classifier = (
            TumorClassifier(self.high.widths[-1], bottom, classifier) if classifier else None
        )
        self.tumor, self.ratio, self.mask = tumor, ratio, mask
        self.mean_volume = mean_volume
        self.fixed_statistics = norm == "batch"

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map {``hi``, ``lo``: (B, 1, z, y, x)} to {``hi``, ``lo``, ``cls``: logits}.

        While the high-resolution net is frozen in training its logits are zeros: the first stage
        trains the low-resolution net alone and need not pay for the other one.
        """
        image, low = inputs["hi"], self.low(inputs["lo"])
        if self._only_low_trains():
            return {"lo": low, **self._zeros(image)}
        masked = None if self.mask == "off" else image * self.enlarged(low, image.shape[2:])
        if self.mask == "input_channel":
            image = torch.cat([image, masked], 1)  # type: ignore[list-item]
        features = self.high.encode(image)
        logits = self.high.decode(features, self._branch(masked))
        found = {"hi": logits, "lo": low}
        if self.classifier is not None:
            tumor = logits.float().softmax(1)[:, self.tumor].flatten(1)
            volume = tumor.mean(1) if self.mean_volume else tumor.sum(1)
            found["cls"] = self.classifier(features[-1], volume.unsqueeze(1))
        return found

    def enlarged(self, low: Tensor, shape: Sequence[int]) -> Tensor:
        """Soft mask on the fine grid: voxels repeated about the common centre, zero outside.

        Gradients of the fine losses pass through it into the low-resolution net.
        """
        mask = F.interpolate(low.sigmoid(), scale_factor=float(self.ratio), mode="nearest")
        mask = crop_to(
            mask, [min(a, b) for a, b in zip(mask.shape[2:], shape, strict=True)], centred=True
        )
        pads = []
        for have, want in zip(reversed(mask.shape[2:]), reversed(shape), strict=True):
            pads += [(want - have) // 2, want - have - (want - have) // 2]
        return F.pad(mask, pads)

    def _branch(self, masked: Tensor | None) -> Tensor | None:
        if self.mask_branch is None or masked is None:
            return None
        if not self.training and self.fixed_statistics:
            # The skip keeps its centre only, so without statistics of the image the rest of it
            # need not be computed: the same values for a fraction of the work.
            seen = [edge - self.high.shrink + 8 for edge in masked.shape[2:]]
            masked = crop_to(masked, seen, centred=True)
        return self.mask_branch(masked)

    def _only_low_trains(self) -> bool:
        frozen = not any(p.requires_grad for p in self.high.parameters())
        return self.training and frozen and torch.is_grad_enabled()

    def _zeros(self, image: Tensor) -> dict[str, Tensor]:
        shape = [edge - self.high.shrink for edge in image.shape[2:]]
        found = {"hi": image.new_zeros(len(image), self.high.head.out_channels, *shape)}
        if self.classifier is not None:
            found["cls"] = image.new_zeros(len(image), 1)
        return found


def _dense(sizes: Sequence[int]) -> nn.Sequential:
    """Fully connected layers, each with ReLU."""
    layers: list[nn.Module] = []
    for source, target in itertools.pairwise(sizes):
        layers += [nn.Linear(source, target), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
