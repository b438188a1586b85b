"""Runs the checks, each in preserved surroundings."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from kitsbench import registry
from kitsbench.architecture import Architecture, Setting, System
from kitsbench.conformance.driven import surroundings
from kitsbench.conformance.driven.opened import FilesOfHooks
from kitsbench.conformance.driven.subject import Subject
from kitsbench.conformance.listed import (
    ENSEMBLE,
    LAST,
    NEEDED_BY_ALL,
    NETWORK,
    ON_REQUEST,
    SPEC,
    SYSTEM,
    Function,
    title,
)
from kitsbench.conformance.outcome import (
    ExpectedFailure,
    Hint,
    Outcome,
    Place,
    Report,
    Violation,
)
from kitsbench.conformance.telling import explain, places
from kitsbench.errors import ContractError, telling
from kitsbench.spec import Task
from kitsbench.training.networks.compiling import check_compiler


@dataclass
class Check:
    """One check of one architecture: call it; ``str()`` is its name.

    Raises
    ------
    Violation
        When called and the rule is broken, and the plugin declares no such failure.

    Warns
    -----
    Hint
        When called and there is something to know beside the rule.
    ExpectedFailure
        When called and it fails as the plugin declares.
    """

    name: str
    run: Callable[[], str | None] = field(repr=False)
    expected: str | None = None

    def outcome(self) -> Outcome:
        """Run the check and say what came of it."""
        try:
            hint = self.run()
        except Violation as violation:
            return Outcome(self.name, False, str(violation), self.expected)
        if self.expected is None:
            return Outcome(self.name, True, hint or "")
        told = f"It passes, though expected_failures says '{self.expected}': take that out."
        return Outcome(self.name, True, f"{told} {hint or ''}".strip(), self.expected)

    def __call__(self) -> None:
        """Run the check."""
        found = self.outcome()
        if not found.kept:
            raise Violation(found.message)
        if not found.passed:
            told = f"{found.message} Expected: {self.expected}"
            warnings.warn(told, ExpectedFailure, stacklevel=2)
        elif found.message:
            warnings.warn(found.message, Hint, stacklevel=2)

    def __str__(self) -> str:
        return self.name


def check(
    architecture: str | Path | Architecture | type[Architecture],
    settings: Mapping[str, Setting] | None = None,
    task: Task | None = None,
    *,
    compile: bool = False,
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
    compile : bool
        Train through ``torch.compile`` as well, which takes a minute or more.
    progress : callable, optional
        Called with each check's name before it runs.

    Raises
    ------
    UsageError
        Unknown name, file, or setting; or no compiler works here.
    """
    outcomes: list[Outcome] = []
    for item in checks(architecture, settings, task, compile=compile):
        failed = [outcome.name for outcome in outcomes if outcome.failed]
        blocking = [name for name in failed if name in NEEDED_BY_ALL or item.name == LAST]
        if blocking:
            text = f"Not reached, because the check '{blocking[0]}' failed."
            outcomes.append(Outcome(item.name, False, text, item.expected, reached=False))
            continue
        if progress is not None:
            progress(item.name)
        outcomes.append(item.outcome())
    return Report(_name(architecture), tuple(outcomes))


def checks(
    architecture: str | Path | Architecture | type[Architecture],
    settings: Mapping[str, Setting] | None = None,
    task: Task | None = None,
    *,
    compile: bool = False,
) -> list[Check]:
    """Checks of one architecture, to be called one by one, e.g. by ``pytest.mark.parametrize``.

    Parameters
    ----------
    architecture, settings, task, compile
        As for :func:`check`.
    """
    if compile:
        check_compiler("cpu")
    try:
        subject = _subject(architecture, settings, task)
        functions = [*SPEC, *(ENSEMBLE if _is_ensemble(subject) else NETWORK)]
        if isinstance(subject.architecture, System):
            functions = [*SPEC, *SYSTEM]
        if compile and NETWORK[0] in functions:
            functions += ON_REQUEST
        expected = _expected(subject.architecture)
    except Violation as violation:
        return [Check("loads", _raising(violation))]
    named = [("loads", _nothing), *((title(f), f) for f in functions)]
    return [Check(n, _guarded(f, subject), expected.get(n)) for n, f in named]


def _expected(architecture: Architecture) -> dict[str, str]:
    """What a plugin says of its own failures, if it is reasons by the names of checks."""
    declared = architecture.expected_failures
    known = [title(f) for f in (*SPEC, *NETWORK, *ON_REQUEST, *ENSEMBLE, *SYSTEM)]
    if not isinstance(declared, Mapping):
        raise Violation(
            f"expected_failures is a {type(declared).__name__}: give {{name of a check: reason}}."
        )
    for name, reason in declared.items():
        if name not in known:
            close = difflib.get_close_matches(str(name), known, 1, 0.0)
            raise Violation(
                f"expected_failures names '{name}', which is no check: did you mean '{close[0]}'?"
            )
        if not isinstance(reason, str) or not reason.strip():
            raise Violation(f"expected_failures gives no reason for '{name}': write a sentence.")
    return dict(declared)


def _subject(
    architecture: str | Path | Architecture | type[Architecture],
    settings: Mapping[str, Setting] | None,
    task: Task | None,
) -> Subject:
    read: list[Path] = []
    with surroundings.preserved():
        before = surroundings.state()
        if isinstance(architecture, str | Path):
            files = FilesOfHooks(Path(architecture).absolute(), tuple)
            with files.heard() if str(architecture).endswith(".py") else nullcontext():
                entry = registry.load(str(architecture))
            read = files.read
            if entry.instance is None:
                raise Violation(f"the plugin is {entry.status}: {entry.error}; repair this first.")
            instance = entry.instance
        else:
            instance = _made(architecture)
        touched = surroundings.changed(before, surroundings.state())
    for name in touched:
        if name in surroundings.AT_IMPORT:
            raise Violation(f"importing the plugin changes {name}: leave it to the harness.")
    subject = Subject(instance, dict(settings or {}), task or Task())
    subject.files.read += read
    try:
        _ = subject.config
    except ContractError as error:
        raise Violation(str(error)) from error  # wrong settings, though, are the caller's error
    return subject


def _made(architecture: Architecture | type[Architecture]) -> Architecture:
    if not isinstance(architecture, type):
        return architecture
    try:
        return architecture()
    except BaseException as error:
        if explain.is_the_users(error):
            raise
        raise Violation(
            f"{architecture.__name__}() raised {telling(error)}: let it be made without arguments."
        ) from error


def _is_ensemble(subject: Subject) -> bool:
    with surroundings.preserved():
        try:
            return bool(subject.spec.members)
        except BaseException as error:  # the check of the spec will tell
            if explain.is_the_users(error):
                raise
            return False


def _guarded(function: Function, subject: Subject) -> Callable[[], str | None]:
    def run() -> str | None:
        with surroundings.preserved(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.set_num_threads(1)  # small patches gain nothing from more
            try:
                return _with_files(function, subject)
            except Violation as violation:
                at: Place | Literal[""] = getattr(function, "looks_at", "")
                at = at if violation.at is None else violation.at
                where = places.of_hook(at, subject.architecture, subject.built) if at else ""
                told = str(violation)
                # Nothing to add to a sentence that names a line itself.
                raise Violation(f"{told} See {where}." if where else told, at="") from violation
            except BaseException as error:  # a plugin may even call sys.exit()
                if explain.is_the_users(error):
                    raise
                raise Violation(explain.failure(error, subject), at="") from error

    return run


def _with_files(function: Function, subject: Subject) -> str | None:
    """Run a check, and tell, each file once, of files that the plugin has read."""
    files = subject.files
    files.next_stretch()
    with files.heard():
        hint = function(subject) or ""
    if new := files.untold(files.remembered):
        raise Violation(
            f"a hook reads {new[0]}, which another call of it has written: no other machine has "
            "it, and trials that run at one time share it. Keep no state in files.",
            at="class",
        )
    for file in files.untold(files.read):
        if str(file) not in hint:  # else the check has told of it
            hint += (
                f" The plugin reads {file}, whose content is no part of what a trial is: name it "
                "by a key made by Key.file(), or keep what stands there in a Python module."
            )
    return hint.strip()


def _raising(violation: Violation) -> Callable[[], None]:
    def run() -> None:
        raise violation

    return run


def _nothing(subject: Subject) -> None:
    """Loading has succeeded when this is reached."""


def _name(architecture: str | Path | Architecture | type[Architecture]) -> str:
    if isinstance(architecture, str | Path):
        return registry.find(str(architecture)).shown
    return (architecture if isinstance(architecture, type) else type(architecture)).__name__
