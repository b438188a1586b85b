"""What the networks of the zoo have in common: halvings, heads, and where a package comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from kitsbench_plugins.blocks import Shape
from kitsbench_plugins.recipes import NNUNET, in_the_plane
from kitsbench_plugins.requirements import require
from torch import Tensor, nn

from kitsbench.architecture import (
    Architecture,
    Key,
    Plain,
    Setting,
    SizeRule,
    Spec,
    Task,
    softmax_spec,
)
from kitsbench.recipe import Recipe

# Voxels at the bottom of the smallest patch: instance normalisation wants two, others do with one.
PAIR: Shape = (1, 1, 2)
SINGLE: Shape = (1, 1, 1)

NORM = Key(
    "instance",
    "MONAI's default",
    options=("instance", "group"),
    help="normalisation; group has two groups, with which one voxel may be left at the bottom",
)
GROUP = ("group", {"num_groups": 2})
"""What MONAI takes for ``norm=group``."""

DEEP_SUPERVISION = Key(
    "on",
    "as published",
    options=("on", "off"),
    help="further heads, of other levels of the decoder, which learn and do not predict",
)


def needs_monai() -> None:
    """Let a plugin's module be a missing dependency where MONAI is not installed."""
    require("monai", 'pip install "monai>=1.5" einops')


class Zoo(Architecture):
    """A network from one image to logits, which halves its input a number of times.

    A subclass says how often (``halvings``) and makes the network (``network``). Where it has
    further heads (``strides``), the network gives several tensors in training mode, the primary
    head's first.
    """

    recipe: ClassVar[Recipe] = NNUNET
    bottom: ClassVar[Shape] = PAIR

    def halvings(self, config: Mapping[str, Setting]) -> int:
        """How often each axis is halved."""
        raise NotImplementedError

    def network(self, spec: Spec) -> nn.Module:
        """Make what maps images (B, 1, z, y, x) to logits."""
        raise NotImplementedError

    def strides(self, config: Mapping[str, Setting]) -> Sequence[int]:
        """Strides of the heads beside the primary one, in the order in which they come."""
        return ()

    def recipe_for(self, config: Mapping[str, Setting]) -> Recipe:
        """How the authors trained the configured network."""
        return self.recipe

    def spec(self, config: Mapping[str, Setting], task: Task) -> Spec:
        """A softmax head, and one for each of the strides."""
        step = 2 ** self.halvings(config)
        single = config.get("norm") == "group"
        z, y, x = (step * edge for edge in (SINGLE if single else self.bottom))
        rule = SizeRule(multiple=(step, step, step), minimum=(z, y, x))
        patch = self.paper_patch or (128, 128, 128)
        recipe = in_the_plane(self.recipe_for(config), task.patch or patch)
        found = softmax_spec(config, task, rule, patch, paper=recipe)
        return with_heads(found, [(stride,) * 3 for stride in self.strides(config)])

    def build(self, spec: Spec) -> nn.Module:
        """Make the network."""
        if len(spec.heads) == 1:
            return Plain(self.network(spec))
        return Supervised(self.network(spec), [head.name for head in spec.heads])


class Supervised(nn.Module):
    """Names what a network gives that has several heads in training mode and one afterwards.

    Parameters
    ----------
    network : Module
        From a tensor to a tensor, or to several.
    names : sequence of str
        Of the heads, in their order.
    """

    def __init__(self, network: nn.Module, names: Sequence[str]):
        super().__init__()
        self.network, self.names = network, tuple(names)

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map {"image": (B, 1, z, y, x)} to {head: logits}."""
        found: Any = self.network(inputs["image"])
        found = [found] if isinstance(found, Tensor) else found
        return dict(zip(self.names, found, strict=False))


def with_heads(spec: Spec, strides: Sequence[Shape]) -> Spec:
    """Add auxiliary heads of some strides, which learn what the primary one learns."""
    first, heads = spec.primary, [spec.primary]
    for place, stride in enumerate(strides, start=1):
        z, y, x = (edge // step for edge, step in zip(first.shape, stride, strict=True))
        named = f"{first.name}_{place}"
        heads.append(replace(first, name=named, shape=(z, y, x), stride=stride, role="auxiliary"))
    return replace(spec, heads=tuple(heads))
