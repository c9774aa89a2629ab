"""A host of Python builds on loopback, with one that was made of the interpreter that runs the tests."""

from __future__ import annotations

import functools
import hashlib
import io
import os
import sys
import sysconfig
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SERIES = "{}.{}".format(*sys.version_info[:2])
VERSION = "{}.{}.{}".format(*sys.version_info[:3])
_LEFT_OUT = {
    *("test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "pydoc_data", "unittest"),
    *("site-packages", "dist-packages", "__pycache__", "xml", "sqlite3", "curses"),
}


def archive_of_this_python() -> bytes:
    """The running CPython as an archive: `python/bin` and `python/lib`, without what no test needs."""
    real = Path(sys.base_prefix) / "bin" / f"python{SERIES}"
    library = Path(sysconfig.get_path("stdlib", vars={"base": sys.base_prefix, "installed_base": sys.base_prefix}))
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1, dereference=True) as archive:
        archive.add(real.resolve(), f"python/bin/python{SERIES}")
        for folder, folders, names in os.walk(library):
            folders[:] = sorted(each for each in folders if each not in _LEFT_OUT and not each.startswith("config-"))
            for name in sorted(names):
                source = Path(folder, name)
                if name not in _LEFT_OUT and "_test" not in name and source.is_file():
                    archive.add(source, f"python/lib/python{SERIES}/{source.relative_to(library)}")
        for name in ("python3", "python"):
            member = tarfile.TarInfo(f"python/bin/{name}")
            member.type, member.linkname = tarfile.SYMTYPE, f"python{SERIES}"
            archive.addfile(member)
    return out.getvalue()


def sums(files: Mapping[str, bytes]) -> bytes:
    """A SHA256SUMS file."""
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items()).encode()


@dataclass
class Host:
    """A folder on loopback, and what was asked of it."""

    url: str = ""
    paths: list[str] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)

    def url_with(self, credentials: str) -> str:
        return self.url.replace("//", f"//{credentials}@")


@contextmanager
def served(folder: Path) -> Iterator[Host]:
    """A folder on loopback."""
    host = Host()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            host.paths.append(self.path)
            host.authorizations.append(self.headers.get("Authorization", ""))

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    host.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
