"""Conda channels on loopback: a folder that is served, with credentials, ranges, and everything that can go wrong."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatch
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote

from tests.channel.answers import Answer, Credentials, Request, Trouble
from tests.channel.archive import SUBDIRS, Record, read_records, write_package, write_repodata
from tests.channel.interpreters import PREFERRED, host_subdir
from tests.channel.loopback import Server
from tests.channel.recipe import Package


class Channel:
    """The channels in a folder, one subfolder each, served until this is closed.

    `with Channel(folder) as channel:` starts and stops it. Its URLs hold a random part, so that no cache of an earlier
    one on the same port can answer for it. Packages can be published and withdrawn while it runs, where the folder is
    the test's own.
    """

    def __init__(self, folder: Path, *, credentials: Credentials | None = None, port: int = 0) -> None:
        self.folder = folder
        """What `file://` channels can be made of: `channel.folder / "main"`."""
        self.credentials = credentials
        self._tampered: dict[str, bytes] = {}
        self._troubles: list[Trouble] = []
        self._requests: list[Request] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._root = f"/{secrets.token_hex(4)}/"
        self._server = Server(self.answer, port)

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    # What a test asks of it.

    @property
    def url(self) -> str:
        """`http://127.0.0.1:<port>/<random>`: what every URL begins with. Holds no credentials."""
        return f"http://{self.host}{self._root[:-1]}"

    @property
    def host(self) -> str:
        """`127.0.0.1:<port>`."""
        return f"127.0.0.1:{self._server.port}"

    def url_of(self, name: str = "main") -> str:
        """The URL of one of the channels."""
        return f"{self.url}/{name}"

    def url_with_password(self, name: str = "main") -> str:
        """The same, with the user and password that it wants."""
        assert self.credentials is not None
        assert self.credentials.basic is not None
        return self.url_of(name).replace("http://", f"http://{':'.join(self.credentials.basic)}@")

    def url_with_token(self, name: str = "main") -> str:
        """The same, with the token that it wants, where conda puts it: before the channel's path."""
        assert self.credentials is not None
        return self.url_of(name).replace(self._root, f"/t/{self.credentials.token}{self._root}")

    @property
    def mirrors(self) -> str:
        """What ENVLOCK_CHANNEL_MIRRORS is set to, so that `conda-forge` is `main` here, and `other` is `other`."""
        names = {"main": "conda-forge", "other": "other", "private": "private"}
        return " ".join(f"{name}={self.url_of(each)}" for each, name in names.items() if (self.folder / each).is_dir())

    def records(self, name: str | None = None, channel: str = "main") -> dict[str, Record]:
        """The records of a channel, of one package or of all, by `subdir/filename`."""
        return {
            f"{subdir}/{filename}": record
            for subdir, records in read_records(self.folder / channel).items()
            for filename, record in records.items()
            if name in {None, record["name"]}
        }

    def archive(self, pattern: str) -> Path:
        """The one archive of main whose `subdir/filename` matches."""
        (path,) = [path for path in self.records() if fnmatch(path, pattern)]
        return self.folder / "main" / path

    @property
    def series(self) -> tuple[str, ...]:
        """The series of Python that run on this machine, the one to use by default first. Empty if none does."""
        here = [record for path, record in self.records("python").items() if path.startswith(f"{host_subdir()}/")]
        real = {record["version"].rpartition(".")[0] for record in here if not record.get("track_features")}
        return tuple(each for each in PREFERRED if each in real)

    def need(self, *names: str, series: int = 1) -> None:
        """Skip the test where main has none of these that runs here, or fewer series of Python that do.

        A name may have a version behind it, or its beginning: `numpy 1.26`.
        """
        import pytest

        known = self.records()
        for each in names:
            name, _, version = each.partition(" ")
            if not any(
                record["name"] == name and record["version"].startswith(version) and self._runs(record)
                for record in known.values()
            ):
                reason = self.folder / "without-wheels.txt"
                why = reason.read_text() if reason.exists() else "no wheel, or no C compiler"
                pytest.skip(f"the test channel has no {each} for this machine and {' or '.join(self.series)}: {why}")
        if len(self.series) < series:
            pytest.skip(f"{series} Pythons are needed that can be made into packages; here: {self.series}")

    def _runs(self, record: Record) -> bool:
        if record.get("track_features") or record["subdir"] not in {"noarch", host_subdir()}:
            return False
        wanted = [text.split()[1].removesuffix(".*") for text in record["depends"] if text.startswith("python_abi ")]
        return not wanted or wanted[0] in self.series

    @property
    def requests(self) -> tuple[Request, ...]:
        """Every request since the start or the last `forget`, in the order of the answers."""
        with self._lock:
            return tuple(self._requests)

    def downloads(self) -> tuple[Request, ...]:
        """The requests that carried bytes of archives."""
        return tuple(each for each in self.requests if each.kind == "archive" and 200 <= each.status < 300)

    def forget(self) -> None:
        """Forget the requests so far."""
        with self._lock:
            self._requests.clear()

    # What a test does to it.

    def publish(self, *packages: Package, channel: str = "main") -> None:
        """Add packages; one with the same file name takes the old one's place."""
        folder = self.folder / channel
        records = read_records(folder) if (folder / "noarch" / "repodata.json").exists() else {}
        for package in packages:
            records.setdefault(package.subdir, {})[package.filename] = write_package(package, folder)
        write_repodata(folder, records)

    def withdraw(self, pattern: str, channel: str = "main") -> None:
        """Take archives whose `subdir/filename` matches out of the repodata; the files stay, as on real channels."""
        records = {
            subdir: {name: record for name, record in known.items() if not fnmatch(f"{subdir}/{name}", pattern)}
            for subdir, known in read_records(self.folder / channel).items()
        }
        write_repodata(self.folder / channel, records)

    def rewrite(self, path: str, data: bytes) -> None:
        """Give a file of the folder other bytes. It becomes a file of its own where it was shared."""
        target = self.folder / path
        target.unlink(missing_ok=True)
        target.write_bytes(data)

    def tamper(self, path: str, data: bytes | None = None) -> None:
        """Serve other bytes for `main/noarch/x.conda`, under the hash that was published (else: one is flipped)."""
        if data is None:
            whole = (self.folder / path).read_bytes()
            middle = len(whole) // 2
            data = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        with self._lock:
            self._tampered[path] = data

    def truncate(self, path: str) -> None:
        """Serve the first half of a file as if it were the whole."""
        data = (self.folder / path).read_bytes()
        self.tamper(path, data[: len(data) // 2])

    def fail(self, pattern: str = "*", status: int = 500, times: int | None = None) -> None:
        """Answer requests whose path matches (`main/*/repodata*`, `*.conda`) with `status`, or drop them (`DROP`)."""
        self._add(Trouble(pattern, status=status, times=times))

    def slow(self, pattern: str = "*", seconds: float = 1.0) -> None:
        """Answer requests whose path matches only after a pause."""
        self._add(Trouble(pattern, delay=seconds))

    def cut(self, pattern: str = "*", after: int = 100) -> None:
        """Break the connection when so many bytes of a body are sent."""
        self._add(Trouble(pattern, cut=after))

    def redirect(self, pattern: str, to: str) -> None:
        """Send requests whose path matches on to the same path below another URL, such as another `channel.url`."""
        self._add(Trouble(pattern, location=to))

    def mend(self) -> None:
        """No more trouble, and every file as it is on disk."""
        with self._lock:
            self._troubles.clear()
            self._tampered.clear()

    def close(self) -> None:
        """Stop answering and free the port. Closing twice is harmless."""
        self._closing.set()
        self._server.close()

    # What the server asks.

    def answer(self, method: str, path: str, headers: Mapping[str, str]) -> Answer:
        """The answer to one request, and a note of it."""
        path, token = _without_token(path.partition("?")[0])
        below = path.removeprefix(self._root) if path.startswith(self._root) else ""
        trouble = self._trouble(below)
        if trouble.delay:
            self._closing.wait(trouble.delay)
        if trouble.status is not None:
            answer = Answer(trouble.status)
        elif self.credentials is not None and not self.credentials.accept(headers.get("authorization", ""), token):
            answer = Answer(HTTPStatus.UNAUTHORIZED)
        elif trouble.location is not None:
            answer = Answer(HTTPStatus.FOUND, location=f"{trouble.location}/{below}")
        else:
            answer = replace(self._content(unquote(below)), cut=trouble.cut)
        with self._lock:
            self._requests.append(Request(method, below, answer.status, dict(headers), token))
        return answer

    def _add(self, trouble: Trouble) -> None:
        with self._lock:
            self._troubles.append(trouble)

    def _trouble(self, path: str) -> Trouble:
        with self._lock:
            for trouble in self._troubles:
                if fnmatch(path, trouble.pattern) and trouble.times != 0:
                    if trouble.times is not None:
                        trouble.times -= 1
                    return replace(trouble)
        return Trouble("")

    def _content(self, path: str) -> Answer:
        parts = path.split("/")
        if len(parts) != 3 or parts[1] not in SUBDIRS or ".." in parts:
            return Answer(HTTPStatus.NOT_FOUND)
        with self._lock:
            if path in self._tampered:
                return Answer(HTTPStatus.OK, data=self._tampered[path])
        file = self.folder / path
        return Answer(HTTPStatus.OK, path=file) if file.is_file() else Answer(HTTPStatus.NOT_FOUND)


def _without_token(path: str) -> tuple[str, str | None]:
    before, separator, after = path.partition("/t/")
    token, slash, rest = after.partition("/")
    return (f"{before}/{rest}", token) if separator and slash else (path, None)
