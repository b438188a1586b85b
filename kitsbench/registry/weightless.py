"""Networks without initial values, for whoever only counts: quick to build, and of no size.

On torch's meta device tensors have shapes and no values. Constructors that read a number from a
tensor (``.item()``, as those of timm and of many transformers do) cannot run there: then weights
alone are left without values, and where that fails too the network is built as for training.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from kitsbench.architecture import Architecture
from kitsbench.errors import KitsbenchError
from kitsbench.spec import Spec


class NeedsValues(Exception):
    """A network can be built with all its values only."""


def build_weightless(architecture: Architecture, spec: Spec, *, values: bool = True) -> nn.Module:
    """Build a network on the meta device, or as near to it as its constructor allows.

    Torch's generator is where it was afterwards.

    Parameters
    ----------
    architecture : Architecture
    spec : Spec
    values : bool
        Whether it may be built with values, for the time and the memory that training takes for it.

    Returns
    -------
    nn.Module
        All of its parameters and buffers are on the meta device. Tensors that it keeps beside
        these may be on the CPU.

    Raises
    ------
    NeedsValues
        It would have to be, and may not.
    Exception
        What ``build`` raises where it may compute whatever it likes.
    """
    before = torch.get_rng_state()
    try:
        for device in (torch.device("meta"), _WeightsOnMeta()):
            try:
                with device:
                    return _moved(architecture.build(spec))
            except KitsbenchError:
                raise  # the plugin's own refusal
            except Exception as error:
                # Whether the constructor is wrong, or wants numbers, shows on the CPU.
                torch.set_rng_state(before)
                refusal = error
        if not values:
            raise NeedsValues(str(refusal)) from refusal
        with torch.device("cpu"):
            return _moved(architecture.build(spec))
    finally:
        torch.set_rng_state(before)


def _moved(network: Any) -> Any:
    # Some constructors say which device they want, and some compute their tables on the CPU.
    return network.to("meta") if isinstance(network, nn.Module) else network


class _WeightsOnMeta(TorchFunctionMode):
    """Gives what torch's layers ask for as the memory of their weights no memory."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        options = dict(kwargs or {})
        if func is torch.empty and options.get("device") is None:
            options["device"] = "meta"
        return func(*args, **options)
