"""Boards as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kitsbench.data.datasets.leaks import NOTHING
from kitsbench.errors import DataError
from kitsbench.experiments.records import ElsewhereRecord
from kitsbench.files import canonical_json, write_text
from kitsbench.leaderboard.board import boards, check_boards, read_board
from kitsbench.leaderboard.parts import Rank, RecipeNote, Score, Spent
from kitsbench.leaderboard.rules import Rules, read_rules
from kitsbench.leaderboard.schema import Entry
from kitsbench.metrics import find
from kitsbench.metrics.titles import endpoint_name
from kitsbench.text import markdown, markdown_code
from kitsbench.text.numbers import big

MARK = "<!-- Written by `kitsbench leaderboard render` from the entries; changes are lost. -->"
"""In every page: only a file that holds it is overwritten."""
_DASH = "–"


def render_boards(root: str | Path) -> list[Path]:
    """Check every board, and write ``NAME.md`` beside the folder of each.

    Parameters
    ----------
    root : path
        A folder of boards, or one board.

    Returns
    -------
    list of Path
        The pages. They depend on the entries alone, so an unchanged board gives an equal page.

    Raises
    ------
    DataError
        A board has a problem, or there is none; or a file that this function did not write lies
        where a page belongs. Nothing is written then.
    """
    count, problems = check_boards(root)
    if problems:
        first = problems[0]
        more = f" ({len(problems)} problems in {count} entries)" if len(problems) > 1 else ""
        raise DataError(
            f"{first.file}: {first.message}{more}.\nNothing was rendered: `kitsbench leaderboard "
            "check` names every problem."
        )
    pages = {}
    for board in boards(root):
        page = board.parent / f"{board.resolve().name}.md"
        _refuse_foreign(page)
        pages[page] = render_board(board.resolve().name, read_board(board), read_rules(board))
    for page, text in pages.items():
        write_text(page, text)
    return list(pages)


def _refuse_foreign(page: Path) -> None:
    if not page.exists() and not page.is_symlink():
        return
    known = not page.is_symlink() and page.is_file()
    if not known or MARK not in page.read_text(encoding="utf-8", errors="replace"):
        raise DataError(
            f"{page} was not written by `kitsbench leaderboard render`, so it is left alone.\n"
            "Move it away, or give the folder of the board another name."
        )


def render_board(name: str, entries: list[Entry], rules: Rules | None = None) -> str:
    """One board as Markdown: a table for each set of entries that can be compared.

    Parameters
    ----------
    name : str
        Heading, where the rules have no title.
    entries : list of Entry
        At least one.
    rules : Rules, optional
        The board's own title and introduction.
    """
    ordered = sorted(entries, key=_order)
    outside = [entry for entry in ordered if entry.elsewhere is not None]
    groups: dict[str, list[Entry]] = {}
    for entry in (one for one in ordered if one.elsewhere is None):
        # A second on one device is no second on another, so a time budget is another budget there.
        key = canonical_json([entry.conditions, entry.device_class])
        groups.setdefault(key, []).append(entry)
    title, about = (rules.title, rules.about) if rules is not None else ("", "")
    parts = [f"# {markdown(title or name)}", MARK, *([markdown(about)] if about else [])]
    for key in sorted(groups):
        if len(groups) > 1:
            first = groups[key][0]
            where = first.device_class or first.recipe.name
            parts.append(f"## {markdown(f'{first.budget.text}, {where}')}")
        parts += [_table_of(groups[key])]
    if outside:
        parts += ["## Trained elsewhere", _table_of_outside(outside, alone=not groups)]
    return "\n\n".join([*parts, _provenance(ordered)]) + "\n"


def _table_of(ordered: list[Entry]) -> str:
    """What was compared, and the table of entries that were made under the same conditions."""
    first = ordered[0]
    experiments = list(dict.fromkeys(entry.experiment for entry in ordered))
    region, metric = first.endpoint.split(":")
    others = _other_endpoints(ordered)
    # A column that says the same of every row, or nothing of any, tells a reader nothing.
    grouped = any(entry.rank and entry.rank.group for entry in ordered)
    placed = any(entry.rank and entry.rank.rank_low is not None for entry in ordered)
    drawn = any(entry.rank and entry.rank.p_first is not None for entry in ordered)
    several = len(experiments) > 1
    head = ["#", "Architecture", markdown(f"{_title(region, metric)} (95 % CI)")]
    head += ["Group"] * (grouped or several) + ["Rank 95 %"] * placed + ["P(first)"] * drawn
    head += [markdown(_title(score.region, score.metric)) for score in others]
    head += ["Parameters", "Steps", "Peak memory", "Trials"]
    spent = {run.id: run.spent for entry in ordered for run in entry.trials.runs}
    rows = []
    for place, entry in zip(_places(ordered), ordered, strict=True):
        group = markdown((entry.rank.group if entry.rank else "") or _DASH)
        if several:
            group = f"{experiments.index(entry.experiment) + 1}{group}"
        cells = [place, _name(entry), _with_interval(entry.score(entry.endpoint))]
        cells += [group] * (grouped or several)
        cells += [_places_left_open(entry.rank)] * placed + [_first(entry.rank)] * drawn
        cells += [_mean(entry.score(f"{s.region}:{s.metric}", s.protocol)) for s in others]
        cells += [
            _DASH if entry.cost.parameters is None else big(entry.cost.parameters),
            _steps(entry, spent),
            _memory(entry.cost.peak_memory_bytes),
            _trials(entry),
        ]
        rows.append(cells)
    rules = ["---:", "---", *("---:" for _ in head[2:])]
    return f"{_introduction(ordered, experiments)}\n\n{_lines([head, rules, *rows])}"


def _lines(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _table_of_outside(ordered: list[Entry], alone: bool) -> str:
    """Systems and label maps that were given, apart from what was trained under the budget.

    Parameters
    ----------
    ordered : list of Entry
    alone : bool
        Whether no table above says what the scans are.
    """
    first = ordered[0]
    region, metric = first.endpoint.split(":")
    others = _other_endpoints(ordered)
    head = ["System or label maps", markdown(f"{_title(region, metric)} (95 % CI)")]
    head += [markdown(_title(score.region, score.metric)) for score in others]
    head += ["Trained on", "Cost of training", "Predicting a scan", "Peak memory", "Trials"]
    rows = [
        [
            _name(entry),
            _with_interval(entry.score(entry.endpoint)),
            *(_mean(entry.score(f"{s.region}:{s.metric}", s.protocol)) for s in others),
            *_known(entry, entry.elsewhere),
            _memory(entry.cost.peak_memory_bytes),
            _trials(entry),
        ]
        for entry in ordered
        if entry.elsewhere is not None
    ]
    rules = ["---", *("---:" for _ in head[1:])]
    said = [_synthetic(first), _scans(first) + "."] if alone else []
    said.append(
        "They had no budget here and not the recipe of the others, so they have no rank: a mean "
        "beside those above compares systems as they are, and says nothing about architectures. "
        "What they were trained on is what whoever entered them says."
    )
    leaks = [
        f"{markdown_code(entry.name)} may know the scans of the test: "
        f"{markdown(entry.elsewhere.leak)}."
        for entry in ordered
        if entry.elsewhere is not None and entry.elsewhere.leak is not None
    ]
    lost = [
        f"{markdown_code(entry.name)} has no label map of {entry.elsewhere.missing} cases, which "
        "count as missed."
        for entry in ordered
        if entry.elsewhere is not None and entry.elsewhere.missing
    ]
    text = "\n".join(filter(None, [*said, *leaks, *lost]))
    return f"{text}\n\n{_lines([head, rules, *rows])}"


def _known(entry: Entry, known: ElsewhereRecord) -> list[str]:
    """What it was trained on, what that took, and what predicting a scan takes."""
    if known.hours is not None:
        training = f"{known.hours:g} h, as reported"
    else:
        training = "none" if known.trained_on == (NOTHING,) else "unknown"
    seconds = entry.cost.predict_s
    predicting = "unknown" if known.kind == "predictions" else _DASH
    if seconds is not None:
        predicting = f"{seconds:.3g} s on {markdown(entry.cost.device)}"
    return [markdown("; ".join(known.trained_on)), training, predicting]


def _places(ordered: list[Entry]) -> list[str]:
    """Places by the mean of the endpoint, equal means all with the first of theirs."""
    keys = [_order(entry)[:2] for entry in ordered]
    return [_DASH if key[0] else str(keys.index(key) + 1) for key in keys]


def _title(region: str, metric: str) -> str:
    name = endpoint_name(region, metric)
    return name[0].upper() + name[1:]


def _places_left_open(rank: Rank | None) -> str:
    """Interval of the rank; a dash where the design does not tell it."""
    if rank is None or rank.rank_low is None or rank.rank_high is None:
        return _DASH
    low, high = rank.rank_low, rank.rank_high
    return f"{low:g}" if low == high else f"{low:g}–{high:g}"


def _first(rank: Rank | None) -> str:
    return _DASH if rank is None or rank.p_first is None else f"{100 * rank.p_first:.0f} %"


def _steps(entry: Entry, spent: Mapping[str, Spent | None]) -> str:
    """Steps of a training run; for an ensemble, which takes none, those of its members.

    Parameters
    ----------
    entry : Entry
    spent : mapping
        Of every trial of the table, by its id.
    """
    combined = [run.members for run in entry.trials.runs if run.members]
    if not combined:
        return _big(entry.cost.steps)
    members = [spent.get(member) for run in combined for member in run]
    known = [one.steps for one in members if one is not None]
    if len(known) < len(members):  # a member is on no row of this table
        return _DASH
    return f"{_big(sum(known) / len(combined))} in {len(members) / len(combined):g} networks"


def _introduction(ordered: list[Entry], experiments: list[str]) -> str:
    first = ordered[0]
    lines = [line for line in [_synthetic(first)] if line]
    lines.append(
        f"{_scans(first)}, {_recipe(first.recipe)}, budget {markdown(first.budget.text)} a "
        f"training run, {_folds(first)} × {first.seeds} seeds, on "
        f"{markdown(first.cost.device or 'an unnamed device')}."
    )
    grouped = any(entry.rank and entry.rank.group for entry in ordered)
    lines.append(
        "Ordered by the mean of the endpoint. "
        + (
            "Architectures that share a letter in “Group” are not separated by the statistics, "
            "whatever their order."
            if grouped
            else "No two of them were separated by the statistics: the order is no ranking."
        )
    )
    if len(experiments) > 1:
        lines.append(
            "The digit before the letters numbers the experiment; letters compare only within "
            "one experiment."
        )
    scopes = {entry.rank.scope for entry in ordered if entry.rank and entry.rank.scope}
    for scope in sorted(scopes - {"L0"}):
        lines.append(f"Scope {markdown(scope)}: over cases and training runs of this dataset.")
    if scopes == {"L0"}:
        lines.append("Scope L0: statements about these trained models, not the architectures.")
    elif "L0" in scopes:
        lines.append(
            "Scope L0 for entries without a group: their numbers are about these trained models, "
            "not the architectures."
        )
    return "\n".join(lines)


def _synthetic(first: Entry) -> str:
    """What a page must say of scans that are made up; empty of others."""
    if not first.synthetic:
        return ""
    return (
        "**Synthetic scans.** These numbers show how the architectures learn on a phantom "
        "under this budget; they say nothing about patients.\n"
    )


def _scans(first: Entry) -> str:
    aside = f", {first.dataset.n_excluded} set aside" if first.dataset.n_excluded else ""
    return (
        f"Dataset {markdown(first.dataset.name)} ({first.dataset.n_cases} cases{aside}, "
        f"fingerprint {markdown_code(first.dataset.fingerprint)}), protocol "
        f"{markdown(first.protocol)}"
    )


def _folds(first: Entry) -> str:
    return f"{len(first.folds.used)} of {first.folds.count} folds"


def _recipe(note: RecipeNote) -> str:
    text = "each by its paper's recipe"
    if note.mode == "matched":
        text = f"recipe {markdown(note.name)} ({markdown_code(note.digest)})"
    return text if note.tuning is None else f"{text}, tuned in {note.tuning.trials} trials a fold"


def _provenance(ordered: list[Entry]) -> str:
    lines = ["## Where the entries come from", ""]
    for entry in ordered:
        made = entry.provenance
        failed = ", ".join(f"{count} × {reason}" for reason, count in entry.trials.reasons.items())
        packages = entry.identity.packages if entry.identity else {}
        built = ", ".join(f"{name} {version}" for name, version in packages.items())
        own = " ".join(filter(None, (made.distribution, made.version)))
        origin = markdown(f"{own} with {built}" if built else own)
        trained = markdown(f"kitsbench {made.kitsbench}, {made.created[:10]}")
        lines.append(
            f"- {markdown_code(entry.name)}: {origin}, source "
            f"{markdown_code(made.source_hash[:12])}, {trained}"
            + (f"; failed trials: {markdown(failed)}" if failed else "")
        )
    return "\n".join(lines)


def _order(entry: Entry) -> tuple[bool, float, str]:
    score = entry.score(entry.endpoint)
    mean = score.mean if score else None
    metric = find(entry.endpoint.split(":")[1])
    return mean is None, 0.0 if mean is None else metric.order(mean), entry.name


def _other_endpoints(ordered: list[Entry]) -> list[Score]:
    """Dice of the other regions, first the protocol's, then labels that are not among them."""
    found: dict[str, Score] = {}
    first = next((entry for entry in ordered if entry.scores), ordered[0])
    protocols = [first.protocol, "labels"]
    for score in sorted(
        (s for s in first.scores if s.protocol in protocols and s.mean is not None),
        key=lambda s: protocols.index(s.protocol),
    ):
        if score.metric == "dice" and f"{score.region}:dice" != first.endpoint:
            found.setdefault(score.region, score)
    return list(found.values())


def _name(entry: Entry) -> str:
    text = " ".join(filter(None, [markdown_code(entry.name), markdown(entry.title)]))
    return f"{text} ({markdown(entry.beginning)})" if entry.beginning else text


def _with_interval(score: Score | None) -> str:
    if score is None or score.mean is None:
        return _DASH
    if score.ci_low is None or score.ci_high is None:
        return f"{score.mean:.3f}"
    return f"{score.mean:.3f} [{score.ci_low:.3f}, {score.ci_high:.3f}]"


def _mean(score: Score | None) -> str:
    return _DASH if score is None or score.mean is None else f"{score.mean:.3f}"


def _trials(entry: Entry) -> str:
    count = entry.trials.finished + entry.trials.failed
    return f"{entry.trials.finished}/{count}" + (" (failures)" if entry.trials.failed else "")


def _big(value: float | None) -> str:
    if value is None:
        return _DASH
    for factor, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g} {letter}"
    return f"{value:.0f}"


def _memory(value: int | None) -> str:
    return _DASH if value is None else f"{value / 2**20:.0f} MiB"
