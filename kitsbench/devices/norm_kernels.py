"""Instance normalisation in Triton: over a map twice forward, twice backward, in any layout.

A map is read in tiles ``[BLOCK_S, BLOCK_C]`` of places and channels. Where it lies contiguous, a
program has one channel (``BLOCK_C`` is 1) of one sample; channels-last it has up to 64. Every
program goes through ``tiles`` tiles, a chunk, so that there are many programs however few channels
there are. Their partial results are combined in one order by a small kernel: no atomics, so two
runs are equal bit for bit. All sums are in float32.

Imported on CUDA alone: it needs triton, which comes with torch's builds for Linux.
"""

# mypy: allow-untyped-decorators, allow-untyped-defs, allow-incomplete-defs
# The types of a kernel's arguments are those of the tensors and numbers that it is launched with.

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

TILE = 4096  # elements that a program holds at a time; 8 warps read 16 bytes a thread and load
SMALL = 1024  # of maps that are not larger
CHANNELS = 64  # of a tile at most, channels-last: whole lines of memory in every precision
# Programs that a launch aims at: several waves on every card, and partial results that stay few.
PROGRAMS = {False: 4096, True: 1024}  # channels-last each has up to 64 channels
COMBINED_S, COMBINED_C = 128, 8  # tile of the kernels that combine


class Plan(NamedTuple):
    """How a map is cut into programs.

    Attributes
    ----------
    last : bool
        Whether channels lie last.
    samples, channels, places : int
        Extent of the map.
    chunks : int
        Programs that share the places of one group of channels.
    tiles : int
        Tiles in each chunk.
    block_s, block_c : int
        Places and channels of a tile, powers of two.
    """

    last: bool
    samples: int
    channels: int
    places: int
    chunks: int
    tiles: int
    block_s: int
    block_c: int

    @property
    def programs(self) -> int:
        """How many a launch over the whole map has."""
        return self.chunks * self.samples * -(-self.channels // self.block_c)

    def launch(self) -> dict[str, Any]:
        """What all kernels over a map are given by name."""
        return {
            "C": self.channels,
            "S": self.places,
            "chunks": self.chunks,
            "tiles": self.tiles,
            "LAST": self.last,
            "BLOCK_S": self.block_s,
            "BLOCK_C": self.block_c,
            "num_warps": 8 if self.block_s * self.block_c > SMALL else 4,
        }


def plan(x: Tensor, last: bool) -> Plan:
    """Cut a map, ``[N, C, ...]``; the same on every card."""
    samples, channels, *extent = x.shape
    places = 1
    for length in extent:
        places *= length
    block_c = min(CHANNELS, triton.next_power_of_2(channels)) if last else 1
    tile = TILE if last or places > SMALL else SMALL
    block_s = tile // block_c
    columns = samples * -(-channels // block_c)
    all_tiles = -(-places // block_s)
    chunks = min(all_tiles, max(1, PROGRAMS[last] // columns))
    tiles = -(-all_tiles // chunks)
    return Plan(last, samples, channels, places, -(-all_tiles // tiles), tiles, block_s, block_c)


@triton.jit
def _where(C, S, chunks, tiles, LAST: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_C: tl.constexpr):
    """Sample, chunk, channels, first place and offsets of a program's first tile."""
    pid = tl.program_id(0)
    column = pid // chunks
    chunk = pid % chunks
    groups = tl.cdiv(C, BLOCK_C)
    n = column // groups
    first = (column % groups) * BLOCK_C
    channels = first + tl.arange(0, BLOCK_C)
    lane = tl.arange(0, BLOCK_S)
    start = chunk.to(tl.int64) * tiles * BLOCK_S
    # The large part is a scalar in 64 bits; within a tile 32 are enough.
    if LAST:
        base = (n.to(tl.int64) * S + start) * C
        offsets = lane[:, None] * C + channels[None, :]
    else:
        base = (n.to(tl.int64) * C + first) * S + start
        offsets = lane[:, None] + tl.zeros([BLOCK_S, BLOCK_C], tl.int32)
    left = tl.minimum(S - start, tiles * BLOCK_S).to(tl.int32)  # places of this chunk
    return n, chunk, channels, base, offsets, lane, left


@triton.jit
def _partial(n, chunk, channels, C, chunks, LAST: tl.constexpr):
    """Offsets of partial results: ``[N, chunks, C]`` channels-last, else ``[N, C, chunks]``."""
    if LAST:
        return (n * chunks + chunk) * C + channels
    else:
        return (n * C + channels) * chunks + chunk


@triton.jit(do_not_specialize=["chunks", "tiles"])
def _statistics(
    x, means, squares, C, S, chunks, tiles, eps,
    ALONE: tl.constexpr,
    LAST: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Mean and sum of squared differences from it of each channel of a chunk (Welford, Chan).

    Where a chunk is ``ALONE``, the reciprocal standard deviation in place of the sum.
    """
    n, chunk, channels, base, offsets, lane, left = _where(
        C, S, chunks, tiles, LAST, BLOCK_S, BLOCK_C
    )
    there = (channels < C)[None, :]
    mean = tl.zeros([BLOCK_S, BLOCK_C], tl.float32)
    square = tl.zeros([BLOCK_S, BLOCK_C], tl.float32)
    step = BLOCK_S * C if LAST else BLOCK_S
    at = x + base
    for i in range(tiles):
        inside = (lane < left - i * BLOCK_S)[:, None] & there
        value = tl.load(at + offsets, mask=inside, other=0.0).to(tl.float32)
        # Each place of the tile has a mean of its own, so that nothing is shared in the loop.
        difference = tl.where(inside, value - mean, 0.0)
        mean += difference * (1.0 / (i + 1))
        square += difference * (value - mean)
        at += step
    # Only the last tile may have been cut short.
    count = ((left - lane + BLOCK_S - 1) // BLOCK_S).to(tl.float32)[:, None]
    total = tl.sum(mean * count, axis=0) / left.to(tl.float32)
    apart = mean - total[None, :]
    square = tl.sum(tl.where(count > 0, square + count * apart * apart, 0.0), axis=0)
    if ALONE:
        square = 1.0 / tl.sqrt_rn(square / left.to(tl.float32) + eps)
    to = _partial(n, chunk, channels, C, chunks, LAST)
    tl.store(means + to, total, mask=channels < C)
    tl.store(squares + to, square, mask=channels < C)


@triton.jit(do_not_specialize=["S", "chunks", "span"])
def _combine_statistics(
    means, squares, mean, rstd, C, S, chunks, span, eps,
    LAST: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Mean and reciprocal standard deviation ``[N, C]`` from the chunks' (Chan)."""
    pid = tl.program_id(0)
    groups = tl.cdiv(C, BLOCK_C)
    n = pid // groups
    channels = (pid % groups) * BLOCK_C + tl.arange(0, BLOCK_C)
    there = (channels < C)[None, :]
    lane = tl.arange(0, BLOCK_S)
    # Means are added up as differences from the first, which leaves large ones their digits.
    origin = tl.load(
        means + _partial(n, 0, channels, C, chunks, LAST), mask=channels < C, other=0.0
    )[None, :]
    total = tl.zeros([BLOCK_S, BLOCK_C], tl.float32)
    for first in range(0, chunks, BLOCK_S):
        chunk = first + lane
        inside = (chunk < chunks)[:, None] & there
        at = _partial(n, chunk[:, None], channels[None, :], C, chunks, LAST)
        count = tl.minimum(span, S - chunk.to(tl.int64) * span).to(tl.float32)[:, None]
        total += tl.where(inside, (tl.load(means + at, mask=inside, other=0.0) - origin) * count, 0)
    size = S.to(tl.float32)
    centre = tl.sum(total, axis=0)[None, :] / size + origin
    total = tl.zeros([BLOCK_S, BLOCK_C], tl.float32)
    for first in range(0, chunks, BLOCK_S):
        chunk = first + lane
        inside = (chunk < chunks)[:, None] & there
        at = _partial(n, chunk[:, None], channels[None, :], C, chunks, LAST)
        count = tl.minimum(span, S - chunk.to(tl.int64) * span).to(tl.float32)[:, None]
        apart = tl.load(means + at, mask=inside, other=0.0) - centre
        square = tl.load(squares + at, mask=inside, other=0.0)
        total += tl.where(inside, square + count * apart * apart, 0.0)
    variance = tl.sum(total, axis=0) / size
    to = n * C + channels
    tl.store(mean + to, tl.sum(centre, axis=0), mask=channels < C)
    tl.store(rstd + to, 1.0 / tl.sqrt_rn(variance + eps), mask=channels < C)


@triton.jit(do_not_specialize=["chunks", "tiles"])
def _apply(
    x, y, mean, rstd, weight, bias, C, S, chunks, tiles,
    WEIGHT: tl.constexpr, BIAS: tl.constexpr,
    LAST: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """``y = (x - mean) * rstd * weight + bias``, rounded once."""
    n, _, channels, base, offsets, lane, left = _where(C, S, chunks, tiles, LAST, BLOCK_S, BLOCK_C)
    real = channels < C
    centre = tl.load(mean + n * C + channels, mask=real, other=0.0)[None, :]
    scale = tl.load(rstd + n * C + channels, mask=real, other=0.0)
    if WEIGHT:
        scale *= tl.load(weight + channels, mask=real, other=0.0).to(tl.float32)
    shift = tl.zeros([BLOCK_C], tl.float32)
    if BIAS:
        shift += tl.load(bias + channels, mask=real, other=0.0).to(tl.float32)
    step = BLOCK_S * C if LAST else BLOCK_S
    at, to = x + base, y + base
    for i in range(tiles):
        inside = (lane < left - i * BLOCK_S)[:, None] & real[None, :]
        value = tl.load(at + offsets, mask=inside, other=0.0).to(tl.float32)
        value = (value - centre) * scale[None, :] + shift[None, :]
        tl.store(to + offsets, value.to(y.dtype.element_ty), mask=inside)
        at += step
        to += step


@triton.jit(do_not_specialize=["chunks", "tiles"])
def _sums(
    x, dy, mean, rstd, plain, scaled, C, S, chunks, tiles,
    LAST: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Sums over a chunk of ``dy`` and of ``dy * xhat``, with ``xhat = (x - mean) * rstd``."""
    n, chunk, channels, base, offsets, lane, left = _where(
        C, S, chunks, tiles, LAST, BLOCK_S, BLOCK_C
    )
    real = channels < C
    centre = tl.load(mean + n * C + channels, mask=real, other=0.0)[None, :]
    scale = tl.load(rstd + n * C + channels, mask=real, other=0.0)
    first = tl.zeros([BLOCK_S, BLOCK_C], tl.float32)
    second = tl.zeros([BLOCK_S, BLOCK_C], tl.float32)
    step = BLOCK_S * C if LAST else BLOCK_S
    at, of = x + base, dy + base
    for i in range(tiles):
        inside = (lane < left - i * BLOCK_S)[:, None] & real[None, :]
        value = tl.load(at + offsets, mask=inside, other=0.0).to(tl.float32)
        slope = tl.load(of + offsets, mask=inside, other=0.0).to(tl.float32)
        first += slope
        second += slope * (value - centre)
        at += step
        of += step
    to = _partial(n, chunk, channels, C, chunks, LAST)
    tl.store(plain + to, tl.sum(first, axis=0), mask=real)
    tl.store(scaled + to, tl.sum(second, axis=0) * scale, mask=real)


@triton.jit(do_not_specialize=["N", "chunks"])
def _combine_sums(
    plain, scaled, rows, dw, db, N, C, chunks,
    WEIGHT: tl.constexpr, BIAS: tl.constexpr,
    LAST: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Sums of each sample and channel, ``rows [2, N, C]``, and over samples for the weights."""
    channels = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    real = channels < C
    lane = tl.arange(0, BLOCK_S)
    all_first = tl.zeros([BLOCK_C], tl.float32)
    all_second = tl.zeros([BLOCK_C], tl.float32)
    for n in range(N):
        first = tl.zeros([BLOCK_S, BLOCK_C], tl.float32)
        second = tl.zeros([BLOCK_S, BLOCK_C], tl.float32)
        for start in range(0, chunks, BLOCK_S):
            chunk = start + lane
            inside = (chunk < chunks)[:, None] & real[None, :]
            at = _partial(n, chunk[:, None], channels[None, :], C, chunks, LAST)
            first += tl.load(plain + at, mask=inside, other=0.0)
            second += tl.load(scaled + at, mask=inside, other=0.0)
        one = tl.sum(first, axis=0)
        two = tl.sum(second, axis=0)
        tl.store(rows + n * C + channels, one, mask=real)
        tl.store(rows + (N + n) * C + channels, two, mask=real)
        all_first += one
        all_second += two
    if WEIGHT:
        tl.store(dw + channels, all_second.to(dw.dtype.element_ty), mask=real)
    if BIAS:
        tl.store(db + channels, all_first.to(db.dtype.element_ty), mask=real)


@triton.jit(do_not_specialize=["N", "chunks", "tiles"])
def _input_gradient(
    x, dy, dx, mean, rstd, rows, weight, N, C, S, chunks, tiles,
    WEIGHT: tl.constexpr,
    LAST: tl.constexpr, BLOCK_S: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """``dx = weight * rstd * (dy - mean(dy) - xhat * mean(dy * xhat))``, rounded once."""
    n, _, channels, base, offsets, lane, left = _where(C, S, chunks, tiles, LAST, BLOCK_S, BLOCK_C)
    real = channels < C
    size = S.to(tl.float32)
    centre = tl.load(mean + n * C + channels, mask=real, other=0.0)[None, :]
    scale = tl.load(rstd + n * C + channels, mask=real, other=0.0)
    first = tl.load(rows + n * C + channels, mask=real, other=0.0) / size
    second = tl.load(rows + (N + n) * C + channels, mask=real, other=0.0) / size * scale
    if WEIGHT:
        scale *= tl.load(weight + channels, mask=real, other=0.0).to(tl.float32)
    step = BLOCK_S * C if LAST else BLOCK_S
    at, of, to = x + base, dy + base, dx + base
    for i in range(tiles):
        inside = (lane < left - i * BLOCK_S)[:, None] & real[None, :]
        value = tl.load(at + offsets, mask=inside, other=0.0).to(tl.float32)
        slope = tl.load(of + offsets, mask=inside, other=0.0).to(tl.float32)
        value = (slope - first[None, :] - (value - centre) * second[None, :]) * scale[None, :]
        tl.store(to + offsets, value.to(dx.dtype.element_ty), mask=inside)
        at += step
        of += step
        to += step


def normalise(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, last: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise each channel of each sample.

    Parameters
    ----------
    x : Tensor, [N, C, D, H, W]
        Dense; of float32, bfloat16 or float16.
    weight, bias : Tensor or None, [C]
    eps : float
        Added to variances.
    last : bool
        Whether channels lie last.

    Returns
    -------
    Tensor, Tensor, Tensor
        The map, as ``x`` lies and in its precision; means and reciprocal standard deviations in
        float32, ``[N, C]``.
    """
    cut = plan(x, last)
    mean, rstd = x.new_empty((2, cut.samples, cut.channels), dtype=torch.float32)
    y = torch.empty_like(x)
    # Triton launches on the current device, which need not be the tensor's.
    with torch.cuda.device_of(x):
        if cut.chunks == 1:
            _statistics[(cut.programs,)](x, mean, rstd, eps=eps, ALONE=True, **cut.launch())
        else:
            partial = cut.samples * cut.channels * cut.chunks
            means, squares = x.new_empty((2, partial), dtype=torch.float32)
            _statistics[(cut.programs,)](x, means, squares, eps=eps, ALONE=False, **cut.launch())
            _combine_statistics[(cut.samples * triton.cdiv(cut.channels, COMBINED_C),)](
                means, squares, mean, rstd, cut.channels, cut.places, cut.chunks,
                cut.tiles * cut.block_s, eps, LAST=last, BLOCK_S=COMBINED_S, BLOCK_C=COMBINED_C,
            )  # fmt: skip
        _apply[(cut.programs,)](
            x, y, mean, rstd, _given(weight, x), _given(bias, x),
            WEIGHT=weight is not None, BIAS=bias is not None, **cut.launch(),
        )  # fmt: skip
    return y, mean, rstd


def gradients(
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    mean: Tensor,
    rstd: Tensor,
    last: bool,
    wanted: tuple[bool, bool, bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of :func:`normalise` by map, weight and bias, those that are wanted.

    ``dy`` may lie in any way; the gradients lie as ``x`` and ``weight`` do, in their precisions.
    """
    cut = plan(x, last)
    dy = dy.contiguous(memory_format=torch.channels_last_3d if last else torch.contiguous_format)
    plain, scaled = x.new_empty((2, cut.samples * cut.channels * cut.chunks), dtype=torch.float32)
    rows = x.new_empty((2, cut.samples, cut.channels), dtype=torch.float32)
    kind = torch.float32 if weight is None else weight.dtype
    dx = torch.empty_like(x) if wanted[0] else None
    dw, db = (x.new_empty(cut.channels, dtype=kind) if one else None for one in wanted[1:])
    with torch.cuda.device_of(x):
        _sums[(cut.programs,)](x, dy, mean, rstd, plain, scaled, **cut.launch())
        _combine_sums[(triton.cdiv(cut.channels, COMBINED_C),)](
            plain, scaled, rows, _given(dw, x), _given(db, x), cut.samples, cut.channels,
            cut.chunks, WEIGHT=wanted[1], BIAS=wanted[2],
            LAST=last, BLOCK_S=COMBINED_S, BLOCK_C=COMBINED_C,
        )  # fmt: skip
        if dx is not None:
            _input_gradient[(cut.programs,)](
                x, dy, dx, mean, rstd, rows, _given(weight, x), cut.samples,
                WEIGHT=weight is not None, **cut.launch(),
            )  # fmt: skip
    return dx, dw, db


def _given(tensor: Tensor | None, other: Tensor) -> Tensor:
    """A tensor for a kernel that looks at it only where it is told to."""
    return other if tensor is None else tensor
