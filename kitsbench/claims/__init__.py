"""What the papers claim, as data, and what an experiment says about it.

In: claims, and the scores of an experiment or a table. Out: for each claim whether it was
replicated, contradicted, not settled or not tested.
"""

from kitsbench.claims.check import (
    Evidence,
    check_claims,
    evidence_of_results,
    evidence_of_table,
    evidence_of_workdir,
)
from kitsbench.claims.statements import Claim, Step, read_registry

__all__ = [
    "Claim",
    "Evidence",
    "Step",
    "check_claims",
    "evidence_of_results",
    "evidence_of_table",
    "evidence_of_workdir",
    "read_registry",
]
