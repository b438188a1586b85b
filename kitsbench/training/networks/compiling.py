"""Networks through ``torch.compile``, and whether anything came of it."""

from __future__ import annotations

import functools
from typing import Any

from torch import nn

from kitsbench.errors import UsageError, shorten, telling
from kitsbench.training.failures import TrialFailure


class Graphs:
    """The compiled parts of a network.

    Attributes
    ----------
    runs : int
        How often one of them ran.
    trouble : str or None
        Why the first of those that could not be compiled could not.
    """

    def __init__(self) -> None:
        self.runs, self.trouble = 0, None  # type: int, str | None

    def check(self) -> bool:
        """Whether compiled parts have run, asked after a step.

        Raises
        ------
        TrialFailure
            None has: the network ran as it would have without.
        """
        if self.runs:
            return True
        why = self.trouble or "torch.compile could take no part of it"
        raise TrialFailure(
            "plugin error",
            f"--compile was asked for, and nothing of the network ran compiled: {why}. "
            "Leave --compile out.",
        )

    def backend(self, module: Any, inputs: Any) -> Any:
        """Torch's own backend, which counts."""
        from torch._inductor.compile_fx import compile_fx

        try:
            made: Any = compile_fx(module, inputs)
        except Exception as error:  # torch would run this part as it is, and say so nowhere
            self.trouble = self.trouble or shorten(telling(error), 300)
            raise

        @functools.wraps(made)
        def run(*values: Any) -> Any:
            self.runs += 1
            return made(*values)

        return run


def compiled(network: nn.Module) -> tuple[nn.Module, Graphs]:
    """The same network, compiled when it first runs.

    What the compiler cannot take runs as it is. Nothing compiled earlier is taken from a cache:
    every trial pays for its own.
    """
    import torch._dynamo
    import torch._inductor.config

    torch._dynamo.config.suppress_errors = True
    torch._inductor.config.force_disable_caches = True
    graphs = Graphs()
    made: nn.Module = torch.compile(network, backend=graphs.backend)  # type: ignore[assignment]
    return made, graphs


def check_compiler(kind: str) -> None:
    """See that there is what compiles, before anything is trained.

    Parameters
    ----------
    kind : {"cpu", "cuda"}

    Raises
    ------
    UsageError
        No C++ compiler works, or on a GPU triton is not installed.
    """
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except Exception as error:
        raise UsageError(
            f"--compile needs a C++ compiler, and none works here ({shorten(telling(error), 200)})."
            " Install g++, or leave --compile out."
        ) from error
    if kind == "cuda":
        from torch.utils._triton import has_triton

        if not has_triton():
            raise UsageError(
                "--compile needs triton on a GPU, and it cannot be used here. Install the triton "
                "that belongs to your torch, or leave --compile out."
            )
