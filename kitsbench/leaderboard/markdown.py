"""Boards as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kitsbench.errors import DataError
from kitsbench.files import canonical_json, digest, write_text
from kitsbench.leaderboard.beside import beside
from kitsbench.leaderboard.board import boards, check_boards, read_board, read_filed
from kitsbench.leaderboard.cells import (
    DASH,
    big,
    duration,
    lines,
    mean_of,
    memory,
    named,
    other_endpoints,
    paper,
    scans,
    sparkline,
    synthetic,
    title,
    trials_of,
    with_interval,
)
from kitsbench.leaderboard.outside_table import Pairs, table_of_outside
from kitsbench.leaderboard.parts import Former, RecipeNote, Spent
from kitsbench.leaderboard.rules import Rules, read_rules
from kitsbench.leaderboard.schema import Entry
from kitsbench.metrics import find
from kitsbench.text import markdown, markdown_code

MARK = "<!-- Written by `kitsbench leaderboard render` from the entries; changes are lost. -->"
"""In every page: only a file that holds it is overwritten."""


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
        entries = read_board(board)
        if not entries:  # a design that waits for its first trial
            continue
        outside = any(entry.elsewhere is not None for entry in entries)
        pairs = beside(read_filed(board)) if outside else []
        pages[page] = render_board(board.resolve().name, entries, read_rules(board), pairs)
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


def render_board(
    name: str, entries: list[Entry], rules: Rules | None = None, pairs: Pairs = ()
) -> str:
    """One board as Markdown: a table for each set of entries that can be compared.

    Parameters
    ----------
    name : str
        Heading, where the rules have no title.
    entries : list of Entry
        At least one.
    rules : Rules, optional
        The board's own title and introduction.
    pairs : sequence of mapping
        Verdicts on what was trained elsewhere, see :func:`~kitsbench.leaderboard.beside.beside`.
    """
    ordered = sorted(entries, key=_order)
    outside = [entry for entry in ordered if entry.elsewhere is not None]
    groups: dict[str, list[Entry]] = {}
    for entry in (one for one in ordered if one.elsewhere is None):
        # A second on one device is no second on another, so a time budget is another budget there.
        key = canonical_json([entry.conditions, entry.device_class])
        groups.setdefault(key, []).append(entry)
    head, about = (rules.title, rules.about) if rules is not None else ("", "")
    parts = [f"# {markdown(head or name)}", MARK, *([markdown(about)] if about else [])]
    for key in sorted(groups):
        if len(groups) > 1:
            first = groups[key][0]
            where = first.device_class or first.recipe.name
            parts.append(f"## {markdown(f'{first.budget.text}, {where}')}")
        parts += [_table_of(groups[key])]
    if outside:
        parts += ["## Trained elsewhere", table_of_outside(outside, not groups, pairs)]
    return "\n\n".join([*parts, _provenance(ordered)]) + "\n"


def _table_of(ordered: list[Entry]) -> str:
    """What was compared, and the table of entries that were made under the same conditions."""
    first = ordered[0]
    experiments = list(dict.fromkeys(entry.experiment for entry in ordered))
    region, metric = first.endpoint.split(":")
    others = other_endpoints(ordered)
    # A column that says the same of every row, or nothing of any, tells a reader nothing.
    grouped = any(entry.rank and entry.rank.group for entry in ordered)
    drawn = any(entry.rank and entry.rank.p_first is not None for entry in ordered)
    along = any(entry.curve is not None for entry in ordered)
    several = len(experiments) > 1
    head = ["Place", "Architecture", markdown(f"{title(region, metric)} (95 % CI)")]
    head += ["Group"] * (grouped or several) + ["P(first)"] * drawn
    head += [markdown(title(score.region, score.metric)) for score in others]
    head += ["Along the budget"] * along
    head += ["Parameters", "Steps", "Device time", "FLOPs", "Peak memory", "Trials"]
    spent = {run.id: run.spent for entry in ordered for run in entry.trials.runs}
    rows = []
    for entry in ordered:
        group = markdown((entry.rank.group if entry.rank else "") or DASH)
        if several:
            group = f"{experiments.index(entry.experiment) + 1}{group}"
        cells = [_place(entry, ordered), named(entry), with_interval(entry.score(entry.endpoint))]
        cells += [group] * (grouped or several) + [_first(entry)] * drawn
        cells += [mean_of(entry.score(f"{s.region}:{s.metric}", s.protocol)) for s in others]
        cells += [sparkline(entry.curve)] * along
        steps, seconds, flops = (
            _spent(entry, spent, key) for key in ("steps", "device_seconds", "flops")
        )
        members = f" in {_members(entry):g} networks" if _members(entry) and steps else ""
        cells += [
            big(entry.cost.parameters),
            big(steps) + members,
            duration(seconds),
            big(flops),
            memory(entry.cost.peak_memory_bytes),
            trials_of(entry),
        ]
        rows.append(cells)
    rules = ["---:", "---", *("---:" for _ in head[2:])]
    return f"{_introduction(ordered, experiments)}\n\n{lines([head, rules, *rows])}"


def _place(entry: Entry, ordered: Sequence[Entry]) -> str:
    """The places within its experiment that the statistics leave open.

    Where they separate nobody, that is each of them: the first row is no winner.
    """
    score, rank = entry.score(entry.endpoint), entry.rank
    if score is None or score.mean is None or rank is None:
        return DASH
    peers = [one for one in ordered if one.experiment == entry.experiment and one.rank]
    low, high = rank.rank_low, rank.rank_high
    if low is None or high is None:
        low, high = 1, len(peers)
    return f"{low:g}" if low == high else f"{low:g}–{high:g}"


def _first(entry: Entry) -> str:
    rank = entry.rank
    return DASH if rank is None or rank.p_first is None else f"{100 * rank.p_first:.0f} %"


def _members(entry: Entry) -> float:
    """How many networks an ensemble combines; 0 where it is none."""
    combined = [run.members for run in entry.trials.runs if run.members]
    return sum(map(len, combined)) / len(combined) if combined else 0


def _spent(entry: Entry, spent: Mapping[str, Spent | None], key: str) -> float | None:
    """What a training run spent; of an ensemble, which spends nothing, its members.

    Parameters
    ----------
    entry : Entry
    spent : mapping
        Of every trial of the table, by its id.
    key : str
        Such as ``steps``.
    """
    combined = [run.members for run in entry.trials.runs if run.members]
    if not combined:
        found: float | None = getattr(entry.cost, key)
        return found
    members = [spent.get(member) for run in combined for member in run]
    known = [float(getattr(one, key)) for one in members if one is not None]
    if len(known) < len(members):  # a member is on no row of this table
        return None
    return sum(known) / len(combined)


def _introduction(ordered: list[Entry], experiments: list[str]) -> str:
    first = ordered[0]
    said = [line for line in [synthetic(first)] if line]
    said.append(
        f"{scans(first)}, {_recipe(first.recipe)}, budget {markdown(first.budget.text)} a "
        f"training run, {_folds(first)} × {_seeds(ordered)}, on "
        f"{markdown(first.cost.device or 'an unnamed device')}."
    )
    said.append(f"Ordered by the mean of the endpoint{_groups(ordered)}")
    if len(experiments) > 1:
        said.append(
            "The digit before the letters numbers the experiment; letters and places compare only "
            "within one experiment."
        )
    scopes = {entry.rank.scope for entry in ordered if entry.rank and entry.rank.scope}
    for scope in sorted(scopes - {"L0"}):
        said.append(f"Scope {markdown(scope)}: over cases and training runs of this dataset.")
    if scopes == {"L0"}:
        said.append("Scope L0: statements about these trained models, not the architectures.")
    elif "L0" in scopes:
        said.append(
            "Scope L0 for entries without a group: their numbers are about these trained models, "
            "not the architectures."
        )
    if planted := [markdown_code(entry.name) for entry in ordered if entry.planted]:
        said.append(
            f"Planted as controls, whose outcome was known before: {', '.join(planted)}. They take "
            "part in pairs, places and P(first) like any other; a copy shares P(first) with what "
            "it copies."
        )
    said += _along(ordered)
    return "\n".join(said)


def _groups(ordered: Sequence[Entry]) -> str:
    """What the order means beside places and groups, or where there are none."""
    ranks = [entry.rank for entry in ordered if entry.rank is not None]
    if ranks and all(rank.rank_low is None for rank in ranks):
        return (
            ". Its trainings are too few to test any pair, so “Place” holds all places: the order "
            "is no ranking."
        )
    places = "; “Place” holds those that the tests of all pairs leave open"
    if any(rank.group for rank in ranks):
        return (
            f"{places}. Architectures that share a letter in “Group” are not separated by the "
            "statistics, whatever their order."
        )
    # The lowest place is one more than are found better, so that each separated pair counts once.
    apart = round(sum(rank.rank_low - 1 for rank in ranks if rank.rank_low is not None))
    if apart:
        pairs = "pair is" if apart == 1 else "pairs are"
        return f"{places}. {apart} {pairs} separated; so many entrants have no letters of groups."
    return f"{places}. The statistics separated no two of them: the order is no ranking."


def _along(ordered: Sequence[Entry]) -> list[str]:
    """What the lines of blocks are, where there are any."""
    curves = [entry.curve for entry in ordered if entry.curve is not None]
    if not curves:
        return []
    watched = {case for curve in curves for case in curve.cases}
    shares = ", ".join(f"{100 * share:.0f}" for share in curves[0].at)
    dice = markdown(title(ordered[0].endpoint.split(":")[0], "dice"))
    cases = "case" if len(watched) == 1 else "cases"
    return [
        f"Along the budget: {dice} after {shares} % of it on {len(watched)} watched {cases}, from "
        "▁ for 0 to █ for 1."
    ]


def _folds(first: Entry) -> str:
    return f"{len(first.folds.used)} of {first.folds.count} folds"


def _seeds(ordered: Sequence[Entry]) -> str:
    """How many; of runs that looks ended from the fewest to the most."""
    low, high = (choose(entry.seeds for entry in ordered) for choose in (min, max))
    if low == high:
        return f"{low} seed" if low == 1 else f"{low} seeds"
    return f"{low} to {high} seeds"


def _recipe(note: RecipeNote) -> str:
    text = "each by its paper's recipe"
    if note.mode == "matched":
        text = f"recipe {markdown(note.name)} ({markdown_code(note.digest)})"
    return text if note.tuning is None else f"{text}, tuned in {note.tuning.trials} trials a fold"


def _provenance(ordered: list[Entry]) -> str:
    found = ["## Where the entries come from", ""]
    for entry in ordered:
        made = entry.provenance
        failed = ", ".join(f"{count} × {reason}" for reason, count in entry.trials.reasons.items())
        packages = entry.identity.packages if entry.identity else {}
        built = ", ".join(f"{name} {version}" for name, version in packages.items())
        own = " ".join(filter(None, (made.distribution, made.version)))
        origin = markdown(f"{own} with {built}" if built else own)
        trained = markdown(f"kitsbench {made.kitsbench}, {made.created[:10]}")
        found.append(
            f"- {markdown_code(entry.name)}: {origin}, source "
            f"{markdown_code(made.source_hash[:12])}, {trained}"
            + (f"; {paper(entry.paper)}" if entry.paper else "")
            + (f"; failed trials: {markdown(failed)}" if failed else "")
            + "".join(f"\n  - {_former(one, entry)}" for one in reversed(entry.history or ()))
        )
    return "\n".join(found)


def _former(one: Former, entry: Entry) -> str:
    """A line of an entry's history."""
    own = " ".join(filter(None, (one.distribution, one.version)))
    said = [f"before: {markdown(one.created[:10])}", markdown(own)]
    said += [
        f"source {markdown_code(one.source_hash[:12])}",
        f"kitsbench {markdown(one.kitsbench)}",
    ]
    if one.mean is not None:
        said.append(f"{one.mean:.3f}")
    if one.conditions != digest(entry.conditions):
        said.append("under other conditions")
    return ", ".join(filter(None, said))


def _order(entry: Entry) -> tuple[bool, float, str]:
    score = entry.score(entry.endpoint)
    mean = score.mean if score else None
    metric = find(entry.endpoint.split(":")[1])
    return mean is None, 0.0 if mean is None else metric.order(mean), entry.name
