"""Peak memory against patch and batch, and the largest of either under a cap.

Nothing is believed that was not run: each size is tried in a process of its own whose memory is
capped as that of a trial is (``kitsbench run --max-memory``), and so is the next larger one, which
must fail. Both are tried more than once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import psutil
import torch

from kitsbench.architecture import Architecture, Task
from kitsbench.data.batches.prepared import Prepared
from kitsbench.devices.peaks import peak_memory, peak_reserved, reset_peaks
from kitsbench.devices.precision import autocast
from kitsbench.devices.use import use_device
from kitsbench.errors import KitsbenchError
from kitsbench.isolation import IsolatedFailure, call_isolated
from kitsbench.profiling.job import ProfileJob
from kitsbench.profiling.repeat import finish
from kitsbench.profiling.step import Given, TrainingStep
from kitsbench.registry import load
from kitsbench.spec import LARGEST_EDGE, Shape, Spec
from kitsbench.training.failures import TrialFailure, is_out_of_memory, may_be_memory
from kitsbench.training.meters.memory import cap_memory
from kitsbench.training.networks.rehearsal import drawn_batch

MOST_BATCH = 4096
MOST_GROWTH = 64  # of a patch, in steps of its size rule
# Times that a size at the edge is tried once more: the peaks of equal runs differ.
AGAIN = 2
# Of the points of a line: the largest batch, and how many times the bytes of the first are enough.
LARGEST_POINT, GROWN = 128, 4

Edge = tuple[int, tuple[int, ...], int | None]  # see settle


@dataclass(frozen=True)
class Load:
    """What is tried.

    Parameters
    ----------
    profile : ProfileJob
    shape : (int, int, int)
        Patch, as the size rule admits it.
    batch : int
    training : bool
        Steps of training, or forward passes in evaluation mode.
    limit : int or None
        Bytes that may be allocated.
    """

    profile: ProfileJob
    shape: Shape
    batch: int
    training: bool = True
    limit: int | None = None

    @property
    def voxels(self) -> int:
        """Voxels of all patches."""
        return int(np.prod(self.shape)) * self.batch


def carry(load_: Load, timeout: float = 600.0) -> dict[str, Any]:
    """Try a load in a process of its own.

    Returns
    -------
    dict
        ``fits``; ``bytes``, the peak of what was allocated for it; ``why`` where it does not fit.

    Raises
    ------
    KitsbenchError
        It failed for another reason than memory.
    """
    try:
        return dict(call_isolated(try_load, load_, timeout=timeout))
    except IsolatedFailure as error:
        # Libraries below torch may end the process where they are given no memory.
        if load_.limit is not None and "its process ended with" in str(error):
            return {"fits": False, "bytes": None, "why": str(error)}
        raise KitsbenchError(f"{load_.profile.name} could not be measured: {error}") from error


def try_load(load_: Load) -> dict[str, Any]:
    """Try it in this process; see :func:`carry`."""
    job = load_.profile
    device = torch.device(job.device)
    use_device(device, job.threads)
    architecture = load(job.location).architecture
    spec = with_patch(architecture, job, load_.shape)
    before = psutil.Process().memory_info().rss
    if load_.limit is not None:
        cap_memory(device, load_.limit)
    try:
        _run(replace(job, spec=spec, recipe=replace(job.recipe, batch=load_.batch)), load_, device)
    except Exception as error:
        if not _is_memory(error):
            raise
        return {"fits": False, "bytes": None, "why": f"{type(error).__name__}: {error}"[:200]}
    # On a GPU what the allocator holds, which is what a cap counts; on a CPU what the process has
    # grown by.
    grown = max(peak_memory(device) - before, 0)
    return {
        "fits": True,
        "bytes": peak_reserved(device) if device.type == "cuda" else grown,
        "why": None,
    }


def _is_memory(error: Exception) -> bool:
    if isinstance(error, TrialFailure):
        return error.reason == "out-of-memory"
    return is_out_of_memory(error) or may_be_memory(error)


def _run(job: ProfileJob, load_: Load, device: torch.device) -> None:
    architecture = load(job.location).architecture
    reset_peaks(device)
    step = TrainingStep(job, architecture, device)
    inputs, labels = drawn_batch(job.spec, load_.batch, device)
    # Twice: the first step makes the state of the optimiser.
    for _ in range(2):
        if load_.training:
            step.take(Given(inputs, labels), Prepared({}, ("",) * load_.batch, 0))
            continue
        step.network.eval()
        with torch.inference_mode(), autocast(device, job.precision):
            step.network(inputs)
    finish(device)


def with_patch(architecture: Architecture, job: ProfileJob, shape: Shape) -> Spec:
    """The spec of a job with another patch."""
    if shape == job.spec.grids[0].shape:
        return job.spec
    task = Task(job.spec.labels, shape, job.spec.spacing)
    return architecture.spec(dict(job.spec.config), task)


def shapes(spec: Spec) -> list[Shape]:
    """Admissible patches around that of a spec, each one step of its size rule larger."""
    rule, own = spec.size_rule, spec.grids[0].shape
    found: dict[Shape, None] = {}
    for steps in range(-MOST_GROWTH, MOST_GROWTH + 1):
        edges = [edge + steps * by for edge, by in zip(own, rule.multiple, strict=True)]
        if min(edges) >= 1 and max(edges) <= LARGEST_EDGE:
            z, y, x = edges
            # No axis beyond its smallest edge, or they would grow one after the other.
            if rule.admits((z, y, x)):
                found[z, y, x] = None
    return list(found) or [own]


def largest(
    fits: Callable[[int], bool],
    guess: int,
    most: int,
    better: Callable[[], int] | None = None,
) -> int:
    """The largest number from 1 to ``most`` that fits, found from a guess; 0 where none does.

    The next larger one was asked for, unless ``most`` fits. ``better`` gives another guess by what
    has fitted so far; it is followed twice, so that a bad one costs no more than two tries.
    """
    answers: dict[int, bool] = {0: True, most + 1: False}

    def ask(number: int) -> bool:
        if number not in answers:
            answers[number] = fits(number)
        return answers[number]

    low, high, stride, follows = 0, most + 1, 1, 2
    at = min(max(guess, 1), most)
    while high - low > 1:
        if ask(at):
            low = at
            if better is not None and follows:
                follows -= 1
                if low < (next_one := min(better(), most)) < high:
                    at = next_one
                    continue
            at = min(low + stride, high - 1) if high == most + 1 else (low + high) // 2
        else:
            high = at
            at = max(high - stride, low + 1) if low == 0 else (low + high) // 2
        stride *= 2
    return low


def settle(fits: Callable[[int], bool], found: int, most: int) -> Edge:
    """Try both sides of an edge again, since a size there may fit in one run and not in the next.

    Parameters
    ----------
    fits : callable
    found : int
        As :func:`largest` has found it.
    most : int

    Returns
    -------
    largest : int
        The largest number that fitted each time; 0 where none did.
    sometimes : tuple of int
        The numbers above it that fitted in some tries.
    fails : int or None
        The smallest larger one that failed each time; None where ``most`` fits.
    """
    sometimes: list[int] = []
    while found and not all(fits(found) for _ in range(AGAIN)):
        sometimes.insert(0, found)
        found -= 1
    fails = found + len(sometimes) + 1
    while fails <= most and any(fits(fails) for _ in range(AGAIN)):
        sometimes.append(fails)
        fails += 1
    return found, tuple(sometimes), fails if fails <= most else None


def line(points: Sequence[tuple[int, int]]) -> dict[str, float] | None:
    """Bytes as a straight line of voxels, by least squares; None of fewer than two points.

    Returns
    -------
    dict
        ``bytes`` at no voxel, ``bytes_per_voxel``, and ``worst``, the largest relative distance of
        a point from the line.
    """
    voxels = np.array([x for x, _ in points], float)
    if len(np.unique(voxels)) < 2:
        return None
    sizes = np.array([y for _, y in points], float)
    slope, base = np.polyfit(voxels, sizes, 1)
    off = np.abs(base + slope * voxels - sizes) / np.maximum(sizes, 1)
    return {"bytes": float(base), "bytes_per_voxel": float(slope), "worst": float(off.max())}


def profile_memory(
    job: ProfileJob,
    limit: int | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Peak memory of training and inference, and the largest batch and patch under a cap.

    Parameters
    ----------
    job : ProfileJob
    limit : int, optional
        Bytes that training, and that inference may allocate.
    tell : callable
        Told of each try.

    Returns
    -------
    dict
        ``training`` and ``inference``: :func:`line` over patches of one shape, and its ``points``;
        with a limit ``limit``, and :func:`largest_under` it of training (``batch``, ``patch``) and
        of inference (``inference_batch``, ``inference_patch``).

    Raises
    ------
    KitsbenchError
        A try failed for another reason than memory.
    """
    found: dict[str, Any] = {}
    for kind in ("training", "inference"):
        points = _points(job, kind, limit, tell)
        found[kind] = {**(line(points) or {}), "points": points}
    if limit is None:
        return found
    found["limit"] = limit
    for kind, before in (("training", ""), ("inference", "inference_")):
        own = largest_under(job, limit, found[kind], kind == "training", tell)
        found |= {before + what: value for what, value in own.items()}
    return found


def _points(
    job: ProfileJob, kind: str, limit: int | None, tell: Callable[[str], None]
) -> list[tuple[int, int]]:
    """Voxels and bytes at batches of 1, 2, 4, and on until the voxels take most of the bytes.

    What libraries load in the first step comes and goes by tens of MiB, which is all that a tiny
    network takes at small batches.
    """
    points: list[tuple[int, int]] = []
    number = 1
    while len(points) < 3 or (
        number <= LARGEST_POINT
        and points[-1][1] < GROWN * points[0][1]
        and (limit is None or points[-1][1] < limit / 2)
    ):
        one = Load(job, job.spec.grids[0].shape, number, kind == "training")
        answer = carry(one)
        if not answer["fits"]:
            if len(points) >= 3:
                break
            raise KitsbenchError(f"{kind} with batch {number} needs more memory: {answer['why']}")
        points.append((one.voxels, int(answer["bytes"])))
        tell(f"{kind} with batch {number}: {points[-1][1] / 2**20:.0f} MiB")
        number *= 2
    return points


def largest_under(
    job: ProfileJob,
    limit: int,
    fitted: Mapping[str, Any],
    training: bool,
    tell: Callable[[str], None] = lambda text: None,
) -> dict[str, dict[str, Any]]:
    """The largest batch at a job's patch and the largest patch at its batch, under a cap.

    Parameters
    ----------
    job : ProfileJob
    limit : int
        Bytes that may be allocated.
    fitted : mapping
        As of :func:`line`: where the search begins.
    training : bool
        Steps of training, or forward passes in evaluation mode.
    tell : callable
        Told of each try.

    Returns
    -------
    dict
        ``batch`` and ``patch``: ``largest`` that fitted each time it was run, ``sometimes``, the
        next ones that fitted in some tries, and ``fails``, the one after them, which was tried and
        never fitted, with ``why``.
    """
    shape, batch = job.spec.grids[0].shape, job.recipe.batch
    room = max(limit - fitted["bytes"], 0) / max(fitted["bytes_per_voxel"], 1e-9)
    why: dict[tuple[Shape, int], str | None] = {}
    kind = "training" if training else "inference"
    sizes = [tuple(point) for point in fitted["points"]]

    def fits(load_: Load) -> bool:
        answer = carry(load_)
        if answer["fits"]:
            sizes.append((load_.voxels, int(answer["bytes"])))
        said = "fits" if answer["fits"] else "does not fit"
        patch = "x".join(map(str, load_.shape))
        tell(f"{kind}: patch {patch}, batch {load_.batch} {said} into {limit / 2**20:.0f} MiB")
        why[load_.shape, load_.batch] = answer["why"]
        return bool(answer["fits"])

    def of_batch(number: int) -> Load:
        return Load(job, shape, number, training, limit)

    known = shapes(job.spec)

    def of_patch(number: int) -> Load:
        return Load(job, known[number - 1], batch, training, limit)

    def better() -> int:
        # Through what takes nearly as much as the cap, the line is better than through less.
        near = line(sorted(sizes)[-2:])
        if near is None or near["bytes_per_voxel"] <= 0:
            return 0
        return int((limit - near["bytes"]) / near["bytes_per_voxel"] / float(np.prod(shape)))

    def settled(load_: Callable[[int], Load], guess: int, most: int, *better: Any) -> Edge:
        return settle(
            lambda number: fits(load_(number)),
            largest(lambda number: fits(load_(number)), guess, most, *better),
            most,
        )

    guess = int(room / float(np.prod(shape)))
    batches = settled(of_batch, guess, MOST_BATCH, better)
    guess = sum(bool(np.prod(one) * batch <= room) for one in known)
    places = settled(of_patch, guess, len(known))

    def told(edge: Edge, load_: Callable[[int], Load], of: Callable[[int], Any]) -> dict[str, Any]:
        best, sometimes, first = edge
        return {
            "largest": of(best) if best else None,
            "sometimes": [of(number) for number in sometimes],
            "fails": None if first is None else of(first),
            "why": None if first is None else why[load_(first).shape, load_(first).batch],
        }

    return {
        "batch": told(batches, of_batch, int),
        "patch": told(places, of_patch, lambda number: list(known[number - 1])),
    }
