"""Means of five networks of an architecture, as papers submit them to a challenge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from kitsbench.architecture import Architecture, Key, Member, Setting, Spec, Task
from kitsbench_plugins.attention_vnet.plugin import SHARED_KEYS, AttentionVNet
from kitsbench_plugins.boundary_aware.plugin import BoundaryAware

NETWORKS = Key(
    5, "five in the papers", low=2, high=20, help="networks whose probabilities are averaged"
)
OVER = Key(
    "folds",
    "CHOICE: five models, of which the paper says no more",
    options=("folds", "seeds"),
    help="what tells them apart: the inner fold that each is trained without, or the seed",
)


class MeanOfFive(Architecture):
    """Base of the means: the members, with the settings that differ from the defaults.

    A subclass names the member and declares the member's keys beside its own.
    """

    member: ClassVar[str] = ""
    own_keys: ClassVar[Mapping[str, Key]] = {"networks": NETWORKS}
    paper_patch = None

    def kinds(self, config: Mapping[str, Setting]) -> tuple[tuple[tuple[str, Setting], ...], ...]:
        """Settings of each kind of network that is trained on every fold."""
        return ((),)

    def spec(self, config: Mapping[str, Setting], task: Task) -> Spec:
        """A member for each kind and fold, or for each kind and seed."""
        given = tuple(
            (key, value)
            for key, value in config.items()
            if key not in ("size", *self.own_keys) and value != self.keys[key].default
        )
        folds = config.get("over", "folds") == "folds"
        return Spec(
            config=tuple(config.items()),
            labels=task.labels,
            members=tuple(
                Member(
                    self.member,
                    (*kind, *given),
                    fold=number if folds else None,
                    seed=None if folds else number,
                )
                for kind in self.kinds(config)
                for number in range(int(config["networks"]))  # type: ignore[arg-type]
            ),
            combine="mean",
            notes=(
                "Each network is trained on the training cases of a fold without one inner fold: "
                "on fewer than one that is trained by itself.",
            )
            if folds
            else (),
        )


class BoundaryAwareFive(MeanOfFive):
    """Mean of the probabilities of five boundary-aware networks (section 4)."""

    title = "Boundary-aware network, mean of five"
    paper = BoundaryAware.paper
    member = "boundary_aware"
    own_keys: ClassVar = {"networks": NETWORKS, "over": OVER}
    keys: ClassVar = {**own_keys, **BoundaryAware.keys}


class AttentionVNetFive(MeanOfFive):
    """Mean of both resolutions, each trained on five folds: what the paper submitted."""

    title = "Attention VNet, five folds of two resolutions"
    paper = AttentionVNet.paper
    member = "attention_vnet"
    own_keys: ClassVar = {
        "networks": NETWORKS,
        "resolution": Key(
            "both",
            "section 3: the assembly was submitted",
            options=("both", "full", "low"),
            help="of both resolutions, or of one",
        ),
    }
    keys: ClassVar = {**own_keys, **SHARED_KEYS}

    def kinds(self, config: Mapping[str, Setting]) -> tuple[tuple[tuple[str, Setting], ...], ...]:
        """One kind a resolution."""
        chosen = str(config["resolution"])
        both = ("low", "full") if chosen == "both" else (chosen,)
        return tuple((("resolution", resolution),) for resolution in both)
