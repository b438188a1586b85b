"""Speed, memory and floating-point operations of an architecture."""

from kitsbench.profiling.profile import ProfileJob, profile

__all__ = ["ProfileJob", "profile"]
