"""What was cut off a scan is background on its own voxels, whatever a network says of the rest."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from architectures import Regions, Smallest
from scans import KITS_AFFINE, save

from kitsbench.architecture import Task, configure
from kitsbench.data.preparation.volumes import How, load_case
from kitsbench.inference.case import Trained, segment
from kitsbench.inference.files import segment_files
from kitsbench.preparation import Preparation
from kitsbench.recipe import Inference
from kitsbench.scans.label_names import LabelNames

CUT = How(preparation=Preparation(crop_above=-500.0))
SHAPE = (30, 24, 26)  # on disk: slices, front to back, right to left
BODY = (slice(3, 26), slice(4, 20), slice(0, 18))  # reaches the picture's end at one side


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    image = np.full(SHAPE, -1000, np.int16)
    image[BODY] = 50
    return save(tmp_path_factory.mktemp("scan") / "scan.nii.gz", image, KITS_AFFINE)


@dataclass
class Everywhere:
    """A network that finds the last channel of its head in every voxel."""

    spec: object
    rule: Inference

    @property
    def heads(self):
        return [self.spec.primary]

    def probabilities(self, volumes):
        head = self.spec.primary
        found = torch.zeros(len(head.channels), *volumes["image"].image.shape)
        found[-1] = 1
        if head.kind == "regions":
            found[:] = 1
        return {head.name: found}


def trained_by(architecture, decide):
    spec = architecture.spec(configure(architecture), Task())
    predictor = Everywhere(spec, Inference(decide=decide))
    return Trained(architecture, spec, (predictor,), ((architecture, spec),))


@pytest.mark.parametrize("decide", ["native", "prepared"])
@pytest.mark.parametrize("architecture", [Smallest, Regions])
@pytest.mark.parametrize("edge", [None, 1.5, 4.0])
def test_beyond_the_cut_is_background(scan, architecture, decide, edge):
    trained = trained_by(architecture(), decide)
    spacing = (3.0, 2.0, 2.0) if edge is None else (edge,) * 3
    whole = load_case("scan", scan, None, spacing).case
    assert (segment(trained, [{"image": whole}]) == 2).all()
    cut = load_case("scan", scan, None, spacing, how=CUT).case
    found = segment(trained, [{"image": cut}])
    assert found.shape == SHAPE
    inside = np.zeros(SHAPE, bool)
    inside[BODY] = True
    if edge is None:  # on the scan's own voxels nothing is rounded
        np.testing.assert_array_equal(found == 2, inside)
    # Else the edge is met to within half a voxel of the grid.
    reach = [int(np.ceil((edge or 0) / 2 / step)) for step in (3.0, 2.0, 2.0)]
    near = np.zeros(SHAPE, bool)
    pairs = list(zip(BODY, reach, strict=True))
    near[tuple(slice(max(s.start - r, 0), s.stop + r) for s, r in pairs)] = True
    assert not found[~near].any()
    core = np.zeros(SHAPE, bool)
    core[tuple(slice(s.start + r * (s.start > 0), s.stop - r) for s, r in pairs)] = True
    assert (found[core] == 2).all()
    assert (found[10, 10, 0] == 2).all()  # where nothing was cut off the picture's end counts


def test_members_of_an_ensemble_know_their_own_cut(scan):
    one = trained_by(Smallest(), "native")
    trained = replace(
        one,
        spec=replace(one.spec, members=("a", "b"), combine="mean"),
        predictors=one.predictors * 2,
        deciders=one.deciders * 2,
    )
    whole = load_case("scan", scan, None, (4.0, 4.0, 4.0)).case
    cut = load_case("scan", scan, None, (4.0, 4.0, 4.0), how=CUT).case
    both = segment(trained, [{"image": cut}, {"image": cut}])
    np.testing.assert_array_equal(both, segment(one, [{"image": cut}]))
    # Where one member says background and the other tumour, both are as likely: the first counts.
    assert not segment(trained, [{"image": cut}, {"image": whole}])[0, 0, -1]


def test_a_scan_in_a_file_is_prepared_as_the_network_was_trained(scan, tmp_path):
    import nibabel

    trained = trained_by(Smallest(), "native")
    out = tmp_path / "out.nii.gz"
    names = LabelNames({"kidney": 1, "tumor": 2})
    spacings = [{"image": (4.0, 4.0, 4.0)}]
    list(segment_files(trained, spacings, names, [(scan, out)], False, hows=[CUT]))
    found = np.asarray(nibabel.load(out).dataobj)
    cut = load_case("scan", scan, None, (4.0, 4.0, 4.0), how=CUT).case
    np.testing.assert_array_equal(found, segment(trained, [{"image": cut}]))
    out.unlink()
    # In the scan's own voxels: nothing is resampled, so the edge is exact.
    own = replace(CUT, own=True)
    list(segment_files(trained, [{"image": (1.0,) * 3}], names, [(scan, out)], False, hows=[own]))
    assert (np.asarray(nibabel.load(out).dataobj) > 0).sum() == 23 * 16 * 18
