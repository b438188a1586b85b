"""Plugins of the tests, as files."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def plugin(tmp_path_factory):
    """Write a plugin file that offers one of the tests' architectures under a name."""
    folder = tmp_path_factory.mktemp("plugins")

    def write(name: str, base: str, module: str = "architectures") -> Path:
        path = folder / f"{name}.py"
        path.write_text(
            f"from {module} import {base} as Base\n\n\nclass Plugin(Base):\n    pass\n",
            encoding="utf-8",
        )
        return path

    return write
