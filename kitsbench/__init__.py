"""kitsbench: a fair fight between architectures that segment kidneys, tumours and cysts on CT.

From Python, imported when they are first used:

- :func:`kitsbench.load`: what ``kitsbench run`` left, as tables;
- :func:`kitsbench.run`: the same run from a notebook or a script;
- :func:`kitsbench.evaluate`: scores of a folder of label maps;
- :func:`kitsbench.compare`: the statistics on any table of scores;
- :func:`kitsbench.plan`: which gap a design can see.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

try:
    __version__ = version("kitsbench")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"

# Each is imported from its room when it is asked for: `kitsbench --help` shall need none of them.
# Their types stand in __init__.pyi.
_FROM = {
    "Outcome": "kitsbench.api",
    "Prediction": "kitsbench.api",
    "load": "kitsbench.api",
    "run": "kitsbench.api",
    "evaluate": "kitsbench.evaluation",
    "compare": "kitsbench.statistics",
    "plan": "kitsbench.statistics",
}
__all__ = ["Outcome", "Prediction", "compare", "evaluate", "load", "plan", "run"]


def __getattr__(name: str) -> Any:
    if name not in _FROM:
        raise AttributeError(f"module 'kitsbench' has no attribute '{name}'")
    found = getattr(import_module(_FROM[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
