"""What an architecture costs: speed, memory and floating-point operations.

In: an architecture with its recipe, and a device. Out: measured milliseconds, bytes and FLOPs.
Training steps and predictions are those of :mod:`kitsbench.training` and
:mod:`kitsbench.inference`, which name their parts (:mod:`kitsbench.devices.parts`).
"""

from kitsbench.profiling.job import ProfileJob
from kitsbench.profiling.profile import profile

__all__ = ["ProfileJob", "profile"]
