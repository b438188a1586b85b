"""The report of several working directories: one page, or one for each set of conditions."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kitsbench import __version__
from kitsbench.errors import DataError, UsageError
from kitsbench.experiments.results import Results, load_results
from kitsbench.experiments.workdir.join import join_results, kept_trials
from kitsbench.files import write_folder, write_json, write_text
from kitsbench.reporting import scores, words
from kitsbench.reporting.analysis import Analysis, analyse
from kitsbench.reporting.asked.narrowing import Narrowing, named, narrow
from kitsbench.reporting.build import PAGE, build_report, render, write_report
from kitsbench.reporting.first_screen.answer import headline
from kitsbench.reporting.several.conditions import Group, differences, grouped
from kitsbench.reporting.tables import Table
from kitsbench.reporting.viewer_part import FEW, ViewerAsked

OUT = Path("kitsbench-report")
"""Folder of a report that belongs to no single working directory."""
_FOLDER = "conditions-{}"


def build_reports(
    workdirs: Sequence[str | Path],
    out: str | Path | None = None,
    experiment: str | None = None,
    tell: Callable[[str], None] | None = None,
    asked: Narrowing | None = None,
    viewer: ViewerAsked = FEW,
) -> Path:
    """Write the report of one working directory, or of several.

    Parameters
    ----------
    workdirs : sequence of path
        What runs wrote. Only read.
    out : path, optional
        Folder for the report; :data:`OUT` by default where there are several.
    experiment, tell, asked, viewer : optional
        As of :func:`~kitsbench.reporting.build.build_report`; the experiment is looked for in
        each working directory.

    Returns
    -------
    Path
        ``index.html``. Where conditions differ it leads to a report for each, and beside it
        ``several.json`` says the same.

    Raises
    ------
    UsageError
        A folder is named twice, or there is no such experiment or name.
    DataError
        A folder is no working directory or is damaged, a trial has other scores in one of them
        than in another, or ``out`` is a file.
    """
    if len(workdirs) == 1:
        return build_report(workdirs[0], out, experiment, tell, viewer, asked)
    _check_once(workdirs)
    folder = Path(OUT if out is None else out)
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file; the report needs a folder. Name another with -o.")
    found = [load_results(workdir, experiment) for workdir in workdirs]
    kept_trials(found)  # before anything is written: no trial may have two outcomes
    groups = grouped(found)
    analyses = analyses_of(groups, asked or Narrowing())
    if len(groups) == 1:
        return write_report(analyses[0], folder, viewer=viewer, tell=tell)
    for number, analysis in enumerate(analyses, start=1):
        write_report(analysis, folder / _FOLDER.format(number), viewer=viewer, tell=tell)
    return _write_overview(groups, analyses, folder)


def _check_once(workdirs: Sequence[str | Path]) -> None:
    met: dict[str, Path] = {}
    for workdir in map(Path, workdirs):
        place = os.path.realpath(workdir)
        if place in met:
            raise UsageError(
                f"{workdir} and {met[place]} are one working directory; name each once."
            )
        met[place] = workdir


def analyses_of(groups: Sequence[Group], asked: Narrowing) -> list[Analysis]:
    """Put each group together, leave what was asked for, and run the statistics.

    Raises
    ------
    UsageError
        A name is in none of the groups, or a group has nothing of what was asked for.
    """
    joined = [join_results(group.results) for group in groups]
    if not asked:
        return [analyse(one) for one in joined]
    names = [[entrant.name for entrant in one.experiment.entrants] for one in joined]
    chosen = named(asked.architectures, list(dict.fromkeys(name for own in names for name in own)))
    found = []
    for one, own in zip(joined, names, strict=True):
        here = tuple(name for name in chosen if name in own)
        if chosen and not here:
            raise UsageError(
                f"The experiment {one.experiment.id} was made under other conditions than the rest "
                f"and has none of {', '.join(chosen)}; leave its working directory out."
            )
        found.append(analyse(*narrow(one, replace(asked, architectures=here))))
    return found


def _write_overview(groups: Sequence[Group], analyses: Sequence[Analysis], folder: Path) -> Path:
    names = [f"Conditions {number}" for number in range(1, len(groups) + 1)]
    differ = Table(
        ["What differs", *names],
        differences(groups),
        "Everything else that decides the numbers is the same.",
        text_columns=1 + len(names),
    )
    parts: list[dict[str, Any]] = []
    for number, (group, analysis) in enumerate(zip(groups, analyses, strict=True), start=1):
        parts.append(
            {
                "title": names[number - 1],
                "headline": headline(analysis),
                "of": [_told(one) for one in group.results],
                "ranking": scores.ranking(analysis),
                "page": f"{_FOLDER.format(number)}/{PAGE}",
            }
        )
    number = sum(len(group.results) for group in groups)
    context = {
        "title": f"kitsbench report: {number} experiments under {len(groups)} sets of conditions",
        "lead": f"{words.plural(number, 'experiment')} were made under {len(groups)} different "
        "sets of conditions. They stand side by side here: no number and no test is over more "
        "than one of them, and a difference between two may be that of the conditions.",
        "differ": differ,
        "parts": parts,
        "version": __version__,
    }
    document = {
        "schema_version": 1,
        "differences": [dict(zip(differ.head, row, strict=True)) for row in differ.rows],
        "conditions": [
            {
                "conditions": group.conditions,
                "experiments": [one.experiment.id for one in group.results],
                "report": f"{_FOLDER.format(at)}/report.json",
            }
            for at, group in enumerate(groups, start=1)
        ],
    }

    def write(place: Path) -> None:
        write_json(place / "several.json", document)
        write_text(place / "report.md", render("several.md.j2", context))
        write_text(place / PAGE, render("several.html.j2", context))

    kept = {_FOLDER.format(number) for number in range(1, len(groups) + 1)}
    old = [path.name for path in folder.glob(_FOLDER.format("*")) if path.name not in kept]
    write_folder(folder, write, last=PAGE, whole=old)
    return folder / PAGE


def _told(results: Results) -> str:
    experiment = results.experiment
    done = sum(trial.state == "finished" for trial in results.trials)
    return (
        f"{experiment.id}, {experiment.created[:10]}, on {experiment.device.name}: {done} of "
        f"{words.plural(len(results.trials), 'trial')} finished"
    )
