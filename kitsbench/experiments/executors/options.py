"""Options of the executors that run trials on other machines.

``--slurm`` and ``--ray`` take the words of their cluster, ``--executor-option`` those that are
kitsbench's own, and the section ``[executor]`` of a configuration file takes either.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError, field_validator

from kitsbench.errors import UsageError
from kitsbench.experiments.executors.cluster_options import ClusterOptions
from kitsbench.experiments.executors.slurm_options import SlurmOptions, read_slurm_words
from kitsbench.files.foreign import brief


class RayOptions(ClusterOptions):
    """Options of ``--executor ray``.

    Attributes
    ----------
    address : str or None
        Of a running cluster, such as ``10.0.0.1:6379`` or ``auto``; by default what
        ``RAY_ADDRESS`` says, or a cluster of this machine alone that is started for the run.
    resources : dict of str to float
        Resources of a trial that nodes were started with (``ray start --resources``), by name.
    """

    address: str | None = None
    resources: dict[str, float] = Field(default_factory=dict)

    @field_validator("resources")
    @classmethod
    def _are_amounts(cls, given: dict[str, float]) -> dict[str, float]:
        for name, amount in given.items():
            if not 0 < amount < math.inf:
                raise ValueError(f"the amount of {name} must be above 0")
            if name in ("CPU", "GPU", "memory"):
                raise ValueError(f"{name} has an option of its own: num_cpus, num_gpus, memory")
        return given


KINDS: dict[str, type[ClusterOptions]] = {"ray": RayOptions, "slurm": SlurmOptions}


def read_options(executor: str, given: Mapping[str, Any]) -> ClusterOptions:
    """Check the options of an executor.

    Raises
    ------
    UsageError
        The executor has no such option, or a value is wrong.
    """
    kind = KINDS.get(executor)
    if kind is None:
        if given:
            raise UsageError(
                f"The executor '{executor}' has no options ({', '.join(given)} was given); use "
                "--jobs and --device."
            )
        return ClusterOptions.model_validate({})
    try:
        return kind.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            known = ", ".join(sorted(kind.model_fields))
            raise UsageError(
                f"The executor '{executor}' has no option '{brief(key)}'; it has {known}."
            ) from None
        rule = first["msg"].removeprefix("Value error, ")
        if not key:  # of several options together
            raise UsageError(f"The options of executor '{executor}' do not fit: {rule}.") from None
        raise UsageError(
            f"The option {brief(key)}={brief(first['input'])} of executor '{executor}' is wrong: "
            f"{rule}."
        ) from None


def read_cluster_words(
    executor: str, slurm: tuple[str, ...], ray: tuple[str, ...]
) -> dict[str, Any]:
    """Read what ``--slurm`` and ``--ray`` were given into options of the executor.

    Raises
    ------
    UsageError
        They are for another executor, or a word cannot be read.
    """
    for name, words in (("slurm", slurm), ("ray", ray)):
        if words and executor != name:
            raise UsageError(
                f"--{name} {brief(words[0])} is for --executor {name}; the executor is {executor}."
            )
    return read_slurm_words(slurm) if slurm else _ray_words(ray)


RAY_NAMES = {"num_cpus": "cpus", "num_gpus": "gpus"}


def _ray_words(words: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in split_pairs(words, plain=False).items():
        name = RAY_NAMES.get(key, key)
        if name in RayOptions.model_fields and name != "resources":
            found[name] = value
        else:
            found.setdefault("resources", {})[key] = value
    return found


def split_pairs(pairs: tuple[str, ...], plain: bool = True) -> dict[str, str]:
    """Read ``key=value`` texts; ``-`` in a key becomes ``_`` where it is one of our words.

    Raises
    ------
    UsageError
        A text has no ``=``.
    """
    found = {}
    for pair in pairs:
        key, sign, value = pair.partition("=")
        if not sign or not key.strip():
            raise UsageError(f"'{brief(pair)}' is no option of an executor; write key=value.")
        found[key.strip().replace("-", "_") if plain else key.strip()] = value
    return found
