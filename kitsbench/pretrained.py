"""Weights that were trained elsewhere: read from a file, under the names that a network has.

Files are read without running what they hold: safetensors, or what ``torch.save`` wrote of tensors
and plain data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from kitsbench.errors import DataError
from kitsbench.files.foreign import brief

DEPTH = 4  # parts of a name that may be a prefix


def read_weights(file: Path) -> dict[str, Tensor]:
    """Named tensors of a file, on the CPU.

    Parameters
    ----------
    file : Path
        ``.safetensors``, or a file of ``torch.save``. Of a checkpoint, in which weights lie beside
        other things (``state_dict``, ``network_weights``, ``model`` ...), the part with the most
        named tensors is taken.

    Raises
    ------
    DataError
        It cannot be read, or holds no named tensors.
    """
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: object = load_file(file)
        else:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # each library has classes of its own for a file it cannot read
        raise DataError(
            f"{file.name} cannot be read as weights ({brief(str(error), 200)}). Save what "
            "network.state_dict() gives, with torch.save or as .safetensors; other objects are "
            "not loaded, because that would run their code."
        ) from error
    found = max(_groups(content), key=len, default={})
    if not found:
        raise DataError(
            f"{file.name} holds no named tensors. Save what network.state_dict() gives, with "
            "torch.save or as .safetensors."
        )
    return found


def _groups(content: object, depth: int = DEPTH) -> Iterable[dict[str, Tensor]]:
    """Named tensors at each level of nested dictionaries."""
    if not isinstance(content, Mapping) or not depth:
        return
    named = {k: v for k, v in content.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if named:
        yield named
    for part in content.values():
        yield from _groups(part, depth - 1)


def fit_names(found: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Give weights the names of a network, where both differ in what all names begin with.

    Of all prefixes that could be taken away and put in their place, those are chosen by which the
    most names, with their shapes, are the network's; where several do equally well, the shortest.

    Parameters
    ----------
    found : mapping of str to Tensor
    network : nn.Module
    """
    own = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    theirs = {prefix: _without(prefix, shapes) for prefix in _prefixes(found)}
    ours = {prefix: _without(prefix, own) for prefix in _prefixes(own)}
    away, put = max(
        ((away, put) for away in theirs for put in ours),
        key=lambda pair: (len(theirs[pair[0]] & ours[pair[1]]), -len(pair[0]) - len(pair[1])),
    )
    return {
        put + name.removeprefix(away) if name.startswith(away) else name: tensor
        for name, tensor in found.items()
    }


def _prefixes(names: Iterable[str]) -> list[str]:
    """What names begin with, up to a dot; the empty prefix is among them."""
    found = {""}
    for name in names:
        parts = name.split(".")[:-1]
        found |= {".".join(parts[:depth]) + "." for depth in range(1, min(len(parts), DEPTH) + 1)}
    return sorted(found, key=lambda prefix: (prefix.count("."), prefix))[:100]


def _without(
    prefix: str, shapes: Mapping[str, tuple[int, ...]]
) -> set[tuple[str, tuple[int, ...]]]:
    """Names, with shapes, of what begins with a prefix, which is taken away."""
    return {
        (name.removeprefix(prefix), shape)
        for name, shape in shapes.items()
        if name.startswith(prefix)
    }


def default_weights(network: nn.Module, files: Mapping[str, Path]) -> dict[str, Tensor]:
    """What the hook ``weights`` gives by default: all that the files hold, in the keys' order."""
    given: dict[str, Tensor] = {}
    for file in files.values():
        given |= fit_names(read_weights(file), network)
    return given
