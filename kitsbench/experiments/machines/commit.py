"""Which commit of kitsbench runs, where that can be known."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

PACKAGE = Path(__file__).parents[2]
_PATIENCE = 10.0  # seconds, on a slow file system


@cache
def source_commit() -> str | None:
    """The commit of the checkout that the package lies in, or that pip installed it from.

    Returns
    -------
    str or None
        Its hash, with ``-changed`` where files of the package differ from it; None where nobody
        knows, as of a release.
    """
    return checkout_commit(PACKAGE) or _installed_commit()


def checkout_commit(package: Path) -> str | None:
    """The commit of a checkout whose top holds a package; None where it is no checkout."""
    root = package.parent
    if not (root / ".git").exists():  # another repository may lie above, such as of an environment
        return None
    commit = _git(root, "rev-parse", "HEAD")
    if not commit:
        return None
    changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", package.name)
    return commit if changed == "" else f"{commit}-changed"


def _git(root: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(root), *words],
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _installed_commit() -> str | None:
    """What pip wrote down of an installation from a repository (PEP 610)."""
    try:
        text = distribution("kitsbench").read_text("direct_url.json")
        commit = json.loads(text or "{}").get("vcs_info", {}).get("commit_id")
    except (PackageNotFoundError, ValueError, AttributeError, OSError):
        return None
    return commit if isinstance(commit, str) and commit else None
