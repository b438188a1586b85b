"""Networks carried out of kitsbench: what is written is what was trained."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import SMALL, call_kitsbench, environment, run_kitsbench, without_bytecode

from kitsbench.errors import KitsbenchError
from kitsbench.experiments.predict import open_trials
from kitsbench.exporting.networks import check_equal
from kitsbench.exporting.patch_model import PatchModel, example, predictor_of

KINDS = {"softmax": "Smallest", "regions": "Regions"}


@pytest.fixture(scope="module")
def work(phantom, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exported")
    files = []
    for kind, base in KINDS.items():
        file = folder / f"{kind}_net.py"
        file.write_text(
            f"from architectures import {base} as Base\n\n\nclass Plugin(Base):\n    pass\n",
            encoding="utf-8",
        )
        files.append(file)
    done = run_kitsbench(
        *("run", *files, "--dataset", phantom, *SMALL, "--folds", "0", "--seeds", "1"),
        *("--budget", "6steps", "--workdir", folder / "work", "--json"),
    )
    assert done.code == 0, done.err
    trials = {t["architecture"].split("/")[-1]: t["id"] for t in done.json["trials"]}
    return folder, {kind: trials[f"{kind}_net"] for kind in KINDS}


def exported(work, kind, out, *formats):
    folder, trials = work
    words = [word for name in formats for word in ("--to", name)]
    return call_kitsbench(
        *("export", trials[kind], "--workdir", folder / "work", "-o", out, *words),
        *("--plugin", folder / f"{kind}_net.py"),
    )


def trained(work, kind):
    folder, trials = work
    opened = open_trials(
        [folder / "work" / "trials" / trials[kind]],
        torch.device("cpu"),
        plugins=[folder / f"{kind}_net.py"],
    )
    return PatchModel(predictor_of(opened.trained, kind)).eval(), opened


@pytest.mark.parametrize("kind", KINDS)
def test_torchscript_and_onnx_give_what_the_trained_network_gives(work, kind, tmp_path):
    out = tmp_path / "out"
    done = exported(work, kind, out, "torchscript", "onnx")
    assert done.code == 0, done.err
    assert "torchscript: read back" in done.err
    model, opened = trained(work, kind)
    hu = example(opened.trained.predictors[0], seed=9, batch=2)
    with torch.no_grad():
        wanted = model(hu).numpy()
    script = torch.jit.load(str(out / "model.ts"))
    with torch.no_grad():
        assert np.abs(script(hu[:1]).numpy() - wanted[:1]).max() < 1e-5
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(out / "model.onnx"))
    (found,) = session.run(None, {"hu": hu.numpy()})
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 1e-3
    if kind == "softmax":
        assert np.abs(found.sum(1) - 1).max() < 1e-3


def test_the_rules_stand_beside_the_network_and_inside_of_it(work, tmp_path):
    out = tmp_path / "out"
    assert exported(work, "softmax", out, "torchscript").code == 0
    rules = json.loads((out / "kitsbench.json").read_text(encoding="utf-8"))
    inside = {"kitsbench.json": ""}
    torch.jit.load(str(out / "model.ts"), _extra_files=inside)
    assert json.loads(inside["kitsbench.json"]) == rules
    assert rules["input"]["spacing"] == [9.0, 9.0, 9.0]
    assert rules["input"]["patch"] == [16, 16, 16]
    assert rules["labels"] == {"kidney": 1, "tumor": 2}
    assert rules["decision"]["label_of_channel"] == [0, 1, 2]
    card = (out / "README.md").read_text(encoding="utf-8")
    assert work[1]["softmax"] in card
    assert "| kits19 | Tumour | Dice |" in card
    assert "read back" in card


def test_weights_are_those_of_the_network_and_rebuild_it_as_the_card_says(work, tmp_path):
    """The Python of the card, run in the folder, gives the very logits of the trained network."""
    out = tmp_path / "out"
    done = exported(work, "regions", out, "safetensors")
    assert done.code == 0, done.err
    assert sorted(file.name for file in out.iterdir()) == [
        "README.md", "kitsbench.json", "model.safetensors",
    ]  # fmt: skip
    card = (out / "README.md").read_text(encoding="utf-8")
    code = card.split("```python\n")[1].split("```")[0]
    assert "registry.load" in code
    shutil.copy(work[0] / "regions_net.py", out)
    checked = (
        "import torch\nfrom safetensors import safe_open\n"
        "with safe_open('model.safetensors', 'pt') as file:\n"
        "    assert json.loads(file.metadata()['kitsbench.json'])['plugin'] == made\n"
        "    print(sum(file.get_tensor(name).double().sum().item() for name in file.keys()))\n"
        "network.eval()\n"
        "torch.manual_seed(0)\n"
        "out, = network({'image': torch.rand(1, 1, 16, 16, 16)}).values()\n"
        "print(out.double().sum().item())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code + checked],
        cwd=out, env=environment(), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-2000:]
    weights, logits = map(float, ended.stdout.split())
    network = trained(work, "regions")[0].network
    state = network.state_dict()
    assert weights == pytest.approx(sum(v.double().sum().item() for v in state.values()))
    torch.manual_seed(0)
    with torch.no_grad():
        (wanted,) = network({"image": torch.rand(1, 1, 16, 16, 16)}).values()
    assert logits == pytest.approx(wanted.double().sum().item(), rel=1e-6)


def test_a_hub_reads_the_head_of_the_card(work, tmp_path):
    hub = pytest.importorskip("huggingface_hub")
    out = tmp_path / "out"
    assert exported(work, "softmax", out, "torchscript").code == 0
    head = hub.ModelCard.load(out / "README.md").data
    assert head.pipeline_tag == "image-segmentation"
    assert work[1]["softmax"][:8] in head.model_name
    dice = [r for r in head.eval_results if r.metric_type == "dice" and "kits19" in r.dataset_name]
    rules = json.loads((out / "kitsbench.json").read_text(encoding="utf-8"))
    assert rules["plugin"]["name"] == "softmax_net.py"
    shown = (out / "README.md").read_text(encoding="utf-8")
    for result in dice:
        name = result.metric_name.split(" Dice")[0]
        assert f"| kits19 | {name} | Dice | {result.metric_value:.3f} |" in shown
    assert len(dice) == 2


def test_a_bundle_segments_a_scan_without_kitsbench(work, phantom, tmp_path):
    """MONAI's own program gives nearly the label map that `kitsbench predict` gives."""
    import nibabel

    pytest.importorskip("monai")
    out = tmp_path / "out"
    done = exported(work, "regions", out, "monai-bundle")
    assert done.code == 0, done.err
    assert not (out / "model.ts").exists()  # it lies in the bundle
    folder, trials = work
    bundle = out / "monai-bundle"
    scan = sorted(Path(phantom).rglob("case_*/imaging.nii.gz"))[0]
    code = (
        "import sys; sys.modules['kitsbench'] = None\n"
        "from monai.bundle import run\n"
        f"run(config_file={str(bundle / 'configs/inference.json')!r}, "
        f"bundle_root={str(bundle)!r}, images=[{str(scan)!r}], "
        f"output_dir={str(tmp_path / 'eval')!r})"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    (file,) = (tmp_path / "eval").rglob("*.nii.gz")
    by_monai = nibabel.load(file)
    predicted = call_kitsbench(
        *("predict", trials["regions"], scan, "-o", tmp_path / "own"),
        *("--workdir", folder / "work", "--plugin", folder / "regions_net.py"),
    )
    assert predicted.code == 0, predicted.err
    (own_file,) = (tmp_path / "own").glob("*.nii.gz")
    own = nibabel.load(own_file)
    assert np.abs(by_monai.affine - own.affine).max() < 1e-3
    mine, theirs = np.asarray(own.dataobj), np.asarray(by_monai.dataobj).squeeze()
    assert mine.shape == theirs.shape
    assert (mine == theirs).mean() > 0.97
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert metadata["network_data_format"]["outputs"]["pred"]["num_channels"] == 2


def test_what_reads_back_otherwise_is_not_written(work):
    model, opened = trained(work, "softmax")
    patches = [example(opened.trained.predictors[0], seed=3)]
    assert check_equal(model, model, patches, 1e-6, "itself") == 0
    with pytest.raises(KitsbenchError, match=r"differs from the trained one by"):
        check_equal(lambda hu: model(hu) + 0.1, model, patches, 1e-3, "ONNX")
    with pytest.raises(KitsbenchError, match="differs"):
        check_equal(lambda hu: model(hu) * float("nan"), model, patches, 1e-3, "ONNX")
    with pytest.raises(KitsbenchError, match=r"gives \(1, 3, 15"):
        check_equal(lambda hu: model(hu)[:, :, 1:], model, patches, 1e-3, "ONNX")


LIMITED = """
import resource, sys
from kitsbench.cli import main

resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
main(sys.argv[1:])
"""


def test_a_full_disk_is_said_and_leaves_nothing(work, tmp_path):
    pytest.importorskip("resource")
    folder, trials = work
    words = ["export", trials["softmax"], "--workdir", folder / "work", "--to", "torchscript"]
    words += ["--plugin", folder / "softmax_net.py", "-o", tmp_path / "out"]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *map(str, words)],
        capture_output=True,
        text=True,
        env=without_bytecode(),
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("Error: ")
    assert "File too large" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_said(work, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").touch()
    done = exported(work, "softmax", full, "torchscript")
    assert done.code == 2
    assert "is there already" in done.err
    assert [file.name for file in full.iterdir()] == ["mine.txt"]
    done = call_kitsbench("export", "nothing", "-o", tmp_path / "x", "--workdir", work[0] / "work")
    assert done.code == 2
    assert "no trial or architecture 'nothing'" in done.err
