"""What is measured, and on what."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from kitsbench.recipe import Recipe
from kitsbench.spec import Spec


@dataclass(frozen=True)
class ProfileJob:
    """What is measured, and on what.

    Parameters
    ----------
    name, location : str
        Name in tables, and what the registry finds the plugin by.
    spec, recipe : Spec, Recipe
    device, precision : str
        The precision is float32, bfloat16 or float16.
    threads : int
        CPU threads.
    stores : dict of str to Path
        {grid: prepared store}; without one nothing is measured with data.
    cases : tuple of str
        Cases of the stores to draw patches from.
    window : (float, float, float, float)
        Resolved intensity rule.
    compile : bool
        Measure the training step through torch.compile as well.
    source : str
        Hash of the plugin's source, with its packages' versions.
    layouts : Path or None
        Where the choices of a layout are kept.
    seconds : float
        About how long each of the measurements may take.
    warm, least : int
        Repetitions that do not count, and of those that do at least how many.
    looks : float
        Seconds before and after in which the machine is watched while nothing is measured.
    beside : float
        Share of the processor that others may take because they were started along with this.
    again : bool
        Measure a second time where the machine was busy.
    peaks : dict of str to float
        What the device can do, as of :func:`~kitsbench.profiling.roofline.measure_peaks`.
    """

    name: str
    location: str
    spec: Spec
    recipe: Recipe
    device: str = "cpu"
    precision: str = "float32"
    threads: int = 1
    stores: dict[str, Path] = field(default_factory=dict)
    cases: tuple[str, ...] = ()
    window: tuple[float, float, float, float] = (-200.0, 300.0, 50.0, 0.01)
    compile: bool = False
    source: str = ""
    layouts: Path | None = None
    seconds: float = 0.7
    warm: int = 2
    least: int = 5
    looks: float = 0.2
    beside: float = 0.0
    again: bool = True
    peaks: dict[str, float] = field(default_factory=dict)
