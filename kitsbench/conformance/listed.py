"""Which checks there are, and in which order."""

from __future__ import annotations

from collections.abc import Callable

from kitsbench.conformance.checks import (
    adaptation,
    as_run_does,
    behaviour,
    configurations,
    deciding,
    derived,
    description,
    ends,
    learning,
    patches,
    recipes,
    steadiness,
    systems,
)
from kitsbench.conformance.driven.subject import Subject
from kitsbench.conformance.fake_gpu import waits

Function = Callable[[Subject], str | None]  # may answer with a hint

# A word of the contract has its check in one of these, in the order in which faults are best told.
# The function's name is the check's; `looks_at` says which hook is to be mended. A check of a word
# that a plugin does not use returns at once.
SPEC: tuple[Function, ...] = (description.spec_is_data,)
NETWORK: tuple[Function, ...] = (
    description.grids_and_heads_fit,
    description.sizes_are_admissible,
    derived.derives_from_the_scan,
    behaviour.builds,
    behaviour.shapes,
    recipes.initial_weights_fit,
    description.stages_fit,
    configurations.configurations_build,
    behaviour.gives_logits,
    behaviour.weights_follow_the_seed,
    behaviour.state_round_trips,
    behaviour.evaluation_is_deterministic,
    steadiness.forward_repeats,
    behaviour.finite_in_bfloat16,
    learning.targets_fit,
    learning.loss_is_finite,
    learning.every_parameter_learns,
    deciding.decodes_voxel_by_voxel,
    deciding.decodes_what_is_learned,
    deciding.postprocess_keeps_the_shape,
    steadiness.hooks_keep_no_state,
    steadiness.holds_no_more_with_each_step,
    behaviour.leaves_the_process_alone,
    recipes.batches_repeat,
    patches.takes_every_patch,
    ends.ends_of_keys_work,
    configurations.other_labels_work,
    configurations.other_spacings_work,
    as_run_does.trains_as_run_does,
    as_run_does.predicts_as_run_does,
    adaptation.adapts_to_each_scan_alone,
    waits.ready_for_a_gpu,
    learning.learns_one_volume,
)
ON_REQUEST: tuple[Function, ...] = (as_run_does.compiles,)
ENSEMBLE: tuple[Function, ...] = (
    description.members_fit,
    description.stages_fit,
    configurations.configurations_build,
    ends.ends_of_keys_work,
    deciding.postprocess_keeps_the_shape,
)
SYSTEM: tuple[Function, ...] = (
    systems.says_what_it_was_trained_on,
    systems.configurations_are_specs,
    systems.predicts_a_label_map,
    systems.leaves_the_scan_alone,
    systems.predicts_the_same_again,
    systems.takes_any_scan,
)
# Without these the later checks could only repeat the same failure.
NEEDED_BY_ALL = {
    "loads",
    "spec is data",
    "grids and heads fit",
    "members fit",
    "builds",
    "shapes",
    "stages fit",
    "targets fit",
    "loss is finite",
    "says what it was trained on",
    "predicts a label map",
}
LAST = "learns one volume"  # takes longest, and tells nothing new where another check failed


def title(function: Function) -> str:
    """Name of the check that a function is."""
    return function.__name__.replace("_", " ")
