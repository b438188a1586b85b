from kitsbench.api import Outcome as Outcome
from kitsbench.api import Prediction as Prediction
from kitsbench.api import load as load
from kitsbench.api import run as run
from kitsbench.evaluation import evaluate as evaluate
from kitsbench.statistics import compare as compare
from kitsbench.statistics import plan as plan

__version__: str
