"""Stand-ins of code hosts: the comments of a pull request as GitHub has them, of a merge request as GitLab does.

Only what is asked of them, answered as their references describe: pages of a hundred, 403 for a token that may not
write, an author for each comment.
"""

from __future__ import annotations

import json
import re
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.servers.loopback import LoopbackServer

READS, WRITES, IS_USER = "reads-s3cr3t", "writes-s3cr3t", "user-s3cr3t"
"""Tokens: of a fork's workflow, of a workflow, and of the user `ada`."""


class CodeHost:
    """A server with one pull request, number 7 of `team/flows`. `asked` has each request, `comments` what is there."""

    def __init__(self) -> None:
        self.comments: list[dict[str, Any]] = []
        self.asked: list[tuple[str, str]] = []
        self.tokens: list[str] = []
        self.failures: dict[str, tuple[int, dict[str, str]]] = {}
        """The status, and headers, that a method is answered with in place of what is asked for."""
        host = self

        class Handler(_Handler):
            code_host = host

        self._server = LoopbackServer(Handler)
        self.url = f"http://127.0.0.1:{self._server.port}"

    def close(self) -> None:
        self._server.close()

    def add(self, body: str, login: str = "github-actions[bot]", kind: str = "Bot") -> dict[str, Any]:
        """Add a comment, as somebody else would."""
        made = {
            "id": 1000 + len(self.comments),
            "body": body,
            "user": {"login": login, "type": kind},
            "author": {"username": login},
            "system": False,
            "html_url": f"https://code.example/team/flows/pull/7#issuecomment-{1000 + len(self.comments)}",
        }
        self.comments.append(made)
        return made

    @property
    def writes(self) -> list[str]:
        """The methods of all requests that were to change something."""
        return [method for method, _ in self.asked if method != "GET"]


class _Handler(BaseHTTPRequestHandler):
    code_host: CodeHost

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PATCH = do_PUT = do_GET  # noqa: N815  http.server has these names

    def _answer(self) -> None:
        host = self.code_host
        url = urlsplit(self.path)
        token = self.headers.get("PRIVATE-TOKEN") or self.headers.get("Authorization", "").removeprefix("Bearer ")
        host.asked.append((self.command, url.path))
        host.tokens.append(token)
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        if self.command in host.failures:
            status, headers = host.failures[self.command]
            return self._say(status, {"message": "no"}, headers)
        if token not in {READS, WRITES, IS_USER}:
            return self._say(401, {"message": "Bad credentials"})
        if url.path in {"/user", "/api/v4/user"}:
            return self._user(token)
        if self.command != "GET" and token == READS:
            return self._say(403, {"message": "Resource not accessible by integration"})
        if url.path in {"/repos/team/flows/issues/7/comments", "/api/v4/projects/42/merge_requests/7/notes"}:
            if self.command == "POST":
                kind = ("ada", "User") if token == IS_USER else ("github-actions[bot]", "Bot")
                return self._say(201, host.add(body["body"], *kind))
            query = parse_qs(url.query)
            size, page = int(query.get("per_page", ["30"])[0]), int(query.get("page", ["1"])[0])
            return self._say(200, host.comments[(page - 1) * size : page * size])
        found = re.fullmatch(r"/repos/team/flows/issues/comments/(\d+)|/api/v4/projects/42/.*/notes/(\d+)", url.path)
        for comment in host.comments:
            if found and self.command in {"PATCH", "PUT"} and str(comment["id"]) in found.groups():
                comment["body"] = body["body"]
                return self._say(200, comment)
        return self._say(404, {"message": "Not Found"})

    def _user(self, token: str) -> None:
        if token == IS_USER:
            self._say(200, {"login": "ada", "username": "ada"})
        else:
            self._say(403, {"message": "Resource not accessible by integration"})

    def _say(self, status: int, document: object, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(document).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
