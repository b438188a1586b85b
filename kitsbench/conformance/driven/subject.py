"""The architecture under test, with specs, networks and batches made from it."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from kitsbench.architecture import Architecture, Setting, Stage, System, configure
from kitsbench.channels import Channel
from kitsbench.configuration import files_of
from kitsbench.conformance.driven.opened import FilesOfHooks
from kitsbench.conformance.driven.plugin_state import PluginState
from kitsbench.conformance.driven.source import folder_of
from kitsbench.conformance.outcome import Place, Violation
from kitsbench.data.channels.places import place_values
from kitsbench.registry.weightless import build_weightless
from kitsbench.spec import Grid, Head, Labels, Shape, Spec, Task
from kitsbench.training.networks.build import misfit

SMALL: Shape = (16, 16, 16)


@dataclass
class Subject:
    """One configured architecture under test.

    Attributes
    ----------
    architecture : Architecture
    settings : mapping
    task : Task
    built : object
        What ``build`` returned last, of which messages name the class.
    state : PluginState
        What the plugin holds beside its networks, before any hook was called.
    files : FilesOfHooks
        What hooks read and write.
    """

    architecture: Architecture
    settings: Mapping[str, Setting] = field(default_factory=dict)
    task: Task = field(default_factory=Task)
    built: object = field(default=None, repr=False)
    state: PluginState = field(default=None, repr=False)  # type: ignore[assignment]
    files: FilesOfHooks = field(default=None, repr=False)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.state is None:
            self.state = PluginState(self.architecture)
        if self.files is None:
            own = folder_of(self.architecture)
            self.files = FilesOfHooks(own, lambda: self.given.values())

    def forget(self) -> list[str]:
        """Leave the plugin as another process would import it; the names of what had changed."""
        self.__dict__.pop("system", None)
        self.files.next_stretch()
        return self.state.put_back()

    @cached_property
    def config(self) -> dict[str, Setting]:
        """Configuration; the size ``tiny`` where there is one and nothing else was asked for."""
        return configure(self.architecture, self.settings_with_size)

    @property
    def given(self) -> dict[str, Path]:
        """Files that keys name, by the key."""
        return files_of(self.architecture, self.settings)

    @property
    def settings_with_size(self) -> dict[str, Setting]:
        """What was asked for, and the size that is taken."""
        tiny = {"size": "tiny"} if "tiny" in self.architecture.sizes else {}
        return {**tiny, **self.settings}

    @cached_property
    def spec(self) -> Spec:
        """Spec for the small patch."""
        return self.spec_for(self.task.patch or SMALL)

    @cached_property
    def system(self) -> System:
        """The architecture, if it is one that was trained elsewhere, with its weights read."""
        assert isinstance(self.architecture, System)
        self.architecture.load(self.given, self.spec, torch.device("cpu"))
        return self.architecture

    def spec_for(self, patch: Shape | None, config: Mapping[str, Setting] | None = None) -> Spec:
        """Spec for a patch and, if given, for another configuration."""
        task = replace(self.task, patch=patch)
        return self.architecture.spec(dict(config or self.config), task)

    def network(self, spec: Spec | None = None, *, seed: int = 0) -> nn.Module:
        """Network with the initial weights of a seed."""
        torch.manual_seed(seed)
        network = self.architecture.build(spec or self.spec)
        self.built = network
        return network

    def weightless(self, spec: Spec | None = None) -> nn.Module:
        """Network without values, for its names and shapes."""
        return build_weightless(self.architecture, spec or self.spec)

    def for_labels(self, labels: Labels) -> Subject:
        """The same for a task of other labels."""
        return self.for_task(replace(self.task, labels=labels))

    def for_task(self, task: Task) -> Subject:
        """The same for another task."""
        return Subject(self.architecture, self.settings, task, state=self.state, files=self.files)


def outputs_of(network: nn.Module, inputs: Mapping[str, Tensor], spec: Spec) -> dict[str, Tensor]:
    """Run a network and check that what comes out is what the spec's heads say."""
    given = {name: values.clone() for name, values in inputs.items()}
    # What it is called with, since it may put others under the names.
    tensors = dict(given)
    try:
        outputs = network(given)
    except TypeError as error:
        if "dict" not in str(error):
            raise
        raise Violation(
            "forward does not take {grid name: tensor}: wrap a network from tensor to tensor in "
            "Plain.",
            at="build",
        ) from error
    wanted = [head.name for head in spec.heads if network.training or decided_from(head)]
    shown = [own.name for own in spec.maps]
    wanted += [] if network.training else shown
    told = misfit(outputs, spec, next(iter(inputs.values())).shape[0], wanted)
    if told:
        raise Violation(told, at="forward")
    refuse_changes("forward", "input", tensors, inputs)
    return {name: values for name, values in outputs.items() if name not in shown}


def copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What tensors hold now."""
    return {k: v.detach().clone() for k, v in tensors.items() if isinstance(v, Tensor)}


def refuse_changes(
    hook: Place, what: str, given: Mapping[str, Tensor], before: Mapping[str, Tensor]
) -> None:
    """See that a hook has left the tensors that it was given as they were.

    Parameters
    ----------
    hook : str
    what : str
        What one of them is, for people.
    given : mapping of str to Tensor
        What the hook was given.
    before : mapping of str to Tensor
        The same values.

    Raises
    ------
    Violation
        It has changed one.
    """
    for name, values in before.items():
        if not _same(given[name], values):
            raise Violation(
                f"{hook}() changes its {what} '{name}' in place, which others are given as well: "
                "work on a copy, as by x = x - 1 where x -= 1 or x.sub_(1) stands.",
                at=hook,
            )


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether tensors hold equal numbers, or none in equal places."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool(((one == other) | (one.isnan() & other.isnan())).all())


def decided_from(head: Head) -> bool:
    """Whether prediction uses a head, so that it must be there in evaluation mode too."""
    return head.role == "primary" or head.at_inference


def batch(
    spec: Spec, size: int = 2, seed: int = 0, *, lopsided: bool = False
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Images and labels of a small, easy scene that lies inside the output.

    Parameters
    ----------
    spec : Spec
    size : int
        Samples.
    seed : int
    lopsided : bool
        Show scenes that no mirroring, in every second sample no exchange of axes, leaves alike.

    Returns
    -------
    inputs : dict
        {grid name: (B, C, z, y, x)} and {input name: (B, size)}.
    labels : dict
        {grid name: label values (B, z, y, x), int64}.
    """
    generator = torch.Generator().manual_seed(seed)
    inputs, labels = {}, {}
    for grid in spec.grids:
        drawn = [_scene(grid, spec, odd=bool(i % 2), lopsided=lopsided) for i in range(size)]
        scene = torch.stack(drawn)
        ranks = torch.zeros_like(scene)
        for rank, (_, value) in enumerate(spec.labels, start=1):
            ranks[scene == value] = rank
        noise = torch.randn(scene.shape, generator=generator)
        image = 1.5 * ranks - 1 + 0.1 * noise
        inputs[grid.name] = torch.stack([_shown(image, c, generator) for c in grid.channels], 1)
        labels[grid.name] = scene
    for entry in spec.inputs:
        inputs[entry.name] = torch.rand((size, entry.size), generator=generator) + 0.5
    return inputs, labels


def _shown(image: Tensor, channel: Channel, generator: torch.Generator) -> Tensor:
    """What a channel shows of a batch of images (B, z, y, x), whose patch is the whole scan."""
    if channel.is_ct:
        return image
    if channel.source == "image":
        return image + 0.1 * torch.randn(image.shape, generator=generator)
    if channel.source == "function":
        return 2 * torch.rand(image.shape, generator=generator) - 1
    lines = [torch.arange(edge, dtype=torch.float32) for edge in image.shape[1:]]
    index = torch.meshgrid(*lines, indexing="ij")
    return place_values(channel, index, image.shape[1:], (1.0, 1.0, 1.0)).expand_as(image)


def _scene(grid: Grid, spec: Spec, *, odd: bool, lopsided: bool) -> Tensor:
    """Label values (z, y, x): the first label is a ball, the others are balls inside it.

    Lopsided scenes show half of it: that which the other half becomes where an axis is mirrored,
    in odd ones where two axes change places.
    """
    head = spec.primary
    extent = [edge * step for edge, step in zip(head.shape, head.stride, strict=True)]
    axes = []
    for edge, ratio, size in zip(grid.shape, grid.ratio, extent, strict=True):
        axes.append((torch.arange(edge) - (edge - 1) / 2) * ratio / (size / 2))
    position = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    shown = torch.ones(grid.shape, dtype=torch.bool)
    if lopsided:
        z, y, x = position
        shown = ((z - y) * (y - x) * (x - z) if odd else z * y * x) > 0
    scene = torch.zeros(grid.shape, dtype=torch.int64)
    for rank, (_, value) in enumerate(spec.labels):
        centre = torch.zeros(3, 1, 1, 1)
        if rank:
            side = -1 if (rank % 2 == 0) != odd else 1
            centre[1 + (rank - 1) // 2 % 2] = 0.4 * side
        radius = 0.5 if rank else 1.0
        scene[shown & ((position - centre).square().sum(0) < radius**2)] = value
    return scene


def trained_by(stage: Stage, network: nn.Module) -> list[str]:
    """Names of the parameters that a stage trains."""
    return [
        name
        for name, own in network.named_parameters()
        if (own.is_floating_point() or own.is_complex())
        and any(fnmatch.fnmatchcase(name, pattern) for pattern in stage.train)
    ]
