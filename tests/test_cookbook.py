"""The cookbook: every plugin keeps the contract, learns, and stands on its page."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import torch
from command_line import SMALL, call_kitsbench, run_kitsbench

from kitsbench import conformance, registry
from kitsbench.architecture import KITS21, Progress, System, Task, configure
from kitsbench.cli.verbs.new import cookbook

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "cookbook.md"
BOOK = {name: Path(str(file)) for name, file in cookbook().items()}
# What tells most for its time; the exhaustive test runs all checks.
CORE = {"spec is data", "grids and heads fit", "builds", "targets fit", "loss is finite"}


def needs_what_it_imports(path):
    if "monai" in path.read_text(encoding="utf-8") and not importlib.util.find_spec("monai"):
        pytest.skip("needs MONAI")


@pytest.fixture(params=list(BOOK))
def plugin_file(request):
    path = BOOK[request.param]
    needs_what_it_imports(path)
    return path


def test_the_page_shows_each_plugin_once():
    shown = re.findall(
        r"^```\{literalinclude\} (\S+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    # By name: the package under test may be installed elsewhere than the page's tree.
    assert sorted(path.name for path in BOOK.values()) == sorted(Path(path).name for path in shown)
    assert all((PAGE.parent / path).is_file() for path in shown)


def test_it_keeps_the_core_of_the_contract(plugin_file):
    found = conformance.checks(plugin_file)
    if not isinstance(registry.load(str(plugin_file)).architecture, System):
        found = [check for check in found if check.name in CORE]
        assert len(found) == len(CORE)
    for check in found:
        check()


def test_two_steps_change_what_it_gives(plugin_file):
    plugin = registry.load(str(plugin_file)).architecture
    if isinstance(plugin, System):
        pytest.skip("is not trained")
    spec = plugin.spec(configure(plugin, {"size": "tiny"}), Task(KITS21, (16, 16, 16)))
    torch.manual_seed(0)
    network = plugin.build(spec)
    inputs = {name: 0.5 + torch.rand(*shape) for name, shape in spec.input_shapes(2).items()}
    truth = {grid.name: torch.randint(0, 4, (2, *grid.shape)) for grid in spec.grids}
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    values = []
    for step in range(2):
        optimiser.zero_grad()
        targets = plugin.targets(truth, spec)
        loss, parts = plugin.loss(network(inputs), targets, Progress(step=step), spec)
        loss.backward()
        optimiser.step()
        values.append(loss.item())
        assert parts
    assert values[0] != values[1]
    with torch.no_grad():
        logits = network.eval()(inputs)[spec.primary.name][0]
    decoded = plugin.decode({spec.primary.name: logits.softmax(0)}, spec)
    assert tuple(decoded.shape) == spec.primary.shape


def segresnet_file(folder):
    """Weights of MONAI's SegResNet as size tiny has it, as somebody else may have stored them."""
    from monai.networks import nets

    file = folder / "segresnet.pt"
    torch.save(nets.SegResNet(init_filters=8, out_channels=8).state_dict(), file)
    return file


def test_pretrained_weights_find_their_places(tmp_path):
    needs_what_it_imports(BOOK["pretrained"])
    plugin = registry.load(str(BOOK["pretrained"])).architecture
    file = segresnet_file(tmp_path)
    config = configure(plugin, {"size": "tiny", "weights": str(file)})
    spec = plugin.spec(config, Task())
    network = plugin.build(spec)
    found = plugin.weights(network, {"weights": file}, spec)
    own = network.state_dict()
    assert {name: value.shape for name, value in found.items()} == {
        name: value.shape for name, value in own.items() if "features" in name
    }
    assert plugin.weights(network, {}, plugin.spec(configure(plugin), Task())) is None
    assert spec.pretrained_on


@pytest.mark.exhaustive
@pytest.mark.timeout(3600)
def test_it_goes_the_whole_way(plugin_file, tmp_path):
    """Check, run, profile, predict and report, by the command line and without a workaround."""
    checked = run_kitsbench("check", plugin_file, "--json")
    assert checked.code == 0, checked.json
    scans, work = tmp_path / "scans", tmp_path / "work"
    assert call_kitsbench("data", "phantom", scans, "--cases", "4").code == 0
    asked = ["--dataset", scans, "--workdir", work, *SMALL]
    paper = "paper=" in plugin_file.read_text(encoding="utf-8")
    weights = segresnet_file(tmp_path) if plugin_file.stem == "pretrained" else None
    entrant = plugin_file if weights is None else f"{plugin_file}:weights={weights}"
    run = run_kitsbench(
        "run", entrant, *asked, "--budget", "3steps", "--folds", "0", "--seeds", "1",
        *(["--recipe", "paper"] if paper else []), "--json",
    )  # fmt: skip
    assert run.code == 0, run.err
    assert [trial["status"] for trial in run.json["trials"]] == ["finished"]
    sizes = ["--patch", "16", "--device", "cpu", "--size", "tiny"]
    profiled = run_kitsbench(
        "profile", plugin_file, "--dataset", scans, "--workdir", work, *sizes, "--json"
    )
    assert profiled.code == 0, profiled.err
    if not isinstance(registry.load(str(plugin_file)).architecture, System):
        assert profiled.json[0]["flops_step"] > profiled.json[0]["flops_forward"] > 0
    if weights is not None:
        weights.unlink()  # nobody needs it once the training has begun
    image = next((scans / "data").glob("case_*/imaging.nii.gz"))
    out = tmp_path / "segmented"
    trial = run.json["trials"][0]["id"]
    predicted = run_kitsbench(
        "predict", trial, image, "-o", out, "--workdir", work, "--plugin", plugin_file
    )
    assert predicted.code == 0, predicted.err
    assert len(list(out.glob("*.nii.gz"))) == 1
    reported = run_kitsbench("report", work, "-o", tmp_path / "report")
    assert reported.code == 0, reported.err
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert plugin_file.stem in page.replace("<wbr>", "")
