"""Fixtures of the statistics."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def golden(shared):
    """Inputs with the answers that trusted tools give."""
    return lambda name: json.loads((shared / "golden" / f"{name}.json").read_text())
