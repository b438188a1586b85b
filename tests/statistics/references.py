"""What comparing with the answers of other tools needs."""

from __future__ import annotations

import numpy as np
import pytest


def close(found, expected, rel=1e-9, abs=1e-12):
    assert found == pytest.approx(expected, rel=rel, abs=abs, nan_ok=True)


def array(values):
    """Nested lists, null as NaN."""
    return np.array(
        [array(v) if isinstance(v, list) else np.nan if v is None else v for v in values],
        dtype=float,
    )
