"""Take a look: a pure function of scores, plan and the looks before."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy import special

from kitsbench.errors import DataError, UsageError
from kitsbench.look import STATES, Look, PairLook, check_follows
from kitsbench.metrics import Metric
from kitsbench.statistics.compare.prepare import prepare
from kitsbench.statistics.looks.clock import Clock, codes, counted_df, information, worth
from kitsbench.statistics.looks.course import (
    Standing,
    advance,
    beginning,
    is_whole,
    spent_by,
    still_running,
)
from kitsbench.statistics.looks.evidence import Seen, evidence_of, may_change, run_counts, trials_of
from kitsbench.statistics.looks.ordering import reach
from kitsbench.statistics.looks.plan import LookPlan, check_number
from kitsbench.statistics.looks.words import notes_of, reason_of
from kitsbench.statistics.table.blocks import ScoreBlocks
from kitsbench.statistics.table.endpoints import parse_endpoint


def take_look(
    scores: pd.DataFrame | ScoreBlocks,
    plan: LookPlan,
    earlier: Sequence[Look] = (),
    *,
    number: int | None = None,
    once: Collection[str] = (),
    protocol: str | None = None,
    dataset: str | None = None,
    declared: Mapping[str, Metric] | None = None,
    cases: pd.DataFrame | None = None,
    cluster: str | None = None,
) -> Look:
    """Look at the scores that are there, and say what is settled and what goes on.

    Parameters
    ----------
    scores : DataFrame or ScoreBlocks
        All scores so far: those of earlier looks too, unchanged. A table is prepared as
        :func:`~kitsbench.statistics.compare` does.
    plan : LookPlan
        The same at every look.
    earlier : sequence of Look
        The looks before this one, in their order.
    number : int, optional
        Round after which it is taken; by default one more than the look before. It names the
        look, and says when no other is planned; alpha is spent by the information that is there.
    once : collection of str
        Of blocks, the architectures that have one run in a fold and get no more (a table says so
        itself).
    protocol, dataset, declared, cases, cluster
        Of a table, as for :func:`~kitsbench.statistics.compare`.

    Returns
    -------
    Look
        Where ``number`` is that of the last earlier look and the scores are the same: that look.

    Raises
    ------
    UsageError
        The number is that of an earlier look and the scores are others, or it goes back; the plan
        asks about an architecture that is not there.
    DataError
        Scores of an earlier look are missing or changed, somebody new is in the table, or the
        table breaks a rule.
    """
    ready: list[str] = []
    _check_earlier(earlier, plan)
    if isinstance(scores, pd.DataFrame):
        target = parse_endpoint(plan.endpoint, declared)
        kept = {name for look in earlier for name in run_counts(look.trials)}
        if not earlier and not plan.architectures and "architecture" in scores.columns:
            kept = {*scores["architecture"]}  # who is left out now could never come in again
        prepared = prepare(
            scores, target, plan.rule(), protocol, dataset, declared, cases, cluster, kept=kept
        )
        blocks, once = prepared.blocks, prepared.outside
        ready = [*prepared.apart, *(blocks.notes[:1] if blocks.left_out else [])]
    else:
        blocks = scores
    trials = trials_of(blocks)
    number = number if number is not None else (earlier[-1].number + 1 if earlier else 1)
    architectures = _family(blocks, plan, earlier)
    pairs = plan.pairs(architectures)
    check_number("The number of the look", number, None)
    number = int(number)
    repeated = _check_kept(trials, earlier)
    _check_folds(blocks, plan, earlier)
    if earlier and number <= earlier[-1].number:
        if number == earlier[-1].number and trials == earlier[-1].trials:
            return earlier[-1]
        what = "the same" if trials == earlier[-1].trials else "other"
        raise UsageError(
            f"Look {number} was asked for, and look {earlier[-1].number} is recorded already, of "
            f"{what} scores.\nA look cannot be taken again: "
            + (
                f"go on with look {earlier[-1].number + 1}, or begin a new record."
                if earlier[-1].number < plan.looks
                else f"that was the last of {plan.looks}. Begin a new record for a new plan."
            )
        )
    place = {name: index for index, name in enumerate(architectures)}
    first, second = (np.array([place[pair[side]] for pair in pairs]) for side in (0, 1))
    clock = Clock(plan.spending, plan.share)
    before = _replayed(earlier, plan, clock, len(pairs))
    counts = {look.number: run_counts(look.trials) for look in earlier}
    then = [counts.get(int(at)) for at in before.tested_at]
    seen = evidence_of(blocks, plan, architectures, pairs, then, once)
    after = advance(before, seen.evidence, plan, clock, number, first, second)
    rows = _rows(pairs, before, after, seen, plan, clock, number, earlier)
    spent = math.fsum(row.spent for row in rows)
    price = spent - (earlier[-1].spent if earlier else 0.0)
    runs = still_running(after.state, first, second, len(architectures))
    fraction = max((row.fraction or 0.0 for row in rows), default=0.0)
    look = Look(
        number=number,
        planned=plan.is_planned(number),
        architectures=architectures,
        pairs=tuple(rows),
        open=tuple(name for name, on in zip(architectures, runs, strict=True) if on),
        spent=spent,
        price=price,
        fraction=fraction,
        trials=trials,
        notes=(),
        plan_seal=plan.seal,
    )
    is_short = number >= plan.looks and not is_whole(seen.evidence, plan, number).any()
    return replace(look, notes=(*ready, *repeated, *notes_of(look, plan, earlier, is_short)))


def _family(blocks: ScoreBlocks, plan: LookPlan, earlier: Sequence[Look]) -> tuple[str, ...]:
    """Who is compared: as planned, or as at the first look."""
    known = plan.architectures or (earlier[0].architectures if earlier else blocks.architectures)
    new = sorted(set(blocks.architectures) - set(known))
    if new:
        raise DataError(
            f"{', '.join(new)} {'are' if len(new) > 1 else 'is'} in the scores and not in the "
            f"family of the looks ({', '.join(known)}), which shares alpha.\nLeave out who is new, "
            "or begin a new record with all of them."
        )
    return tuple(sorted(known))


def _check_earlier(earlier: Sequence[Look], plan: LookPlan) -> None:
    """Refuse what is no list of looks, each taken after the one before it, by this plan."""
    if not isinstance(earlier, (list, tuple)) or not all(isinstance(x, Look) for x in earlier):
        raise UsageError("The earlier looks must be a list of looks, in their order.")
    for before, after in pairwise(earlier):
        try:
            check_follows(before, after)
        except ValueError as error:
            raise UsageError(
                f"The earlier looks do not follow each other: {error}\nGive all of them, in the "
                "order in which they were taken."
            ) from error
    if not earlier:
        return
    family, pairs = earlier[-1].architectures, [pair.name for pair in earlier[-1].pairs]
    if tuple(sorted(plan.architectures or family)) != family or plan.pairs(family) != pairs:
        raise UsageError(
            "The earlier looks were taken at other pairs than the plan asks about: a plan is made "
            "before the first look and holds for all."
        )
    other = next((look.number for look in earlier if look.plan_seal != plan.seal), None)
    if other is not None:
        raise UsageError(
            f"Look {other} was taken by another plan than this one: its rounds, question, level, "
            "margin, spending, futility, or how pairs are tested.\nA plan is made before the first "
            "look and holds for all: give the plan of then, or begin a new record."
        )


def _check_kept(trials: Mapping[str, str], earlier: Sequence[Look]) -> list[str]:
    """Refuse scores that are not those of earlier looks with more added; say who was repeated."""
    repeated: dict[str, int] = {}
    for look in earlier:
        for trial, digest in look.trials.items():
            now = trials.get(trial)
            if now == digest:
                continue
            if may_change(digest) and now is not None:
                repeated.setdefault(trial, look.number)
                continue
            name, fold, seed = _place_of(trial)
            what = "are missing now" if now is None else "are others now"
            raise DataError(
                f"The scores of {name}, fold {fold}, seed {seed} were seen at look {look.number} "
                f"and {what}.\nWhat was looked at cannot be taken back: give all scores of earlier "
                "looks as they were, or begin a new record."
            )
    listed = [
        f"{name}, fold {fold}, seed {seed} (look {look})"
        for (name, fold, seed), look in ((_place_of(t), look) for t, look in repeated.items())
    ]
    if not listed:
        return []
    return [
        f"Scores of {len(listed)} trials that had failed predictions are others now, as of trials "
        f"that were repeated: {'; '.join(listed[:3])}{'; ...' if listed[3:] else ''}. Looks that "
        "saw them as they were are believed as they stand."
        if len(listed) > 1
        else f"The scores of {listed[0]}, which had failed predictions, are others now, as of a "
        "trial that was repeated. Looks that saw them as they were are believed as they stand."
    ]


def _place_of(trial: str) -> list[str]:
    """Architecture, fold and seed of a trial that a look names."""
    parts = trial.rsplit(" ", 2)
    if len(parts) < 3 or not (parts[1].isdecimal() and parts[2].isdecimal()):
        raise DataError(
            f"An earlier look names the trial '{trial}', which is no architecture with its fold "
            "and seed: its record was edited. Restore it as it was written."
        )
    return parts


def _check_folds(blocks: ScoreBlocks, plan: LookPlan, earlier: Sequence[Look]) -> None:
    """Refuse folds that earlier looks did not know of: they took what they had for the whole."""
    for look in earlier:
        known = {int(_place_of(trial)[1]) for trial in look.trials}
        if len(blocks.cases) > max(plan.fold_count or 0, len(known)):
            new = ", ".join(str(fold) for fold in sorted({*blocks.cases} - known))
            raise DataError(
                f"Look {look.number} took {len(known)} folds for all that are planned, and spent "
                f"alpha by that; the scores have fold {new} too.\nLeave out what is new, or begin "
                "a new record that is told the number of all folds at its first look (fold_count, "
                "--fold-count)."
            )


def _replayed(earlier: Sequence[Look], plan: LookPlan, clock: Clock, number: int) -> Standing:
    """What earlier looks found, as arrays."""
    start = beginning((number,), plan.margin is not None)
    if not earlier:
        return start
    history, sign = start.history.copy(), start.sign.copy()
    smallest = np.ones(number)
    for look in earlier:
        for at, pair in enumerate(look.pairs):
            if pair.tested_at != look.number or pair.bound is None:
                continue  # it spent nothing
            share, cases, runs = map(
                np.array, (pair.share or 0.0, pair.cases or 1.0, pair.runs or 1.0)
            )
            whole = look.number >= plan.looks and pair.fraction == 1.0
            moment = codes(share, cases, runs, np.array(whole))
            history[at] = clock.advance(history[at : at + 1], moment)[0]
            p = 1.0 if pair.p_sequential is None else pair.p_sequential
            if p < smallest[at]:
                smallest[at], sign[at] = p, np.sign(pair.estimate or 0.0)
    last = earlier[-1].pairs

    def column(name: str, otherwise: float) -> np.ndarray:
        values = [getattr(pair, name) for pair in last]
        return np.array([otherwise if value is None else value for value in values], dtype=float)

    bound = np.array([math.inf if p.bound is None else quantile_of(p.bound) for p in last])
    relevant = [0 if p.relevant is None else 1 if p.relevant else -1 for p in last]
    tested = np.array([pair.tested_at or 0 for pair in last], dtype=np.int64)
    return Standing(
        state=np.array([STATES.index(pair.state) for pair in last], dtype=np.int8),
        history=history,
        p=column("p_sequential", 1.0),
        p_exceeds=column("p_sequential_exceeds", math.nan),
        p_within=column("p_sequential_within", math.nan),
        sign=sign,
        relevant=np.array(relevant, dtype=np.int8),
        settled_at=np.array([pair.settled_at or 0 for pair in last], dtype=np.int64),
        tested_at=tested,
        estimate=np.where(tested > 0, column("estimate", math.nan), math.nan),
        se=np.where(tested > 0, column("se", math.nan), math.nan),
        df=np.where(tested > 0, column("df", math.nan), math.nan),
        fraction=column("fraction", math.nan),
        share=column("share", math.nan),
        known=information(*(column(name, math.nan) for name in ("share", "cases", "runs"))),
        chance=column("chance", math.nan),
        bound=bound,
    )


def quantile_of(level: float) -> float:
    """Quantile of a nominal two-sided level; infinite for 0."""
    return math.inf if level <= 0 else float(-special.ndtri(level / 2))


def _rows(
    pairs: Sequence[tuple[str, str]],
    before: Standing,
    after: Standing,
    seen: Seen,
    plan: LookPlan,
    clock: Clock,
    number: int,
    earlier: Sequence[Look],
) -> list[PairLook]:
    stated = after.stated(plan)
    spent = spent_by(plan, after.fraction, len(pairs))
    evidence = seen.evidence
    wholes = is_whole(evidence, plan, number)
    rows = []
    for at, (a, b) in enumerate(pairs):
        whole = bool(wholes[at])
        test = seen.tests[at]
        state = STATES[after.state[at]]
        better = None
        if state == "difference":
            better = a if (after.sign[at] > 0) == evidence.higher else b
        if earlier and before.settled[at]:
            # What was settled keeps the figures of then; only what other pairs do to it may change.
            row = earlier[-1].pairs[at]
        elif after.tested_at[at] == number:
            low = high = nominal = None
            if after.history[at] != before.history[at]:  # the look spends something
                low, high = _repeated(after, at, clock, plan.alpha / len(pairs), whole)
                nominal = _nominal(after, at, whole)
            row = replace(
                _untested(a, b, _number(after.estimate[at])),
                tested_at=number,
                seeds=None if test is None else test.result.n_seeds,
                se=_number(after.se[at]),
                df=_number(after.df[at]),
                information=_number(1 / after.se[at] ** 2) if after.se[at] > 0 else None,
                fraction=_number(after.fraction[at]),
                share=_number(evidence.share[at]),
                cases=_number(evidence.cases[at]),
                runs=_number(evidence.runs[at]),
                p_value=_number(evidence.p[at]),
                p_exceeds=_number(evidence.p_exceeds[at]),
                p_within=_number(evidence.p_within[at]),
                z=_number(
                    np.sign(after.estimate[at])
                    * worth(evidence.p[at], evidence.df[at], whole, len(pairs))
                ),
                bound=nominal,
                low=low,
                high=high,
            )
        elif earlier and before.tested_at[at]:
            row = earlier[-1].pairs[at]
        else:
            row = _untested(a, b, None if test is None else test.result.estimate)
        row = replace(
            row,
            state=state,
            better=better,
            relevant={1: True, -1: False}.get(int(after.relevant[at])) if better else None,
            settled_at=int(after.settled_at[at]) or None,
            spent=float(spent[at]),
            p_sequential=_number(after.p[at]),
            p_sequential_exceeds=_number(after.p_exceeds[at]),
            p_sequential_within=_number(after.p_within[at]),
            p_adjusted=_number(stated.differs[at]),
            p_adjusted_exceeds=_number(stated.exceeds[at]),
            p_adjusted_within=_number(stated.within[at]),
            chance=None if after.settled[at] else _number(after.chance[at]),
        )
        if better is not None:
            row = _signed(row, float(after.sign[at]))
        rows.append(
            replace(row, reason=reason_of(row, test, seen.lost, seen.failing, plan, number))
        )
    return rows


def _untested(a: str, b: str, estimate: float | None) -> PairLook:
    none = dict.fromkeys(
        ("se", "df", "information", "fraction", "share", "cases", "runs", "p_value", "p_exceeds",
         "p_within", "z", "bound", "p_sequential", "p_sequential_exceeds", "p_sequential_within",
         "p_adjusted", "p_adjusted_exceeds", "p_adjusted_within", "low", "high", "chance")
    )  # fmt: skip
    return PairLook(a, b, "open", "", None, None, None, None, estimate=estimate, spent=0.0, **none)


def _nominal(after: Standing, at: int, whole: bool) -> float:
    """What the p-value of this look had to be below."""
    df, se = after.df[at : at + 1], np.ones(1)
    edge = reach(after.bound[at : at + 1], se, counted_df(df, whole, after.p.shape[-1]))
    return float(2 * special.stdtr(df, -edge)[0])


def _repeated(
    after: Standing, at: int, clock: Clock, level: float, whole: bool
) -> tuple[float | None, float | None]:
    """Repeated confidence interval: the bound of this look, at Bonferroni's level."""
    bound = clock.table(int(after.history[at])).bound(np.array([level]))
    df = counted_df(after.df[at : at + 1], whole, after.p.shape[-1])
    half = float(reach(bound, after.se[at : at + 1], df)[0])
    if not math.isfinite(half):
        return None, None
    return float(after.estimate[at]) - half, float(after.estimate[at]) + half


def _signed(row: PairLook, sign: float) -> PairLook:
    """End the interval of a difference whose sign is settled at 0, as a comparison does."""
    if row.low is None or row.high is None:
        return row
    if sign > 0:
        return replace(row, low=max(row.low, 0.0), high=max(row.high, 0.0))
    return replace(row, low=min(row.low, 0.0), high=min(row.high, 0.0))


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
