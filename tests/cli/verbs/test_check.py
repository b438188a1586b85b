"""``kitsbench check``."""

from __future__ import annotations

import architectures
import pytest
import torch
import torch._dynamo
import torch._inductor.compile_fx
from command_line import call_kitsbench

from kitsbench import conformance

GOOD = """
print("a plugin that talks")
from torch import nn
from kitsbench.architecture import Architecture, Plain

class Own(Architecture):
    def build(self, spec):
        print("and talks while it builds")
        layers = [nn.Conv3d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv3d(16, spec.classes, 1)]
        return Plain(nn.Sequential(*layers))
"""
BAD = GOOD.replace("return Plain(nn.Sequential(*layers))", "return nn.Sequential(*layers)")
WAITING = f"""{GOOD}
    def loss(self, outputs, targets, progress, spec):
        loss, parts = super().loss(outputs, targets, progress, spec)
        return loss, {{name: float(part) for name, part in parts.items()}}
"""


def test_a_file_that_keeps_the_contract_and_what_its_author_will_want_to_know(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(WAITING)
    done = call_kitsbench("check", path)
    assert done.code == 0
    text = " ".join(done.out.split())
    assert f"own keeps the contract: {len(conformance.checks(path))} checks passed." in text
    line = len(WAITING.splitlines())
    hint = f"makes the host wait for a GPU: `float()` at own.py:{line}; keep it a tensor."
    assert f"ok ready for a gpu: loss() {hint}" in text


def test_a_file_that_does_not_has_exit_code_1_and_a_sentence(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(BAD)
    done = call_kitsbench("check", path, "--json")
    assert done.code == 1
    document = done.json
    assert document["architecture"] == "own"
    assert document["passed"] is False
    assert all(set(check) == {"name", "passed", "message"} for check in document["checks"])
    assert any("Plain" in c["message"] for c in document["checks"] if not c["passed"])
    done = call_kitsbench("check", path)
    assert done.code == 1
    assert "FAILED builds: forward does not take {grid name: tensor}" in done.out
    assert "own does not keep the contract" in done.out


def test_an_installed_architecture_with_settings():
    done = call_kitsbench("check", "residual_unet:depth=3", "--labels", "kits21")
    assert done.code == 0
    assert "residual_unet keeps the contract" in done.out


def test_a_file_that_cannot_be_imported_is_a_failed_check(tmp_path):
    path = tmp_path / "own.py"
    path.write_text("import not_there_at_all")
    done = call_kitsbench("check", path)
    assert done.code == 1
    assert "not_there_at_all" in done.out


@pytest.mark.parametrize("name", ["nothing.py", "unet4d", "unet3d:colour=red"])
def test_what_is_not_there_is_a_usage_error(name):
    done = call_kitsbench("check", name)
    assert done.code == 2
    # On a busy machine it has said before that it is checking.
    assert [line for line in done.err.splitlines() if line.startswith("Error: ")]


def test_compiling_is_checked_on_request(monkeypatch):
    torch._dynamo.reset()
    try:
        for takes, passed in ((lambda module, inputs: module.forward, True), (_refuse, False)):
            monkeypatch.setattr(torch._inductor.compile_fx, "compile_fx", takes)
            check = conformance.checks(architectures.Smallest, compile=True)[-1]
            found = check.outcome()
            assert (found.name, found.passed) == ("compiles", passed)
        assert "nothing of the network ran compiled" in found.message
        assert "Leave --compile out" in found.message
    finally:
        torch._dynamo.reset()
    assert "compiles" not in [str(check) for check in conformance.checks(architectures.Smallest)]


def _refuse(module, inputs):
    raise RuntimeError("no such kernel")
