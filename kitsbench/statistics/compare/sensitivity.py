"""What the verdicts owe to cases that failed, and to runs that collapsed."""

from __future__ import annotations

from typing import Any

from kitsbench.statistics.compare.outcomes import judge
from kitsbench.statistics.compare.pairs import analyse_pairs, mean_rows
from kitsbench.statistics.table.blocks import ScoreBlocks
from kitsbench.statistics.table.runs import CollapsedRun
from kitsbench.statistics.tests.rule import Rule

_SHOWN = 3


def listwise(
    blocks: ScoreBlocks, names: list[tuple[str, str]], rule: Rule
) -> dict[str, Any] | None:
    """Compare again without the cases that failed for any architecture.

    Parameters
    ----------
    blocks : ScoreBlocks
        Scores of the endpoint.
    names : list of (str, str)
        Pairs.
    rule : Rule
        How pairs are tested.

    Returns
    -------
    dict or None
        None where nothing failed.
    """
    if not any(blocks.failure_rate(name) for name in blocks.architectures):
        return None
    kept = blocks.without_failures()
    what = "listwise: without the cases that failed for any architecture"
    if kept is None:
        return {"rule": what, "n_cases": 0, "means": [], "pairs": []}
    tests = analyse_pairs(kept, names, rule)
    return {
        "rule": what,
        "n_cases": kept.n_cases,
        "means": mean_rows(kept),
        "pairs": [test.brief() for test in tests],
    }


def without_collapsed(
    blocks: ScoreBlocks,
    collapsed: list[CollapsedRun],
    rows: list[dict[str, Any]],
    rule: Rule,
    margin: float | None,
    lost: dict[str, float],
    looked: bool = False,
) -> dict[str, Any] | None:
    """Judge again without the runs that collapsed.

    A run that scores a fraction of what its siblings do is rarely a draw from what the
    architecture does; more often training failed. It counts, since nobody may drop what does not
    please; but a reader must see what hangs on it.

    Parameters
    ----------
    blocks : ScoreBlocks
        Scores of the endpoint.
    collapsed : list of CollapsedRun
        Which.
    rows : list of dict
        The pairs as they were judged with all runs.
    rule : Rule
        How pairs are tested.
    margin : float or None
        Margin of equivalence.
    lost : dict
        Architectures that have not learned the endpoint.
    looked : bool
        Whether looks judged the pairs: see :func:`only_named`.

    Returns
    -------
    dict or None
        ``runs``: those that were left out; ``pairs``: all pairs with their verdict with and without
        them; ``sentence``. None where no run collapsed.
    """
    if not collapsed:
        return None
    runs = [
        {"architecture": c.run.architecture, "fold": c.run.fold, "seed": c.run.seed,
         "mean": c.mean, "mean_of_siblings": c.siblings}
        for c in collapsed
    ]  # fmt: skip
    if looked:
        return only_named(runs)
    head = _head(runs)
    kept = blocks.without_runs({(c.run.architecture, c.run.fold, c.run.seed) for c in collapsed})
    names = [(row["a"], row["b"]) for row in rows]
    if kept is None or any(not kept.shared(*pair) for pair in names):
        text = f"{head} They count; without them some architecture has no scores left."
        return {"runs": runs, "pairs": [], "sentence": text}
    again, _ = judge(kept, analyse_pairs(kept, names, rule, margin), rule, margin, "", None, lost)
    pairs = [
        {"a": row["a"], "b": row["b"],
         "verdict": row["verdict"], "better": row["better"], "difference": row["difference"],
         "verdict_without": other["verdict"], "better_without": other["better"],
         "difference_without": other["difference"]}
        for row, other in zip(rows, again, strict=True)
    ]  # fmt: skip
    changed = [
        p for p in pairs
        if (p["verdict"], p["better"]) != (p["verdict_without"], p["better_without"])
    ]  # fmt: skip
    if not changed:
        text = f"{head} They count; without them no verdict changes."
    else:
        listed = "; ".join(
            f"{p['a']} and {p['b']}: {_said(p['verdict'], p['better'])} with, "
            f"{_said(p['verdict_without'], p['better_without'])} without"
            for p in changed[:_SHOWN]
        )
        more = f"; and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        text = (
            f"{head} They count; without them {len(changed)} of {len(pairs)} verdicts change "
            f"({listed}{more})."
        )
    return {"runs": runs, "pairs": pairs, "sentence": text}


def only_named(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Name runs that collapsed where looks decided: no look can be taken again without them.

    Parameters
    ----------
    runs : list of dict
        As of :func:`without_collapsed`.
    """
    text = f"{_head(runs)} They count, and what the looks decided stays as it is."
    return {"runs": runs, "pairs": [], "sentence": text}


def _head(runs: list[dict[str, Any]]) -> str:
    said = "; ".join(
        f"{run['architecture']}, fold {run['fold']}, seed {run['seed']} "
        f"({run['mean']:.3f}, its siblings {run['mean_of_siblings']:.3f})"
        for run in runs[:_SHOWN]
    )
    if len(runs) > _SHOWN:
        said += f"; and {len(runs) - _SHOWN} more"
    return f"{len(runs)} run{'s' * (len(runs) > 1)} collapsed: {said}."


def _said(verdict: str, better: str | None) -> str:
    return f"{better} is better" if better is not None else verdict.replace("_", " ")
