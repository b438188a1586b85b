"""A recipe's optimiser, with its groups of parameters."""

from __future__ import annotations

import contextlib
import fnmatch
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kitsbench.errors import ContractError, telling
from kitsbench.named import is_named, resolve
from kitsbench.optimisers import SHORT, Group, Optimiser
from kitsbench.training.failures import plugin_code

FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)  # have a kernel for CUDA
# Arguments beside which torch's kernels are not asked for: with dampening a first step of SGD is
# another than all others, see _begin_momentum.
NOT_FUSED = {"differentiable", "dampening"}
LR_FACTOR = "lr_factor"  # key of a group of parameters, where a recipe has groups


def make_optimiser(
    rule: Optimiser,
    parameters: Sequence[nn.Parameter],
    network: nn.Module | None = None,
    plugin: object = None,
) -> torch.optim.Optimizer:
    """The optimiser that a recipe names; on CUDA, torch's SGD, Adam and AdamW are fused.

    Parameters
    ----------
    rule : Optimiser
    parameters : sequence of Parameter
        Those that train.
    network : nn.Module, optional
        Whose they are; needed where the recipe has groups.
    plugin : object, optional
        The architecture, for a class of its own.

    Raises
    ------
    ContractError
        There is no such class, it refuses its arguments, or it does what no recipe can describe;
        a pattern of a group matches nothing.
    """
    groups: list[Any] = list(parameters)
    if rule.groups:
        assert network is not None
        groups = _param_groups(rule, network, parameters)
    if rule.name in SHORT:
        made = _short(rule, groups, parameters)
    else:
        made = _by_name(rule, groups, parameters, plugin)
    for group in rule.groups:
        decay = () if group.weight_decay is None else ("weight_decay",)
        # Torch keeps whatever a group says, and looks at what it knows.
        for name in (*decay, *dict(group.arguments)):
            if name not in made.defaults:
                raise ContractError(
                    f"a group of parameters has '{name}', which optimiser '{rule.name}' has not; "
                    f"it has {', '.join(made.defaults)}."
                )
    _begin_momentum(made)
    _enter(made, "train")
    return made


def leave_training(optimiser: torch.optim.Optimizer) -> None:
    """Put the weights in place that an optimiser of two modes means by its result.

    Such a one, as schedule-free ones are, trains by other weights than it gives: it has methods
    ``train`` and ``eval``, between which it moves them. Of others nothing changes.
    """
    _enter(optimiser, "eval")


@contextlib.contextmanager
def results_in_place(
    optimiser: torch.optim.Optimizer, parameters: Sequence[nn.Parameter]
) -> Iterator[None]:
    """For a while, the weights that an optimiser means by its result; then those it trains by.

    Parameters
    ----------
    optimiser : Optimizer
    parameters : sequence of Parameter
        Those that it moves.
    """
    if not _has_modes(optimiser):
        yield
        return
    # Put back bit for bit, since to move them there and back rounds.
    before = [parameter.detach().clone() for parameter in parameters]
    leave_training(optimiser)
    try:
        yield
    finally:
        _enter(optimiser, "train")
        with torch.no_grad():
            for parameter, value in zip(parameters, before, strict=True):
                parameter.copy_(value)


def _has_modes(optimiser: torch.optim.Optimizer) -> bool:
    return all(callable(getattr(optimiser, mode, None)) for mode in ("train", "eval"))


def _enter(optimiser: torch.optim.Optimizer, mode: str) -> None:
    """Call an optimiser's own ``train`` or ``eval``, where it has both.

    Raises
    ------
    TrialFailure
        It raised.
    """
    if _has_modes(optimiser):
        with plugin_code("optimiser"), torch.no_grad():
            getattr(optimiser, mode)()


def load_optimiser(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Go on from a saved state, by the kernels of this device and not of that which saved it."""
    own = ("fused", "foreach")
    groups = [
        {**saved, **{key: group[key] for key in own if key in group}}
        for saved, group in zip(state["param_groups"], optimiser.param_groups, strict=True)
    ]
    optimiser.load_state_dict({**state, "param_groups": groups})
    _begin_momentum(optimiser)  # saved before its first step, there was none


def set_rate(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of a step, in each group by its factor."""
    for group in optimiser.param_groups:
        group["lr"] = lr * group.get(LR_FACTOR, 1.0)


def frozen_by(rule: Optimiser, network: nn.Module) -> set[nn.Parameter]:
    """The parameters that a recipe's groups freeze.

    Raises
    ------
    ContractError
        A pattern of a group matches nothing.
    """
    if not rule.groups:
        return set()
    own = _own_groups(rule.groups, network)
    return {parameter for parameter, group in own.items() if group.frozen}


def check_state(rule: Optimiser, state: Mapping[str, Any]) -> None:
    """See that the state of an optimiser by name can be read back from a checkpoint.

    Raises
    ------
    ContractError
        It holds what is no plain data.
    """
    if rule.name not in SHORT and (odd := _odd(state)) is not None:
        raise ContractError(
            f"{rule.name} keeps a {odd} in its state, which no checkpoint can hold: only tensors, "
            "numbers, text, and lists, tuples and dicts of them can be read back."
        )


def _short(
    rule: Optimiser, groups: list[Any], parameters: Sequence[nn.Parameter]
) -> torch.optim.Optimizer:
    options: dict[str, Any] = {"weight_decay": rule.weight_decay, **_kernel(rule, parameters)}
    kind: Callable[..., torch.optim.Optimizer]
    if rule.name == "sgd":
        kind = torch.optim.SGD
        options |= {"momentum": rule.momentum, "nesterov": rule.nesterov}
    else:
        kind = torch.optim.Adam if rule.name == "adam" else torch.optim.AdamW
        options["amsgrad"] = rule.amsgrad
    made: torch.optim.Optimizer = _made(kind, rule, groups, options)
    return made


def _kernel(rule: Optimiser, parameters: Sequence[nn.Parameter]) -> dict[str, bool]:
    """Whether one of torch's own moves all weights in one kernel, unless the recipe says how."""
    said = dict(rule.arguments).keys() | {
        name for group in rule.groups for name in dict(group.arguments)
    }
    # On a CPU torch's default, by whose numbers trials are compared.
    fits = all(p.is_cuda and p.is_floating_point() for p in parameters)
    return {"fused": True} if fits and not said & NOT_FUSED else {}


def _begin_momentum(made: torch.optim.Optimizer) -> None:
    """Give SGD's fused kernel a momentum of 0 to begin with, from which its first step is the same.

    By itself torch hands it memory as it lies there, to be filled in the first step. Where that
    step is left out, since a scaled gradient overflowed float16, it would stay as it was.
    """
    if not isinstance(made, torch.optim.SGD):
        return
    for group in made.param_groups:
        if not (group["fused"] and group["momentum"]):
            continue
        for parameter in group["params"]:
            if made.state[parameter].get("momentum_buffer") is None:
                made.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def _by_name(
    rule: Optimiser, groups: list[Any], parameters: Sequence[nn.Parameter], plugin: object
) -> torch.optim.Optimizer:
    if is_named(rule.name):
        kind = resolve(rule.name, plugin)
    else:
        kind = getattr(torch.optim, rule.name, None)  # type: ignore[assignment]
        if not (isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)):
            raise ContractError(
                f"torch {torch.__version__} has no optimiser '{rule.name}'; use the name of a "
                "class of torch.optim, plugin:NAME or package.module:NAME."
            )
    options: dict[str, Any] = {"weight_decay": rule.weight_decay}
    if not rule.weight_decay and not _takes(kind, "weight_decay"):
        del options["weight_decay"]
    chosen = {"momentum": rule.momentum, "nesterov": rule.nesterov, "amsgrad": rule.amsgrad}
    # Others have defaults of their own, which the recipe's 0 is not meant to replace.
    options |= {name: value for name, value in chosen.items() if value}
    if kind in FUSED:
        options |= _kernel(rule, parameters)
    return _checked(_made(kind, rule, groups, options), rule)


def _takes(kind: Callable[..., Any], name: str) -> bool:
    try:
        return name in inspect.signature(kind).parameters
    except (TypeError, ValueError):  # compiled code
        return False


def _made(
    kind: Callable[..., Any], rule: Optimiser, groups: list[Any], options: dict[str, Any]
) -> Any:
    try:
        return kind(groups, lr=rule.lr, **options, **dict(rule.arguments))
    except Exception as error:
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
            raise
        raise ContractError(
            f"optimiser '{rule.name}' refuses its parameters or arguments: {telling(error)}"
        ) from error


def _checked(made: Any, rule: Optimiser) -> torch.optim.Optimizer:
    if not isinstance(made, torch.optim.Optimizer):
        raise ContractError(
            f"optimiser '{rule.name}' made a {type(made).__name__}: it must be a "
            "torch.optim.Optimizer."
        )
    if not all("lr" in group for group in made.param_groups):
        raise ContractError(
            f"optimiser '{rule.name}' has no learning rate 'lr', which the schedule sets."
        )
    closure = inspect.signature(made.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise ContractError(
            f"optimiser '{rule.name}' goes through the network by itself (its step needs a "
            "closure), so nobody could count what it spends; write a `step` of the architecture."
        )
    return made


def _param_groups(
    rule: Optimiser, network: nn.Module, parameters: Sequence[nn.Parameter]
) -> list[dict[str, Any]]:
    """The parameters that train as torch's groups: those of no group first."""
    own = _own_groups(rule.groups, network)
    rest = [p for p in parameters if p not in own]
    found: list[dict[str, Any]] = [{"params": rest, LR_FACTOR: 1.0}] if rest else []
    for group in rule.groups:
        members = [p for p in parameters if own.get(p) is group]
        if not members or group.frozen:  # a stage may train others
            continue
        options: dict[str, Any] = dict(group.arguments)
        if group.weight_decay is not None:
            options["weight_decay"] = group.weight_decay
        rate = rule.lr * group.lr_factor
        found.append({"params": members, "lr": rate, LR_FACTOR: group.lr_factor, **options})
    return found


def _own_groups(groups: Iterable[Group], network: nn.Module) -> dict[nn.Parameter, Group]:
    """The group of each parameter that has one: the first of which a pattern matches."""
    names: dict[nn.Parameter, list[str]] = {}
    layers: dict[nn.Parameter, set[str]] = {}
    # A parameter that two layers share goes by all its names.
    for prefix, module in network.named_modules(remove_duplicate=False):
        for name, parameter in module._parameters.items():
            if parameter is not None:
                names.setdefault(parameter, []).append(f"{prefix}.{name}" if prefix else name)
                bases = {base.__name__ for base in type(module).__mro__}
                layers.setdefault(parameter, set()).update(bases)
    own: dict[nn.Parameter, Group] = {}
    for group in groups:
        matched: set[nn.Parameter] = set()
        for pattern in group.names:
            found = _matching(names, pattern)
            if not found:
                some = ", ".join([texts[0] for texts in names.values()][:3])
                raise ContractError(
                    f"no parameter is called like '{pattern}', as a group of the optimiser says; "
                    f"they are called {some} ..."
                )
            matched |= found
        for pattern in group.layers:
            found = _matching(layers, pattern)
            if not found:
                kinds = sorted(set().union(*layers.values()) - {"object", "Module"})
                raise ContractError(
                    f"no layer with parameters is a '{pattern}', as a group of the optimiser says; "
                    f"there are {', '.join(kinds[:8])}."
                )
            matched |= found
        if not matched - own.keys():
            patterns = ", ".join(group.names + group.layers)
            raise ContractError(
                f"the group of parameters {patterns} is empty: groups before it have them all. "
                "Put the narrower group first."
            )
        own |= {parameter: group for parameter in matched if parameter not in own}
    return own


def _matching(known: Mapping[nn.Parameter, Iterable[str]], pattern: str) -> set[nn.Parameter]:
    return {
        parameter
        for parameter, texts in known.items()
        if any(fnmatch.fnmatchcase(text, pattern) for text in texts)
    }


def _odd(state: Any) -> str | None:
    """Type of a part that is no plain data; None where all are."""
    if isinstance(state, Mapping):
        parts: Iterable[Any] = [*state.keys(), *state.values()]
    elif isinstance(state, (list, tuple)):
        parts = state
    else:
        plain = state is None or type(state) in (bool, int, float, str, complex)
        return None if plain or isinstance(state, Tensor) else type(state).__name__
    return next((odd for part in parts if (odd := _odd(part)) is not None), None)
