"""What an architecture costs: speed, memory and floating-point operations.

In: an architecture with its recipe, and a device. Out: measured milliseconds, bytes and FLOPs.
"""

from kitsbench.profiling.profile import ProfileJob, profile

__all__ = ["ProfileJob", "profile"]
