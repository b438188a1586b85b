"""Every block of code on a page is run, or says why it is not."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
import pytest
from command_line import call_kitsbench
from pages import CODE, ELSEWHERE, PAGES, REASONS, ROOT, SHELL, Reader, blocks, to_run
from reporting.workdirs import Plan, write_workdir

from kitsbench import load
from kitsbench.cli import cli

BLOCKS = [block for page in PAGES for block in blocks(page)]
NAMED = {
    page.relative_to(ROOT).as_posix(): page
    for page in PAGES
    if any(block.language not in SHELL or block.to_run for block in to_run(page))
}
# What a shell understands; where a page shows output, no line may begin so.
COMMAND = re.compile(
    r"^(\$ |(sudo |nohup )?(kitsbench|pip3?|python3?|podman|apptainer|ray) )", re.M
)


def test_no_command_stands_where_nobody_runs_it():
    for block in BLOCKS:
        if block.language not in CODE:
            assert not COMMAND.search(block.text), f"{block}: make it a block `console`"
        elif block.language in SHELL:
            assert block.commands, block


def test_what_is_not_run_says_why_and_the_reason_holds():
    for block in BLOCKS:
        for reason in block.reasons:
            assert reason in REASONS, f"{block}: {reason!r} is no reason that counts"
            assert block.language in SHELL, f"{block}: Python is always run"
            held = [line for line in block.commands if re.search(REASONS[reason], line)]
            assert held, f"{block}: no command of it {reason}"
    given = {reason for block in BLOCKS for reason in block.reasons}
    assert given == set(REASONS)


def test_what_another_test_runs_is_named_there():
    for (page, language), test in ELSEWHERE.items():
        found = [block for block in blocks(ROOT / page) if block.language == language]
        assert found, (page, language)
        text = (ROOT / test).read_text(encoding="utf-8")
        assert Path(page).stem in text, f"{test} does not name {page}"
        assert language in text, f"{test} runs no {language}"


def test_most_of_what_pages_show_is_run():
    """So that reasons stay exceptions."""
    lines = [line for b in BLOCKS if b.language in SHELL for line in b.commands]
    left = [line for block in BLOCKS for line in block.commands if block.reason_of(line)]
    assert len(lines) > 150
    assert len(left) < len(lines) / 3


def test_every_command_is_understood():
    """All words of it, with their types and choices, as the command line reads them."""
    for block in BLOCKS:
        for line in block.commands if block.language in SHELL else ():
            words = shlex.split(line.removeprefix("nohup ").split(" > ")[0])
            if words[0].removeprefix(".venv/bin/") != "kitsbench":
                continue
            command, context = cli, cli.make_context("kitsbench", [], resilient_parsing=True)
            words = words[1:]
            while hasattr(command, "get_command"):
                name = words[0] if words else getattr(command, "default", None)
                found = command.get_command(context, name) if name else None
                if found is None:
                    break
                command, words = found, words[1:]
            command.make_context("kitsbench", [*words], parent=context)


def test_settings_of_the_pages_are_toml():
    found = [block for block in BLOCKS if block.language == "toml"]
    assert len(found) >= 4
    for block in found:
        assert tomllib.loads(block.text), block


# What pages call their data, and what stands in for it.
STAND_INS = {
    "DIR": "kits19",
    "path/to/kits19": "kits19",
    "path/to/kits23": "kits23",
    "/data/kits19": "kits19",
    "/shared/kits19": "kits19",
    "/mnt/other/kitsbench-work": "other/kitsbench-work",
    "nnUNet_results/...": "nnUNet_results/Dataset219_KiTS19",
    "msff_net": "residual_unet",
    "--all": "unet3d residual_unet",
    "my_net": "residual_unet",
}
OWN = {  # pages that make by themselves what others find
    "docs/plugin.md": {"my_net": "my_net", "plugin.py": "my_net/plugin.py"},
    "docs/trials.md": {"--all": "--all"},  # trials there, not architectures
    # Of the scans that the experiment was tested on.
    "leaderboards/README.md": {"labelsTs_out": "kits19"},
}
# What trains, builds or predicts: left to the exhaustive test, which leaves out nothing.
DEAR = {"run", "profile", "check", "report", "doctor", "install", "evaluate"}
# Pages of which even the cheap code takes seconds.
LONG = {f"docs/{name}.md" for name in ("planning", "phantom", "statistics", "datasets", "gpu")}
SMALL = {"--spacing": "9", "--patch": "16", "--split": "2", "--device": "cpu"}


def cheap(words: list[str]) -> list[str] | None:
    """What is added to a command in the quick test; None leaves it out."""
    if words[0] in ("predict", "export"):
        raise EOFError  # what follows works with the result
    if words[:2] == ["data", "phantom"]:
        return ["--cases", "4"] if len(words) == 5 else None
    dear = words[0] in DEAR or words[:2] == ["trials", "retry"]
    # A table that `evaluate` has not written cannot be compared.
    unknown = words[0] == "compare" and any(not Path(w).exists() for w in words[1:] if "csv" in w)
    return None if dear or unknown or "--predictions" in words else []


def whole(words: list[str]) -> list[str]:
    """What makes a command of a page small enough: later options go before those of the page."""
    if words[:2] == ["data", "phantom"]:
        return ["--cases", "6", *([] if "full" not in words else ["--size", "small"])]
    if words[:2] == ["data", "export"] and "--split" not in words:
        return ["--split", "2"]  # that of the label maps which nnU-Net is said to have left
    if words[0] == "profile":
        return ["--patch", "16"]
    if words[:2] == ["trials", "retry"] and not words[2].startswith("-"):
        # The page speaks of a trial that failed; that of the test has only lost its scores.
        for lost in Path("kitsbench-work/trials").glob(f"{words[2]}*/scores.parquet"):
            lost.unlink()
    if words[0] != "run":
        return []
    added = [word for pair in SMALL.items() if pair[0] not in words for word in pair]
    if "--experiment" in words or "--add" in words:
        added = []
    if "--budget" in words or "--add" not in words:
        added += ["--budget", f"{2 + 2 * ('--add' in words)}steps"]
    return added + (["--tune", "2"] if "--tune" in words else [])


@dataclass
class Stage:
    """A folder with what the pages take for granted."""

    folder: Path
    stand_ins: dict[str, str] = field(default_factory=dict)

    def reader(self, folder: Path, page: str, more) -> Reader:
        """Somebody who follows a page in a copy of it."""
        shutil.copytree(self.folder, folder, symlinks=True)
        own = {**self.stand_ins, **OWN.get(page, {})}
        return Reader(folder, {said: there for said, there in own.items() if said != there}, more)


def stage(folder: Path, phantom: Path, trained: bool) -> Stage:
    """Datasets, label maps of two methods, and a working directory with a finished experiment."""
    from kitsbench.data.phantom.dataset import write_phantom

    folder.mkdir()
    shutil.copytree(phantom, folder / "kits19")
    write_phantom(folder / "kits23", 6 if trained else 5, labels="kits23")
    (folder / "data").mkdir()
    for year in ("kits19", "kits23"):
        (folder / year / "phantom.json").unlink()  # pages speak of patients, whose numbers count
        (folder / "data" / year).symlink_to(folder / year)
    cases = sorted((folder / "kits23").rglob("case_*/segmentation.nii.gz"))
    for kind in ("truth", "predictions", "others"):
        (folder / kind).mkdir()
        for file in cases:
            labels = nibabel.load(file)
            drawn = np.asarray(labels.dataobj).astype(np.uint8)
            if kind != "truth":  # as if a method had seen all a voxel or two aside
                drawn = np.roll(drawn, 1 + (kind == "others"), axis=0)
            nibabel.save(
                nibabel.Nifti1Image(drawn, labels.affine),
                folder / kind / f"{file.parent.name}.nii.gz",
            )
    (folder / "seen.txt").write_text("case_00100\ncase_00101\n", encoding="utf-8")
    _nnunet(folder)
    work = folder / "kitsbench-work"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        if trained:
            words = [word for pair in SMALL.items() for word in pair]
            asked = ["--dataset", "kits19", "--seeds", "2", "--budget", "3steps", *words]
            done = call_kitsbench("run", "unet3d", "residual_unet", *asked)
            assert done.code == 0, done.err
        else:
            gaps = {"unet3d": 0.0, "residual_unet": 0.06}
            write_workdir(work, Plan(gaps, synthetic=False))
            (work / "report").mkdir()
            load(work).scores.to_csv(work / "report" / "scores.csv", index=False)
    shutil.copy(work / "report" / "scores.csv", folder / "scores.csv")
    _cases(folder)
    shutil.copytree(work, folder / "other" / "kitsbench-work", symlinks=True)
    trial = next((work / "trials").iterdir()).name[:8]
    scan = folder / "kits19" / "data" / "case_00000" / "imaging.nii.gz"
    made = {"3f9a12c0": trial, "3d26cb2a": trial, "scan.nii.gz": str(scan)}
    return Stage(folder, STAND_INS | made)


def _nnunet(folder: Path) -> None:
    """A dataset of nnU-Net's, and what it leaves of a cross-validation."""
    done = call_kitsbench(
        *("data", "export", folder / "kits19", "--split", "2"),
        *("-o", folder / "nnUNet_raw" / "Dataset220_KiTS"),
    )
    assert done.code == 0, done.err
    folds = json.loads((folder / "nnUNet_raw/Dataset220_KiTS/splits_final.json").read_text())
    trainer = "nnUNet_results/Dataset219_KiTS19/nnUNetTrainer__nnUNetPlans__3d_fullres"
    for number, fold in enumerate(folds):
        out = folder / trainer / f"fold_{number}" / "validation"
        out.mkdir(parents=True)
        for case in fold["val"]:
            file = folder / "nnUNet_raw/Dataset220_KiTS/labelsTr" / f"{case}.nii.gz"
            shutil.copy(file, out / file.name)


def _cases(folder: Path) -> None:
    """Properties of the cases of scores.csv, for strata; and scores by metrics of another tool."""
    import pandas as pd

    scores = pd.read_csv(folder / "scores.csv")
    names = sorted(set(scores["case"]))
    volumes = np.geomspace(2.0, 300.0, len(names))
    table = {"case": names, "tumor_volume_ml": volumes, "cyst_present": volumes > 20}
    pd.DataFrame(table).to_csv(folder / "cases.csv", index=False)
    ours = scores[(scores["metric"] == "dice") & (scores["region"] == "tumor")]
    ours = ours.assign(metric="ece", value=1 - ours["value"], status="ok")
    nsd = ours.assign(metric="nsd_2mm", value=1 - ours["value"])
    pd.concat([ours, nsd]).to_csv(folder / "calibrated.csv", index=False)


@pytest.fixture(scope="module")
def written(phantom, tmp_path_factory):
    return stage(tmp_path_factory.mktemp("written") / "stage", phantom, trained=False)


@pytest.fixture(scope="module")
def trained(phantom, tmp_path_factory):
    pytest.importorskip("kitsbench_plugins")
    return stage(tmp_path_factory.mktemp("trained") / "stage", phantom, trained=True)


@pytest.mark.parametrize("page", [page for page in NAMED if page not in LONG])
def test_the_cheap_code_of_a_page_runs(written, tmp_path, page):
    written.reader(tmp_path / "stage", page, cheap).follow(NAMED[page])


@pytest.mark.exhaustive
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", NAMED)
def test_all_code_of_a_page_runs(trained, tmp_path, page):
    reader = trained.reader(tmp_path / "stage", page, whole)
    expected = sum(
        1 if block.language == "python" else len(block.to_run) for block in to_run(NAMED[page])
    )
    assert reader.follow(NAMED[page]) == expected
