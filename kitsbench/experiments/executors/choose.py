"""From a request to the machine that it runs on, and to the executor that runs its trials there."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

from kitsbench.devices.precision import Precision, choose_precision
from kitsbench.errors import DataError, UsageError
from kitsbench.experiments.asked.request import Request, Tell
from kitsbench.experiments.asked.resolve import is_timed
from kitsbench.experiments.executors.cluster import Backend, ClusterExecutor
from kitsbench.experiments.executors.cluster_options import ClusterOptions
from kitsbench.experiments.executors.events import Executor
from kitsbench.experiments.executors.local import LocalExecutor
from kitsbench.experiments.executors.options import RayOptions, read_options
from kitsbench.experiments.executors.sbatch_names import check_names
from kitsbench.experiments.executors.slurm_options import SlurmOptions
from kitsbench.experiments.executors.work import Terms
from kitsbench.experiments.machines.environment import usable_cores
from kitsbench.experiments.machines.machine import Machine, Node, look_around, this_machine
from kitsbench.files import digest


@dataclass(frozen=True)
class Probe:
    """Looks at the device that a worker gets."""

    threads: int

    def __call__(self) -> Node:
        """What this process would train on."""
        return look_around(self.threads)


def choose_machine(request: Request, tell: Tell) -> Machine:
    """What the trials will run on.

    A node of a cluster is looked at through a job of its own when the plan depends on it: when
    the kind of device is left open, or a time budget is bound to its class. What was found is kept
    in the working directory.

    Raises
    ------
    UsageError
        The devices or the cluster that were asked for are not there.
    """
    options = read_options(request.executor, request.executor_options)
    if request.executor == "local":
        return this_machine(request)
    if isinstance(options, SlurmOptions):
        check_names(options)
    if request.device not in ("auto", "cpu", "cuda"):
        raise UsageError(
            f"--device {request.device} names GPUs of one machine; with --executor "
            f"{request.executor} the cluster gives them out. Use --device cuda."
        )
    if request.device != "auto" and not is_timed(request):
        name = f"{request.device} of {request.executor}"
        # No node was looked at. What most GPUs of clusters are made for has to do; for older ones
        # a user says it.
        best: Precision = "bfloat16" if request.device == "cuda" else "float32"
        precision = choose_precision(request.precision, request.device, best)
        return Machine(request.device, name, options.cpus, name, request.jobs, precision=precision)
    found = _probed(request, options, tell)
    kind = found.kind if request.device == "auto" else request.device
    if kind == "cuda" and found.kind != "cuda":
        raise UsageError(
            f"A worker of {request.executor} finds no CUDA device; ask for GPUs with "
            "--executor-option gpus=1 (or --slurm gres=gpu:1, and a partition that has them), or "
            "use --device cpu."
        )
    name, bound = (
        (found.cpu_name, found.cpu_class) if kind == "cpu" else (found.name, found.device_class)
    )
    best = "float32" if kind == "cpu" else found.precision
    precision = choose_precision(request.precision, kind, best)
    return Machine(kind, name, options.cpus, bound, request.jobs, precision=precision)


def _probed(request: Request, options: ClusterOptions, tell: Tell) -> Node:
    key = digest([request.executor, options.model_dump(), request.device, request.world_size])
    file = request.workdir / "machines" / f"{key}.json"
    with contextlib.suppress(DataError):  # missing or damaged: it is looked at again
        return Node.read(file)
    tell(f"Looking at a node of {request.executor} ...")
    kind = "cpu" if request.device == "cpu" else "cuda" if options.gpus != 0 else "cpu"
    elsewhere = isinstance(options, SlurmOptions) and options.gpus_elsewhere
    if request.device == "auto" and options.gpus is None and not elsewhere:
        kind = "cpu"  # whoever wants GPUs of a cluster says how many, or --device cuda
    backend = open_backend(request, options, kind)
    (handle,) = backend.submit([Probe(options.cpus)], ())
    try:
        while (ended := backend.poll(handle)) is None:
            time.sleep(0.3)
    except BaseException:
        backend.cancel(handle)
        raise
    if ended.result is None:
        raise UsageError(f"A worker of {request.executor} could not be looked at: {ended.why}")
    found: Node = ended.result
    found.write(file)
    return found


def open_backend(request: Request, options: ClusterOptions, kind: str) -> Backend:
    """Connect to the cluster that a request names."""
    cpus = options.cpus * request.world_size
    gpus = options.gpus
    if gpus is None:
        gpus = request.world_size if kind == "cuda" else 0
    if isinstance(options, RayOptions):
        from kitsbench.experiments.executors.on_ray import RayBackend

        return RayBackend(options, cpus, gpus)
    assert isinstance(options, SlurmOptions)
    from kitsbench.experiments.executors.on_slurm import SlurmBackend

    if options.gpus_elsewhere:
        gpus = 0
    throttle = request.jobs if options.cluster == "slurm" else None
    return SlurmBackend(options, request.workdir / "jobs", cpus, gpus, throttle)


def choose_executor(request: Request, machine: Machine) -> Executor:
    """What runs the trials.

    Raises
    ------
    UsageError
        The cluster does not answer, or a package is missing.
    """
    if request.executor == "local":
        return LocalExecutor(machine.slots, machine.threads, request.timeout)
    options = read_options(request.executor, request.executor_options)
    jobs, terms = request.jobs, None
    if isinstance(options, SlurmOptions):
        terms = Terms(options.seconds, options.warning_seconds, options.requeues)
        if options.cluster == "slurm":
            jobs = None  # Slurm gets all and holds them back, so that they need nobody here
        elif jobs is None:
            jobs = usable_cores()  # nothing else would hold the processes back
    return ClusterExecutor(
        open_backend(request, options, machine.kind),
        machine.kind,
        machine.threads,
        request.world_size,
        jobs,
        options.retries,
        request.timeout,
        terms,
    )
