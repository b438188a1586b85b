"""Runs of MLflow: one for each trial, by MLflow's own client."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kitsbench.experiments.logs.scalars import Run, Scalar
from kitsbench.files import digest

URI = "MLFLOW_TRACKING_URI"
DATABASE = "mlflow.db"
EXPERIMENT = "kitsbench"  # where MLFLOW_EXPERIMENT_NAME names no other
TRIAL, PLACE = "kitsbench.trial", "kitsbench.workdir"  # tags by which a run is found again
STATUS = {"finished": "FINISHED", "failed": "FAILED", "killed": "KILLED"}
AT_ONCE = 1000  # numbers that a server takes in one request
# Nobody is told what is done here, and a server that is away is given up after some seconds.
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_LOGGING_LEVEL": "WARNING",  # what it says of its database would break into a table
}


def settle() -> None:
    """Set what MLflow reads when it is imported, unless the user has."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)


def is_local() -> bool:
    """Whether the runs go into the working directory."""
    return not os.environ.get(URI)


class MLflow:
    """Writes where ``MLFLOW_TRACKING_URI`` says, by default a database in the working directory.

    Parameters
    ----------
    workdir : Path
    """

    def __init__(self, workdir: Path):
        settle()
        from mlflow import MlflowClient

        root = Path(workdir).resolve()
        self.place = os.environ.get(URI) or f"sqlite:///{root / DATABASE}"
        self._place = digest(str(root))
        self._client = MlflowClient(tracking_uri=self.place)
        self._experiment = self._find_experiment(root)
        self._runs: dict[str, str] = {}
        self._open: set[str] = set()

    def _find_experiment(self, root: Path) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        # Else artifacts of a local store would lie in whatever folder this was called from.
        local = (root / "mlflow").as_uri() if is_local() else None
        return str(self._client.create_experiment(name, artifact_location=local))

    def _find(self, run: Run) -> Any:
        wanted = f"tags.`{TRIAL}` = '{run.id}' and tags.`{PLACE}` = '{self._place}'"
        found = self._client.search_runs([self._experiment], wanted, max_results=1)
        return found[0] if found else None

    def known(self, run: Run) -> dict[str, int]:
        """The last step of each number, as the store has it."""
        found = self._find(run)
        if found is None:
            return {}
        own = self._runs[run.id] = str(found.info.run_id)
        return {
            key: max((one.step for one in self._client.get_metric_history(own, key)), default=-1)
            for key in found.data.metrics
        }

    def write(self, run: Run, scalars: Sequence[Scalar]) -> None:
        """Send numbers; the run is made when there is something to send."""
        from mlflow.entities import Metric

        own = self._runs.get(run.id) or self._begin(run)
        if run.id not in self._open:  # it may have ended in an earlier call
            self._client.update_run(own, status="RUNNING")
            self._open.add(run.id)
        numbers = [
            Metric(one.tag, one.value, int(1000 * (run.began + one.seconds)), one.step)
            for one in scalars
        ]
        for begin in range(0, len(numbers), AT_ONCE):
            self._client.log_batch(own, metrics=numbers[begin : begin + AT_ONCE])

    def _begin(self, run: Run) -> str:
        from mlflow.entities import Param

        made = self._client.create_run(
            self._experiment,
            start_time=int(1000 * (run.began or time.time())),
            tags={TRIAL: run.id, PLACE: self._place},
            run_name=run.title,
        )
        own = self._runs[run.id] = str(made.info.run_id)
        params = [Param(key, value) for key, value in run.facts.items()]
        self._client.log_batch(own, params=params)
        return own

    def end(self, run: Run, status: str) -> None:
        """Say how the trial ended."""
        own = self._runs.get(run.id)
        if own is not None and self._client.get_run(own).info.status == "RUNNING":
            self._client.set_terminated(own, STATUS[status])
        self._open.discard(run.id)

    def close(self) -> None:
        """Nothing is held."""
