"""What a reader must know before believing the tables of a comparison, and what to run next."""

from __future__ import annotations

from kitsbench.statistics.compare.pairs import PairTest
from kitsbench.statistics.compare.verdicts import FAILURES_TO_WARN, FAILURES_WITHOUT_VERDICT
from kitsbench.statistics.design.scope import advice, allows_verdict
from kitsbench.statistics.ranks.ranking import MOST_LETTERED
from kitsbench.statistics.table.blocks import ScoreBlocks
from kitsbench.statistics.tests.rule import Rule
from kitsbench.statistics.tests.twoway import TestResult

FEW_CASES = 50


def warnings_of(
    blocks: ScoreBlocks, tests: list[PairTest], rule: Rule, lost: dict[str, float]
) -> list[str]:
    """Say what a reader must know before believing the tables.

    Parameters
    ----------
    blocks : ScoreBlocks
        Scores of the endpoint.
    tests : list of PairTest
        The pairs that were tested.
    rule : Rule
        Its ``test`` is what was asked for.
    lost : dict
        Architectures that have not learned the endpoint.
    """
    notes = list(blocks.notes)
    if not tests:
        notes.append("There is one architecture only, so there is nothing to compare it with.")
    for name in blocks.architectures:
        rate = blocks.failure_rate(name)
        if rate > FAILURES_WITHOUT_VERDICT:
            notes.append(
                f"{100 * rate:.0f} % of the predictions of {name} failed (more than 10 %): they "
                "count with the penalty, and no verdict is given on it."
            )
        elif rate > FAILURES_TO_WARN:
            notes.append(
                f"{100 * rate:.1f} % of the predictions of {name} failed; they count with the "
                "penalty. Without those cases: see the sensitivity analysis."
            )
    if blocks.n_cases < FEW_CASES:
        notes.append(
            f"Number of cases {blocks.n_cases}: below {FEW_CASES} the intervals of single means "
            "cover less than they say."
        )
    if tests and rule.test != "auto":
        notes.append(
            f"Asked for: {tests[0].result.test}. It takes the trained networks as given (scope "
            "L0): between equal architectures it finds differences far more often than alpha "
            "says, because all cases of a fold share one network."
        )
    elif any(not test.settles for test in tests):
        notes.append(_unsettled(blocks, tests))
    if len(blocks.architectures) > MOST_LETTERED:
        notes.append(
            f"With more than {MOST_LETTERED} architectures there are no letters for groups; the "
            "rank intervals say the same."
        )
    if lost and len(lost) == len(blocks.architectures):
        notes.append(
            f"No architecture has learned the region: no mean {blocks.endpoint.name} is above that "
            "of an empty prediction by more than chance. That they are alike says nothing about "
            "them; train longer."
        )
    elif lost:
        notes.append(
            f"{len(blocks.architectures) - len(lost)} of {len(blocks.architectures)} architectures "
            f"have learned {blocks.endpoint.name}; no better than an empty prediction: "
            f"{', '.join(sorted(lost))}."
        )
    values = [block for name in blocks.architectures for block in blocks.values[name]]
    if all((block == values[0].flat[0]).all() for block in values):
        notes.append(
            f"Every score of {blocks.endpoint.name} is {values[0].flat[0]:g}; constant scores "
            "cannot tell architectures apart."
        )
    return notes


def advice_on(blocks: ScoreBlocks, tests: list[PairTest]) -> str | None:
    """Say what to run for a verdict on the pairs that have none; None where all have one."""
    least = _least_complete(tests)
    if least is None:
        return None
    return advice(least.n_folds, least.n_seeds, blocks.clusters is not None) or (
        "For a verdict score more cases."
    )


def _least_complete(tests: list[PairTest]) -> TestResult | None:
    """The pair without a verdict that needs most: what is enough for it is enough for all."""
    without = [test.result for test in tests if not test.settles]
    return min(without, key=lambda result: (result.n_folds, result.n_seeds), default=None)


def _unsettled(blocks: ScoreBlocks, tests: list[PairTest]) -> str:
    """Say that pairs get no verdict, and what to add."""
    settled = sum(test.settles for test in tests)
    what = f"{settled} pair{'s' * (settled != 1)}" if settled else "No pair"
    least = _least_complete(tests)
    assert least is not None
    runs = f"{least.n_folds} fold{'s' * (least.n_folds != 1)} x {least.n_seeds} "
    runs += f"seed{'s' * (least.n_seeds != 1)}"
    few = f"{runs} cannot tell them from the luck of training"
    if allows_verdict(least.n_folds, least.n_seeds):
        units = "cases" if blocks.clusters is None else "clusters of cases"
        few = f"too few {units} to tell them from the luck of the draw"
    return (
        f"{what} of {len(tests)} can get a verdict on the architectures: {few}. "
        "Without a verdict there is no p-value, and intervals are of each pair by "
        f"itself and speak of these trained models only (scope L0). {advice_on(blocks, tests)}"
    )
