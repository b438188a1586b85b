"""A page in a real browser, without a window: what a script finds there, and what it complains of.

Debian's Chromium is enough; no driver is needed, since the script is put into a copy of the page
and writes what it finds into it, which the browser prints when it has come to rest.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-extensions",
    "--virtual-time-budget=20000",
    "--enable-logging=stderr",
    "--host-resolver-rules=MAP * ~NOTFOUND",
]
_PROBE = """
<script>
(async () => {
  const found = {};
  window.addEventListener("error", (event) => (found.error = String(event.message)));
  try {
    const until = async (holds) => {
      for (let turn = 0; turn < 400 && !holds(); turn++)
        await new Promise((go) => setTimeout(go, 25));
      return holds();
    };
    %s
  } catch (error) { found.error = String(error && error.stack || error); }
  found.asked = performance.getEntriesByType("resource").map((entry) => entry.name);
  const told = document.createElement("pre");
  told.id = "probe";
  told.textContent = JSON.stringify(found);
  document.body.append(told);
})();
</script>
"""


def browse(page: Path, script: str, width: int = 1400) -> dict[str, object]:
    """What ``script`` put into ``found`` on a page that was opened from its folder.

    Parameters
    ----------
    page : Path
        Its copy lies beside it meanwhile, so that links lead where they do.
    script : str
        JavaScript with ``found`` (what comes back) and ``until`` (waits for a condition).
    width : int
        Of the window, in CSS pixels.

    Returns
    -------
    dict
        What the script found; ``asked``, every address that the page asked for; ``console``,
        errors and refusals of the browser's console.
    """
    if CHROMIUM is None:
        pytest.skip("no chromium here; a page is looked at in a real browser")
    copy = page.with_name(f"probe-{width}.html")
    text = page.read_text(encoding="utf-8")
    copy.write_text(text.replace("</body>", f"{_PROBE % script}</body>"), encoding="utf-8")
    profile = page.parent / ".browser"
    try:
        done = subprocess.run(
            [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}", f"--window-size={width},1000",
             "--dump-dom", copy.as_uri()],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    finally:
        copy.unlink()
        shutil.rmtree(profile, ignore_errors=True)
    told = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)
    assert told is not None, done.stderr[-2000:]
    found = json.loads(html.unescape(told[1]))
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return {**found, "console": said}
