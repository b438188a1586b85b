"""Profiles as the command writes them, with numbers of a test's own."""

from __future__ import annotations

from kitsbench.profiling.step import PARTS

SHARES = (0.01, 0.0, 0.1, 0.04, 0.3, 0.05, 0.4, 0.08)


def times(name: str, value: float, spread: float = 0.01) -> dict[str, float]:
    """A median with its quartiles."""
    return {name: value, f"{name}_low": value * (1 - spread), f"{name}_high": value * (1 + spread)}


def row(name: str = "net", **fields) -> dict:
    """A profile of 100 ms a step, whatever else is asked for."""
    full = 110.0
    parts = {
        part: {**times("ms", share * full), "share": share}
        for part, share in zip((*PARTS, "other"), (*SHARES, 0.02), strict=True)
    }
    return {
        "architecture": name,
        "parameters": 1000,
        "flops_forward": 2_000_000,
        "flops_step": 6_000_000,
        "patch": [16, 16, 16],
        "voxels": 4096,
        "output_voxels": 4096,
        "flops_per_voxel": 2_000_000 / 4096,
        "batch": 2,
        "device": "cpu",
        "device_name": "A processor",
        "precision": "float32",
        "threads": 1,
        **times("train_step_ms", 100.0),
        **times("full_step_ms", full),
        **times("loader_ms", 20.0),
        **times("inference_ms", 12.0),
        "parts": parts,
        "patches_per_s_compute": 20.0,
        "patches_per_s_full": 2000 / full,
        "patches_per_s_loader": 100.0,
        "loader_wait": 0.01,
        "peak_memory_bytes": 300 * 2**20,
        "energy_joules": None,
        "layout": "contiguous",
        "train_step_ms_compiled": None,
        "steps": 5,
        "samples_ms": {
            "step": [99.0, 100.0, 100.0, 101.0, 130.0],
            "inference": [12.0],
        },
        "company": {"before": 0.0, "during": 0.01, "after": None},
        "busy": False,
        "measured": 1,
        "conditions": {"torch": "2.11.0", "python": "3.11.2"},
        "brief": False,
        "key": ["a", "b", "c", "float32", "A processor", "torch 2.11.0", 1],
        **fields,
    }
