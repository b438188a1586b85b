"""What networks show of their inside, drawn over the scan that it was kept for."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
from PIL import Image
from scans import ct, kidneys, save

from kitsbench.architecture import KITS19
from kitsbench.experiments.trial.folder import TrialFolder
from kitsbench.reporting.drawing import inner_maps
from kitsbench.reporting.drawing.inner_maps import draw_maps, kept_maps
from kitsbench.reporting.drawing.overlays import ShownCase
from kitsbench.scans.grids import axes_onto
from kitsbench.scans.nifti import read_header, read_image, read_label


def test_a_kept_map_is_bright_where_it_is_large(tmp_path, monkeypatch):
    image = save(tmp_path / "scan.nii.gz", ct())
    mask = save(tmp_path / "mask.nii.gz", kidneys())
    scan, header = read_header(image, "case"), read_header(mask, "case")
    truth = read_label(header, None, axes_onto(header, scan.affine))
    case = ShownCase("case", read_image(scan)[0], truth, {"net": truth}, (3.0, 2.0, 2.0), scan)
    folder = TrialFolder(tmp_path, "trial")
    trial = SimpleNamespace(name="net", seed=0, state="finished", folder=folder)
    dataset = SimpleNamespace(labels=KITS19)
    experiment = SimpleNamespace(showcase=("case",), dataset=dataset)
    results = SimpleNamespace(trials=[trial], experiment=experiment)
    monkeypatch.setattr(inner_maps, "load_shown", lambda results, name, order: case)
    assert draw_maps(results, ["net"]) == ({}, [])
    brightness = []
    for value in (0, 255):
        file = folder.maps / "case" / "attention.nii.gz"
        save(file, np.full(image_shape(image), value, np.uint8))
        assert kept_maps([trial], "net", "case") == {"attention": file}
        assert kept_maps([trial], "other", "case") == {}
        pictures, problems = draw_maps(results, ["net"])
        assert problems == []
        with Image.open(io.BytesIO(pictures["case"].png)) as drawn:
            brightness.append(np.asarray(drawn.convert("L")).mean())
    assert brightness[1] > brightness[0] + 20
    save(file, np.zeros((3, 4, 5), np.uint8))
    pictures, problems = draw_maps(results, ["net"])
    assert pictures == {}
    assert problems[0].startswith("The maps of case are not drawn")


def image_shape(path) -> tuple[int, ...]:
    return tuple(read_header(path, "case").shape)
