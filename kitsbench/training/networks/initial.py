"""Initial weights that ``build`` did not draw: the hook ``weights``, and what became of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from kitsbench.architecture import Architecture
from kitsbench.configuration import CONTENT
from kitsbench.errors import DataError
from kitsbench.files import file_digest
from kitsbench.files.foreign import brief
from kitsbench.spec import Spec
from kitsbench.training.checkpoints.checkpoint import latest_checkpoint
from kitsbench.training.failures import TrialFailure, plugin_code
from kitsbench.training.job import Job
from kitsbench.training.ledger import InitialWeights


class Initialiser:
    """Loads the initial weights of a training that begins.

    One that goes on has a checkpoint, in which they have become others: it need not have the files.

    Attributes
    ----------
    found : InitialWeights or None
        What was loaded.
    """

    def __init__(self, job: Job):
        self.job = job
        self.found: InitialWeights | None = None

    def __call__(self, network: nn.Module) -> None:
        """Load them into the network as it was built."""
        job = self.job
        own_hook = type(job.architecture).weights is not Architecture.weights
        if (own_hook or _named(job.spec)) and latest_checkpoint(job.folder) is None:
            self.found = load_initial(
                job.architecture, network, job.files, job.spec, aloud=job.team.leads
            )


def load_initial(
    architecture: Architecture,
    network: nn.Module,
    files: Mapping[str, Path],
    spec: Spec,
    aloud: bool = True,
) -> InitialWeights | None:
    """Ask the hook ``weights`` and load what it gives, as far as names and shapes fit.

    Parameters
    ----------
    architecture : Architecture
    network : nn.Module
        As it was built.
    files : mapping of str to Path
        Of the keys that name a file.
    spec : Spec
        Its configuration has the hashes of the files.
    aloud : bool
        Whether the log is told.

    Returns
    -------
    InitialWeights or None
        None where the weights are those that ``build`` drew.

    Raises
    ------
    TrialFailure
        A file is missing or another one, nothing of what was given fits, a number is not finite,
        or the hook made another network of it.
    """
    own = _checked(files, spec)
    # Copies, since the hook may load them itself; kept on the host, where the network still is.
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with plugin_code("weights"):
        try:
            given = architecture.weights(network, own, spec)
        except DataError as error:  # a file that is none of weights
            raise TrialFailure("data error", str(error)) from error
    _refuse_other_kinds(before, network)
    found = _loaded(network, before, given, sorted(_named(spec)))
    if found is None:
        return None
    if own and not found.loaded:
        raise TrialFailure(
            "plugin error",
            f"weights() loaded nothing of {_listed(own)}: {_mismatch(before, given)}",
        )
    _refuse_not_finite(network)
    if aloud:
        print(_sentence(found, own), file=sys.stderr, flush=True)
    return found


def _named(spec: Spec) -> dict[str, str]:
    """The hashes of the files that the configuration names."""
    return {k: v for k, v in spec.config if isinstance(v, str) and CONTENT.fullmatch(v)}


def _checked(files: Mapping[str, Path], spec: Spec) -> dict[str, Path]:
    """The files, each once more what the trial is named by."""
    for key, content in _named(spec).items():
        if key not in files:
            raise TrialFailure(
                "data error",
                f"its training begins with a file that only its hash names: give {key} a path.",
            )
        try:
            now = f"sha256:{file_digest(files[key])}"
        except OSError as error:
            raise TrialFailure(
                "data error",
                f"{files[key]}, the file of {key}, cannot be read ({error.strerror or error}); put "
                "it back, and on a cluster where every machine sees it.",
            ) from error
        if now != content:
            raise TrialFailure(
                "data error",
                f"{files[key]}, the file of {key}, has changed since the trial was planned; run "
                "the same command again for a trial of its own.",
            )
    return {key: files[key] for key in _named(spec)}


def _loaded(
    network: nn.Module,
    before: Mapping[str, Tensor],
    given: object,
    keys: list[str],
) -> InitialWeights | None:
    """Load what the hook gave, or see what it has loaded itself."""
    if given is not None and not (
        isinstance(given, Mapping)
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in given.items())
    ):
        raise TrialFailure(
            "plugin error",
            f"weights() returned a {type(given).__name__}: return {{name in network.state_dict(): "
            "tensor}, or None after loading them into the network.",
        )
    unexpected: list[str] = []
    misshapen: list[str] = []
    if given is None:
        now = network.state_dict()
        if {k: v.shape for k, v in now.items()} != {k: v.shape for k, v in before.items()}:
            raise TrialFailure(
                "plugin error",
                "weights() changed the names or shapes of the network's parameters: build() makes "
                "the network, since a prediction builds it without its initial weights.",
            )
        fitting = {name for name in now if not torch.equal(now[name], before[name].to(now[name]))}
    else:
        unexpected = [name for name in given if name not in before]
        misshapen = [n for n in given if n in before and given[n].shape != before[n].shape]
        for name in (n for n in given if n in before):
            own, other = before[name], given[name]
            if other.is_meta:
                raise TrialFailure(
                    "plugin error",
                    f"weights() gave {name} on the meta device, without values: read the file with "
                    "values, as read_weights() does.",
                )
            # To another kind of number it would be rounded, or lose its imaginary part.
            if own.is_floating_point() != other.is_floating_point():
                raise TrialFailure(
                    "plugin error",
                    f"weights() gave {name} as {other.dtype}, and the network has {own.dtype}: "
                    "give it in the network's kind of number.",
                )
        fitting = given.keys() - set(unexpected) - set(misshapen)
        with plugin_code("load_state_dict"):
            network.load_state_dict({name: given[name] for name in fitting}, strict=False)
    if not fitting and not given and not keys:
        return None
    missing = [name for name in before if name not in fitting]
    total = sum(tensor.numel() for tensor in before.values())
    return InitialWeights(
        files=keys,
        loaded=len(fitting),
        share=sum(before[name].numel() for name in fitting) / max(total, 1),
        missing=_first(missing),
        n_missing=len(missing),
        unexpected=_first(unexpected),
        n_unexpected=len(unexpected),
        misshapen=_first(misshapen),
        n_misshapen=len(misshapen),
    )


def _refuse_other_kinds(before: Mapping[str, Tensor], network: nn.Module) -> None:
    """See that the hook, if it loaded weights itself, left tensors as build() makes them."""
    for name, now in network.state_dict().items():
        if now.is_meta:
            raise TrialFailure(
                "plugin error",
                f"weights() left {name} on the meta device, without values: copy numbers into "
                "the tensors that build() made.",
            )
        if name in before and now.dtype != before[name].dtype:
            raise TrialFailure(
                "plugin error",
                f"weights() turned {name} from {before[name].dtype} into {now.dtype}: copy the "
                "file's numbers into the tensors that build() made, and leave the precision to the "
                "harness.",
            )


def _first(names: Sequence[str], most: int = 5) -> list[str]:
    return [brief(name, 80) for name in names[:most]]


def _refuse_not_finite(network: nn.Module) -> None:
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise TrialFailure(
                "plugin error", f"weights() loaded a number into {name} that is not finite."
            )


def _mismatch(before: Mapping[str, Tensor], given: object) -> str:
    """Why nothing fits, by the first names."""
    theirs = next(iter(given), None) if isinstance(given, Mapping) else None
    ours = next(iter(before), None)
    if theirs is None:
        return "it gave no tensor and changed none. Return {name: tensor}, or leave the file out."
    return (
        f"the network has {brief(ours or 'no parameters', 80)}, and was given "
        f"{brief(theirs, 80)}. Give tensors the names and shapes of network.state_dict()."
    )


def _listed(files: Mapping[str, Path]) -> str:
    return ", ".join(brief(path.name, 80) for path in files.values())


def _sentence(found: InitialWeights, files: Mapping[str, Path]) -> str:
    """What was loaded, for the trial's log."""
    parts = [
        f"Initial weights{' from ' * bool(files)}{_listed(files)}: {found.loaded} of "
        f"{found.loaded + found.n_missing} tensors loaded, {found.share:.1%} of the network."
    ]
    for names, count, what in (
        (found.missing, found.n_missing, "left as build() drew them"),
        (found.misshapen, found.n_misshapen, "given in another shape"),
        (found.unexpected, found.n_unexpected, "given and not the network's"),
    ):
        if count:
            more = ", ..." * (count > len(names))
            parts.append(f"{count} {what}: {', '.join(names)}{more}.")
    return " ".join(parts)
