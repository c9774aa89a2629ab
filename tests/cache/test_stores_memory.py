"""What a large object takes: its time, and no more memory than a small one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.clouds import BUCKET
from tests.servers.endless import endless
from tests.servers.processes import ROOT

SIZES = [256 << 20, pytest.param(2 << 30, marks=pytest.mark.slow)]
_CODE = """
import resource, sys
from pathlib import Path
from envlock.cache.open import open_store
from envlock.config.settings import CacheOptions
what, url, endpoint, file = sys.argv[1:]
store = open_store(url, CacheOptions(endpoint=endpoint))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
store.entry("packages/a")  # the library is imported and connected
before = peak()
told = [0]
def tell(count): told[0] += count
if what == "put": store.put("packages/a", Path(file), on_bytes=tell)
elif what == "fetch": store.fetch("packages/a", Path(file), on_bytes=tell)
else: store.sha256("packages/a")
print(peak() - before, told[0])
"""


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("what", ["put", "fetch", "sha256"])
def test_memory_stays_flat(what: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of a gigabyte, or two, is moved by a process that grows by a hundred megabytes at most."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "anybody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "anything")
    file = tmp_path / "file"
    if what == "put":
        with file.open("wb") as sparse:
            sparse.truncate(size)
    with endless(size) as port:
        command = [sys.executable, "-c", _CODE, what, f"s3://{BUCKET}/x", f"http://127.0.0.1:{port}", str(file)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    grown, told = map(int, done.stdout.split())
    assert grown < 128
    if what != "sha256":
        assert told == size
    if what == "fetch":
        assert file.stat().st_size == size
        file.unlink()
