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

import pandas as pd

from kitsbench.errors import DataError
from kitsbench.experiments.records import AccountsRecord, report_folder
from kitsbench.experiments.results import load_results
from kitsbench.files import write_atomic, write_folder, write_json, write_text
from kitsbench.reporting import accounting, costs, scores
from kitsbench.reporting.analysis import Analysis, analyse
from kitsbench.reporting.drawing.figures import Picture, standalone
from kitsbench.reporting.first_screen.answer import details
from kitsbench.reporting.first_screen.screen import first_screen
from kitsbench.reporting.first_screen.standing_plot import draw
from kitsbench.reporting.glossary import anchor, glossary, term_of
from kitsbench.reporting.link import lead_to
from kitsbench.reporting.live_tables import table_library
from kitsbench.reporting.page.facts import facts
from kitsbench.reporting.sections import Section, pictures, sections, with_time
from kitsbench.reporting.viewer_part import FEW, ViewerAsked, scans_of, viewer_section, with_viewer
from kitsbench.text import csv_table, html, markdown, page_rules, visible
from kitsbench.viewer.folder import FOLDER as VIEWER

Account = Callable[[], object]
PAGE = "index.html"
FIGURES = "figures"
_PAIR_COLUMNS = ["a", "b", "region", "metric", "difference", "ci_low", "ci_high", "p_value"]


def build_report(
    workdir: str | Path,
    out: str | Path | None = None,
    experiment: str | None = None,
    tell: Callable[[str], None] | None = None,
    viewer: ViewerAsked = FEW,
) -> Path:
    """Write the report of an experiment.

    Parameters
    ----------
    workdir : path
        What ``kitsbench run`` wrote. Only read, except for the default ``out``.
    out : path, optional
        Folder for the report; the experiment's own by default, to which ``WORKDIR/report`` leads
        for the latest experiment. Files of an older report there are replaced, others are left
        alone.
    experiment : str, optional
        The experiment's id, or its first letters; the latest by default.
    tell : callable, optional
        Takes a sentence that a user should read: that what stood at ``WORKDIR/report`` was moved,
        why nothing leads there, or which cases the viewer had no room for.
    viewer : ViewerAsked
        How much of the viewer lies beside the page.

    Returns
    -------
    Path
        ``index.html``, one file without any reference to the network, which is there only where
        all others are. Beside it lie ``report.md``, ``tables.tex``, ``comparison.json``,
        ``accounting.json``, the figures, and the tables ``scores.csv``, ``summary.csv``,
        ``pairs.csv`` and ``ledger.csv``.

    Raises
    ------
    UsageError
        There is no such experiment.
    DataError
        The working directory holds no experiment or a damaged file, or ``out`` is a file.
    """
    results = load_results(workdir, experiment)
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
    return write_report(analyse(results), out, viewer=viewer, tell=tell)


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
        found = sections(analysis, _way_to_trials(analysis, out), scans_of(section))
        drawn = [*filter(None, [figure]), *pictures(found)]
        account()
        accounts = AccountsRecord.find(results.workdir, results.experiment.id)
        whole = with_viewer(with_time(found, results, accounts), section)
        context = {**_context(analysis, whole), "first": first, "figure": figure}
        context |= {"library": table_library(), "text_rules": page_rules()}
        _write_figures(drawn, folder / FIGURES)
        _write_tables(analysis, folder)
        write_json(folder / "accounting.json", accounting.plain(results, accounts))
        write_text(folder / "report.md", _render("report.md.j2", context))
        write_text(folder / "tables.tex", _latex(analysis))
        write_text(folder / PAGE, _render("report.html.j2", context))

    # Whoever sees the page finds everything that it names, also where this was stopped half way.
    # Figures of an older report may show architectures that are no longer in it, and so may cases.
    write_folder(out, write, last=PAGE, whole=(FIGURES, VIEWER))
    return out / PAGE


def _way_to_trials(analysis: Analysis, out: Path) -> str:
    """The address of the trials' folders from the page, empty where there is no way to them."""
    try:
        trials = analysis.results.workdir / "trials"
        return quote(Path(os.path.relpath(trials.resolve(), out.resolve())).as_posix())
    except ValueError:  # another drive
        return ""


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
    waiting = any(trial.state in ("pending", "running") for trial in trials)
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


def _render(template: str, context: dict[str, Any]) -> str:
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
    environment.filters["worded"] = partial(_worded, known=context["glossary"])
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


def _breakable(text: str) -> Any:
    """Let a long name break after a colon or a comma, and nowhere else."""
    import markupsafe

    escaped = html(text)
    return markupsafe.Markup(re.sub(r"(?<=[\w])([:,])(?=\w)", r"\1<wbr>", escaped))


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


def _write_figures(drawn: list[Picture], folder: Path) -> None:
    for picture in drawn:
        if picture.png:
            write_atomic(folder / f"{picture.name}.png", partial(_put, picture.png))
        else:
            write_text(folder / f"{picture.name}.svg", standalone(picture.svg))


def _put(data: bytes, file: Path) -> None:
    file.write_bytes(data)


def _write_tables(analysis: Analysis, out: Path) -> None:
    results = analysis.results
    pairs = pd.DataFrame([*analysis.pairs, *analysis.secondary])
    if pairs.empty:
        pairs = pd.DataFrame(columns=_PAIR_COLUMNS)
    summary = analysis.summary
    if summary.empty:
        summary = pd.DataFrame(columns=["protocol", "architecture", "region", "metric", "mean"])
    first = [c for c in ("protocol", "architecture") if c in summary]
    summary = summary[[*first, *(c for c in summary.columns if c not in first)]]
    tables = {
        "scores.csv": results.marked,
        "summary.csv": summary,
        "pairs.csv": pairs,
        "ledger.csv": results.ledger,
    }
    for name, table in tables.items():
        write_text(out / name, csv_table(table))
    write_json(out / "comparison.json", analysis.comparison)


def _latex(analysis: Analysis) -> str:
    named = [("ranking", scores.ranking(analysis)), ("cost", costs.cost(analysis))]
    if not analysis.results.scores.empty:
        for number, (heading, table) in enumerate(scores.region_tables(analysis), start=1):
            caption = f"{heading}. {table.caption}"
            named.append((f"scores-{number}", type(table)(table.head, table.rows, caption)))
    if analysis.pairs:
        named.append(("pairs", scores.pair_table(analysis)))
    parts = [table.latex(f"tab:{name}") for name, table in named if table is not None]
    return "% Tables of a kitsbench report; they need the package booktabs.\n" + "\n".join(parts)
