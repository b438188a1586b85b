"""What a network costs against what it cost before, for the tests of a plugin."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kitsbench.errors import UsageError
from kitsbench.files import read_json, write_json
from kitsbench.profiling.reading import company

EXACT = ("parameters", "flops_forward", "flops_step")
TIMES = ("train_step_ms", "inference_ms")
KEPT = (*EXACT, "patch", "batch")


def machine_of(row: Mapping[str, Any]) -> str:
    """What times are bound to: they say nothing on any other machine."""
    return f"{row['device_name']}, {row['threads']} threads, torch {row['conditions']['torch']}"


class Baseline:
    """What networks cost when the file was written; times for each machine by itself.

    Parameters
    ----------
    file : Path
        JSON; it need not be there.

    Raises
    ------
    UsageError
        The file is none of ours.
    """

    def __init__(self, file: Path):
        self.file = file
        self.content: dict[str, Any] = {}
        if not file.exists():
            return
        try:
            self.content = read_json(file)
        except (OSError, ValueError) as error:
            raise UsageError(f"{file} cannot be read ({error}): {self._remedy}") from error
        if not _is_baseline(self.content):
            raise UsageError(f"{file} holds no costs of networks: {self._remedy}")

    @property
    def _remedy(self) -> str:
        return "delete it, and the next run of the tests writes it again."

    def check(self, name: str, row: Mapping[str, Any], slower: float, more: float) -> list[str]:
        """What a network costs more than before, a sentence each; what is new is noted.

        Parameters
        ----------
        name : str
        row : mapping
            Its profile, with ``device_name``.
        slower, more : float
            Largest ratios of times, and of memory.
        """
        known = self.content.setdefault(name, {"counts": {}, "machines": {}})
        counts, machine = known["counts"], machine_of(row)
        found = [
            f"{key} is {_plain(row[key])} and was {_plain(counts[key])}"
            for key in KEPT
            if key in counts and _plain(counts[key]) != _plain(row[key])
        ]
        before = known["machines"].get(machine)
        if before is not None and not found:  # of another network, times say nothing
            found = self._slower(row, before, slower, more)
        if not found and (not counts or before is None):
            self.note(name, row)
        return found

    def _slower(
        self, row: Mapping[str, Any], before: Mapping[str, float], slower: float, more: float
    ) -> list[str]:
        if company(row) is not None:
            return []  # nothing is to be said about times; the caller warns
        found = []
        ratio = row["peak_memory_bytes"] / before["peak_memory_bytes"]
        if ratio > more:
            found.append(f"peak memory is {ratio:.2f} times what it was (at most {more:g})")
        for key in TIMES:
            ratio = row[key] / before[key]
            # Where the quartiles overlap, it is noise, however large the ratio.
            if ratio > slower and row[f"{key}_low"] > before[f"{key}_high"]:
                found.append(f"{key} is {ratio:.2f} times what it was (at most {slower:g})")
        return found

    def note(self, name: str, row: Mapping[str, Any]) -> None:
        """Keep what a network costs now; times only of a machine that was quiet."""
        known = self.content.setdefault(name, {"counts": {}, "machines": {}})
        counts = {key: _plain(row[key]) for key in KEPT}
        if known["counts"] != counts:
            known["machines"] = {}  # times of another network, which no machine is held to
        known["counts"] = counts
        if company(row) is not None:
            write_json(self.file, self.content)
            return
        spread = [f"{key}{end}" for key in TIMES for end in ("", "_low", "_high")]
        known["machines"][machine_of(row)] = {
            key: row[key] for key in (*spread, "peak_memory_bytes")
        }
        write_json(self.file, self.content)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _is_baseline(content: Any) -> bool:
    times = {f"{key}{end}" for key in TIMES for end in ("", "_low", "_high")}
    return isinstance(content, dict) and all(
        isinstance(one, dict)
        and isinstance(one.get("counts"), dict)
        and isinstance(one.get("machines"), dict)
        and all(
            isinstance(own, dict)
            and times | {"peak_memory_bytes"} <= set(own)
            and all(isinstance(value, int | float) and value > 0 for value in own.values())
            for own in one["machines"].values()
        )
        for one in content.values()
    )
