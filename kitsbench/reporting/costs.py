"""What each network costs, measured by its profile and beside its paper's."""

from __future__ import annotations

from typing import Any

from kitsbench.experiments.records import EntrantRecord, ProfileRecord
from kitsbench.profiling.reading import NOISE, impossible
from kitsbench.reporting import words
from kitsbench.reporting.analysis import Analysis
from kitsbench.reporting.tables import Table
from kitsbench.text.numbers import plain

DOUBT = "†"
"""Beside a figure that cannot be, since the machine changed its speed meanwhile."""


def cost(analysis: Analysis) -> Table | None:
    """Size and speed of each architecture, measured by its profile and relative to the paper's.

    Parameters
    ----------
    analysis : Analysis

    Returns
    -------
    Table or None
        None where nothing is known about any architecture.
    """
    rows = []
    for entrant in analysis.results.experiment.entrants:
        profile = analysis.results.profiles.get(entrant.name)
        parameters = profile.parameters if profile else entrant.parameters
        forward = (profile.flops_forward if profile else None) or entrant.flops
        if not parameters and not forward:
            continue
        rows.append(
            [
                f"{entrant.name}\n{analysis.role(entrant.name)}".rstrip("\n"),
                _reduction(entrant),
                words.big(parameters),
                _relative(parameters, entrant.paper_parameters),
                words.big(forward, "FLOP"),
                _relative(entrant.flops, entrant.paper_flops),
                *(_measured(profile) if profile else [words.DASH] * 5),
            ]
        )
    if not rows:
        return None
    head = [
        "Architecture",
        "Size",
        "Parameters",
        "of the paper's",
        "Forward pass",
        "of the paper's",
        "Training step",
        "Inference, a patch",
        "Patches/s, compute",
        "Patches/s, with data",
        "Peak memory of a step",
    ]
    return Table(head, rows, _conditions(analysis), text_columns=2)


def notes(analysis: Analysis) -> list[str]:
    """What differs from the papers, a sentence each, such as pools that follow the patch."""
    return [
        f"{entrant.name}: {note}"
        for entrant in analysis.results.experiment.entrants
        for note in entrant.notes
    ]


def _measured(profile: ProfileRecord) -> list[str]:
    """Cells of what was measured: step, inference, patches a second, memory."""
    step = (
        f"{_milliseconds(profile.train_step_ms)}\n"
        f"[{plain(profile.train_step_ms_low)}, {plain(profile.train_step_ms_high)}]"
    )
    return [
        step,
        _milliseconds(profile.inference_ms),
        words.big(profile.patches_per_s_compute),
        words.big(profile.patches_per_s_full) + f" {DOUBT}" * _too_fast(profile),
        words.memory(profile.peak_memory_bytes),
    ]


def _too_fast(profile: ProfileRecord) -> bool:
    """Whether steps with data were faster than without by more than noise."""
    if profile.full_step_ms_high is not None:
        return impossible(profile.row()) is not None
    full = profile.patches_per_s_full  # an earlier kitsbench kept no quartiles
    return full is not None and full * (1 - NOISE) > profile.patches_per_s_compute


def _reduction(entrant: EntrantRecord) -> str:
    """Preset, width, depth and patch of a configuration, and the paper's patch."""
    if entrant.members:
        return "its members'"
    config = entrant.config
    scale = ", ".join(f"{key} {config[key]:g}" for key in ("width", "depth") if config.get(key))
    first = ", ".join(filter(None, [entrant.size or "", scale])) or words.DASH
    patch, paper = entrant.patch, entrant.paper_patch
    if not patch:
        return first
    text = f"{first}\npatch {_edges(patch)}"
    return f"{text}, paper {_edges(paper)}" if paper and paper != patch else text


def _edges(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _conditions(analysis: Analysis) -> str:
    profiles = list(analysis.results.profiles.values())
    if not profiles:
        return "Not profiled; counts are those of the configuration that was trained."
    first = profiles[0]
    batches = sorted({profile.batch for profile in profiles})
    batch = f"{batches[0]}" if len(batches) == 1 else f"{batches[0]} to {batches[-1]}"
    several = len({profile.patch for profile in profiles}) > 1
    other = "; where another patch stands beside a name, with that" if several else ""
    marked = [profile for profile in profiles if _too_fast(profile)]
    faster = [p for p in profiles if (p.patches_per_s_full or 0) > p.patches_per_s_compute]
    return (
        f"Measured on {first.device_name} with {words.plural(first.threads, 'thread')}, patch "
        f"{_edges(first.patch)}, batch {batch}{other}. Step: forward, backward and "
        f"optimiser of a batch (median and quartiles). Forward pass and "
        "inference: one patch by "
        "itself, which uses a device less well than a batch, so a patch can take longer here than "
        "its share of a step; the share compares with the paper's network on the paper's patch. "
        "“With data” includes cutting and augmenting the patches; the gap to “compute” is what the "
        "loader costs. Memory is that of the profile, a few steps in a process of their own; that "
        "of a whole training stands in the fairness audit and is larger."
        + " Where it is a little faster than “compute”, the two differ by noise alone."
        * (len(faster) > len(marked))
        + f" {DOUBT} Faster than without data by more than noise, which cannot be: the machine "
        "changed its speed meanwhile." * bool(marked)
    )


def _milliseconds(value: float) -> str:
    return f"{plain(value)} ms"


def _relative(value: Any, paper: Any) -> str:
    if words.missing(value) or words.missing(paper) or not paper:
        return words.DASH
    share = value / paper
    return words.percent(share, 0 if share >= 0.1 else 1 if share >= 0.01 else 2)
