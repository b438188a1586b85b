"""Boards as Markdown."""

from __future__ import annotations

from pathlib import Path

from kitsbench.files import write_text
from kitsbench.leaderboard.board import boards, read_board
from kitsbench.leaderboard.schema import Entry, Score
from kitsbench.metrics import find
from kitsbench.statistics.table.endpoints import cut

_DASH = "–"


def render_boards(root: str | Path) -> list[Path]:
    """Write ``NAME.md`` beside the folder of every board.

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
        A board holds a file that is no entry.
    """
    pages = []
    for board in boards(root):
        page = board.parent / f"{board.resolve().name}.md"
        write_text(page, render_board(board.resolve().name, read_board(board)))
        pages.append(page)
    return pages


def render_board(name: str, entries: list[Entry]) -> str:
    """One board as Markdown.

    Parameters
    ----------
    name : str
        Heading.
    entries : list of Entry
        At least one, all made under the same conditions.
    """
    ordered = sorted(entries, key=_order)
    first = ordered[0]
    experiments = list(dict.fromkeys(entry.experiment for entry in ordered))
    region, metric = first.endpoint.split(":")
    others = _other_endpoints(ordered)
    head = ["#", "Architecture", f"{region} {metric} (95 % CI)", "Group"]
    head += [f"{score.region} {score.metric}" for score in others]
    head += ["Parameters", "Steps", "Peak memory", "Trials"]
    rows = []
    for place, entry in enumerate(ordered, start=1):
        group = (entry.rank.group if entry.rank else "") or _DASH
        if len(experiments) > 1:
            group = f"{experiments.index(entry.experiment) + 1}{group}"
        cells = [str(place), _name(entry), _with_interval(entry.score(entry.endpoint)), group]
        cells += [_mean(entry.score(f"{s.region}:{s.metric}", s.protocol)) for s in others]
        cells += [
            _big(entry.cost.parameters),
            _big(entry.cost.steps),
            _memory(entry.cost.peak_memory_bytes),
            _trials(entry),
        ]
        rows.append(cells)
    rules = ["---:", "---", *("---:" for _ in head[2:])]
    table = "\n".join("| " + " | ".join(line) + " |" for line in [head, rules, *rows])
    return f"# {name}\n\n{_introduction(first, experiments)}\n\n{table}\n\n{_provenance(ordered)}\n"


def _introduction(first: Entry, experiments: list[str]) -> str:
    folds = f"{len(first.folds.used)} of {first.folds.count} folds"
    lines = []
    if first.synthetic:
        lines.append(
            "**Synthetic scans.** These numbers show how the architectures learn on a phantom "
            "under this budget; they say nothing about patients.\n"
        )
    lines.append(
        f"Dataset {first.dataset.name} ({first.dataset.n_cases} cases, fingerprint "
        f"`{first.dataset.fingerprint}`), protocol {first.protocol}, recipe {first.recipe.name} "
        f"(`{first.recipe.digest}`), budget {first.budget.text} a training run, {folds} × "
        f"{first.seeds} seeds, on {first.cost.device or 'an unnamed device'}."
    )
    lines.append(
        "Ordered by the mean of the endpoint. Architectures that share a letter in “Group” are "
        "not separated by the statistics, whatever their order."
    )
    if len(experiments) > 1:
        lines.append(
            "The digit before the letters numbers the experiment; letters compare only within "
            "one experiment."
        )
    scope = first.rank.scope if first.rank else ""
    if scope == "L0":
        lines.append("Scope L0: statements about these trained models, not the architectures.")
    elif scope:
        lines.append(f"Scope {scope}: over cases and training runs of this dataset.")
    return "\n".join(lines)


def _provenance(ordered: list[Entry]) -> str:
    lines = ["## Where the entries come from", ""]
    for entry in ordered:
        made = entry.provenance
        failed = ", ".join(f"{count} × {reason}" for reason, count in entry.trials.reasons.items())
        lines.append(
            f"- `{entry.name}`: {made.distribution} {made.version}, source "
            f"`{made.source_hash[:12]}`, kitsbench {made.kitsbench}, {made.created[:10]}"
            + (f"; failed trials: {failed}" if failed else "")
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
    text = f"`{entry.name}`"
    return f"{text} {entry.title}" if entry.title else text


def _with_interval(score: Score | None) -> str:
    if score is None or score.mean is None:
        return _DASH
    if score.ci_low is None or score.ci_high is None:
        return f"{score.mean:.3f}"
    low, high = cut(score.ci_low, score.ci_high, score.metric)
    return f"{score.mean:.3f} [{low:.3f}, {high:.3f}]"


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
