"""The trained network of a trial, or the networks of an ensemble, ready to predict."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from torch import nn

from kitsbench.architecture import Architecture, adapts
from kitsbench.channels import Scan
from kitsbench.data.channels.derived import Derive
from kitsbench.data.channels.files import complete_scan, without_channels
from kitsbench.data.channels.stores import grid_stores, image_numbers
from kitsbench.data.preparation.store import PreparedCase, PreparedStore
from kitsbench.data.preparation.wanted import prepared_how
from kitsbench.devices.layout import Layout
from kitsbench.errors import ContractError, DataError
from kitsbench.experiments.records import LedgerRecord
from kitsbench.experiments.trial.task import TrialTask
from kitsbench.inference.adaptation import Adapter
from kitsbench.inference.case import Trained
from kitsbench.inference.sliding import Predictor, Predicts
from kitsbench.inference.tiles import tiles_at_once
from kitsbench.recipe import SHARED
from kitsbench.registry import RegisteredArchitecture, load
from kitsbench.registry.packages import packages_of_recipe, version_changes
from kitsbench.training.checkpoints.checkpoint import latest_checkpoint, load_checkpoint
from kitsbench.training.failures import can_be_smaller, may_be_memory, plugin_code
from kitsbench.training.ledger import Ledger
from kitsbench.training.networks.build import build_network

Beat = Callable[[], None]


def plugin_of(task: TrialTask) -> Architecture:
    """The plugin of a trial, loaded once a process and of the source that the trial is named by.

    Raises
    ------
    ContractError
        It cannot be loaded, or its source is another one by now, or on this machine.
    """
    identity = task.trial.identity
    return _plugin(task.location, identity.architecture, identity.source_hash).architecture


def check_packages(task: TrialTask) -> None:
    """See that a trial is run with the packages that it is named by.

    Who only predicts with what it left is not held to that: a later version may well do.

    Raises
    ------
    ContractError
        This machine has others.
    """
    if changed := other_packages(task):
        raise ContractError(
            f"the plugin '{task.trial.identity.architecture}' finds other packages than this trial "
            f"was planned with ({', '.join(changed)}): install the same ones everywhere, or run "
            "the same command again for trials with those of now."
        )


def other_packages(task: TrialTask) -> list[str]:
    """Packages of a trial's plugin of which this machine has another version, in words."""
    identity = task.trial.identity
    found = _plugin(task.location, identity.architecture, identity.source_hash).packages
    named = packages_of_recipe(task.recipe, task.spec.stages)
    return version_changes(identity.packages, {**found, **named})


@cache  # who edits a plugin while it trains changes the next trials, not the rest of this one
def _plugin(location: str, name: str, source_hash: str) -> RegisteredArchitecture:
    registered = load(location)
    _ = registered.architecture  # raises where it is not usable
    if registered.source_hash != source_hash:
        raise ContractError(
            f"the source of the plugin '{name}' is not the one that this trial was planned with "
            f"({registered.source_hash}, not {source_hash}): it was changed since, or differs on "
            "this machine. Run the same command again with the source that you mean, the same "
            "one everywhere."
        )
    return registered


def derived_by(task: TrialTask) -> Derive:
    """The hook by which channels and inputs follow from a scan; loads the plugin when asked."""

    def derive(name: str, scan: Scan) -> object:
        with plugin_code("derive"):
            return plugin_of(task).derive(name, scan, task.spec)

    return derive


def open_stores(task: TrialTask) -> dict[str, PreparedStore]:
    """The prepared stores of a trial's grids, {grid: store whose cases have its channels}."""
    return grid_stores(task.stores, task.spec, derived_by(task), task.trial.identity.code)


@dataclass(frozen=True)
class ScanChannels:
    """What networks are shown of a scan in a file of its own, beside the CT.

    Attributes
    ----------
    networks : sequence of TrialTask
        What each predictor was trained by.
    spacings : sequence of dict
        For each {grid: spacing}, as of
        :func:`~kitsbench.data.preparation.wanted.grid_spacings`.
    """

    networks: Sequence[TrialTask]
    spacings: Sequence[dict[str, tuple[float, float, float]]]

    def scans(self, images: Sequence[Path]) -> tuple[Path, ...]:
        """Scans among some images, of which others may be further channels that are seen."""
        keys = [key for task in self.networks for key in task.trial.identity.preparation]
        seen = image_numbers(keys).values()
        return without_channels(images, {n for images in seen for n in images.values()})

    def complete(
        self, image: Path, place: int, volumes: dict[str, PreparedCase]
    ) -> dict[str, PreparedCase]:
        """Volumes of a scan with all that the network in a place is shown."""
        task, spacings = self.networks[place], self.spacings[place]
        numbers = image_numbers(task.trial.identity.preparation)
        how = prepared_how(task.spec, task.recipe)
        return complete_scan(image, volumes, spacings, task.spec, numbers, derived_by(task), how)


def make_trained(task: TrialTask, network: nn.Module, device: torch.device, beat: Beat) -> Trained:
    """Put a trial's network behind tiling, activations and mirroring."""
    architecture = plugin_of(task)
    predictor = Predictor(
        network,
        task.spec,
        task.window,
        task.recipe.inference,
        device,
        task.trial.identity.precision,
        tiles=tiles_at_once(task.spec, device),
        tick=beat,
        exhausted=_exhausted,
        adapter=_adapter(task, architecture),
    )
    return Trained(architecture, task.spec, (predictor,), ((architecture, task.spec),))


def _adapter(task: TrialTask, architecture: Architecture) -> Adapter | None:
    """How a plugin adapts its network to scans; None under the shared recipe, or if it does not."""
    if task.recipe.name == SHARED or not adapts(architecture):
        return None
    return Adapter(architecture, task.spec, (task.trial.seed, task.trial.fold))


def note_adaptation(trained: Trained, ledger: Ledger) -> None:
    """Write down what adapting to scans has taken, if anything was adapted."""
    own = (getattr(one, "predictor", one) for one in trained.predictors)
    adapters = [one.adapter for one in own if isinstance(one, Predictor) and one.adapter]
    seconds = [value for adapter in adapters for value in adapter.seconds]
    if seconds:
        # Members each adapt to the same scans, and a scan costs what all of them take.
        ledger.adaptation_cases = max(len(adapter.seconds) for adapter in adapters)
        ledger.adaptation_s = sum(seconds)


def _exhausted(error: BaseException) -> bool:
    """Whether less at once may do: also where a library says it in words of many meanings."""
    return can_be_smaller(error) or may_be_memory(error)


def load_trained(task: TrialTask, device: torch.device, beat: Beat = lambda: None) -> Trained:
    """Read a trial's trained weights back.

    Parameters
    ----------
    task : TrialTask
    device : torch.device
    beat : callable
        Called after each forward pass of a prediction.

    Raises
    ------
    DataError
        It has no whole checkpoint.
    """
    if task.members:
        return load_members(task, device, beat)
    found = latest_checkpoint(task.folder.checkpoints)
    if found is None:
        raise DataError(
            f"{task.folder.checkpoints} holds no whole checkpoint of trial {task.id} "
            f"({task.name}).\nRun it to the end first; if it has finished, its files are damaged: "
            "delete its folder and run the same command again."
        )
    trial = task.trial
    network = build_network(
        plugin_of(task), task.spec, trial.seed, trial.fold, device, trained_layout(task, device)
    )
    model, _, _ = load_checkpoint(found)
    prefix = "average." if any(name.startswith("average.") for name in model) else "model."
    network.load_state_dict(
        {name.removeprefix(prefix): v for name, v in model.items() if name.startswith(prefix)}
    )
    network.eval()
    return make_trained(task, network, device, beat)


def trained_layout(task: TrialTask, device: torch.device) -> Layout | None:
    """The layout that was chosen for a trial on such a device, if it was trained on one."""
    with contextlib.suppress(DataError):
        ledger = LedgerRecord.read(task.folder.ledger)
        if ledger.device == device.type and ledger.layout:
            return ledger.layout
    return None


def load_members(task: TrialTask, device: torch.device, beat: Beat) -> Trained:
    """Read the networks of an ensemble's members back, in the order of its spec."""
    members = [load_trained(member, device, beat) for member in task.members]
    trained = Trained(
        plugin_of(task),
        task.spec,
        [member.predictors[0] for member in members],
        [(member.architecture, member.spec) for member in members],
    )
    axes = task.trial.identity.tta
    return trained if axes is None else mirrored(trained, axes)


def mirrored(trained: Trained, axes: Sequence[tuple[int, ...]]) -> Trained:
    """The same networks, each averaged over mirror images along its axes (empty for none)."""
    found: list[Predicts] = []
    for predictor, own in zip(trained.predictors, axes, strict=True):
        assert isinstance(predictor, Predictor)  # a mean is made of mirrored ones
        found.append(replace(predictor, rule=replace(predictor.rule, mirror=own)))
    return replace(trained, predictors=found)
