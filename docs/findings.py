"""What the experiments of the repository found, in the words of their verdicts.

Each experiment has a design, which says before the first trial what will be concluded from what.
The functions here are these rules, applied to the committed scores when the site is built: no
sentence about an outcome is written by hand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kitsbench.claims import Evidence, check_claims, read_registry
from kitsbench.leaderboard import Entry
from kitsbench.leaderboard.board import read_filed
from kitsbench.reporting import words
from kitsbench.statistics import Rule, compare, kendall_tau
from kitsbench.text import markdown

BOARDS = Path(__file__).resolve().parents[1] / "leaderboards"
A, B, C = "kits19-masks", "kits19-masks-paper", "phantom-cysts"
BUDGETS = {500: "kits19-masks-500steps", 2000: A, 8000: "kits19-masks-8000steps"}
NOT_YET = "This experiment has not ended; its board is empty until it has."

REFERENCE, AGAIN, TENTH = "unet3d", "unet3d_again", "unet3d_tenth"
LEARNED, LEARNERS = 0.10, 15  # of A's design: Dice of the tumour, entrants
PARTS = (  # pairs that differ by a part, which A's design tells by themselves
    ("scau_unet", "scau_unet:attention=off"),
    ("boundary_aware", "boundary_aware:boundary=off"),
    ("attention_vnet", "attention_vnet:gates=off"),
    ("attention_vnet", "attention_vnet:resolution=low"),
    ("msan_v1", "msan_v1:deep_supervision=on"),
    ("msan_v2", "msan_v2:deep_supervision=on"),
)
DRAWS = 2000  # of cases, for the interval of a rank correlation
CYST = 0.10  # of C's design: Dice of the cyst over the scans that have one


@dataclass(frozen=True)
class Board:
    """A board's entries, their scores by the board's protocol, and what is said of them.

    Attributes
    ----------
    entries : list of Entry
    table : DataFrame
        Scores of all entries, of every protocol.
    found : dict
        The comparison on the endpoint, as ``kitsbench compare --json`` writes it.
    """

    entries: list[Entry]
    table: pd.DataFrame
    found: dict[str, Any]

    @property
    def means(self) -> dict[str, float]:
        """Mean of the endpoint, best first."""
        return {str(row["architecture"]): float(row["mean"]) for row in self.found["ranking"]}

    def pair(self, a: str, b: str) -> dict[str, Any] | None:
        """The pair of two entrants; None where one of them is missing."""
        return next((row for row in self.found["pairs"] if {row["a"], row["b"]} == {a, b}), None)


@cache
def read(name: str) -> Board | None:
    """A board of the repository; None where it has no entries yet."""
    folder = BOARDS / name
    filed = [one for one in read_filed(folder)] if folder.is_dir() else []
    filed = [one for one in filed if one.entry.elsewhere is None and one.scores is not None]
    if not filed:
        return None
    entries = [one.entry for one in filed]
    table = pd.concat([one.scores for one in filed], ignore_index=True)
    return Board(entries, table, compared(table, entries[0].endpoint, entries[0]))


def compared(table: pd.DataFrame, endpoint: str, like: Entry) -> dict[str, Any]:
    """Compare on an endpoint; ranks are not drawn again, since no sentence here rests on it."""
    region, metric = endpoint.split(":")
    rule = Rule(fold_count=like.folds.count)
    return compare(
        table,
        (region, metric),
        rule=rule,
        protocol=like.protocol,
        bootstrap=1,
        secondary=False,
    ).to_dict()


def parts() -> dict[str, str]:
    """Markdown of each generated part of the page, by its name."""
    a, b, c = (read(name) for name in (A, B, C))
    budgets = {steps: read(name) for steps, name in BUDGETS.items()}
    whole = {steps: board for steps, board in budgets.items() if board is not None}
    return {
        "experiment_a": NOT_YET if a is None else first(a),
        "experiment_b": NOT_YET if a is None or b is None else recipes(a, b),
        "experiment_c": NOT_YET if c is None else cysts(c),
        "experiment_d": NOT_YET if len(whole) < len(BUDGETS) else at_budgets(whole),
        "experiment_claims": NOT_YET if a is None else claims(a, b),
    }


def first(board: Board) -> str:
    """What A's design lets one conclude, in its order.

    Raises
    ------
    ValueError
        A planted control has no entry.
    """
    means, entries = board.means, board.entries
    again, tenth = board.pair(REFERENCE, AGAIN), board.pair(REFERENCE, TENTH)
    if again is None or tenth is None:
        raise ValueError(f"{A}: the design's planted controls have no entries.")
    sound = not _separated(again) and tenth["better"] == REFERENCE
    learned = [name for name in means if means[name] >= LEARNED and means[name] > means[TENTH]]
    others = [name for name in means if name not in learned]
    runs = [run for entry in entries for run in entry.trials.runs]
    trained = [run.spent for run in runs if run.spent is not None and not run.members]
    hours = sum(spent.device_seconds for spent in trained) / 3600
    gap = board.found["smallest_detectable_gap"]
    leaders = [row["architecture"] for row in board.found["ranking"] if row["rank_low"] == 1]
    verdicts = Counter(words.verdict_name(pair) for pair in board.found["pairs"])
    blocks = [
        "**The tool told both planted controls as it must.**"
        if sound
        else "**The tool did not tell the planted controls as it must. No other verdict here is "
        "believed until the reason is known.**",
        f"- {_sentence(again)}\n- {_sentence(tenth)}",
        f"{len(means)} entrants, {words.plural(again['n_cases'], 'case')}, "
        f"{again['n_folds']} folds × {again['n_seeds']} seeds, "
        f"{sum(entry.trials.failed for entry in entries)} failed runs. {len(trained)} trainings of "
        f"{_counted({spent.steps for spent in trained})} steps took {hours:.1f} h of one core.",
        f"**Learned**: {len(learned)} of {len(means)} have a mean Dice of the tumour of at least "
        f"{LEARNED:.2f} and above that of `{TENTH}` ({means[TENTH]:.3f}), as the design asks"
        + (f"; not {_names(others)}." if others else ".")
        + (
            ""
            if len(learned) >= LEARNERS
            else f" These are fewer than {LEARNERS}, so the board compares beginnings."
        ),
        f"**Pairs**: of {len(board.found['pairs'])}, "
        + "; ".join(f"{count} {name}" for name, count in verdicts.most_common())
        + ".",
        f"The smallest gap that a comparison of one pair finds with 80 % power is about {gap:.3f}."
        if gap is not None
        else "",
        f"**First place** is left open by the tests of all pairs for {len(leaders)}: "
        f"{_names(leaders)}."
        if len(leaders) > 1
        else f"**First place** is settled: {_names(leaders)}.",
        "**Parts of networks**, each told by its pair alone:",
        "\n".join(f"- {_sentence(pair)}" for pair in _pairs(board, PARTS)),
    ]
    return "\n\n".join(filter(None, blocks))


def recipes(a: Board, b: Board) -> str:
    """B's design: the rank correlation of both orders, and no verdict on pairs."""
    tau, low, high, names = agreement(a, b)
    head = ["Architecture", "Recipe `matched`", "Recipe `paper`"]
    folds = sorted(b.table["fold"].unique())
    own = a.table[a.table["fold"].isin(folds)]
    left, right = _means(own, a, names), _means(b.table, b, names)
    order = sorted(names, key=lambda name: -right[name])
    rows = [[f"`{name}`", f"{left[name]:.3f}", f"{right[name]:.3f}"] for name in order]
    cases = b.found["pairs"][0]["n_cases"]
    if low > 0:
        held = "The order of one recipe tells something of the order of the other"
    elif high < 0:
        held = "The orders of the two recipes oppose each other"
    else:
        held = "That the order of one recipe tells anything of the order of the other is not shown"
    return "\n\n".join(
        (
            f"**Order**: Kendall's τ between the means of both recipes is {tau:.2f} [{low:.2f}, "
            f"{high:.2f}] for {len(names)} entrants on the same {cases} cases (interval: 95 %, "
            "cases drawn again; of other training runs it knows nothing). "
            f"{held}; 1 would be the same order.",
            "One run a fold allows no verdict on a pair, and none is given.",
            _table(head, rows),
        )
    )


def agreement(a: Board, b: Board) -> tuple[float, float, float, list[str]]:
    """Kendall's tau of the means of two boards on the folds of the second.

    Returns
    -------
    tau, low, high : float
        The interval is the percentiles of samples of cases, drawn within their folds.
    names : list of str
        Entrants that stand on both.
    """
    names = [name for name in b.means if name in a.means]
    folds = sorted(b.table["fold"].unique())
    left = _by_case(a.table[a.table["fold"].isin(folds)], a, names)
    right = _by_case(b.table, b, names)
    if list(left.index) != list(right.index):
        raise ValueError("The two boards have other cases in the folds that they share.")
    rng, fold = np.random.default_rng(0), left.index.get_level_values("fold").to_numpy()
    places = [np.flatnonzero(fold == one) for one in folds]
    drawn = np.concatenate([rng.choice(at, (DRAWS, at.size)) for at in places], axis=1)
    x, y = left.to_numpy(), right.to_numpy()
    tau = float(kendall_tau(x.mean(axis=0), y.mean(axis=0)))
    taus = [float(kendall_tau(x[at].mean(axis=0), y[at].mean(axis=0))) for at in drawn]
    low, high = np.percentile(taus, [2.5, 97.5])
    return tau, float(low), float(high), names


def cysts(board: Board) -> str:
    """C's design: whether cysts are told from tumours, and pairs on the masses."""
    own = board.table[
        (board.table["protocol"] == "labels")
        & (board.table["region"] == "cyst")
        & (board.table["metric"] == "dice")
    ]
    here = own[~own["status"].isin(("both_empty", "false_positive"))]
    dice = here.groupby("architecture")["value"].mean()
    marked = own[own["status"].isin(("ok", "false_positive"))].groupby("architecture").size()
    told = [name for name in board.means if dice[name] >= CYST]
    verdicts = Counter(words.verdict_name(pair) for pair in board.found["pairs"])
    rows = [
        [
            f"`{name}`",
            f"{mean:.3f}",
            f"{dice[name]:.3f}",
            f"{marked.get(name, 0)} of {int((own['architecture'] == name).sum())}",
        ]
        for name, mean in board.means.items()
    ]
    settled = [pair for pair in board.found["pairs"] if _separated(pair)]
    return "\n\n".join(
        filter(
            None,
            (
                f"**Cysts**: {len(told)} of {len(board.means)} entrants tell cysts from tumours by "
                f"the design's rule, a mean Dice of the cyst of at least {CYST:.2f} over the "
                f"{here['case'].nunique()} scans that have one"
                + (f": {_names(told)}." if told else "."),
                _table(
                    ["Architecture", "Dice of the masses", "Dice of the cyst", "Cyst marked"], rows
                ),
                "“Cyst marked” counts predicted scans with a voxel of cyst, of all scans and runs.",
                f"**Masses**: of {len(board.found['pairs'])} pairs, "
                + "; ".join(f"{count} {name}" for name, count in verdicts.most_common())
                + (":" if settled else "."),
                "\n".join(f"- {_sentence(pair)}" for pair in settled),
            ),
        )
    )


def at_budgets(boards: Mapping[int, Board]) -> str:
    """D's design: signs of all pairs at each budget, and whether scores rise."""
    folds = set.intersection(*({*board.table["fold"]} for board in boards.values()))
    names = [name for name in boards[min(boards)].means]
    tables, like = {}, boards[min(boards)].entries[0]
    for steps, board in boards.items():
        own = board.table
        tables[steps] = own[own["fold"].isin(folds) & own["architecture"].isin(names)]
    found = {s: compared(table, like.endpoint, like) for s, table in tables.items()}
    pairs = {
        steps: {frozenset((p["a"], p["b"])): p for p in one["pairs"]}
        for steps, one in found.items()
    }
    rows, turned, settled = [], [], 0
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            own = [pairs[steps][frozenset((a, b))] for steps in boards]
            rows.append([f"`{a}` − `{b}`", *(_difference(pair, a) for pair in own)])
            better = {pair["better"] for pair in own if _separated(pair)}
            settled += any(_separated(pair) for pair in own)
            if len(better) > 1:
                turned.append(f"{a} and {b}")
    order = (
        f"**The order changes with the budget**: {words.listing(turned)} are separated at two "
        "budgets in opposite directions."
        if turned
        else "**That the order changes with the budget has not been seen**: no pair is separated "
        "at two budgets in opposite directions."
    )
    head = ["Difference in Dice of the tumour", *(f"{steps} steps" for steps in boards)]
    return "\n\n".join(
        (
            f"{order} {settled} of {len(rows)} pairs are separated at one budget at least (bold).",
            _table(head, rows),
            "Intervals are those that hold for all pairs of a budget together (95 %).",
            rising(tables, like),
        )
    )


def rising(tables: Mapping[int, pd.DataFrame], like: Entry) -> str:
    """Whether the scores of each architecture rise from budget to budget.

    Parameters
    ----------
    tables : mapping of int to DataFrame
        Scores by steps, of the same architectures, cases and seeds.
    like : Entry
        Whose endpoint, protocol and folds hold.
    """
    whole = pd.concat(
        [
            table.assign(architecture=table["architecture"] + f" @ {steps} steps")
            for steps, table in tables.items()
        ],
        ignore_index=True,
    )
    found = compared(whole, like.endpoint, like)
    means = {row["architecture"]: row["mean"] for row in found["ranking"]}
    pairs = {frozenset((p["a"], p["b"])): p for p in found["pairs"]}
    budgets = sorted(tables)
    names = list(dict.fromkeys(tables[budgets[0]]["architecture"]))
    rows, risen = [], []
    for name in names:
        at = [f"{name} @ {steps} steps" for steps in budgets]
        neighbours = [pairs[frozenset(two)] for two in pairwise(at)]
        if all(pair["better"] == more for pair, more in zip(neighbours, at[1:], strict=True)):
            risen.append(name)
        rows.append(
            [
                f"`{name}`",
                *(f"{means[one]:.3f}" for one in at),
                *(_difference(p, more) for p, more in zip(neighbours, at[1:], strict=True)),
            ]
        )
    steps = [f"{steps} steps" for steps in budgets]
    head = ["Architecture", *steps]
    head += [f"{more} − {less}" for less, more in pairwise(steps)]
    rest = [name for name in names if name not in risen]
    told = f"**Scores rise with the budget** at both steps for {len(risen)} of {len(names)}"
    told += f": {_names(risen)}" if risen else ""
    told += f"; not separated at one of them: {_names(rest)}." if rest else "."
    return f"{told}\n\n{_table(head, rows)}"


def claims(a: Board, b: Board | None) -> str:
    """What both experiments say of each claim of the registry."""
    columns = [(one, mode) for one, mode in ((a, "matched"), (b, "paper")) if one is not None]
    registry = read_registry(None)
    verdicts = {
        mode: {row["id"]: row for row in check_claims(registry, evidence(board, mode))}
        for board, mode in columns
    }
    rows = []
    for claim in registry:
        own = [verdicts[mode][claim.id] for _, mode in columns]
        rows.append([claim.id, markdown(claim.statement), *(_claimed(row) for row in own)])
    head = ["Claim", "Statement", *(f"Recipe `{mode}`" for _, mode in columns)]
    return _table(head, rows)


def evidence(board: Board, mode: str) -> Evidence:
    """The scores of a board as ``kitsbench claims`` takes them."""
    one = board.entries[0]
    return Evidence(
        scores=board.table,
        mode=mode,
        dataset=one.dataset.name,
        synthetic=one.synthetic,
        fold_count=one.folds.count,
    )


def _claimed(row: Mapping[str, Any]) -> str:
    missing = "; ".join(markdown(text.rstrip(".")) for text in row["missing"])
    parts = [f"**{row['verdict']}**" + (f": {missing}" if missing else "")]
    parts += [markdown(step["sentence"]) for step in row["steps"] if step["sentence"]]
    return "<br>".join(parts)


def _separated(pair: Mapping[str, Any]) -> bool:
    return pair["better"] is not None


def _sentence(pair: Mapping[str, Any]) -> str:
    return markdown(pair["sentence"])


def _pairs(board: Board, names: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    return [pair for two in names if (pair := board.pair(*two)) is not None]


def _difference(pair: Mapping[str, Any], minuend: str) -> str:
    sign = 1 if pair["a"] == minuend else -1
    low, high = sorted(sign * pair[f"ci_simultaneous_{end}"] for end in ("low", "high"))
    text = f"{sign * pair['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"
    return f"**{text}**" if _separated(pair) else text


def _by_case(table: pd.DataFrame, board: Board, names: Sequence[str]) -> pd.DataFrame:
    """Scores of the endpoint, averaged over seeds: a row for each case, a column an entrant."""
    region, metric = board.entries[0].endpoint.split(":")
    own = table[
        (table["protocol"] == board.entries[0].protocol)
        & (table["region"] == region)
        & (table["metric"] == metric)
    ]
    return own.pivot_table(index=["fold", "case"], columns="architecture", values="value")[
        [*names]
    ].sort_index()


def _means(table: pd.DataFrame, board: Board, names: Sequence[str]) -> dict[str, float]:
    means = _by_case(table, board, names).mean()
    return {name: float(means[name]) for name in names}


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _counted(values: set[float]) -> str:
    return " and ".join(f"{value:g}" for value in sorted(values))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)
