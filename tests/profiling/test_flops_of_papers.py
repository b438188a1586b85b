"""FLOPs that a profile counts, against what the specification of each paper's network says."""

from __future__ import annotations

import re

import pytest

from kitsbench import registry
from kitsbench.architecture import KITS19, KITS21, Task, configure
from kitsbench.training.networks.meta import count_cost

# How a row of the specification begins, what is asked for, labels, patch (z, y, x), and which of
# several numbers in a cell.
ROWS = [
    ("Attention VNet, full-res (000)", "attention_vnet", KITS19, (48, 160, 160), 0),
    ("Attention VNet, low-res (000)", "attention_vnet:resolution=low", KITS19, (80, 128, 128), 0),
    ("MSAN-V1 (001), isotropic", "msan_v1", KITS19, (96, 96, 96), 0),
    ("MSAN-V1 @ 4x512x512", "msan_v1", KITS19, (4, 512, 512), 0),
    ("MSAN-V2 (001)", "msan_v2", KITS19, (96, 96, 96), 0),
    ("MSAN-V2 (001)", "msan_v2", KITS19, (4, 512, 512), 1),
    ("Boundary-aware (002), 4 levels", "boundary_aware", KITS19, (176, 176, 176), 0),
    ("Boundary-aware, boundary stream", "boundary_aware:boundary=off", KITS19, (176,) * 3, 0),
    ("Boundary-aware, 5 levels", "boundary_aware:levels=5", KITS19, (176, 176, 176), 0),
    ("SCAU U-Net (003)", "scau_unet", KITS21, (64, 128, 128), 0),
    ("Residual U-Net (003)", "residual_unet", KITS21, (64, 160, 160), 0),
    ("3D U-Net (Cicek), same", "unet3d", KITS19, (96, 96, 96), 0),
    ("3D U-Net (Cicek), valid", "unet3d:padding=valid", KITS19, (108, 108, 108), 0),
    ("nnU-Net plain 3D U-Net", "nnunet_plain", KITS19, (128, 128, 128), 0),
    ("nnU-Net ResEnc", "nnunet_resenc", KITS19, (128, 128, 128), 0),
    ("nnU-Net ResEnc", "nnunet_resenc", KITS19, (160, 160, 160), 1),
    ("Single cascade", "cascade_classifier", KITS19, (108, 108, 108), 0),
]


def specified(text: str, beginning: str, place: int) -> tuple[float, float]:
    """GMAC at the paper's patch, and thousands of MAC a voxel of the output."""
    (line,) = [one for one in text.splitlines() if one.startswith(f"| {beginning}")]
    cells = [cell.strip() for cell in line.strip("|").split(" | ")]

    def number(cell: str) -> float:
        # Sizes in brackets are told beside the numbers.
        found = re.sub(r"\(.*?\)", "", cell).replace(",", "").split(" / ")
        return float(found[min(place, len(found) - 1)])

    return number(cells[5]), number(cells[6])


@pytest.mark.exhaustive
@pytest.mark.parametrize(("beginning", "asked", "labels", "patch", "place"), ROWS)
def test_flops_are_those_of_the_specification(beginning, asked, labels, patch, place, shared):
    text = (shared / "specs" / "architectures.md").read_text(encoding="utf-8")
    gmac, kmac_a_voxel = specified(text, beginning, place)
    name, settings = registry.parse_request(asked)
    architecture = registry.load(name).architecture
    spec = architecture.spec(configure(architecture, settings), Task(labels, patch))
    cost = count_cost(architecture, spec)
    assert cost.flops_forward == pytest.approx(2e9 * gmac, rel=0.02)
    voxels = 1
    for edge in spec.primary.shape:
        voxels *= edge
    assert cost.flops_forward / voxels == pytest.approx(2e3 * kmac_a_voxel, rel=0.02)
