"""What the experiments of the repository found, in the words of their verdicts.

Each experiment has a design, which says before the first trial what will be concluded from what.
The functions here are these rules, applied to the committed scores when the site is built: no
sentence about an outcome is written by hand. Those of the experiments after the first are in
``findings_later.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import findings_later as later
import numpy as np
from findings_boards import (
    LEARNED,
    Board,
    compared,
    judged,
    names_of,
    pair_sentence,
    read,
    rows_of,
    table_of,
)

from kitsbench.claims import Evidence, check_claims, read_registry
from kitsbench.reporting import words
from kitsbench.text import markdown

A, B, C = "kits19-masks", "kits19-masks-paper", "phantom-cysts"
BUDGETS = {500: "kits19-masks-500steps", 2000: A, 8000: "kits19-masks-8000steps"}
NOT_YET = "This experiment has not ended. Its trials are committed as they come, and nothing is "
NOT_YET += "compared before all have."

REFERENCE, AGAIN, TENTH = "unet3d", "unet3d_again", "unet3d_tenth"
LEARNERS = 15  # of A's design: entrants that learn the tumour
TRIVIAL = 0.217  # of A's design: who is given the region of kidney and tumour and calls it tumour
PARTS = (  # pairs that differ by a part, which A's design tells by themselves
    ("scau_unet", "scau_unet:attention=off"),
    ("boundary_aware", "boundary_aware:boundary=off"),
    ("attention_vnet", "attention_vnet:gates=off"),
    ("msan_v1", "msan_v1:deep_supervision=on"),
    ("msan_v2", "msan_v2:deep_supervision=on"),
)


def parts() -> dict[str, str]:
    """Markdown of each generated part of the page, by its name."""
    a, b, c = (read(name) for name in (A, B, C))
    budgets = {steps: read(name) for steps, name in BUDGETS.items()}
    whole = {steps: board for steps, board in budgets.items() if board is not None}
    return {
        "experiment_controls": NOT_YET if a is None else controls(a),
        "experiment_a": NOT_YET if a is None else first(a),
        "experiment_b": NOT_YET if a is None or b is None else later.recipes(a, b),
        "experiment_c": NOT_YET if c is None else later.cysts(c),
        "experiment_d": NOT_YET if len(whole) < len(BUDGETS) else later.at_budgets(whole),
        "experiment_claims": NOT_YET if a is None else claims(a, b, c),
    }


def controls(board: Board) -> str:
    """Whether the planted controls came out, which A's design wants said before all else.

    Raises
    ------
    ValueError
        A planted control has no entry.
    """
    again, tenth = board.pair(REFERENCE, AGAIN), board.pair(REFERENCE, TENTH)
    if again is None or tenth is None:
        raise ValueError(f"{A}: the design's planted controls have no entries.")
    # Where no verdict is possible, that nobody was separated says nothing.
    if not all(judged(board.found, pair) for pair in (again, tenth)):
        return (
            "**The planted controls allow no verdict. No other verdict of experiment A is believed "
            "until they do.**"
        )
    if again["better"] is not None or tenth["better"] != REFERENCE:
        return (
            "**The planted controls did not come out as they must. No other verdict of experiment "
            "A is believed until the reason is known.**"
        )
    return (
        f"**Both planted controls of experiment A came out as planted**: the twin of `{REFERENCE}` "
        "is not separated from it, and the one with a tenth of the budget is found to be worse. "
        f"The second lies {abs(tenth['difference']):.3f} below it, so that this says nothing about "
        "small differences."
    )


def first(board: Board) -> str:
    """What A's design lets one conclude, in its order."""
    blocks = [controls(board)]
    blocks.append(
        "\n".join(f"- {pair_sentence(board.pair(REFERENCE, own))}" for own in (AGAIN, TENTH))
    )
    blocks += [_size(board), _learned(board), _pairs(board), _first_place(board), _noise(board)]
    alone = []
    for two in PARTS:
        if board.pair(*two) is not None:
            own = board.table[board.table["architecture"].isin(two)]
            (pair,) = compared(own, board.entries[0].endpoint, board.entries[0])["pairs"]
            alone.append(
                f"- {pair_sentence(pair)} Among all pairs: "
                f"{words.verdict_name(board.pair(*two) or {})}."
            )
    if alone:
        blocks += [
            "**Parts of networks**, each told by its pair alone, as the design has it. These are "
            f"{len(alone)} tests that nothing corrects for each other:",
            "\n".join(alone),
        ]
    return "\n\n".join(blocks)


def _size(board: Board) -> str:
    pair = board.found["pairs"][0]
    runs = [run for entry in board.entries for run in entry.trials.runs]
    trained = [run.spent for run in runs if run.spent is not None and not run.members]
    seconds = np.array([spent.device_seconds for spent in trained])
    steps = " and ".join(f"{value:g}" for value in sorted({spent.steps for spent in trained}))
    failed = sum(entry.trials.failed for entry in board.entries)
    return (
        f"{len(board.means)} entrants, {words.plural(pair['n_cases'], 'case')}, "
        f"{pair['n_folds']} folds × {pair['n_seeds']} seeds, {failed} failed runs. "
        f"{len(trained)} trainings of {steps} steps took {seconds.sum() / 3600:.1f} h in all, one "
        f"thread each on a machine that did other things as well: {words.duration(seconds.min())} "
        f"to {words.duration(seconds.max())}, in the median "
        f"{words.duration(float(np.median(seconds)))}. Times are no more than orders of magnitude; "
        "steps are exact."
    )


def _learned(board: Board) -> str:
    means = board.means
    learned = [name for name in means if means[name] >= LEARNED and means[name] > means[TENTH]]
    others = [name for name in means if name not in learned]
    sure = [row for row in board.found["ranking"] if (row["ci_low"] or 0) >= LEARNED]
    trivial = [name for name in means if means[name] >= TRIVIAL]
    text = (
        f"**Learned**: {len(learned)} of {len(means)} entrants have a mean Dice of the tumour of "
        f"at least {LEARNED:.2f} and above that of `{TENTH}` ({means[TENTH]:.3f}), which is the "
        f"design's rule; of {len(sure)} the whole interval lies there."
    )
    if others:
        text += f" By the rule these have not: {names_of(others)}."
    text += (
        f" It is little: who is given the true region of kidney and tumour and calls all of it "
        f"tumour has {TRIVIAL:.3f}, and "
        f"{'nobody reaches' if not trivial else f'{len(trivial)} reach'} that."
    )
    if len(learned) < LEARNERS:
        text += f" These are fewer than {LEARNERS}, so the board compares beginnings."
    return text


def _pairs(board: Board) -> str:
    pairs = board.found["pairs"]
    verdicts = Counter(words.verdict_name(pair) for pair in pairs)
    gaps = [p["smallest_detectable_gap"] for p in pairs]
    gaps = [gap for gap in gaps if gap is not None]
    widths = [p["ci_simultaneous_high"] - p["ci_simultaneous_low"] for p in pairs
              if p["ci_simultaneous_low"] is not None]  # fmt: skip
    apart = [pair for pair in pairs if pair["better"] is not None]
    robust = [pair for pair in apart if pair["robust_to_training_set"]]
    told = (
        f"**Pairs**, all {len(pairs)} together at alpha {board.found['alpha']:g}: {len(apart)} are "
        "separated. By verdict: "
        + "; ".join(f"{count} {name}" for name, count in verdicts.most_common())
        + " (“better” is a difference that may be smaller than the margin; “learned nothing” are "
        "pairs with an entrant that is no better than an empty prediction). "
        f"{len(robust)} of the separated would be so by the test of Nadeau and Bengio, too, "
        "corrected for all pairs, which asks whether a difference holds for other training sets."
    )
    if not gaps or not widths:
        return told
    return told + (
        f" The smallest gap that one pair alone shows with 80 % power is {np.median(gaps):.3f} in "
        f"the median ({min(gaps):.3f} to {max(gaps):.3f}); all pairs together need more: their "
        f"intervals are ±{np.median(widths) / 2:.3f} wide in the median."
    )


def _first_place(board: Board) -> str:
    rows = [row for row in board.found["ranking"] if row["rank_low"] == 1]
    leaders = [str(row["architecture"]) for row in rows]
    if len(leaders) == 1:
        return f"**First place** is settled: {names_of(leaders)}."
    by_name = {entry.name: entry for entry in board.entries}
    remarks = []
    planted = [name for name in leaders if by_name.get(name) and by_name[name].planted]
    combined = [
        name for name in leaders
        if name in by_name and any(run.members for run in by_name[name].trials.runs)
    ]  # fmt: skip
    if planted:
        remarks.append(f"{names_of(planted)} {'is' if len(planted) == 1 else 'are'} planted")
    same = {p["a"] for p in board.found["pairs"] if p["identical"]}
    same |= {p["b"] for p in board.found["pairs"] if p["identical"]}
    if alike := [name for name in leaders if name in same]:
        remarks.append(f"{names_of(alike)} have equal scores in every case and are one result")
    if combined:
        remarks.append(f"{names_of(combined)} combine several trained networks")
    chances = [(name, by_name[name].rank) for name in (AGAIN, REFERENCE) if name in by_name]
    drawn = [
        f"{words.percent(rank.p_first)} for `{name}`"
        for name, rank in chances
        if rank is not None and rank.p_first is not None
    ]
    text = (
        f"**First place** is left open by the tests of all pairs for {len(leaders)}: "
        f"{names_of(leaders)}" + ("; " + ", ".join(remarks) if remarks else "") + "."
    )
    if len(drawn) == 2:
        text += (
            f" P(first) on the board is {' and '.join(drawn)}, which are one network: it shows how "
            "far drawing cases and runs again is from knowing who is first."
        )
    return text


def _noise(board: Board) -> str:
    """How far runs of one entrant lie apart in one fold."""
    own = rows_of(board)
    runs = own.groupby(["architecture", "fold", "seed"])["value"].mean()
    spread = runs.groupby(["architecture", "fold"]).var().groupby("architecture").mean() ** 0.5
    spread = spread.dropna()
    if spread.empty:
        return ""
    most = str(spread.idxmax())
    return (
        "**Runs**: the mean of a fold scatters between two runs of one entrant with a standard "
        f"deviation of {spread.median():.3f} in the median, and up to {spread.max():.3f} "
        f"(`{most}`), which is why places are wide."
    )


def claims(a: Board, b: Board | None, c: Board | None = None) -> str:
    """What each experiment that has ended says of each claim of the registry."""
    boards = ((a, "matched", "A"), (b, "paper", "B"), (c, "matched", "C"))
    columns = [(board, mode, name) for board, mode, name in boards if board is not None]
    registry = read_registry(None)
    verdicts = {
        name: {row["id"]: row for row in check_claims(registry, evidence(board, mode))}
        for board, mode, name in columns
    }
    rows = []
    for claim in registry:
        own = [verdicts[name][claim.id] for _, _, name in columns]
        rows.append([claim.id, markdown(claim.statement), *(_claimed(row) for row in own)])
    head = ["Claim", "Statement", *(f"{name}, recipe `{mode}`" for _, mode, name in columns)]
    return table_of(head, rows)


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
    sentences: Sequence[Mapping[str, Any]] = row["steps"]
    parts += [markdown(step["sentence"]) for step in sentences if step["sentence"]]
    return "<br>".join(parts)
