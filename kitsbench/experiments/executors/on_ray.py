"""Executor ``ray``: trials as tasks of a Ray cluster."""

from __future__ import annotations

import contextlib
import difflib
import logging
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kitsbench.errors import UsageError
from kitsbench.experiments.executors.cluster import Ended
from kitsbench.experiments.executors.options import RayOptions
from kitsbench.files.foreign import brief
from kitsbench.optional import require

PATIENCE = 10.0  # seconds in which a cluster must take a connection
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
CAUSE = re.compile(r"[\w.]+(Error|Exception): ")
WORDS = ("num_cpus", "num_gpus", "memory", "address")


def call(work: Callable[[], Any]) -> Any:
    """Body of a Ray task."""
    return work()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what parts of Ray print while it connects: they write past Python, and repeat it."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def see_that_it_answers(address: str) -> None:
    """Refuse a place where nobody listens: Ray would try for long, and print what its parts say.

    Parameters
    ----------
    address : str
        As Ray takes it.

    Raises
    ------
    UsageError
        It is no address, has a name that nobody knows, or nothing listens there.
    """
    kind, sign, place = address.rpartition("://")
    if place in ("auto", "local") or (sign and kind != "ray"):
        return
    host, _, port = place.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(
            f"'{brief(address)}' is no address of a Ray cluster: write HOST:PORT, such as "
            "10.0.0.1:6379, or auto."
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()
    except (OSError, UnicodeError) as error:  # the second of a name that no host can have
        why = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"There is no Ray cluster at '{brief(address)}' ({why}). Start one with `ray start "
            "--head` and name its address."
        ) from error


def _said_of(address: str) -> str:
    """What may be wrong where somebody listens at an address, and Ray does not connect."""
    said = ""
    host = address.rpartition("://")[2].rpartition(":")[0].strip("[]")
    if host in ("localhost", "127.0.0.1", "::1"):
        said += (
            f" Ray takes {host} for this machine's own address, where a cluster that was started "
            "with --node-ip-address does not listen."
        )
    if "RAY_AUTH_MODE" not in os.environ:
        said += " If the cluster asks for a token, set RAY_AUTH_MODE=token here too."
    return said


def _telling_line(text: str) -> str:
    """Of what Ray says the exception behind it, such as a module that a node lacks."""
    lines = [line.strip() for line in COLOUR.sub("", text).splitlines() if line.strip()]
    return next((line for line in lines[::-1] if CAUSE.match(line)), (lines or [""])[0])


class RayBackend:
    """Gives work to a Ray cluster.

    Parameters
    ----------
    options : RayOptions
    cpus, gpus : int
        What a trial takes of a node.

    Raises
    ------
    UsageError
        Ray is not installed, there is no cluster at the address, or no node could ever hold a
        trial.
    """

    lasting = False  # Ray ends the tasks of a driver that is gone

    def __init__(self, options: RayOptions, cpus: int, gpus: int):
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        self.ray = require("ray", "ray")
        address = options.address or os.environ.get("RAY_ADDRESS")
        if not self.ray.is_initialized():
            # What a worker prints goes to the trial's own log.
            self._connect(address)
        wanted = {"CPU": float(cpus), "GPU": float(gpus)}
        if options.memory_bytes is not None:
            wanted["memory"] = float(options.memory_bytes)
        wanted |= options.resources
        self._check(wanted)
        self._body = self.ray.remote(
            num_cpus=cpus,
            num_gpus=gpus,
            memory=options.memory_bytes,
            resources=options.resources or None,
            max_calls=1,  # the process ends with the trial, and frees the GPU
            max_retries=0,  # the driver counts the attempts
        )(call)

    def _connect(self, address: str | None) -> None:
        if address is not None:
            see_that_it_answers(address)
        where: dict[str, Any] = {"address": address}
        if address is None:
            where = {"address": "local", "include_dashboard": False}
        try:
            with quiet():
                self.ray.init(**where, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:  # ConnectionError, ValueError, RuntimeError: by Ray's version
            text = (str(error).strip().splitlines() or [repr(error)])[0]
            if address is None:
                raise UsageError(
                    f"Ray did not start on this machine ({text}). Start it with `ray start "
                    "--head` and name its address, or use --executor local."
                ) from error
            raise UsageError(
                f"There is no Ray cluster at '{address}' ({text}).{_said_of(address)} Start one "
                "with `ray start --head` and name its address."
            ) from error

    def _check(self, wanted: dict[str, float]) -> None:
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        for node in nodes:
            if all(node.get(key, 0) >= amount for key, amount in wanted.items()):
                return
        asked = ", ".join(f"{amount:g} {key}" for key, amount in wanted.items() if amount)
        known = sorted({key for node in nodes for key in node if not key.startswith("node:")})
        hints = [
            f" '{key}' is no resource of any of them: did you mean {' or '.join(near)}?"
            for key in wanted
            if key not in {*known, "GPU", "memory"}
            if (near := difflib.get_close_matches(key, [*WORDS, *known], n=2, cutoff=0.7))
        ]
        raise UsageError(
            f"A trial wants {asked}, and none of the {len(nodes)} nodes of the Ray cluster has "
            f"that.{''.join(hints)} Add a node (resources of your own: ray start --resources), or "
            "ask for less with --ray num_cpus=, num_gpus=, memory= or the resource's name."
        )

    def submit(self, work: Sequence[Any], trials: Sequence[str] = ()) -> list[Any]:
        """Queue callables; returns Ray's references."""
        return [self._body.remote(one) for one in work]

    def poll(self, handle: Any) -> Ended | None:
        """How the work ended, or None while it waits or runs."""
        ready, _ = self.ray.wait([handle], timeout=0)
        if not ready:
            return None
        try:
            return Ended(self.ray.get(handle))
        except self.ray.exceptions.RayError as error:
            return Ended(None, f"{type(error).__name__}: {_telling_line(str(error))}")

    def cancel(self, handle: Any) -> None:
        """Stop work wherever it is."""
        self.ray.cancel(handle, force=True)

    def forget(self, handle: Any) -> None:
        """Nothing of it is kept."""
