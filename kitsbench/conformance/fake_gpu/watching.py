"""Which operations make the host wait for a GPU, and the line of the plugin that asked for one.

A mode for fake CUDA tensors, which have shapes and devices but no values.
"""

from __future__ import annotations

import functools
import linecache
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kitsbench import default_hooks
from kitsbench.conformance.driven.source import folder_of
from kitsbench.conformance.fake_gpu.gradient import replaced
from kitsbench.conformance.telling.places import line_of, shown

aten = torch.ops.aten

FAKE_DEVICES = 8  # that torch guards where there is no CUDA device

# What makes the host wait: how somebody may have written it, of which the last is taken where none
# of these is in the line, and what to do instead.
Form = tuple[tuple[str, ...], str]
MASK = "multiply by the mask, or use torch.where() or masked_fill()"
DECOMPOSED = "do it on the host, outside of the step, or find a form without it"
SHAPE = "find a form whose shape does not depend on values"
FROM_HOST: Form = (
    ("torch.tensor()", "torch.as_tensor()", ".new_tensor()", ".cuda()", ".copy_()", ".to()"),
    "it copies from the host, so keep one for each device",
)
TO_HOST: Form = (
    (".cpu()", ".numpy()", ".copy_()", ".to()"),
    "it copies to the host, so leave it on the device",
)
AS_NUMBER = (".tolist()", "float()", "bool()", "int()", "round()", "range()", "any()")
READ: Form = (
    (".item()", *AS_NUMBER, "torch.tensor()", "if", ".item()"),
    "keep it a tensor",
)
READS: dict[Any, Form] = {
    aten._local_scalar_dense: READ,
    aten.is_nonzero: READ,
    aten.equal: (("torch.equal()",), "compare with == and keep the result a tensor"),
    aten.allclose: (("torch.allclose()",), "compare with isclose() and keep the result a tensor"),
    aten.nonzero: (("argwhere()", "where()", "a mask as an index", "nonzero()"), MASK),
    aten.masked_select: (("masked_select()",), MASK),
    aten.bincount: (("bincount()",), "add up (values == number) for each number"),
    aten._unique2: (("unique()",), SHAPE),
    aten.unique_dim: (("unique()",), SHAPE),
    aten.unique_consecutive: (("unique_consecutive()",), SHAPE),
    aten.unique_dim_consecutive: (("unique_consecutive()",), SHAPE),
    aten._linalg_check_errors: (("torch.linalg's check",), "use the form that ends in _ex"),
    # They check what they found inside, where nothing else sees it.
    aten._linalg_eigh: (("eigh()", "eigvalsh()", "torch.linalg's check"), DECOMPOSED),
    aten._linalg_svd: (("svd()", "svdvals()", "pinv()", "torch.linalg's check"), DECOMPOSED),
    aten.linalg_eig: (("torch.linalg.eig()",), DECOMPOSED),
    aten._linalg_eigvals: (("torch.linalg.eigvals()",), DECOMPOSED),
    aten.linalg_lstsq: (("torch.linalg.lstsq()",), DECOMPOSED),
    aten.linalg_pinv: (("torch.linalg.pinv()",), DECOMPOSED),
    aten.linalg_matrix_exp: (("torch.linalg.matrix_exp()",), DECOMPOSED),
}
ONE_TYPE = (
    *(aten.mm, aten.addmm, aten.mv, aten.addmv, aten.bmm, aten.baddbmm, aten.addbmm, aten.linear),
    *(aten.addmm_, aten.addmv_, aten.baddbmm_, aten.addbmm_),
    *(aten.convolution, aten.grid_sampler_2d, aten.grid_sampler_3d),
)
"""What takes numbers of one type. Fake tensors do not see to it everywhere."""
INDEX = (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_)
COPIES = (aten._to_copy, aten.copy_)


@functools.cache
def device() -> torch.device:
    """CUDA device of the fake tensors: the last one, which need not be there."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else FAKE_DEVICES
    return torch.device("cuda", count - 1)


@dataclass(frozen=True)
class Wait:
    """A place where the host waits for the device.

    Attributes
    ----------
    hook : str
        In which part of a step.
    what, remedy : str
    place : str
        File and line, empty where no line of Python is behind it.
    """

    hook: str
    what: str
    remedy: str
    place: str

    def __str__(self) -> str:
        where = f" at {self.place}" if self.place else ""
        what = self.what if " " in self.what else f"`{self.what}`"
        return f"{self.hook} makes the host wait for a GPU: {what}{where}; {self.remedy}"


class Watch(TorchDispatchMode):
    """Collects what makes the host wait while ``counting``; lets the tensors' owner go on.

    Parameters
    ----------
    architecture : object
        Whose lines are named.
    """

    def __init__(self, architecture: object):
        super().__init__()  # type: ignore[no-untyped-call]
        from torch._subclasses import fake_tensor

        self._fake, self._without_fakes = (
            fake_tensor.FakeTensor,
            fake_tensor.unset_fake_temporarily,
        )
        self.no_value = (
            fake_tensor.DataDependentOutputException,
            fake_tensor.DynamicOutputShapeException,
        )
        self.hook, self.counting, self.noted = "", False, 0
        self.waits: list[Wait] = []
        self._own = folder_of(architecture)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Note an operation that waits, and give it some answer."""
        options = dict(kwargs or {})
        # Without a number it is the current device, which is that of the trial.
        if options.get("device") is not None and torch.device(options["device"]).type == "cuda":
            options["device"] = device()
        elif self._is_real(args, options):
            # What stays on the host is computed, so that its numbers may be used.
            with self._without_fakes():
                return func(*args, **options)
        packet = func.overloadpacket
        if packet in ONE_TYPE:
            _see_types(packet, args)
        if packet in COPIES:
            self._see_copy(packet, args, options)
        elif packet in READS:
            return self._read(func, packet, args, options)
        elif packet in INDEX:
            return self._indexed(func, args, options)
        elif packet is aten.histc and _on_device(args[0]) and len(args) < 3:
            self.note(("histc()",), "give its range")
        elif func is aten.repeat_interleave.Tensor and _on_device(args[0]):
            self._repeated(options)
        return func(*args, **options)

    def note(self, forms: tuple[str, ...], remedy: str) -> None:
        """Remember a wait, once for each line."""
        if not self.counting:
            return
        self.noted += 1
        place, line = self._place()
        found = Wait(self.hook, _as_written(line, forms), remedy, place)
        if found not in self.waits:
            self.waits.append(found)

    def _is_real(self, args: Sequence[Any], options: Mapping[str, Any]) -> bool:
        """Whether an operation has nothing to do with fake tensors."""
        if args and isinstance(args[0], self._fake):
            return False
        return not any(isinstance(leaf, self._fake) for leaf in tree_leaves((args, options)))

    def _see_copy(self, packet: Any, args: Sequence[Any], options: Mapping[str, Any]) -> None:
        source = args[1] if packet is aten.copy_ else args[0]
        target = args[0].device if packet is aten.copy_ else options.get("device")
        later = options.get("non_blocking") or (packet is aten.copy_ and len(args) > 2 and args[2])
        if target is None or later or torch.device(target).type == source.device.type:
            return
        if torch.device(target).type == "cuda":
            self.note(*FROM_HOST)
        elif source.device.type == "cuda":
            self.note(*TO_HOST)

    def _read(self, func: Any, packet: Any, args: Sequence[Any], options: dict[str, Any]) -> Any:
        if _on_device(args[0]):
            self.note(*READS[packet])
        try:
            return func(*args, **options)
        except self.no_value:
            # There is no value to give. With some answer the rest of the hook can be seen too.
            return _some_answer(packet, args, options)

    def _indexed(self, func: Any, args: Sequence[Any], options: dict[str, Any]) -> Any:
        values, places = args[0], list(args[1])
        given = [place for place in places if place is not None]
        masks = [place for place in given if place.dtype in (torch.bool, torch.uint8)]
        filled = func.overloadpacket is not aten.index and args[2].numel() == 1
        if _on_device(values):
            if masks and not (filled and len(given) == 1):  # that one is a masked_fill()
                self.note(("a mask as an index",), MASK)
            elif any(place.device.type == "cpu" and place.ndim for place in given):
                self.note(("an index on the host",), FROM_HOST[1])
        if not masks:
            return func(*args, **options)
        if func.overloadpacket is not aten.index:
            return values if func.overloadpacket is not aten.index_put else values.clone()
        return func(values, _one_place(places), *args[2:], **options)

    def _repeated(self, options: Mapping[str, Any]) -> None:
        if options.get("output_size") is None:
            self.note(("repeat_interleave()",), "give output_size")

    def _place(self) -> tuple[str, str]:
        """Innermost line of the plugin, else of whatever is not torch, and its text."""
        stack = [frame for frame, _ in traceback.walk_stack(sys._getframe(2))]
        return self.line_of([(f.f_code.co_filename, f.f_lineno) for f in stack])

    def line_of(self, stack: Sequence[tuple[str, int]]) -> tuple[str, str]:
        """The place that a wait or an error is laid to, of a stack whose first line is innermost.

        Returns
        -------
        (str, str)
            File with line number, and the line; both empty where torch alone is on the stack.
        """
        found = line_of(stack, self._own)
        if found is None:
            return "", ""
        return shown(found, self._own), linecache.getline(*found).strip()


def forget(architecture: object) -> None:
    """Empty what is kept by ``functools`` for the hooks, so that nothing fake is left there."""
    own = type(architecture).__module__.split(".")[0]
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == own or name == default_hooks.__name__:
            for value in list(vars(module).values()):
                if isinstance(value, functools._lru_cache_wrapper):
                    value.cache_clear()


@contextmanager
def synchronising_is_seen(watch: Watch) -> Iterator[None]:
    """Note what waits for a device, a stream or an event, instead of doing it."""
    owners = {
        "torch.cuda.synchronize()": torch.cuda,
        ".synchronize() of an event": torch.cuda.Event,
        ".synchronize() of a stream": torch.cuda.Stream,
    }
    with ExitStack() as stack:
        for what, owner in owners.items():

            def seen(*args: Any, what: str = what, **options: Any) -> None:
                watch.note((what,), "leave it out")

            stack.enter_context(replaced(owner, "synchronize", seen))
        told = Tensor.__repr__

        def read(self: Tensor, **options: Any) -> str:
            if _on_device(self):
                watch.note(("print()", "str()", "repr()", "a tensor as text"), "print its shape")
            return str(told(self, **options))  # type: ignore[no-untyped-call]

        stack.enter_context(replaced(Tensor, "__repr__", read))
        yield


def _see_types(packet: Any, args: Sequence[Any]) -> None:
    """Refuse numbers of two types, as a device does."""
    found = {value.dtype: None for value in args if _on_device(value)}
    if len(found) > 1:
        raise RuntimeError(
            f"{packet.__name__} needs the same dtype, and got {' and '.join(map(str, found))}"
        )


def _on_device(value: Any) -> bool:
    return isinstance(value, Tensor) and value.device.type == "cuda"


def _some_answer(packet: Any, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """What an operation might give if its tensors had values."""
    values: Tensor = args[0]
    if packet is aten._local_scalar_dense:
        if values.dtype == torch.bool:
            return True
        return 1.0 if values.is_floating_point() else 1
    if packet in (aten.is_nonzero, aten.equal, aten.allclose):
        return True
    if packet is aten.nonzero:
        return values.new_zeros((1, values.ndim), dtype=torch.int64)
    if packet is aten.masked_select:
        return values.new_zeros(1)
    if packet is aten.bincount:
        least = args[2] if len(args) > 2 else options.get("minlength", 0)
        return values.new_zeros(max(1, least), dtype=torch.int64)
    raise NoAnswer(READS[packet][0][-1])


class NoAnswer(Exception):
    """The rest of a hook cannot be seen, since it depends on values that are not there."""


def _one_place(places: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Indices with a single place instead of each mask."""
    found: list[Tensor | None] = []
    for place in places:
        if place is not None and place.dtype in (torch.bool, torch.uint8):
            one = [
                place.new_zeros(1, dtype=torch.int64, device=device()) for _ in range(place.ndim)
            ]
            found += one
        else:
            found.append(place)
    return found


def _as_written(line: str, forms: Sequence[str]) -> str:
    """Which of several forms a line of code has."""
    for form in forms:
        if form == "if":
            found = re.match(r"(if|elif|while|assert)\b", line) or re.search(r"\bif\b", line)
            if found:
                return found[0]
        elif re.search((r"(?<![\w.])" if form[0] != "." else "") + re.escape(form[:-1]), line):
            return form
    return forms[-1]
