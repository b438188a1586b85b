"""A trial is trained by the plugin that it was planned with, or not at all."""

from __future__ import annotations

from experiments.small_requests import small_request

from kitsbench.experiments.executors.choose import choose_executor
from kitsbench.experiments.experiment import plan_experiment, run_experiment


def test_a_plugin_that_changed_since_the_plan_is_not_trained(phantom, tmp_path):
    (tmp_path / "net.py").write_text("from parts import Part\n\n\nclass Net(Part):\n    pass\n")
    (tmp_path / "parts.py").write_text("from architectures import Smallest as Part\n")
    request = small_request(tmp_path / "work", phantom, (tmp_path / "net.py",), steps=2)
    for changed in ("net.py", "parts.py"):
        experiment = plan_experiment(request)
        (task,) = experiment.tasks
        with open(tmp_path / changed, "a") as file:
            file.write("# a second thought\n")
        executor = choose_executor(request, experiment.machine)
        run_experiment(experiment, executor, lambda event: None)
        status = task.folder.read_status()
        assert (status.status, status.reason) == ("failed", "plugin error")
        assert "not the one that this trial was planned with" in status.message
        assert not (task.folder.path / "scores.parquet").exists()
