"""A registry of images on loopback: Debian's docker-registry, which `make setup` unpacks below .venv."""

from __future__ import annotations

import base64
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from tests.servers.loopback import LoopbackServer
from tests.servers.processes import ROOT, free_ports, listens, running

PROGRAM = ROOT / ".venv/registry/usr/bin/docker-registry"


@dataclass(frozen=True)
class RegistryServer:
    """A registry that runs, and where it keeps what is pushed."""

    port: int
    folder: Path

    @property
    def host(self) -> str:
        """As references name it."""
        return f"127.0.0.1:{self.port}"

    def lose(self, digest: str) -> None:
        """Forget the bytes of a blob, as a disk that fails does."""
        digits = digest.partition(":")[2]
        shutil.rmtree(self.folder / f"docker/registry/v2/blobs/sha256/{digits[:2]}/{digits}")


def is_set_up() -> bool:
    """Whether the program is there."""
    return PROGRAM.exists()


@contextmanager
def registry(folder: Path, auth: Mapping[str, object] | None = None, **settings: object) -> Iterator[RegistryServer]:
    """A registry that keeps its files in a folder. `auth` is how its own configuration asks who somebody is."""
    (port,) = free_ports(1)
    configuration = {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "of the tests"},
        **({"auth": auth} if auth else {}),
        **settings,
    }
    written = folder / "registry.yml"
    written.write_text(json.dumps(configuration))  # which is YAML, too
    command = [str(PROGRAM), "serve", str(written)]
    with running(command, folder / "registry.log", is_ready=lambda: listens(port)):
        yield RegistryServer(port, folder / "data")


USER, PASSWORD = "mia", "s3cr3t-passw0rd"
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
"""As docker's configuration has them, and as they are sent."""
_HTPASSWD = f"{USER}:$2b$04$pBJyRuNJBwPXeDzPy96auuVhl38abnnLq8cMBpax95nIrXzG89WhG\n"
IDENTITY = "s3cr3t-identity-t0ken"
"""What docker keeps in place of the password, where a registry gives one."""


def passwords(folder: Path) -> dict[str, object]:
    """The `auth` of a registry that wants USER's password for everything."""
    written = folder / "htpasswd"
    written.write_text(_HTPASSWD)
    return {"htpasswd": {"realm": "tests", "path": str(written)}}


class TokenServer:
    """Where a registry sends who asks: it gives tokens that the registry believes, for what somebody may do.

    Everybody may pull from repositories that begin with `public/`. USER may do everything, except what `denied` names.
    """

    def __init__(self, folder: Path) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec

        self.asked: list[tuple[str, tuple[str, ...], str]] = []
        """The method, the scopes, and who asked: empty for a stranger."""
        self.tokens: list[str] = []
        """All that were given."""
        self.denied: set[str] = set()
        """Repositories in which nobody may do anything."""
        self.answers: list[tuple[int, bytes]] = []
        """What is answered in place of tokens, one after the other."""
        self.lasts = 300
        """How long tokens count, in seconds. Answers say 300; registries let clocks differ by 60."""
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._signed_by_itself()
        self._bundle = folder / "tokens.pem"
        self._bundle.write_bytes(self._certificate[0])
        issuer = self

        class Handler(_TokenHandler):
            tokens = issuer

        self._server = LoopbackServer(Handler)
        self.url = f"http://127.0.0.1:{self._server.port}/token"

    def close(self) -> None:
        self._server.close()

    def auth(self) -> dict[str, object]:
        """The `auth` of a registry that believes these tokens."""
        return {
            "token": {"realm": self.url, "service": "tests", "issuer": "tests", "rootcertbundle": str(self._bundle)}
        }

    def token(self, user: str, scopes: Sequence[str]) -> str:
        """A token of what a user may do of what is asked for: RFC 7519, with the access that distribution defines."""
        access = []
        for scope in scopes:
            kind, name, actions = scope.rsplit(":", 2) if scope.count(":") == 2 else ("", "", "")
            wanted = set(actions.split(","))
            allowed = wanted if user else wanted & {"pull"} if name.startswith("public/") else set()
            if name and name not in self.denied and allowed:
                access.append({"type": kind, "name": name, "actions": sorted(allowed)})
        now = int(time.time())
        claims = {"iss": "tests", "sub": user, "aud": "tests", "access": access, "jti": str(len(self.tokens))}
        claims |= {"iat": now, "nbf": now - 5, "exp": now + self.lasts}
        import jwt
        from cryptography.hazmat.primitives import serialization

        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        made = jwt.encode(claims, pem, algorithm="ES256", headers={"x5c": [self._certificate[1]]})
        self.tokens.append(made)
        return made

    def _signed_by_itself(self) -> tuple[bytes, str]:
        import datetime

        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization

        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tokens")])
        today = datetime.datetime.now(datetime.timezone.utc)
        day = datetime.timedelta(days=1)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(self._key.public_key())
        builder = builder.serial_number(1).not_valid_before(today - day).not_valid_after(today + day)
        made = builder.sign(self._key, hashes.SHA256())
        return (
            made.public_bytes(serialization.Encoding.PEM),
            base64.b64encode(made.public_bytes(serialization.Encoding.DER)).decode(),
        )


class _TokenHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    tokens: TokenServer

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        scheme, _, told = self.headers.get("Authorization", "").partition(" ")
        user = base64.b64decode(told).decode() if scheme == "Basic" else ""
        self.give(query.get("scope", []), user, user in {"", f"{USER}:{PASSWORD}"})

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        identity = form.get("refresh_token", [""])[0]
        self.give(form.get("scope", [""])[0].split(), identity, identity == IDENTITY)

    def give(self, scopes: list[str], who: str, is_known: bool) -> None:
        self.tokens.asked.append((self.command, tuple(scopes), who))
        if self.tokens.answers:
            status, data = self.tokens.answers.pop(0)
        elif not is_known:
            status, data = 401, b'{"errors": [{"code": "UNAUTHORIZED", "message": "wrong: %s"}]}' % who.encode()
        else:
            made = self.tokens.token(USER if who else "", scopes)
            status, data = 200, json.dumps({"token": made, "expires_in": 300}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Say nothing."""
