"""What gives a role's credentials to machines of AWS: an instance's metadata, a container's agent, and STS."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs

from tests.servers.loopback import LoopbackServer

TOKENS = {"instance": "token-of-the-instance", "container": "token-of-the-container", "web": "token-of-the-web"}
"""What each of them asks for before it gives anything."""

_STS = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{AccessKeyId}</AccessKeyId>
<SecretAccessKey>{SecretAccessKey}</SecretAccessKey><SessionToken>{Token}</SessionToken>
<Expiration>{Expiration}</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""
_REFUSED = (
    "<ErrorResponse><Error><Code>InvalidIdentityToken</Code><Message>As the test wants it.</Message></Error>"
    "</ErrorResponse>"
)


@dataclass
class Role:
    """A role, and a server that gives its credentials."""

    port: int
    folder: Path
    key: str = "AKIAROLEROLEROLE"
    secret: str = "s3cr3t-of-the-role"
    token: str = "session/of+the=role"
    lifetime: float = 3600.0
    asked: list[str] = field(default_factory=list)
    """The path of each request."""
    has_version_2: bool = True
    """Whether the metadata of the instance has tokens."""

    def variables(self, kind: str) -> Mapping[str, str]:
        """The environment of a machine whose credentials come from an `instance`, a `container` or the `web`."""
        url = f"http://127.0.0.1:{self.port}"
        file = self.folder / f"{kind}.token"
        file.write_text(TOKENS[kind])
        if kind == "instance":
            return {"AWS_EC2_METADATA_SERVICE_ENDPOINT": url, "AWS_EC2_METADATA_DISABLED": "false"}
        if kind == "container":
            found = {"FULL_URI": f"{url}/container", "AUTHORIZATION_TOKEN_FILE": str(file)}
            return {
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": found["FULL_URI"],
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": found["AUTHORIZATION_TOKEN_FILE"],
            }
        return {
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(file),
            "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/node",
            "AWS_ENDPOINT_URL_STS": url,
        }

    def given(self) -> dict[str, str]:
        """The credentials, as JSON has them."""
        ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + self.lifetime))
        return {
            "Code": "Success",
            "AccessKeyId": self.key,
            "SecretAccessKey": self.secret,
            "Token": self.token,
            "Expiration": ends,
        }


class _Handler(BaseHTTPRequestHandler):
    role: Role

    def do_PUT(self) -> None:
        self.role.asked.append(self.path)
        if not self.role.has_version_2:
            self.answer(404)
        elif self.path == "/latest/api/token" and self.headers["x-aws-ec2-metadata-token-ttl-seconds"]:
            self.answer(200, TOKENS["instance"])
        else:
            self.answer(400)

    def do_GET(self) -> None:
        if self.path.startswith("/?"):
            self.give_to_web(self.path[2:])
            return
        self.role.asked.append(self.path)
        folder = "/latest/meta-data/iam/security-credentials/"
        if self.path == "/container":
            is_right = self.headers["Authorization"] == TOKENS["container"]
            self.answer(200 if is_right else 401, json.dumps(self.role.given()) if is_right else "")
        elif self.path == "/relative":
            self.answer(200, json.dumps(self.role.given()))
        elif self.role.has_version_2 and self.headers["x-aws-ec2-metadata-token"] != TOKENS["instance"]:
            self.answer(401)
        elif self.path == folder:
            self.answer(200, "node-role")
        elif self.path == folder + "node-role":
            self.answer(200, json.dumps(self.role.given()))
        else:
            self.answer(404)

    def do_POST(self) -> None:
        self.give_to_web(self.rfile.read(int(self.headers["Content-Length"])).decode())

    def give_to_web(self, form_text: str) -> None:
        self.role.asked.append("/")
        form = parse_qs(form_text)
        is_right = form.get("Action") == ["AssumeRoleWithWebIdentity"] and form.get("RoleSessionName")
        if is_right and form.get("WebIdentityToken") == [TOKENS["web"]]:
            self.answer(200, _STS.format(**self.role.given()))
        else:
            self.answer(400, _REFUSED)

    def answer(self, status: int, text: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def role(folder: Path) -> Iterator[Role]:
    """A role whose tokens are files in a folder."""
    handler = type("Handler", (_Handler,), {})
    server = LoopbackServer(handler)
    found = Role(server.port, folder)
    handler.role = found  # type: ignore[attr-defined]
    try:
        yield found
    finally:
        server.close()
