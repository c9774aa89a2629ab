"""A page as a real browser draws it: Chromium of Debian, which `make test-slow` installs."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

SECONDS = 120
_QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def text_of(page: Path) -> str:
    """The document that the page's scripts have made."""
    return _chromium(page, "--dump-dom", "--virtual-time-budget=10000")


def picture_of(page: Path, picture: Path, *, width: int = 1100, height: int = 1200) -> None:
    """Write what one sees of the page, as a PNG."""
    _chromium(page, f"--screenshot={picture}", f"--window-size={width},{height}", "--virtual-time-budget=10000")


def _chromium(page: Path, *arguments: str) -> str:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    assert program is not None, "there is no chromium: scripts/setup.sh --browser"
    with tempfile.TemporaryDirectory() as profile:
        command = [program, *_QUIET, f"--user-data-dir={profile}", *arguments, page.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    return done.stdout
