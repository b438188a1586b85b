"""What the scores at hand say of each pair, and which trials they are from."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kitsbench.statistics.compare.learned import not_learned
from kitsbench.statistics.compare.pairs import PairTest, analyse_pairs
from kitsbench.statistics.compare.verdicts import FAILURES_WITHOUT_VERDICT
from kitsbench.statistics.looks.clock import share_of_cases
from kitsbench.statistics.looks.course import FEWEST_FOR_A_LOOK, FEWEST_IN_ALL, Evidence
from kitsbench.statistics.looks.plan import LookPlan
from kitsbench.statistics.table.blocks import Array, ScoreBlocks
from kitsbench.statistics.tests.folds_and_cases import FOLDS_FOR_A_FOLD_TEST

FAILED = "failed "  # before the digest of a trial with failed predictions
_HEX = 16


@dataclass(frozen=True)
class Seen:
    """A look's evidence with what words need beside it.

    Attributes
    ----------
    evidence : Evidence
        One row of pairs.
    tests : list of (PairTest or None)
        None where one of the two has no scores yet.
    lost : dict
        Means of the architectures that have not learned the endpoint.
    failing : dict
        By architecture the part of its predictions that failed, where it exceeds 10 %.
    """

    evidence: Evidence
    tests: list[PairTest | None]
    lost: dict[str, float]
    failing: dict[str, float]


def evidence_of(
    blocks: ScoreBlocks,
    plan: LookPlan,
    architectures: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    counts_then: Sequence[Mapping[str, int] | None],
    once: Collection[str],
) -> Seen:
    """Test every pair as a comparison does, and tell how much of the plan's information is there.

    Parameters
    ----------
    blocks : ScoreBlocks
        Scores of the endpoint.
    plan : LookPlan
    architectures : sequence of str
        The family.
    pairs : sequence of (str, str)
        Of the family.
    counts_then : sequence of (mapping or None)
        Runs of each architecture at the look that tested the pair last; None where none did.
    once : collection of str
        Architectures with one run in a fold, however many seeds are planned.
    """
    rule = plan.rule()
    present = [pair for pair in pairs if all(name in blocks.every for name in pair)]
    analysed = analyse_pairs(blocks, present, rule, plan.margin, family=len(pairs))
    found = dict(zip(present, analysed, strict=True))
    tests = [found.get(pair) for pair in pairs]
    lost = not_learned(blocks, rule)
    failing = {
        name: rate
        for name in blocks.architectures
        if (rate := blocks.failure_rate(name)) > FAILURES_WITHOUT_VERDICT
    }
    share = _shares(blocks, plan, tests, once)
    counts = run_counts(trials_of(blocks))
    rows: dict[str, list[float]] = {
        key: [] for key in ("estimate", "se", "df", "p", "p_exceeds", "p_within", "cases", "runs")
    }
    fresh, hopeless, folds = [], [], _folds(blocks, plan)
    for test, (a, b), then in zip(tests, pairs, counts_then, strict=True):
        parts = (1.0, 1.0) if test is None else _parts(blocks, plan, test, once)
        if test is None or not test.settles or a in failing or b in failing:
            values = [math.nan] * 6
        else:
            result = test.result
            one_lost = a in lost or b in lost
            values = [result.estimate, result.se, result.df, result.p_value, test.p_exceeds,
                      math.nan if one_lost else test.p_within]  # fmt: skip
        for key, value in zip(rows, [*values, *parts], strict=True):
            rows[key].append(value)
        moving = [name for name in (a, b) if name not in once]
        more = [counts.get(name, 0) > (then or {}).get(name, 0) for name in moving]
        new = all(more) and bool(more)  # who gets no more runs keeps nobody waiting
        fresh.append(test is not None and (then is None or new))
        planned = parts[0] * parts[1]
        never = any(failing.get(name, 0.0) * planned > FAILURES_WITHOUT_VERDICT for name in (a, b))
        # Who has one run in a fold is tested by folds alone, whatever is run.
        never |= (a in once or b in once) and folds < FOLDS_FOR_A_FOLD_TEST
        hopeless.append(never or (a in lost and b in lost))
    arrays = {key: np.array(values, dtype=float) for key, values in rows.items()}
    means = blocks.means
    return Seen(
        evidence=Evidence(
            **arrays,
            share=share,
            fresh=np.array(fresh, dtype=bool),
            enough=np.array([t is not None and _enough(blocks, t) for t in tests], dtype=bool),
            hopeless=np.array(hopeless, dtype=bool),
            trains=np.array([name not in once for name in architectures], dtype=bool),
            means=np.array([means.get(name, math.nan) for name in architectures]),
            higher=blocks.endpoint.higher_is_better,
        ),
        tests=tests,
        lost=lost,
        failing=failing,
    )


def _folds(blocks: ScoreBlocks, plan: LookPlan) -> int:
    """Folds of a complete round."""
    return max(plan.fold_count or 0, len(blocks.cases))


def _enough(blocks: ScoreBlocks, test: PairTest) -> bool:
    """Whether a look that is not the last may show something."""
    if not test.result.df >= FEWEST_IN_ALL:
        return False
    if not np.isfinite(test.result.v_run):
        return len(test.folds) - 1 >= FEWEST_FOR_A_LOOK
    freedom = [sum(blocks.every[name][fold].shape[1] - 1 for fold in test.folds)
               for name in (test.a, test.b)]  # fmt: skip
    return min(freedom) >= FEWEST_FOR_A_LOOK


def earliest_look(folds: int, planned: Sequence[int]) -> int:
    """The first planned look that can settle a pair; at those before it one can only be given up.

    Parameters
    ----------
    folds : int
        Of a complete round, in which no trial is missing. Architectures that scatter unequally may
        need another round, see :data:`~kitsbench.statistics.looks.course.FEWEST_IN_ALL`.
    planned : sequence of int
        Rounds after which looks are planned, rising.
    """
    for number in planned[:-1]:
        freedom = folds * (number - 1)
        if freedom >= FEWEST_FOR_A_LOOK and 2 * freedom >= FEWEST_IN_ALL:
            return number
        if number == 1 and folds - 1 >= max(FEWEST_FOR_A_LOOK, FEWEST_IN_ALL):
            return number  # by the differences of the folds
    return planned[-1]


def _parts(
    blocks: ScoreBlocks, plan: LookPlan, test: PairTest, once: Collection[str]
) -> tuple[float, float]:
    """Cases and runs of a pair as parts of what is planned."""
    folds = _folds(blocks, plan)
    cases = min(len(test.folds) / folds, 1.0)
    sizes = np.array([len(blocks.cases[fold]) for fold in test.folds], dtype=float)
    weight = (sizes / sizes.sum()) ** 2
    # What the runs at hand weigh in the variance of a mean, and what those of the plan will.
    now = then = 0.0
    for name in (test.a, test.b):
        seeds = [blocks.every[name][fold].shape[1] for fold in test.folds]
        planned = 1 if name in once else plan.looks
        now += float(weight @ (1 / np.array(seeds)))
        then += float(weight.sum()) / planned * cases
    return cases, min(then / now, 1.0)


def _shares(
    blocks: ScoreBlocks, plan: LookPlan, tests: Sequence[PairTest | None], once: Collection[str]
) -> Array:
    """Part of the cases in the variance of each difference that the whole plan leaves."""
    # Where each fold has one run, nothing tells runs from cases: what the plan assumes holds.
    share = np.full(len(tests), plan.share)
    for place, test in enumerate(tests):
        if test is not None and np.isfinite(test.result.v_run):
            result, parts = test.result, _parts(blocks, plan, test, once)
            figures = (result.v_case, result.v_run, result.v_residual, *parts)
            share[place] = share_of_cases(*map(np.array, figures))
    return share


def trials_of(blocks: ScoreBlocks) -> dict[str, str]:
    """What is looked at: see :class:`~kitsbench.look.Look`."""
    found = {}
    for name in blocks.architectures:
        for fold, block in blocks.every[name].items():
            failed = blocks.failed[name][fold]
            for column, seed in enumerate(blocks.seeds[name][fold]):
                hashed = hashlib.sha256("\n".join(blocks.cases[fold]).encode())
                hashed.update(np.ascontiguousarray(block[:, column], dtype="<f8").tobytes())
                lost = failed[:, column].any()
                if lost:
                    hashed.update(np.ascontiguousarray(failed[:, column], dtype="?").tobytes())
                digest = hashed.hexdigest()[:_HEX]
                found[f"{name} {fold} {seed}"] = f"{FAILED}{digest}" if lost else digest
    return found


def may_change(digest: str) -> bool:
    """Whether a trial that was seen like this had failed predictions: it may be repeated."""
    return digest.startswith(FAILED)


def run_counts(trials: Mapping[str, str]) -> dict[str, int]:
    """Runs of each architecture among the trials of a look."""
    counts: dict[str, int] = {}
    for trial in trials:
        name = trial.rsplit(" ", 2)[0]
        counts[name] = counts.get(name, 0) + 1
    return counts
