"""A network drawn from what it does: one box for each run of layers that keep their shape.

Nothing is drawn by hand. The network is built without values, one patch goes through it, and every
layer with parameters, every pooling and every up-sampling leaves a mark: what came out, and from
which earlier layers its input was put together. So the picture shows the configured network, also
where a paper's figure shows another.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from kitsbench.architecture import Architecture
from kitsbench.registry.weightless import build_weightless
from kitsbench.spec import Spec
from kitsbench.training.networks.meta import fake_values

RESHAPING = (
    nn.MaxPool3d, nn.AvgPool3d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool3d, nn.Upsample,
)  # fmt: skip
JOINING = ("cat", "add", "__add__", "__radd__", "iadd", "__iadd__", "mul", "__mul__")


@dataclass
class Layer:
    """One module that was called.

    Attributes
    ----------
    path : str
        Where it lies in the network.
    kind : str
        Class of the module.
    shape : tuple of int
        Channels, then the grid (z, y, x); or channels and tokens.
    parameters : int
    joined : set of int
        Layers whose outputs, beside that of the one before, went into its input.
    """

    path: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    joined: set[int] = field(default_factory=set)


@dataclass
class Block:
    """Layers one after the other whose outputs have one shape."""

    layers: list[Layer]
    numbers: list[int]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the last output."""
        return self.layers[-1].shape

    @property
    def parameters(self) -> int:
        """Of all its layers."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def paths(self) -> str:
        """Where it lies in the network."""
        first, last = self.layers[0].path, self.layers[-1].path
        return first if first == last else f"{first} … {last}"

    @property
    def kinds(self) -> str:
        """Classes of its layers, each with its number."""
        counted: dict[str, int] = {}
        for layer in self.layers:
            counted[layer.kind] = counted.get(layer.kind, 0) + 1
        return ", ".join(f"{n} × {kind}" if n > 1 else kind for kind, n in counted.items())


class _Origins(TorchFunctionMode):
    """Notes from which layers a tensor comes, through all that is no module."""

    def __init__(self) -> None:
        super().__init__()
        self.of: dict[int, set[int]] = {}
        self.alive: list[Tensor] = []
        self.shown: set[frozenset[int]] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            given = list(_tensors((args, kwargs or {})))
            if getattr(func, "__name__", "") in JOINING and len(given) > 1:
                found = self.joined(given)
            else:
                found = next((self.of[id(one)] for one in given if id(one) in self.of), set())
            self.note(result, found)
        return result

    def joined(self, tensors: Iterable[Tensor]) -> set[int]:
        """Layers of tensors that are put together.

        A sum that a layer was shown already stands for the last of its own: along the stream of a
        residual network each is told once, not again behind every block.
        """
        found: set[int] = set()
        for one in tensors:
            own = self.of.get(id(one), set())
            found |= {max(own)} if frozenset(own) in self.shown else own
        return found

    def take(self, tensors: Iterable[Tensor]) -> set[int]:
        """Layers that the input of a layer was put together from, which are shown with it."""
        given = list(tensors)
        found = self.joined(given)
        sets = [frozenset(self.of.get(id(one), set())) for one in given]
        self.shown |= {own for own in sets if len(own) > 1}
        return found

    def note(self, tensor: Tensor, layers: set[int]) -> None:
        """Remember a tensor's layers; it is kept, since ids are given again."""
        if id(tensor) not in self.of:
            self.alive.append(tensor)
        self.of[id(tensor)] = set(layers)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _tensors(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)


def follow(architecture: Architecture, spec: Spec) -> list[Layer]:
    """Send one sample through a network, and list the layers that it meets.

    Raises
    ------
    Exception
        Whatever a network raises that cannot be followed without values.
    """
    network = build_weightless(architecture, spec)
    try:
        with torch.device("meta"):
            inputs = {n: torch.zeros(own) for n, own in spec.input_shapes(2).items()}
        return _followed(network, inputs)
    except Exception:  # tables that it keeps lie on the CPU, as nothing on meta may
        with fake_values():
            network.to_empty(device="cpu")
            inputs = {n: torch.zeros(own) for n, own in spec.input_shapes(2).items()}
            return _followed(network, inputs)


def _followed(network: nn.Module, inputs: dict[str, Tensor]) -> list[Layer]:
    layers: list[Layer] = []
    origins = _Origins()

    def called(path: str) -> Any:
        def hook(module: nn.Module, given: Any, kwargs: Any, out: Any) -> None:
            if not isinstance(out, Tensor) or out.ndim < 2:
                return
            own = sum(p.numel() for p in module.parameters(recurse=False))
            own *= id(module) not in counted  # a layer that is called twice is counted once
            counted.add(id(module))
            # Tokens are (batch, tokens, channels); maps are (batch, channels, z, y, x).
            tokens = out.ndim == 3 and not isinstance(module, nn.Conv1d)
            shape = (out.shape[2], out.shape[1]) if tokens else tuple(out.shape[1:])
            shape = (*shape, 1) if len(shape) == 1 else shape  # numbers of the whole patch
            before = origins.take(_tensors((given, kwargs)))
            last = max(before, default=-1)
            layers.append(Layer(path, type(module).__name__, shape, own, before - {last}))
            origins.note(out, {len(layers) - 1})

        return hook

    def norm(module: nn.Module, given: Any, out: Any) -> None:
        # Normalisations and activations with weights belong to the layer before them.
        if layers and id(module) not in counted:
            counted.add(id(module))
            layers[-1].parameters += sum(p.numel() for p in module.parameters(recurse=False))

    counted: set[int] = set()
    handles = []
    for path, module in network.named_modules():
        if isinstance(module, RESHAPING) or _shapes(module):
            handles.append(module.register_forward_hook(called(path), with_kwargs=True))
        elif any(True for _ in module.parameters(recurse=False)):
            handles.append(module.register_forward_hook(norm))
    try:
        with torch.no_grad(), origins:
            network(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return layers


def _shapes(module: nn.Module) -> bool:
    """Whether a module is one that computes by weights of its own, and no normalisation."""
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.ndim > 1 and not list(module.children())


def blocks(layers: Sequence[Layer]) -> list[Block]:
    """Layers that follow each other without a change of shape, together."""
    found: list[Block] = []
    for number, layer in enumerate(layers):
        if found and found[-1].shape == layer.shape and not layer.joined:
            found[-1].layers.append(layer)
            found[-1].numbers.append(number)
        else:
            found.append(Block([layer], [number]))
    return found


def draw(found: Sequence[Block], patch: Sequence[int], title: str, file: Path) -> None:
    """Draw blocks from left to right as they are computed, deeper where the grid is coarser.

    Parameters
    ----------
    found : sequence of Block
    patch : sequence of int
        Voxels of the input.
    title : str
    file : Path
        SVG.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyArrowPatch, Rectangle

    voxels = math.prod(patch)
    depth = [_level(block.shape, voxels) for block in found]
    widths = [0.6 + 0.25 * min(len(block.layers), 6) for block in found]
    lefts = [sum(widths[:i]) + 0.35 * i for i in range(len(found))]
    span = lefts[-1] + widths[-1]
    levels = max(depth) + 1
    figure = Figure(figsize=(min(max(7.0, 0.42 * span), 16.0), 1.1 + 0.62 * levels))
    axes = figure.add_subplot()
    most = max(math.log2(block.shape[0] + 1) for block in found)
    places = {n: i for i, block in enumerate(found) for n in block.numbers}
    small = len(found) > 45
    for i, block in enumerate(found):
        tall = 0.25 + 0.5 * math.log2(block.shape[0] + 1) / most
        kind = (
            "#9db8d9" if i and depth[i] > depth[i - 1]
            else "#e3b98f" if i and depth[i] < depth[i - 1]
            else "#d7dbe0"
        )  # fmt: skip
        box = Rectangle(
            (lefts[i], -depth[i] - tall / 2), widths[i], tall, fc=kind, ec="#444", lw=0.5
        )
        axes.add_patch(box)
        if not small:
            axes.text(
                lefts[i] + widths[i] / 2, -depth[i], f"{block.shape[0]}",
                ha="center", va="center", fontsize=6.5,
            )  # fmt: skip
        for joined in {places[n] for n in block.layers[0].joined if n in places}:
            if joined < i - 1:
                start = (lefts[joined] + widths[joined] / 2, -depth[joined] + 0.4)
                end = (lefts[i], -depth[i] + 0.1)
                axes.add_patch(
                    FancyArrowPatch(
                        start, end, connectionstyle="arc3,rad=-0.12", arrowstyle="-|>",
                        mutation_scale=5, lw=0.5, color="#777", alpha=0.7, clip_on=False,
                    )
                )  # fmt: skip
    for level in range(levels):
        shapes = [block.shape[1:] for block, own in zip(found, depth, strict=True) if own == level]
        if shapes:
            axes.text(-0.4, -level, _grid(shapes[0]), ha="right", va="center", fontsize=7)
    axes.set_xlim(-0.5, span + 0.3)
    axes.set_ylim(-levels + 0.35, 0.85)
    axes.set_axis_off()
    # Below the network: above it arrows rise as high as they are long.
    axes.text(span / 2, 0.3 - levels, title, ha="center", va="top", fontsize=8)
    figure.savefig(file, format="svg", bbox_inches="tight", metadata={"Date": None})


def _level(shape: tuple[int, ...], voxels: int) -> int:
    """How many halvings of every edge lie between the input and a map."""
    return max(0, round(math.log2(voxels / max(math.prod(shape[1:]), 1)) / 3))


def _grid(shape: tuple[int, ...]) -> str:
    if len(shape) == 1:
        return "one for the patch" if shape == (1,) else f"{shape[0]} tokens"
    return "×".join(map(str, shape))


def table(found: Sequence[Block]) -> str:
    """The blocks as Markdown."""
    lines = [
        "| block | where | layers | channels | grid (z, y, x) | parameters |",
        "|---:|---|---|---:|---|---:|",
    ]
    lines += [
        f"| {i} | `{block.paths}` | {block.kinds} | {block.shape[0]} | {_grid(block.shape[1:])} | "
        f"{block.parameters:,} |"
        for i, block in enumerate(found, start=1)
    ]
    return "\n".join(lines) + "\n"
