"""Debian's Chromium for tests, driven by Playwright: what a page shows, says and asks for.

``browser_page`` of the top conftest hands out :class:`Seen`; a test skips where there is no
browser. WebGL is drawn by SwiftShader, so no GPU is needed.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-extensions",
    "--disable-background-networking",
    # No name leads anywhere, so that a page which needs a host fails here as it would offline.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
OWN = {"file", "data", "blob", "about", "chrome-error"}


@dataclass
class Seen:
    """A page, and what came of it.

    Attributes
    ----------
    page : playwright.sync_api.Page
    console : list of str
        Errors and warnings of the console, refusals and exceptions among them.
    asked : list of str
        Every address asked for that is not of the page's own folder.
    """

    page: Any
    console: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def open(self, address: str | Path, fragment: str = "") -> Any:
        """Open a file or an address; returns Playwright's page."""
        where = address.resolve().as_uri() if isinstance(address, Path) else address
        self.page.goto(where + fragment)
        return self.page

    def until(self, expression: str, seconds: float = 30.0) -> None:
        """Wait until an expression of JavaScript holds.

        Unlike Playwright's own ``wait_for_function`` this works where a page's policy forbids
        ``eval``, as those of kitsbench do.
        """
        end = time.monotonic() + seconds
        while not self.page.evaluate(expression):
            assert time.monotonic() < end, f"{expression}; console: {self.console}"
            self.page.wait_for_timeout(25)

    def shot(self, file: Path, **options: Any) -> Path:
        """Save a picture of the page, to be looked at."""
        self.page.screenshot(path=str(file), **options)
        return file


@contextmanager
def chromium_started() -> Iterator[Any]:
    """Playwright's browser; skips the test where the package or the program is missing."""
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        pytest.skip("no chromium here; a page is looked at in a real browser")
    reason = "playwright is not installed, which drives the browser (extra test)"
    driver = pytest.importorskip("playwright.sync_api", reason=reason)
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def pages_of(browser: Any) -> Iterator[Callable[..., Seen]]:
    """A function that opens windows: ``window(width=1400, height=1000, dark=False)``."""
    contexts = []

    def window(width: int = 1400, height: int = 1000, dark: bool = False, **options: Any) -> Seen:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            **options,
        )
        contexts.append(context)
        seen = Seen(context.new_page())

        def said(message: Any) -> None:
            if message.type in ("error", "warning") and not _of_the_driver(message.text):
                seen.console.append(f"{message.type}: {message.text}")

        def asked(request: Any) -> None:
            if urlsplit(request.url).scheme not in OWN:
                seen.asked.append(request.url)

        seen.page.on("console", said)
        seen.page.on("pageerror", lambda error: seen.console.append(f"exception: {error}"))
        seen.page.on("request", asked)
        return seen

    try:
        yield window
    finally:
        for context in contexts:
            context.close()


def _of_the_driver(text: str) -> bool:
    """Whether the drawing in software complains of its own slowness, which no user has."""
    return "GPU stall due to ReadPixels" in text or "software WebGL" in text
