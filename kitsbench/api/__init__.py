"""Experiments from Python: what a run left as tables, and a run from a notebook.

In: a working directory, or what one call asks for. Out: an :class:`Outcome`, whose tables are
those of the report. The same words as on the command line, and the same rooms behind them.
"""

from kitsbench.api.outcome import Outcome, Prediction, load
from kitsbench.api.running import run

__all__ = ["Outcome", "Prediction", "load", "run"]
