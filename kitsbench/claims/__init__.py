"""What the papers claim, as data, and what an experiment says about it."""

from kitsbench.claims.check import Evidence, check_claims, evidence_of_table, evidence_of_workdir
from kitsbench.claims.registry import Claim, Step, read_registry

__all__ = [
    "Claim",
    "Evidence",
    "Step",
    "check_claims",
    "evidence_of_table",
    "evidence_of_workdir",
    "read_registry",
]
