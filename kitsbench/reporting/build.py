"""From a working directory to a folder with the report in every form."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kitsbench.errors import DataError
from kitsbench.experiments.records import AccountsRecord, report_folder
from kitsbench.experiments.results import load_results
from kitsbench.files import digest, write_folder, write_json, write_text
from kitsbench.reporting import accounting, words
from kitsbench.reporting.analysis import Analysis, analyse
from kitsbench.reporting.asked.narrowing import Narrowing, narrow
from kitsbench.reporting.files.beside import STALE, write_beside
from kitsbench.reporting.first_screen.answer import details
from kitsbench.reporting.first_screen.screen import first_screen
from kitsbench.reporting.first_screen.standing_plot import draw
from kitsbench.reporting.glossary import anchor, glossary, term_of
from kitsbench.reporting.link import lead_to
from kitsbench.reporting.live_tables import table_library
from kitsbench.reporting.looks_part import with_looks
from kitsbench.reporting.page.blocks import Section
from kitsbench.reporting.page.facts import facts
from kitsbench.reporting.sections import pictures, sections, with_time
from kitsbench.reporting.viewer_part import FEW, ViewerAsked, scans_of, viewer_section, with_viewer
from kitsbench.text import html, markdown, page_rules, visible
from kitsbench.viewer.folder import FOLDER as VIEWER

Account = Callable[[], object]
PAGE = "index.html"


def build_report(
    workdir: str | Path,
    out: str | Path | None = None,
    experiment: str | None = None,
    tell: Callable[[str], None] | None = None,
    viewer: ViewerAsked = FEW,
    asked: Narrowing | None = None,
) -> Path:
    """Write the report of an experiment.

    Parameters
    ----------
    workdir : path
        What ``kitsbench run`` wrote. Only read, except for the default ``out``.
    out : path, optional
        Folder for the report; the experiment's own by default, to which ``WORKDIR/report`` leads
        for the latest experiment. Files of an older report there are replaced, others are left
        alone; where it holds no page, folders that the report has of its own get another name.
    experiment : str, optional
        The experiment's id, or its first letters; the latest by default.
    tell : callable, optional
        Takes a sentence that a user should read: that what stood at ``WORKDIR/report`` was moved,
        why nothing leads there, or which cases the viewer had no room for.
    viewer : ViewerAsked
        How much of the viewer lies beside the page.
    asked : Narrowing, optional
        What of the experiment is asked for. Such a report has a folder of its own by default,
        beside that of the whole experiment.

    Returns
    -------
    Path
        ``index.html``, one file without any reference to the network, which is there only where
        all others are. Beside it lie ``report.md``, the files of
        :mod:`kitsbench.reporting.files`, and ``accounting.json``.

    Raises
    ------
    UsageError
        There is no such experiment, or it does not have what is asked for.
    DataError
        The working directory holds no experiment or a damaged file, or ``out`` is a file.
    """
    results = load_results(workdir, experiment)
    results, narrowed = narrow(results, asked or Narrowing())
    if narrowed is not None and out is None:
        place = report_folder(results.workdir, results.experiment.id)
        out = place.with_name(f"narrowed-{digest(narrowed.asked.options(), 8)}")
    if out is None:
        page = own_report(analyse(results), viewer=viewer, tell=tell)
        if experiment is None:
            told = lead_to(results.workdir, results.experiment.id)
            if told is not None and tell is not None:
                tell(told)
        return page
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file; the report needs a folder. Name another with -o.")
    return write_report(analyse(results, narrowed), out, viewer=viewer, tell=tell)


def own_report(
    analysis: Analysis,
    account: Account = lambda: None,
    viewer: ViewerAsked = FEW,
    tell: Callable[[str], None] | None = None,
) -> Path:
    """Write the report into the experiment's own folder; returns its page."""
    results = analysis.results
    folder = report_folder(results.workdir, results.experiment.id)
    return write_report(analysis, folder, account, viewer, tell)


def write_report(
    analysis: Analysis,
    out: Path,
    account: Account = lambda: None,
    viewer: ViewerAsked = FEW,
    tell: Callable[[str], None] | None = None,
) -> Path:
    """Write all files of a report.

    Parameters
    ----------
    analysis : Analysis
    out : Path
        Made where it is missing.
    account : callable
        Called when all but the pages is made, so that what was spent can be written down.
    viewer : ViewerAsked
        How much of the viewer lies beside the page.
    tell : callable, optional
        Takes a sentence about cases that the viewer had no room for.

    Returns
    -------
    Path
        ``out/index.html``.
    """
    first, results = first_screen(analysis), analysis.results
    figure = None if first.standing is None else draw(first.standing)

    def write(folder: Path) -> None:
        section, remarks = viewer_section(analysis, folder, viewer)
        if tell is not None:
            for remark in remarks:
                tell(remark)
        found = sections(analysis, _ways_to_trials(analysis, out), scans_of(section))
        found = with_looks(found, analysis)
        drawn = [*filter(None, [figure]), *pictures(found)]
        account()
        accounts = AccountsRecord.find(results.workdir, results.experiment.id)
        whole = with_viewer(with_time(found, results, accounts), section)
        context = {**_context(analysis, whole), "first": first, "figure": figure}
        context |= {"library": table_library(), "text_rules": page_rules()}
        write_beside(analysis, first, drawn, folder)
        write_json(folder / "accounting.json", accounting.plain(results, accounts))
        write_text(folder / "report.md", render("report.md.j2", context))
        write_text(folder / PAGE, render("report.html.j2", context))

    # Whoever sees the page finds everything that it names, also where this was stopped half way.
    # What an older report had may be of architectures and cases that are no longer in it.
    moved = write_folder(out, write, last=PAGE, whole=(*STALE, VIEWER))
    if tell is not None:
        for aside in moved:
            tell(f"Where the report has its own stood something of no report; it is {aside} now.")
    return out / PAGE


def _ways_to_trials(analysis: Analysis, out: Path) -> dict[str, str]:
    """Addresses of the trials' folders from the page, as far as there is a way to them."""
    here, found = out.resolve(), {}
    # A report that lies elsewhere is sent away by itself, and such links would be dead there.
    if not here.is_relative_to(analysis.results.workdir.resolve()):
        return {}
    for trial in analysis.results.trials:
        try:
            way = Path(os.path.relpath(trial.folder.path.resolve(), here)).as_posix()
        except ValueError:  # another drive
            continue
        found[trial.id] = f"{quote(way)}/"
    return found


def _context(analysis: Analysis, found: list[Section]) -> dict[str, Any]:
    experiment = analysis.results.experiment
    dataset, known, told = experiment.dataset, glossary(analysis), facts(analysis)
    return {
        "title": f"kitsbench report: {dataset.name}",
        "details": details(analysis),
        "badges": _badges(analysis),
        "facts": told,
        "names": set(analysis.names),
        "sections": found,
        "glossary": [(word, anchor(word), meaning) for word, meaning in known],
        "terms": _terms(found, known) | {name: term_of(name, known) for name, _ in told},
        "experiment": experiment.id,
        "version": experiment.version,
    }


def _badges(analysis: Analysis) -> list[tuple[str, str]]:
    """What a reader must not overlook, beside the title, and the word that explains it."""
    trials = analysis.results.trials
    waiting = any(trial.state in words.UNFINISHED for trial in trials)
    trained = analysis.scope == "L0" and not analysis.settled
    return [
        *[("synthetic data", "")] * analysis.results.experiment.dataset.synthetic,
        *[("preliminary", "")] * waiting,
        *[("scope L0", anchor("scope"))] * trained,
    ]


def _terms(
    found: list[Section], known: list[tuple[str, str]]
) -> dict[str, tuple[str, str, str] | None]:
    """For each head of a table, the word that it speaks of."""
    tables = [block.table for section in found for block in section.blocks if block.table]
    return {head: term_of(head, known) for table in tables for head in table.head}


def render(template: str, context: dict[str, Any]) -> str:
    """Fill a template; whatever it puts in is text, unless it says otherwise."""
    import jinja2
    import markupsafe

    page = ".html" in template
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kitsbench.reporting"),
        autoescape=page,
        # Whatever a template puts in is text, unless it says otherwise (`safe`, `Markup`).
        finalize=_seen if page else _written,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["breakable"] = _breakable
    environment.filters["worded"] = partial(_worded, known=context.get("glossary", []))
    environment.filters["target"] = lambda name: markupsafe.Markup(quote(name))
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode()
    text = environment.get_template(template).render(**context) + "\n"
    return text.replace(" %", "\u00a0%")  # a line never breaks before a percent sign


def _seen(value: Any) -> Any:
    """What an HTML template puts in; the tags in it are escaped afterwards."""
    return visible(value) if type(value) is str else value


def _written(value: Any) -> Any:
    """What a Markdown template puts in."""
    return markdown(value) if type(value) is str else value


def _breakable(text: str, after: str = ":,") -> Any:
    """Let a long name break after a colon or a comma, or after what is given, and nowhere else."""
    import markupsafe

    escaped = html(text)
    return markupsafe.Markup(re.sub(rf"(?<=\w)([{after}])(?=\w)", r"\1<wbr>", escaped))


def _worded(text: str, known: list[tuple[str, str, str]]) -> Any:
    """A sentence whose scope is explained where it stands, since nobody knows the word."""
    import markupsafe

    found = next((entry for entry in known if entry[0] == "scope"), None)
    escaped = html(text)
    if found is not None:
        word, place, meaning = found
        mark = (
            f'<a class="word" href="#{place}" title="{html(meaning)}" '
            f'aria-label="What {word} means"></a>'
        )
        escaped = re.sub(r"\b[Ss]cope L\d", lambda match: match[0] + mark, escaped, count=1)
    return markupsafe.Markup(escaped)
