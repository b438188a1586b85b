"""A patch model written as TorchScript, ONNX or bare weights, and read back."""

from __future__ import annotations

import copy
import io
import json
import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kitsbench.errors import KitsbenchError
from kitsbench.exporting.patch_model import PatchModel
from kitsbench.exporting.rules import RULES
from kitsbench.optional import require

Run = Callable[[Tensor], Tensor]
TORCHSCRIPT, ONNX, WEIGHTS = "model.ts", "model.onnx", "model.safetensors"
OPSET = 18


def write_torchscript(
    model: PatchModel, example: Tensor, rules: Mapping[str, Any], file: Path
) -> Run:
    """Trace a model, and return what reads it back.

    The rules travel inside the file, too: ``torch.jit.load(file, _extra_files={"kitsbench.json":
    ""})``.

    Raises
    ------
    KitsbenchError
        The network cannot be traced.
    """
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a shape is kept as it is, which is meant
            traced = torch.jit.trace(model, example, check_trace=False, strict=False)
    except Exception as error:
        raise KitsbenchError(_failed("TorchScript", error)) from error
    with warnings.catch_warnings():
        # Newer torch would rather write its own programs, which other versions do not read.
        warnings.simplefilter("ignore", FutureWarning)
        # Through memory: where a disk is full, torch's own writer ends the whole process.
        buffer = io.BytesIO()
        torch.jit.save(traced, buffer, _extra_files={RULES: json.dumps(dict(rules))})
        file.write_bytes(buffer.getbuffer())
        read = torch.jit.load(str(file), map_location="cpu").eval()

    def run(hu: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = read(hu)
        return found

    return run


def write_onnx(model: PatchModel, example: Tensor, rules: Mapping[str, Any], file: Path) -> Run:
    """Export a model for any number of patches at once, and return what reads it back.

    Raises
    ------
    UsageError
        A package is missing.
    KitsbenchError
        The network has an operation that ONNX lacks.
    """
    onnx, runtime = (require(name, "export") for name in ("onnx", "onnxruntime"))
    buffer: Any = io.BytesIO()  # which newer stubs of torch do not know of
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                model,
                (example,),
                buffer,
                input_names=["hu"],
                output_names=["probabilities"],
                dynamic_axes={"hu": {0: "patches"}, "probabilities": {0: "patches"}},
                opset_version=OPSET,
                dynamo=False,
            )
    except Exception as error:
        raise KitsbenchError(_failed("ONNX", error)) from error
    made = onnx.load_from_string(buffer.getvalue())
    entry = made.metadata_props.add()
    entry.key, entry.value = RULES, json.dumps(dict(rules))
    onnx.checker.check_model(made)
    file.write_bytes(made.SerializeToString())
    session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def run(hu: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {"hu": hu.numpy()})[0])

    return run


def write_safetensors(model: PatchModel, rules: Mapping[str, Any], file: Path) -> Run:
    """Write a network's numbers by their names in its plugin, and return what reads them back.

    Reading runs no code, unlike a checkpoint of torch. The rules travel as metadata.

    Raises
    ------
    UsageError
        A package is missing.
    KitsbenchError
        The network keeps something that is no tensor.
    """
    safetensors = require("safetensors.torch", "export")
    state = model.network.state_dict()
    if odd := [name for name, value in state.items() if not isinstance(value, Tensor)]:
        raise KitsbenchError(
            f"The network's {odd[0]} is no tensor, and safetensors keep nothing else; another --to "
            "may do."
        )
    # Each with memory of its own: layers may share theirs, and a view of a larger one is refused.
    whole = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    known = {"format": "pt", RULES: json.dumps(dict(rules))}
    safetensors.save_file(whole, str(file), metadata=known)
    again = copy.deepcopy(model)
    with torch.no_grad():
        for value in again.network.state_dict().values():
            value.zero_()  # so that a name that is not read back is seen
    again.network.load_state_dict(safetensors.load_file(str(file)), strict=True)

    def run(hu: Tensor) -> Tensor:
        with torch.no_grad():
            found: Tensor = again(hu)
        return found

    return run


def _failed(what: str, error: Exception) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return (
        f"The network cannot be written as {what}: {line[:300]}. Its forward() does something that "
        "the format has no word for; another --to may do."
    )


def check_equal(
    run: Run, model: PatchModel, patches: list[Tensor], most: float, what: str
) -> float:
    """Hold what was read back against the network that was trained.

    Parameters
    ----------
    run : callable
    model : PatchModel
    patches : list of Tensor
        HU, other ones than the model was traced with.
    most : float
        Largest difference of a probability that is let pass.
    what : str
        Name of the format, for the message.

    Returns
    -------
    float
        The largest difference that was found.

    Raises
    ------
    KitsbenchError
        They differ by more.
    """
    worst = 0.0
    for hu in patches:
        with torch.no_grad():
            wanted = model(hu)
        found = run(hu)
        if found.shape != wanted.shape:
            raise KitsbenchError(
                f"Read back from {what} the network gives {tuple(found.shape)} for a patch, and "
                f"{tuple(wanted.shape)} as it was trained; nothing was written."
            )
        apart = float((found.detach() - wanted).abs().max())
        # NaN is no agreement, and Python's max() would lose it.
        worst = max(worst, apart if math.isfinite(apart) else math.inf)
    if worst > most:
        raise KitsbenchError(
            f"Read back from {what} the network differs from the trained one by {worst:.3g} in a "
            f"probability; {most:g} is allowed, so nothing was written. Its forward() may decide "
            "by its input, which such a format cannot follow."
        )
    return worst
