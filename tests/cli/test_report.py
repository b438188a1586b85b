"""``kitsbench report``."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from reporting.workdirs import Plan, write_workdir

from kitsbench.cli import cli, main


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    plan = Plan({"a": 0.0, "b": 0.1}, folds=1, showcase=0, predictions=False)
    return write_workdir(tmp_path_factory.mktemp("cli"), plan)


def test_it_says_where_it_writes(workdir, tmp_path):
    result = CliRunner().invoke(cli, ["report", str(workdir), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0
    assert result.output.strip() == str(tmp_path / "out" / "index.html")
    assert (tmp_path / "out" / "index.html").is_file()


def test_the_working_directory_is_kitsbench_work_by_default(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["report"])
    assert stop.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("Error: kitsbench-work holds no experiment.json")
    assert "Traceback" not in message
