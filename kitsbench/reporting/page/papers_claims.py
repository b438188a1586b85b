"""What papers claim of the architectures at hand, and what this experiment says about it."""

from __future__ import annotations

from typing import Any

from kitsbench.claims import check_claims, evidence_of_results, read_registry
from kitsbench.errors import KitsbenchError
from kitsbench.reporting import words
from kitsbench.reporting.analysis import Analysis
from kitsbench.reporting.tables import Table


def claims(analysis: Analysis) -> tuple[Table | None, str]:
    """The claims that speak of architectures with scores here, and a sentence on all.

    Parameters
    ----------
    analysis : Analysis

    Returns
    -------
    table : Table or None
        A row for each claim of which some step was compared here.
    sentence : str
        How many claims there are and what became of them; empty where nothing has scores.
    """
    if analysis.results.scores.empty:
        return None, ""
    try:
        alpha = float(analysis.comparison.get("alpha") or 0.05)
        rows = check_claims(read_registry(), evidence_of_results(analysis.results), alpha)
    except KitsbenchError:  # scores that break a rule: the answer says which
        return None, ""
    met = [row for row in rows if any(step["difference"] is not None for step in row["steps"])]
    counts = {verdict: sum(row["verdict"] == verdict for row in rows) for verdict in _VERDICTS}
    told = [f"{number} {verdict}" for verdict, number in counts.items() if number]
    sentence = (
        f"Of {words.plural(len(rows), 'claim')} of papers that kitsbench knows, this experiment "
        f"finds {words.listing(told)}."
    )
    if not met:
        return None, f"{sentence} None of them speaks of two architectures that have scores here."
    if len(met) < len(rows):
        sentence += (
            f" Listed {'is' if len(met) == 1 else 'are'} the {len(met)} of which architectures "
            f"have scores here; of the other {len(rows) - len(met)} they have none."
        )
    if analysis.results.experiment.dataset.synthetic:
        sentence += " Synthetic scans support no claim about patients, and refute none."
    table = Table(
        ["Claim", "Statement", "The paper's figure", "Verdict", "Here"],
        [[row["id"], row["statement"], row["figure"], row["verdict"], _here(row)] for row in met],
        "Claims that speak of architectures with scores here. All steps of a claim must hold.",
        text_columns=5,
        answers=(1, 3),
    )
    return table, sentence


_VERDICTS = ("replicated", "contradicted", "not settled", "not tested")


def _here(row: dict[str, Any]) -> str:
    """What was measured, and what a test lacks."""
    parts = [row["reason"] or " ".join(step["sentence"] for step in row["steps"])]
    if row["missing"]:
        parts.append("Missing: " + "; ".join(text.rstrip(".") for text in row["missing"]) + ".")
    if row["verdict"] != "not tested" and row["caution"]:
        parts.append(row["caution"])
    return " ".join(filter(None, parts))
