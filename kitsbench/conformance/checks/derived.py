"""Check of the hook ``derive``: channels and inputs that are functions of a scan."""

from __future__ import annotations

import numpy as np

from kitsbench.conformance.driven.subject import Subject
from kitsbench.conformance.outcome import Violation, looks_at
from kitsbench.data.channels.derived import wanted_on, with_channels
from kitsbench.data.preparation.store import PreparedCase

SHAPE = (10, 14, 12)
# As a canonical file with thick slices, so that a hook that takes one spacing for all axes shows.
SPACINGS = ((3.0, 2.0, 2.0), (1.5, 1.5, 1.5))


@looks_at("derive")
def derives_from_the_scan(subject: Subject) -> None:
    """Finite numbers of the right shape, the same twice, whatever was asked before."""
    spec = subject.spec
    if not needs_functions(subject):
        return

    def derive(name: str, scan: object) -> object:
        return subject.architecture.derive(name, scan, spec)  # type: ignore[arg-type]

    for grid in spec.grids:
        wanted = wanted_on(grid, spec)
        found = []
        for place, number in enumerate((0, 1, 0)):
            if place < 2:  # another scan is the very first one
                subject.forget()
            others = {name: _case(number + 2 + k) for k, name in enumerate(wanted.images)}
            made = with_channels(_case(number), wanted, others, derive)
            found.append({**{n: made.channels[n] for n in wanted.functions}, **made.numbers})
        for name, first in found[0].items():
            if not np.array_equal(first, found[2][name]):
                raise Violation(
                    f"derive('{name}') gave two results for one scan: let it depend on its "
                    "arguments alone, and draw nothing."
                )


def needs_functions(subject: Subject) -> bool:
    """Whether the spec names functions of the scan."""
    wanted = [wanted_on(grid, subject.spec) for grid in subject.spec.grids]
    return any(own.functions or own.numbers for own in wanted)


def _case(number: int) -> PreparedCase:
    """A body in air, with something brighter in it."""
    z, y, x = np.ogrid[tuple(slice(-1, 1, edge * 1j) for edge in SHAPE)]
    image = np.where(z**2 + y**2 + x**2 < 0.8, 40, -1000)
    image = np.where(z**2 + (y - 0.3) ** 2 + x**2 < 0.1, 180 - 10 * number, image)
    spacing = SPACINGS[number % 2]
    native = {"spacing": spacing[::-1], "order": (2, 1, 0)}
    affine = np.diag([*spacing, 1.0])[[2, 1, 0, 3]]
    return PreparedCase("scan", image.astype(np.int16), None, spacing, affine, native)
