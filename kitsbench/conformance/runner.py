"""Runs the checks, each in preserved surroundings."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from kitsbench import registry
from kitsbench.architecture import Architecture, Setting
from kitsbench.conformance import behaviour, description, learning, surroundings, waits
from kitsbench.conformance.outcome import Hint, Outcome, Report, Violation
from kitsbench.conformance.subject import Subject
from kitsbench.errors import ContractError, KitsbenchError
from kitsbench.spec import Task

Function = Callable[[Subject], str | None]  # may answer with a hint

SPEC: tuple[Function, ...] = (description.spec_is_data,)
NETWORK: tuple[Function, ...] = (
    description.grids_and_heads_fit,
    description.sizes_are_admissible,
    behaviour.builds,
    behaviour.shapes,
    description.stages_fit,
    description.configurations_build,
    behaviour.gives_logits,
    behaviour.weights_follow_the_seed,
    behaviour.state_round_trips,
    behaviour.evaluation_is_deterministic,
    behaviour.finite_in_bfloat16,
    learning.targets_fit,
    learning.loss_is_finite,
    learning.every_parameter_learns,
    learning.decodes_voxel_by_voxel,
    learning.postprocess_keeps_the_shape,
    behaviour.leaves_the_process_alone,
    waits.ready_for_a_gpu,
    learning.learns_one_volume,
)
ENSEMBLE: tuple[Function, ...] = (
    description.members_fit,
    description.stages_fit,
    description.configurations_build,
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
}
LAST = "learns one volume"  # takes longest, and tells nothing new where another check failed


@dataclass
class Check:
    """One check of one architecture: call it; ``str()`` is its name.

    Raises
    ------
    Violation
        When called and the rule is broken.

    Warns
    -----
    Hint
        When called and there is something to know beside the rule.
    """

    name: str
    run: Callable[[], str | None] = field(repr=False)

    def __call__(self) -> None:
        """Run the check."""
        hint = self.run()
        if hint:
            warnings.warn(hint, Hint, stacklevel=2)

    def __str__(self) -> str:
        return self.name


def check(
    architecture: str | Path | Architecture | type[Architecture],
    settings: Mapping[str, Setting] | None = None,
    task: Task | None = None,
    *,
    progress: Callable[[str], None] | None = None,
) -> Report:
    """Run all checks on one architecture.

    Parameters
    ----------
    architecture : str, Path, Architecture or class
        A registered name, a Python file, or the plugin itself.
    settings : mapping, optional
        Configuration; the size ``tiny`` is taken unless this names a size.
    task : Task, optional
        Labels and patch; by default two labels and patches of about 16 voxels an edge.
    progress : callable, optional
        Called with each check's name before it runs.

    Raises
    ------
    UsageError
        Unknown name, file, or setting.
    """
    outcomes: list[Outcome] = []
    for item in checks(architecture, settings, task):
        failed = [outcome.name for outcome in outcomes if not outcome.passed]
        blocking = [name for name in failed if name in NEEDED_BY_ALL or item.name == LAST]
        if blocking:
            text = f"Not reached, because the check '{blocking[0]}' failed."
            outcomes.append(Outcome(item.name, False, text))
            continue
        if progress is not None:
            progress(item.name)
        try:
            hint = item.run()
        except Violation as violation:
            outcomes.append(Outcome(item.name, False, str(violation)))
        else:
            outcomes.append(Outcome(item.name, True, hint or ""))
    return Report(_name(architecture), tuple(outcomes))


def checks(
    architecture: str | Path | Architecture | type[Architecture],
    settings: Mapping[str, Setting] | None = None,
    task: Task | None = None,
) -> list[Check]:
    """Checks of one architecture, to be called one by one, e.g. by ``pytest.mark.parametrize``.

    Parameters
    ----------
    architecture, settings, task
        As for :func:`check`.
    """
    try:
        subject = _subject(architecture, settings, task)
    except Violation as violation:
        return [Check("loads", _raising(violation))]
    functions = [*SPEC, *(ENSEMBLE if _is_ensemble(subject) else NETWORK)]
    named = [("loads", _nothing), *((_title(f), f) for f in functions)]
    return [Check(name, _guarded(name, function, subject)) for name, function in named]


def _subject(
    architecture: str | Path | Architecture | type[Architecture],
    settings: Mapping[str, Setting] | None,
    task: Task | None,
) -> Subject:
    with surroundings.preserved():
        before = surroundings.state()
        if isinstance(architecture, str | Path):
            entry = registry.load(str(architecture))
            if entry.instance is None:
                raise Violation(f"the plugin is {entry.status}: {entry.error}; repair this first.")
            instance = entry.instance
        else:
            instance = architecture() if isinstance(architecture, type) else architecture
        touched = surroundings.changed(before, surroundings.state())
    for name in touched:
        if name in surroundings.AT_IMPORT:
            raise Violation(f"importing the plugin changes {name}: leave it to the harness.")
    subject = Subject(instance, dict(settings or {}), task or Task())
    try:
        _ = subject.config
    except ContractError as error:
        raise Violation(str(error)) from error  # wrong settings, though, are the caller's error
    return subject


def _is_ensemble(subject: Subject) -> bool:
    with surroundings.preserved():
        try:
            return bool(subject.spec.members)
        except Exception:  # the check of the spec will tell
            return False


def _guarded(name: str, function: Function, subject: Subject) -> Callable[[], str | None]:
    def run() -> str | None:
        with surroundings.preserved(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.set_num_threads(1)  # small patches gain nothing from more
            try:
                return function(subject)
            except (Violation, KeyboardInterrupt):
                raise
            except KitsbenchError as error:
                raise Violation(str(error)) from error
            except Exception as error:
                text = str(error).strip().splitlines() or ["no message"]
                raise Violation(
                    f"{_origin(error)} raised {type(error).__name__} ({text[0]}): repair it."
                ) from error

    return run


def _origin(error: Exception) -> str:
    """Function of the plugin in which an error arose, with its line."""
    here = Path(__file__).parent
    frame, trace = "a hook", error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        path = Path(code.co_filename)
        foreign = "site-packages" in path.parts or path.parent == here or "<" in code.co_filename
        if not foreign:
            frame = f"{code.co_qualname}() in {path.name}, line {trace.tb_lineno},"
        trace = trace.tb_next
    return frame


def _raising(violation: Violation) -> Callable[[], None]:
    def run() -> None:
        raise violation

    return run


def _nothing(subject: Subject) -> None:
    """Loading has succeeded when this is reached."""


def _title(function: Function) -> str:
    return function.__name__.replace("_", " ")


def _name(architecture: str | Path | Architecture | type[Architecture]) -> str:
    if isinstance(architecture, str | Path):
        text = str(architecture)
        return Path(text).stem if text.endswith(".py") else text
    return (architecture if isinstance(architecture, type) else type(architecture)).__name__
