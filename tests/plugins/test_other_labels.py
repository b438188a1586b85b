"""Labels that are not kidney and tumour: asked for, refused in a line, or side by side."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from kitsbench_plugins.regions import regions_of

from kitsbench import registry
from kitsbench.architecture import KITS19, KITS21, Task, configure
from kitsbench.errors import LabelsError
from kitsbench.experiments.asked.request import Request
from kitsbench.experiments.asked.resolve import drawn_elsewhere, resolve
from kitsbench.experiments.plan.entrants import choose_entrants
from kitsbench.training.recipes import MATCHED_CPU

KIDNEYS = (("left kidney", 1), ("right kidney", 2))
LIVER = (("liver", 1), ("lesion", 2))


def spec_of(name, labels, **settings):
    plugin = registry.load(name).architecture
    return plugin.spec(configure(plugin, {"size": "tiny", **settings}), Task(labels, (16, 16, 16)))


@pytest.mark.parametrize(
    ("labels", "how", "regions"),
    [
        (KITS19, "nested", ((1, 2), (2,))),
        (KITS21, "nested", ((1, 2, 3), (2, 3), (2,))),
        ((("tumor", 2), ("kidney", 1)), "nested", ((2, 1), (2,))),
        ((("kidney", 1), ("mass", 2)), "nested", ((1, 2), (2,))),
        ((("anything", 4),), "nested", ((4,),)),
        (KIDNEYS, "separate", ((1,), (2,))),
        (KITS19, "separate", ((1,), (2,))),
        (LIVER, "ordered", ((1, 2), (2,))),
        (KITS21, "ordered", ((1, 2, 3), (2, 3), (3,))),
    ],
)
def test_regions_follow_from_names_or_from_what_is_asked(labels, how, regions):
    assert regions_of(labels, how) == regions


@pytest.mark.parametrize(
    "labels",
    [KIDNEYS, LIVER, (*KITS19, ("spleen", 3)), (("kidney", 1), ("liver", 2)), KITS21[1:]],
)
def test_nothing_is_nested_silently(labels):
    with pytest.raises(LabelsError, match=f"{labels[0][0]}.*regions=separate.*regions=ordered"):
        spec_of("boundary_aware", labels)
    for how in ("separate", "ordered"):
        spec = spec_of("boundary_aware", labels, regions=how)
        assert spec.primary.channels == regions_of(labels, how)


def test_the_cascade_asks_for_the_labels_that_it_looks_for():
    with pytest.raises(LabelsError, match=r"left kidney, right kidney.*tumor: .*tumor_label=NAME"):
        spec_of("cascade_classifier", KIDNEYS)
    found = spec_of("cascade_classifier", KIDNEYS, tumor_label="left kidney")
    assert next(head for head in found.heads if head.name == "cls").channels == ((1,),)
    assert spec_of("cascade_classifier", KIDNEYS, classifier="off").primary.channels[1:] == (
        (1,),
        (2,),
    )
    with pytest.raises(LabelsError, match=r"kidney: .*kidney_label=NAME.*postprocess=off"):
        spec_of("cascade_classifier", LIVER, classifier="off", postprocess="on")
    named = {"tumor_label": "lesion", "kidney_label": "liver", "postprocess": "on"}
    assert spec_of("cascade_classifier", LIVER, **named).labels == LIVER


MORE = (*KITS19, ("spleen", 3))


def scene():
    """Kidneys on both sides, the tumour of one, and a spleen that is larger and touches neither."""
    labels = torch.zeros(6, 12, 40, dtype=torch.uint8)
    labels[1:3, 1:4, 2:6], labels[1:3, 1:4, 34:38] = 1, 1
    labels[1:3, 1:4, 6:8] = 2
    labels[:, 6:, 8:20] = 3
    return labels


@pytest.mark.parametrize("name", ["msan_v1", "msan_vote", "cascade_classifier"])
def test_cleaning_kidneys_leaves_other_organs(name):
    plugin, labels = registry.load(name).architecture, scene()
    spec = spec_of(name, MORE, **({"postprocess": "on"} if name.startswith("cascade") else {}))
    maps = {"lo": (labels > 0)[None].float()}
    assert torch.equal(plugin.postprocess(labels.clone(), maps, (1.0,) * 3, spec), labels)
    crumbs = labels.clone()
    crumbs[5, 0, 39], crumbs[5, 0, 0] = 1, 2  # of a kidney and of a tumour that touches none
    assert torch.equal(plugin.postprocess(crumbs, maps, (1.0,) * 3, spec), labels)


def test_parts_of_labels_that_are_no_kidneys_are_not_removed_in_silence():
    for name in ("msan_v1", "msan_vote"):
        assert "keep_components=0" in " ".join(spec_of(name, LIVER).notes)
        assert "keep_components" not in " ".join(spec_of(name, LIVER, keep_components=0).notes)
        assert "keep_components" not in " ".join(spec_of(name, KIDNEYS).notes)


def test_who_cannot_take_part_is_a_row_that_says_so():
    names = ("boundary_aware", "cascade_classifier", "boundary_aware:regions=separate")
    request = Request(Path("none"), names)
    resolved = resolve(request, dict(KIDNEYS), "cpu")
    assert resolved.endpoint == "left kidney:dice"
    rows = {e.name: e.error for e in choose_entrants(request, resolved, KIDNEYS)}
    assert rows["boundary_aware:regions=separate"] is None
    for name in ("boundary_aware", "cascade_classifier"):
        assert rows[name].startswith("other labels: the labels are left kidney, right kidney")
        assert "\n" not in rows[name]


def test_a_recipe_that_names_other_labels_says_so():
    assert drawn_elsewhere(MATCHED_CPU.sampling, dict(KITS19)) == ""
    told = drawn_elsewhere(MATCHED_CPU.sampling, dict(KIDNEYS))
    assert "tumor and kidney" in told
    request = Request(Path("none"), ("boundary_aware:regions=separate",), recipe="paper")
    (entrant,) = choose_entrants(request, resolve(request, dict(KIDNEYS), "cpu"), KIDNEYS)
    assert "centres patches on tumor" in " ".join(entrant.notes)
