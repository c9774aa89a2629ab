"""git repositories for tests, served on loopback as hosts serve them: smart and dumb, with and without credentials."""

from __future__ import annotations

import base64
import http.server
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_DATE = "2024-05-06T07:08:09Z"
_VARIABLES = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    **dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "A"),
    **dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "a@host.example"),
    **dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), _DATE),
}
WHEN = 1714979289
"""When every commit of these repositories was made."""


def git(folder: Path, *arguments: str) -> str:
    """The output of git in a folder, with no settings of the user."""
    command = ["git", "-c", "protocol.file.allow=always", *arguments]
    environment = {**os.environ, **_VARIABLES}
    return subprocess.run(
        command, cwd=folder, env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


def commit(folder: Path, files: Mapping[str, str] = {}, message: str = "x") -> str:
    """Write files into a repository, which is made if it is not there, and return the commit of all that it has."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / ".git").exists():
        git(folder, "init", "--quiet", "--initial-branch=main", "--template=")
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    git(folder, "add", "--all", "--force")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", message)
    return git(folder, "rev-parse", "HEAD")


class _Handler(http.server.SimpleHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization", "")))
        wanted = self.server.credentials
        if wanted and self.headers.get("Authorization") != f"Basic {base64.b64encode(wanted.encode()).decode()}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()
        elif self.server.is_dumb:
            self.path = self.path.partition("?")[0]
            super().do_GET()
        else:
            self._run_backend()

    def _run_backend(self) -> None:
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        variables = {
            **os.environ,
            **_VARIABLES,
            "GIT_PROJECT_ROOT": self.directory,
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", "") if self.server.protocol else "",
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
        }
        ran = subprocess.run(["git", "http-backend"], env=variables, input=body, capture_output=True, check=False)
        head, _, answer = ran.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
        self.send_response(int(fields.pop("Status", "200").split()[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(http.server.ThreadingHTTPServer):
    asked: list[tuple[str, str]]
    credentials: str
    is_dumb: bool
    protocol: bool


class Served:
    """Repositories below a folder, by http."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self.url = f"http://127.0.0.1:{server.server_address[1]}"

    @property
    def asked(self) -> list[tuple[str, str]]:
        """The path and the credentials of each request so far."""
        return self._server.asked


@contextmanager
def served(folder: Path, *, credentials: str = "", is_dumb: bool = False, protocol: bool = True) -> Iterator[Served]:
    """Serve the repositories below a folder. `credentials` are `user:password`. Without `protocol`, it
    speaks version 0."""
    server = _Server(("127.0.0.1", 0), lambda *args: _Handler(*args, directory=str(folder)))
    server.asked, server.credentials, server.is_dumb, server.protocol = [], credentials, is_dumb, protocol
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield Served(server)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
