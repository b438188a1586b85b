"""Scalars of trials for tools that draw them: TensorBoard and MLflow, by their own writers.

In: what trials write into the working directory while they train, and what they leave there.
Out: runs of those tools. The process of ``kitsbench run`` writes them, one for all trials wherever
they run: no package is imported where a network trains, a full disk or a server that is gone ends
no trial, and what was trained while nobody followed is written when somebody does again.
"""

from kitsbench.experiments.logs.follow import LOGGERS, Logs, check_loggers

__all__ = ["LOGGERS", "Logs", "check_loggers"]
