"""How fast patches come from the prepared store, against torchio's queue and nnU-Net's loader.

``pytest tests/benchmarks/test_loading.py -n0 --benchmark-only -s`` prints patches per second of
all three, with the data in the page cache and without. Each reads the same cases, hands out 96^3
crops as float images and integer labels in batches of two, and draws a third of them so that they
hold foreground. One process each; rounds of the three are interleaved.
"""

from __future__ import annotations

import os
import statistics
import time
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from architectures import Smallest
from benchmarks.promises import note

from kitsbench.architecture import Task, configure
from kitsbench.data.batches.patches import PatchSource
from kitsbench.data.datasets.dataset import open_dataset
from kitsbench.data.preparation.prepare import prepare
from kitsbench.recipe import Recipe, Sampling

PATCH, BATCH, FORCED = (96, 96, 96), 2, 1 / 3
SHAPE, SPACING, CASES = (128, 288, 288), (2.0, 1.0, 1.0), 3
ROUNDS = 5


def scan(number: int) -> tuple[np.ndarray, np.ndarray]:
    """HU and labels, a third of a median KiTS case: organs, air, and noise of a CT."""
    rng = np.random.default_rng(number)
    organs = np.kron(rng.normal(40, 60, [n // 32 for n in SHAPE]), np.ones((32, 32, 32)))
    noise = rng.normal(0, 14, SHAPE[1:])
    image = organs.astype(np.int16)
    for plane in range(len(image)):
        image[plane] += np.roll(noise, 37 * plane, 1).astype(np.int16)
    image[:, :40] = image[:, -40:] = -1000
    index = np.ogrid[tuple(slice(n) for n in SHAPE)]
    label = np.zeros(SHAPE, np.uint8)
    for x, radius, value in ((90, 36, 1), (230, 36, 1), (256, 18 + number, 2)):
        parts = zip(index, (64, 150, x), strict=True)
        label[sum(((i - c) / radius) ** 2 for i, c in parts) <= 1] = value
    return image, label


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The same cases as a prepared store, as NIfTI files, and as nnU-Net preprocesses them."""
    root = tmp_path_factory.mktemp("loading")
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    for number in range(CASES):
        folder = root / "kits" / "data" / f"case_{number:05d}"
        folder.mkdir(parents=True)
        for name, array in zip(("imaging", "segmentation"), scan(number), strict=True):
            # Not compressed, which is the fastest that torchio can have.
            nibabel.save(nibabel.Nifti1Image(array.T, affine), folder / f"{name}.nii")
    store = prepare(open_dataset(root / "kits"), SPACING, root / "store")
    return root, store


class Ours:
    """The loader of this project, without its thread."""

    def __init__(self, data):
        store = data[1]
        architecture = Smallest()
        spec = architecture.spec(configure(architecture), Task(patch=PATCH))
        recipe = Recipe(batch=BATCH, sampling=Sampling("foreground", fraction=FORCED))
        self.source = PatchSource({"image": store}, store.cases, spec, recipe, seed=0)
        self.step = 0
        self.folder = store.folder

    def batch(self):
        found = self.source.batch(self.step)
        self.step += 1
        return found.images["image"].float(), found.labels["image"]


class NNUNet:
    """nnU-Net's loader on blosc2 files with the block sizes that it chooses for this patch."""

    def __init__(self, data):
        pytest.importorskip("nnunetv2")
        pytest.importorskip("blosc2")
        from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
        from nnunetv2.training.dataloading.nnunet_dataset import (
            comp_blosc2_params,
            nnUNetDatasetBlosc2,
        )
        from nnunetv2.utilities.label_handling.label_handling import LabelManager

        root, store = data
        self.folder = root / "blosc2"
        if not self.folder.is_dir():
            self.folder.mkdir()
            for name in store.cases:
                case = store.case(name)
                image = ((case.image.astype(np.float32) - 101) / 76.9)[None]
                label = case.label.astype(np.int8)[None]
                blocks, chunks = comp_blosc2_params(image.shape, PATCH, image.itemsize)
                blocks_seg, chunks_seg = comp_blosc2_params(label.shape, PATCH, label.itemsize)
                rng = np.random.default_rng(0)
                places = {
                    value: np.concatenate([np.zeros((len(w), 1), int), w], 1)[
                        rng.choice(len(w), min(len(w), 10_000), replace=False)
                    ]
                    for value, w in case.foreground.items()
                }
                nnUNetDatasetBlosc2.save_case(
                    image,
                    label,
                    {"class_locations": places},
                    str(self.folder / name),
                    chunks=chunks,
                    blocks=blocks,
                    chunks_seg=chunks_seg,
                    blocks_seg=blocks_seg,
                )
        manager = LabelManager({"background": 0, "kidney": 1, "tumor": 2}, None)
        dataset = nnUNetDatasetBlosc2(str(self.folder))
        self.loader = nnUNetDataLoader(dataset, BATCH, PATCH, PATCH, manager, FORCED)

    def batch(self):
        found = next(self.loader)
        return found["data"], found["target"]


class TorchIO:
    """torchio's queue with its sampler by labels; every volume that is read gives eight patches."""

    def __init__(self, data):
        tio = pytest.importorskip("torchio")
        self.folder = data[0] / "kits"
        subjects = [
            tio.Subject(
                image=tio.ScalarImage(folder / "imaging.nii"),
                label=tio.LabelMap(folder / "segmentation.nii"),
            )
            for folder in sorted((self.folder / "data").iterdir())
        ]
        weights = {0: 1 - FORCED, 1: FORCED / 2, 2: FORCED / 2}
        sampler = tio.LabelSampler(PATCH, "label", weights)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            queue = tio.Queue(tio.SubjectsDataset(subjects), 8 * CASES, 8, sampler, num_workers=0)
            self.batches = self._forever(tio.SubjectsLoader(queue, batch_size=BATCH, num_workers=0))
        self.tio = tio

    @staticmethod
    def _forever(loader):
        while True:
            yield from loader

    def batch(self):
        found = next(self.batches)
        return found["image"][self.tio.DATA].float(), found["label"][self.tio.DATA]


def drop(folder: Path) -> None:
    """Ask the system to forget what it holds of the files of a folder."""
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(handle)


# Batches a round; of torchio a whole queue, so that every round reads every volume once.
PEERS = {"kitsbench": (Ours, 12), "nnU-Net": (NNUNet, 6), "torchio": (TorchIO, 4 * CASES)}


def rate(loader, batches: int) -> float:
    """Patches per second of some batches."""
    began = time.perf_counter()
    for _ in range(batches):
        image, label = loader.batch()
        assert image.dtype == torch.float32
        assert tuple(image.shape[-3:]) == tuple(label.shape[-3:]) == PATCH
    return batches * BATCH / (time.perf_counter() - began)


@pytest.mark.parametrize("cached", [True, False], ids=["in the page cache", "not in it"])
def test_patches_per_second(benchmark, data, cached):
    if not cached and not hasattr(os, "posix_fadvise"):
        pytest.skip("this system cannot be asked to forget a file")
    found: dict[str, list[float]] = {name: [] for name in PEERS}
    loaders = {}

    def one_round():
        for name, (kind, batches) in PEERS.items():
            if not cached or name not in loaders:
                loaders.pop(name, None)  # an open map keeps its pages
                loaders[name] = kind(data)
                if not cached:
                    drop(loaders[name].folder)
            found[name].append(rate(loaders[name], batches))

    benchmark.pedantic(one_round, rounds=ROUNDS, warmup_rounds=1)
    print()
    own = found["kitsbench"][1:]
    for name, rates in found.items():
        kept = rates[1:]  # the first warms up
        median, low, high = statistics.median(kept), min(kept), max(kept)
        ratios = [a / b for a, b in zip(own, kept, strict=True)]
        benchmark.extra_info[name] = {"patches_per_s": median, "low": low, "high": high}
        benchmark.extra_info[name]["ours_to_it"] = statistics.median(ratios)
        text = f"{name}: {median:.0f} patches/s ({low:.0f} to {high:.0f})"
        if name != "kitsbench":
            note(f"loading.{'cached' if cached else 'cold'}.{name}", ratios)
            text += f"; kitsbench is {statistics.median(ratios):.1f} times as fast"
            text += f" ({min(ratios):.1f} to {max(ratios):.1f})"
        print(text)
