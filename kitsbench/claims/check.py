"""Hold claims against scores: replicated, contradicted, not settled, or not tested.

All steps of a claim must hold, so no step needs a correction for the others: the chance that a
claim is called replicated although one of its steps is false is at most alpha.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from kitsbench.claims.statements import Claim, Step
from kitsbench.errors import KitsbenchError
from kitsbench.experiments.asked.claimed import match_pair
from kitsbench.experiments.results import Results, load_results
from kitsbench.metrics import FAILED, TRUTH_EMPTY, find
from kitsbench.statistics import Comparison, Rule, compare, read_scores, validate_scores
from kitsbench.statistics.compare.verdicts import FAILURES_WITHOUT_VERDICT
from kitsbench.statistics.table.elsewhere import trained_here
from kitsbench.statistics.table.policy import defined_rows


@dataclass(frozen=True)
class Evidence:
    """Scores that claims are held against.

    Attributes
    ----------
    scores : DataFrame
        Long score table; may be empty.
    mode : str
        Recipe of the training runs: ``matched`` or ``paper``; empty if not known.
    dataset : str
        Name, for the output.
    synthetic : bool
        Whether the scans are simulated: they can refute no claim about patients, nor support one.
    fold_count : int or None
        Folds of the whole cross-validation.
    looked : Comparison or None
        Verdicts of the looks of a run that stopped by itself. Its scores stopped coming because of
        what they were, so no other test of them is evidence.
    """

    scores: pd.DataFrame
    mode: str = ""
    dataset: str = ""
    synthetic: bool = False
    fold_count: int | None = None
    looked: Comparison | None = None


def evidence_of_workdir(workdir: Path, experiment: str | None = None) -> Evidence:
    """Read the scores of an experiment.

    A claim speaks of architectures that one recipe trained, so what was trained elsewhere is no
    evidence, whatever it is called.

    Parameters
    ----------
    workdir : Path
    experiment : str, optional
        The experiment's id, or its first letters; the latest by default.

    Raises
    ------
    UsageError
        There is no such experiment.
    DataError
        The folder is no working directory, or a score in it can be none.
    """
    results = load_results(workdir, experiment)
    results.check_values()
    return evidence_of_results(results)


def evidence_of_results(results: Results) -> Evidence:
    """The scores of an experiment that was read; whether they can be scores is not looked at."""
    record = results.experiment
    looked = None
    if record.until is not None and results.looks is not None and results.looks.looks:
        looked = results.compare(secondary=False)
    return Evidence(
        scores=results.trained_here,
        mode=record.recipe_name,
        dataset=record.dataset.name,
        synthetic=record.dataset.synthetic,
        fold_count=record.folds.count,
        looked=looked,
    )


def evidence_of_table(path: Path, mode: str) -> Evidence:
    """Read a long score table; how its networks were trained must be told.

    Who it says was trained elsewhere is no evidence, as in a working directory.

    Raises
    ------
    DataError
        The table breaks a rule.
    """
    scores = trained_here(read_scores(path))
    names = sorted(name for name in scores["dataset"].unique() if name)
    return Evidence(scores=scores, mode=mode, dataset=", ".join(names))


def check_claims(
    claims: tuple[Claim, ...], evidence: Evidence, alpha: float = 0.05
) -> list[dict[str, Any]]:
    """Give a verdict on every claim.

    Parameters
    ----------
    claims : tuple of Claim
    evidence : Evidence
    alpha : float
        Level of every step.

    Returns
    -------
    list of dict
        ``id, paper, statement, figure, conditions, mode, dataset``; ``verdict``: replicated,
        contradicted, not settled or not tested; ``reason``, ``missing`` (list of what a test would
        need), ``caution``, ``smallest_detectable_gap`` (largest of the open steps) and ``steps``.
    """
    scores = evidence.scores if evidence.scores.empty else validate_scores(evidence.scores)
    return [_check(claim, scores, evidence, alpha) for claim in claims]


def _check(claim: Claim, scores: pd.DataFrame, evidence: Evidence, alpha: float) -> dict[str, Any]:
    missing = []
    if not scores.empty:
        if evidence.mode not in claim.modes:
            wanted = " or ".join(claim.modes)
            missing.append(f"training by the recipe {wanted} (here: {evidence.mode or 'not told'})")
        if evidence.synthetic:
            missing.append("real scans (those of this experiment are synthetic)")
    if claim.unavailable:
        missing.append(claim.unavailable)
    steps = [_step(step, scores, evidence, alpha) for step in claim.steps(evidence.mode)]
    for step in steps:
        missing += [text for text in step.pop("missing") if text not in missing]
    outcomes = {step["outcome"] for step in steps}
    if missing:
        verdict = "not tested"
    elif "contradicted" in outcomes:
        verdict = "contradicted"
    elif outcomes == {"holds"}:
        verdict = "replicated"
    else:
        verdict = "not settled"
    gaps = [
        step["smallest_detectable_gap"]
        for step in steps
        if step["outcome"] == "open" and step["smallest_detectable_gap"] is not None
    ]
    return {
        "id": claim.id,
        "paper": claim.paper,
        "statement": claim.statement,
        "figure": claim.figure,
        "conditions": claim.conditions,
        "mode": evidence.mode or None,
        "dataset": evidence.dataset or None,
        "verdict": verdict,
        "reason": _reason(verdict, steps),
        "missing": missing,
        "caution": claim.caution,
        "smallest_detectable_gap": max(gaps, default=None) if verdict == "not settled" else None,
        "steps": steps,
    }


def _reason(verdict: str, steps: list[dict[str, Any]]) -> str:
    if verdict == "replicated":
        smaller = [step for step in steps if step["below_paper"]]
        text = "Every step holds."
        if smaller:
            text += (
                f" In {len(smaller)} of {len(steps)} steps the difference is smaller than the "
                "paper's."
            )
        return text
    wanted = {"contradicted": "contradicted", "not settled": "open"}.get(verdict)
    return " ".join(step["sentence"] for step in steps if step["outcome"] == wanted)


def _step(step: Step, scores: pd.DataFrame, evidence: Evidence, alpha: float) -> dict[str, Any]:
    row: dict[str, Any] = {
        "higher": step.higher,
        "lower": step.lower,
        "region": step.region,
        "metric": step.metric,
        "effect": step.effect,
        "outcome": "not tested",
        "difference": None,
        "ci_low": None,
        "ci_high": None,
        "p_value": None,
        "scope": None,
        "n_cases": None,
        "n_folds": None,
        "n_seeds": None,
        "below_paper": False,
        "smallest_detectable_gap": None,
        "sentence": "",
        "missing": [],
    }
    known = list(dict.fromkeys(scores["architecture"])) if len(scores) else []
    pair, lacking = match_pair(step.higher, step.lower, known)
    if pair is None:
        return {**row, "missing": [f"scores of {name}" for name in lacking]}
    if evidence.looked is not None:
        return {**row, **_of_looks(step, pair, evidence.looked, alpha, evidence.synthetic)}
    table = _rows(scores, pair, step)
    if table is None:
        return {**row, "missing": [f"{step.metric} of {step.region}"]}
    try:
        found = compare(
            table,
            (step.region, step.metric),
            rule=Rule(alpha=alpha, fold_count=evidence.fold_count),
            bootstrap=1,
            secondary=False,
        )
    except KitsbenchError as error:
        return {**row, "missing": [str(error)]}
    return {**row, **_judge(step, pair, found.pairs[0], found, alpha, evidence.synthetic)}


def _of_looks(
    step: Step, pair: tuple[str, str], looked: Comparison, alpha: float, synthetic: bool
) -> dict[str, Any]:
    """A step as the looks of the experiment settle it; missing where they were not about it."""
    own = next((one for one in looked.pairs if {one["a"], one["b"]} == {*pair}), None)
    if own is None or looked.endpoint != f"{step.region}:{step.metric}":
        what = f"{step.region} {step.metric} of {pair[0]} and {pair[1]}"
        return {"missing": [f"looks at {what} (the run stopped by looks at others)"]}
    look = own["look"]
    seen = {
        **own,
        "difference": own["difference"] if look["estimate"] is None else look["estimate"],
        "p_value": own["p_adjusted"],
        "ci_low": own["ci_simultaneous_low"],
        "ci_high": own["ci_simultaneous_high"],
        "smallest_detectable_gap": None,
    }
    return _judge(step, pair, seen, looked, alpha, synthetic)


def _rows(scores: pd.DataFrame, pair: tuple[str, str], step: Step) -> pd.DataFrame | None:
    """Rows of the pair and the step's region, of one protocol; several regions are averaged."""
    regions = step.region.split("+")
    rows = scores[scores["architecture"].isin(pair) & (scores["metric"] == step.metric)]
    rows = rows[rows["region"].isin(regions)]
    # Papers mean single labels by kidney and tumour; an official protocol scores hierarchies.
    complete = [
        str(protocol)
        for protocol, part in rows.groupby("protocol")
        if set(part["region"]) == set(regions) and set(part["architecture"]) == set(pair)
    ]
    if not complete:
        return None
    protocol = "labels" if "labels" in complete else complete[0]
    rows = rows[rows["protocol"] == protocol]
    if len(regions) == 1:
        return rows
    # A region that the truth of a case lacks says nothing about the case.
    rows = defined_rows(rows)
    rows = rows[~rows["status"].isin(TRUTH_EMPTY)]
    failed = rows["status"].isin(FAILED)
    # Of the metrics that a claim may name, a prediction without the region costs as much as none.
    cost = find(step.metric).at("failed")
    rows = rows.assign(value=rows["value"].mask(failed | rows["value"].isna(), cost), failed=failed)
    keys = ["dataset", "protocol", "architecture", "fold", "seed", "case", "metric"]
    mean = rows.groupby(keys, as_index=False).agg(value=("value", "mean"), failed=("failed", "any"))
    status = mean.pop("failed").map({True: "failed", False: "ok"})
    return mean.assign(region=step.region, status=status)


def _score(value: float, signed: bool = False) -> str:
    """A score or a difference; a zero has no sign."""
    value = 0.0 if round(value, 3) == 0 else value
    return f"{value:+.3f}" if signed and value else f"{value:.3f}"


def _judge(
    step: Step,
    pair: tuple[str, str],
    found: dict[str, Any],
    whole: Comparison,
    alpha: float,
    synthetic: bool,
) -> dict[str, Any]:
    sign = 1 if found["a"] == pair[0] else -1
    difference = sign * found["difference"]
    bounds = [found["ci_low"], found["ci_high"]]
    low, high = None, None
    if None not in bounds:
        low, high = sorted(sign * bound for bound in bounds)
    p = found["p_value"]
    failures = {row["architecture"]: row["failure_rate"] for row in whole.ranking}
    broken = [name for name in pair if failures[name] > FAILURES_WITHOUT_VERDICT]
    significant = p is not None and p < alpha
    equivalent = found["p_equivalence"] is not None and found["p_equivalence"] < alpha
    judged = found["scope"] == "L1" and not broken
    # That one network which learned nothing differs from another is no evidence for a claim.
    lost = found["verdict"] == "not_learned" and found["better"] is None
    size = _score(difference, signed=True)
    size += "" if low is None or high is None else f" [{_score(low)}, {_score(high)}]"
    where = f"{step.region} {step.metric}"
    head = f"{pair[0]} minus {pair[1]} is {size} in {where}"
    outcome, tail = "open", ""
    if broken:
        tail = f"; too many predictions of {' and '.join(broken)} failed for a verdict"
    elif found["scope"] != "L1":
        tail = "; so few training runs say nothing about architectures"
    elif lost:
        judged = False
    if judged and significant and difference < 0:
        outcome, tail = "contradicted", "; the claim has it the other way"
    elif judged and significant:
        outcome = "holds"
    elif judged and equivalent:
        outcome, tail = "contradicted", "; both are equivalent within the margin"
    elif judged:
        gap = found["smallest_detectable_gap"]
        if gap is not None:
            tail = f"; this design could detect about {gap:.3f} at 80 % power"
    if synthetic:
        tail = ""  # no claim is tested, so nothing is held for or against it
    empty = [name for name in pair if name in whole.not_learned]
    if empty:
        who = "neither is" if len(empty) == len(pair) else f"{empty[0]} is not"
        tail += f"; {who} told from an empty prediction"
    below = step.effect is not None and high is not None and high < step.effect
    return {
        "outcome": outcome,
        "higher": pair[0],
        "lower": pair[1],
        "difference": difference,
        "ci_low": low,
        "ci_high": high,
        "p_value": p,
        "scope": found["scope"],
        "n_cases": found["n_cases"],
        "n_folds": found["n_folds"],
        "n_seeds": found["n_seeds"],
        "below_paper": below,
        "smallest_detectable_gap": found["smallest_detectable_gap"],
        "sentence": f"{head}{tail} (scope {found['scope']}).",
    }
