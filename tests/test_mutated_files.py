"""Whatever happens to a file that is read: exit code 2, the file named, and never a traceback.

Three hundred mutations of each kind of file; a short version runs by default. A mutation may leave
a file right, such as one of a comment; then the command succeeds.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import call_kitsbench
from evaluation.save_maps import save_map
from hostile import unseen
from mutations import BYTES, TEXT, mutate
from reporting.workdirs import Plan, write_workdir

from kitsbench.errors import DataError
from kitsbench.files.foreign import brief
from kitsbench.leaderboard import add_entries

CASES = [f"case_{number:05d}" for number in range(4)]
CONFIG = """# what a run may be told
budget = "30steps"
spacing = [3, 0.78, 0.78]
folds = [0, 1]
seeds = 2
timeout = 600.5
recipe = "matched"

[tune]
trials = 4
lr_factor = [0.1, 10.0]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A whole file of each kind, and what reads it."""
    return Samples(tmp_path_factory.mktemp("files"))


class Samples:
    """Files of each kind, each with the command that reads it."""

    def __init__(self, folder: Path):
        self.folder = folder
        maps = np.zeros((3, 5, 5), np.uint8)
        maps[1, 1:4, 1:4], maps[1, 2, 2] = 1, 2
        for case in CASES:
            save_map(folder / "data" / case / "segmentation.nii.gz", maps)
            save_map(folder / "data" / case / "imaging.nii.gz", maps)
        for case in CASES[:2]:
            save_map(folder / "maps" / f"{case}.nii.gz", maps)
            save_map(folder / "truth" / case / "segmentation.nii.gz", maps)
        work = write_workdir(folder / "work", Plan({"a": 0.0}, folds=1, predictions=False))
        self.board = folder / "boards" / "board"
        (self.first,) = add_entries(work, self.board)

    def json(self) -> tuple[Path, tuple[object, ...]]:
        file = self.folder / "splits_final.json"
        folds = [{"train": CASES[:2], "val": CASES[2:]}, {"train": CASES[2:], "val": CASES[:2]}]
        file.write_text(json.dumps(folds, indent=2))
        return file, ("data", "split", self.folder / "data", file)

    def entry(self) -> tuple[Path, tuple[object, ...]]:
        return self.first, ("leaderboard", "check", self.board)

    def toml(self) -> tuple[Path, tuple[object, ...]]:
        file = self.folder / "run.toml"
        file.write_text(CONFIG)
        # The plan comes after the options; without an architecture nothing is begun.
        return file, ("run", "--config", file, "--help")

    def claims(self) -> tuple[Path, tuple[object, ...]]:
        import kitsbench.claims as claims

        file = self.folder / "claims.toml"
        text = (Path(claims.__file__).parent / "statements.toml").read_text(encoding="utf-8")
        file.write_text(text[: text.index("[[claim]]", 3000)], encoding="utf-8")
        return file, ("claims", self._scores(".csv"), "--registry", file)

    def _scores(self, suffix: str) -> Path:
        rng = np.random.default_rng(0)
        rows = [
            (name, fold, seed, case, "tumor", "dice", round(float(rng.uniform(0.4, 0.9)), 3), "ok")
            for name in ("a", "b")
            for fold, cases in enumerate((CASES[:2], CASES[2:]))
            for seed in range(2)
            for case in cases
        ]
        columns = ["architecture", "fold", "seed", "case", "region", "metric", "value", "status"]
        table, file = pd.DataFrame(rows, columns=columns), self.folder / f"scores{suffix}"
        table.to_csv(file, index=False) if suffix == ".csv" else table.to_parquet(file)
        return file

    def csv(self) -> tuple[Path, tuple[object, ...]]:
        file = self._scores(".csv")
        return file, ("compare", file)

    def parquet(self) -> tuple[Path, tuple[object, ...]]:
        file = self._scores(".parquet")
        return file, ("compare", file)

    def nifti(self) -> tuple[Path, tuple[object, ...]]:
        file = self.folder / "maps" / "case_00000.nii.gz"
        words = ("evaluate", self.folder / "maps", self.folder / "truth", "--protocol", "kits19")
        return file, (*words, "--jobs", "1", "--metrics", "dice")


def spoiled(kind: str, content: bytes, number: int) -> bytes:
    """The content after a mutation: of a NIfTI file its header, mostly."""
    if kind != "nifti":
        return mutate(content, number, BYTES if kind == "parquet" else TEXT)
    plain = gzip.decompress(content)
    if number % 4 == 0:
        return mutate(content, number, BYTES)  # of the packed bytes
    return gzip.compress(mutate(plain[:352], number, BYTES) + plain[352:])


KINDS = ("json", "entry", "toml", "claims", "csv", "parquet", "nifti")


def see(place: Samples, kind: str, numbers: range) -> None:
    file, command = getattr(place, kind)()
    whole = file.read_bytes()
    assert call_kitsbench(*command).code == 0
    refused = 0
    try:
        for number in numbers:
            file.write_bytes(spoiled(kind, whole, number))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of numpy, about numbers that make no sense
                done = call_kitsbench(*command)
            told = f"{kind} {number}: {done.code} {done.out[-300:]} {done.err[-2000:]}"
            assert done.code in (0, 2), told
            assert "Traceback" not in done.err, told
            assert unseen(done.out + done.err) == [], told
            if done.code == 2:
                refused += 1
                assert file.name in done.err + done.out, told
                assert len(done.err.strip().splitlines()) <= 3, told
    finally:
        file.write_bytes(whole)
    assert refused > len(numbers) // 4, f"{kind}: {refused} of {len(numbers)} refused"


@pytest.mark.parametrize("kind", KINDS)
def test_some_mutations(place, kind):
    see(place, kind, range(12))


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", KINDS)
def test_three_hundred_mutations(place, kind):
    see(place, kind, range(1000, 1300))


# -- what is no file of bytes -----------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["folder", "pipe", "device", "nothing", "loop"])
def test_another_thing_in_place_of_a_file(place, kind, what):
    file, command = getattr(place, kind)()
    whole = file.read_bytes()
    file.unlink()
    try:
        if what == "folder":
            file.mkdir()
        elif what == "pipe":
            os.mkfifo(file)
        elif what == "device":
            file.symlink_to("/dev/zero")
        elif what == "loop":
            file.symlink_to(file)
        done = call_kitsbench(*command)
        assert "Traceback" not in done.err
        if kind == "entry" and what in ("nothing", "loop"):
            return  # a board with an entry less
        assert done.code == 2, done.out + done.err
        assert file.name.removesuffix(".nii.gz") in done.err + done.out
    finally:
        shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
        file.write_bytes(whole)


# -- weights ----------------------------------------------------------------------------------


def checkpoint(folder: Path) -> Path:
    import torch

    from kitsbench.training.checkpoints.checkpoint import save_checkpoint

    model = {"model.weight": torch.ones(3, 4), "model.bias": torch.zeros(3)}
    return save_checkpoint(folder, 3, model, {"state": [1, 2]}, {"step": 3, "losses": [0.5]})


def refusal(folder: Path) -> str:
    """What is said about a checkpoint; empty where it is read."""
    from kitsbench.training.checkpoints.checkpoint import load_checkpoint

    try:
        load_checkpoint(folder)
    except DataError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "count", [pytest.param(20, id="some"), pytest.param(300, marks=pytest.mark.exhaustive)]
)
@pytest.mark.parametrize("name", ["model.safetensors", "optimiser.pt", "state.json"])
def test_weights_whose_checksum_holds(tmp_path, name, count):
    """A checksum detects damage, not forgery: the bytes are read with care all the same."""
    from kitsbench.files import file_digest, read_json, write_json

    folder = checkpoint(tmp_path)
    file, sums = folder / name, folder / "SHA256.json"
    whole, refused = file.read_bytes(), 0
    assert refusal(folder) == ""
    for number in range(count):
        file.write_bytes(mutate(whole, number, TEXT if name.endswith("json") else BYTES))
        write_json(sums, {**read_json(sums), name: file_digest(file)})
        said = refusal(folder)
        refused += bool(said)
        assert not said or (str(file) in said and len(said.splitlines()) == 1)
    assert refused > count // 4


def test_a_checkpoint_whose_checksums_are_mutated_is_not_whole(tmp_path):
    from kitsbench.training.checkpoints.checkpoint import is_whole

    folder = checkpoint(tmp_path)
    sums = folder / "SHA256.json"
    whole = sums.read_bytes()
    for number in range(40):
        sums.write_bytes(mutate(whole, number, TEXT))
        is_whole(folder)  # one way or the other, without an error
    sums.write_bytes(b"[" * 100_000)
    assert not is_whole(folder)


def test_a_value_in_a_message_is_short():
    assert brief("9" * 5000) == "9" * 29 + "..." + "9" * 28
