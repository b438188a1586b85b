"""What a shell proposes, asked as a shell asks."""

from __future__ import annotations

import os
import subprocess
import sys

import click
import pytest
from click.shell_completion import ShellComplete
from reporting.workdirs import Plan, write_workdir

from kitsbench.cli import cli


def proposed(*words: str) -> list[str]:
    """What follows the last of some words, which may be half of one."""
    complete = ShellComplete(cli, {}, "kitsbench", "_KITSBENCH_COMPLETE")
    return [item.value for item in complete.get_completions([*words[:-1]], words[-1])]


def test_verbs_and_options():
    assert proposed("ru") == ["run"]
    assert "--budget" in proposed("run", "--bud")
    assert proposed("run", "--recipe", "p") == ["paper"]


def test_installed_architectures():
    pytest.importorskip("kitsbench_plugins")
    assert proposed("run", "attention_vnet_a") == ["attention_vnet_assembly"]
    assert {"unet3d", "scau_unet"} <= {*proposed("check", "")}
    assert proposed("run", "unet3d:wi") == []


def test_trials_and_experiments_of_the_working_directory(tmp_path, monkeypatch):
    work = tmp_path / "kitsbench-work"
    for folder in ("trials/3d26cb2a00000000", "trials/77aa000000000000", "experiments/0b0b"):
        (work / folder).mkdir(parents=True)
    (work / "trials" / "3d-a-file").touch()
    monkeypatch.chdir(tmp_path)
    assert proposed("trials", "retry", "3") == ["3d26cb2a00000000"]
    assert proposed("trials", "log", "7") == ["77aa000000000000"]
    assert proposed("predict", "77") == ["77aa000000000000"]
    assert proposed("report", "--experiment", "") == ["0b0b"]
    monkeypatch.chdir(work)
    assert proposed("trials", "retry", "3") == []
    for where in ([str(work)], ["--workdir", str(work)]):
        assert proposed("trials", "list", *where, "--experiment", "") == ["0b0b"]
        assert proposed("report", *where, "--experiment", "") == ["0b0b"]
    assert proposed("run", "--workdir", str(work), "--experiment", "0") == ["0b0b"]


def test_what_can_be_looked_at(tmp_path, monkeypatch):
    work = write_workdir(tmp_path / "work", Plan({"a": 0.0}, folds=2, seeds=1, showcase=0))
    trial = sorted(folder.name for folder in (work / "trials").iterdir())[0]
    damaged = work / "trials" / ("0" * 16)
    damaged.mkdir()
    (damaged / "trial.json").write_text('{"context": {"test_cases": ["two\\nlines", "fine"]}}')
    (work / "trials" / "nothing").mkdir()
    where = ("view", "--workdir", str(work))
    cases = [f"case_{number:05d}" for number in range(8)]
    assert [word for word in proposed(*where, "case_") if word != trial] == cases
    assert proposed(*where, "case_00003") == ["case_00003"]
    assert proposed(*where, trial[:6]) == [trial]
    assert proposed(*where, "f") == ["fine"]
    assert proposed(*where, "tw") == ["tw"]  # a file's name
    monkeypatch.chdir(tmp_path)
    assert proposed("view", "case_") == ["case_"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_a_script_and_no_library_is_imported(shell, monkeypatch):
    if shell == "bash" and os.name != "posix":
        pytest.skip("needs bash")
    code = (
        "import sys; from kitsbench.cli import cli\n"
        "try: cli.main(['kitsbench'], prog_name='kitsbench')\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'pandas'} & {*sys.modules}"
    )
    # fish hands over the word itself, the others its number
    half = "unet" if shell == "fish" else "2"
    words = {"COMP_WORDS": "kitsbench run unet", "COMP_CWORD": half}
    for step in ("source", "complete"):
        env = {**os.environ, **words, "_KITSBENCH_COMPLETE": f"{shell}_{step}"}
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=100
        )
        assert done.returncode == 0, done.stderr
        assert "kitsbench" in done.stdout or "unet3d" in done.stdout


def test_every_verb_can_be_completed():
    context = click.Context(cli)
    for verb in cli.list_commands(context):
        assert isinstance(proposed(verb, "--"), list)
