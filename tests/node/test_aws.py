"""The client of the standard library asks, signs and trusts as AWS's own libraries do."""

from __future__ import annotations

import base64
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from metaflow_extensions.envlock.plugins.node import aws, plain_s3
from metaflow_extensions.envlock.plugins.node.aws import NOTHING, Credentials, NoCredentials, settings_of, signed
from metaflow_extensions.envlock.plugins.node.connections import Connections
from metaflow_extensions.envlock.plugins.node.plain_s3 import PlainS3, RefusedRequest, client_of
from tests.node.conftest import NodeCache
from tests.servers.loopback import LoopbackServer
from tests.servers.proxy import Break
from tests.servers.role import Role, role
from tests.servers.tls import Authority

KEYS = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "s3cr3t"}
TOKEN = {**KEYS, "AWS_SESSION_TOKEN": "session"}
HALF = {"AWS_ACCESS_KEY_ID": "AKIATEST"}

CONFIG = """
[default]
region = eu-west-1
[profile team]
region = eu-central-1
aws_access_key_id = of-config
aws_secret_access_key = s3cr3t-of-config
[profile sso]
sso_session = team
"""
FILE = """
[default]
aws_access_key_id = of-default
aws_secret_access_key = s3cr3t-of-default
[team]
aws_access_key_id = of-team
aws_secret_access_key = s3cr3t-of-team
aws_session_token = session-of-team
[program]
credential_process = /bin/false
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of nobody, and an environment without any variable of AWS."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def files(home: Path) -> Path:
    """The files of AWS's tools."""
    (home / ".aws").mkdir()
    (home / ".aws" / "config").write_text(CONFIG)
    (home / ".aws" / "credentials").write_text(FILE)
    return home


@pytest.fixture
def node_role(tmp_path: Path) -> Iterator[Role]:
    with role(tmp_path) as found:
        yield found


def by_botocore(profile: str = "") -> Any:
    """The credentials that botocore finds, and the region."""
    from botocore.session import Session

    session = Session(profile=profile or None)
    found = session.get_credentials()
    keys = found.get_frozen_credentials()
    return Credentials(keys.access_key, keys.secret_key, keys.token or ""), session.get_config_variable("region")


def by_us(profile: str = "") -> Any:
    settings = settings_of(os.environ, profile=profile)
    assert settings is not None
    assert settings.source is not None
    return settings.source.get()._replace(expires=None), settings.region


class TestCredentials:
    """They are those that botocore would use."""

    @pytest.mark.parametrize("environ", [KEYS, TOKEN, {**KEYS, "AWS_SECURITY_TOKEN": "old"}])
    def test_variables(self, environ: Mapping[str, str], home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
        assert by_us() == by_botocore()

    @pytest.mark.parametrize("profile", ["", "team"])
    @pytest.mark.parametrize("environ", [{}, {"AWS_PROFILE": "team"}, KEYS])
    def test_profiles(
        self, profile: str, environ: Mapping[str, str], files: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        assert by_us(profile) == by_botocore(profile)

    def test_those_of_a_profile_may_be_in_either_file(self, files: Path) -> None:
        (files / ".aws" / "credentials").unlink()
        assert by_us("team") == by_botocore("team")

    @pytest.mark.parametrize("kind", ["instance", "container", "web"])
    def test_those_of_a_role(self, kind: str, home: Path, node_role: Role, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
        for name, value in node_role.variables(kind).items():
            monkeypatch.setenv(name, value)
        assert by_us() == by_botocore() == (Credentials(node_role.key, node_role.secret, node_role.token), "us-west-2")

    def test_an_instance_without_version_2_of_its_metadata(
        self, home: Path, node_role: Role, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        node_role.has_version_2 = False
        for name, value in node_role.variables("instance").items():
            monkeypatch.setenv(name, value)
        assert by_us()[0] == by_botocore()[0]
        monkeypatch.setenv("AWS_EC2_METADATA_V1_DISABLED", "true")
        with pytest.raises(NoCredentials):
            by_us()

    @pytest.mark.parametrize(
        "environ",
        [
            HALF,
            {"AWS_PROFILE": "sso"},
            {"AWS_PROFILE": "program"},
            {"AWS_PROFILE": "of-nobody"},
            {**KEYS, "AWS_USE_FIPS_ENDPOINT": "true"},
            {**KEYS, "AWS_CREDENTIAL_EXPIRATION": "2026-11-30T20:00:00Z"},
            {"AWS_WEB_IDENTITY_TOKEN_FILE": "/nowhere"},
            {**KEYS, "HTTPS_PROXY": "socks5://proxy.example"},
            {**KEYS, "AWS_DEFAULT_REGION": "us-iso-east-1"},
        ],
    )
    def test_what_is_not_plain_is_left_to_botocore(self, environ: Mapping[str, str], files: Path) -> None:
        assert settings_of({"HOME": str(files), **environ}) is None

    def test_so_are_files_that_are_damaged_or_older_than_profiles(self, files: Path) -> None:
        (files / ".aws" / "config").write_text("[default\nregion")
        assert settings_of({"HOME": str(files)}) is None
        (files / ".aws" / "config").unlink()
        (files / ".boto").touch()
        assert settings_of({"HOME": str(files), **KEYS}) is None

    def test_they_are_fetched_once_and_again_before_they_expire(self, node_role: Role) -> None:
        settings = settings_of({**node_role.variables("container"), "HOME": "/none"})
        assert settings is not None
        assert settings.source is not None
        for _ in range(3):
            settings.source.get()
        assert node_role.asked == ["/container"]
        node_role.lifetime = aws.EARLY_SECONDS / 2
        used = settings.source.get()
        assert settings.source.forget(used)
        for _ in range(2):
            settings.source.get()
        assert len(node_role.asked) == 3

    def test_those_that_are_still_good_outlast_who_gives_them(self, node_role: Role) -> None:
        node_role.lifetime = aws.EARLY_SECONDS / 2
        environ = {**node_role.variables("container"), "HOME": "/none"}
        settings = settings_of(environ)
        assert settings is not None
        assert settings.source is not None
        used = settings.source.get()
        Path(environ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]).unlink()
        assert settings.source.get() == used

    def test_a_container_gives_its_token_to_nobody_far_away(self, home: Path) -> None:
        environ = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://elsewhere.example/", "HOME": str(home)}
        settings = settings_of({**environ, "AWS_CONTAINER_AUTHORIZATION_TOKEN": "s3cr3t"})
        assert settings is not None
        assert settings.source is not None
        with pytest.raises(NoCredentials):
            settings.source.get()

    def test_a_machine_without_any_is_told_apart_from_a_network_that_is_down(self, home: Path) -> None:
        settings = settings_of({"HOME": str(home), "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:9"})
        assert settings is not None
        client = PlainS3("team-bucket", "", settings, 1)
        with pytest.raises(NoCredentials) as raised:
            client.list("plans")
        assert client.fault(raised.value).reason == "no credentials"


@pytest.mark.parametrize("token", ["", "session/of+the=role"])
@pytest.mark.parametrize(
    ("method", "url", "headers"),
    [
        ("GET", "https://team.s3.eu-west-1.amazonaws.com/a%20b/%C3%A9~_-.json", {"Range": "bytes=0-9"}),
        ("GET", "http://127.0.0.1:8333/team?list-type=2&prefix=plans%2Fa", {}),
        ("PUT", "http://127.0.0.1:8333/team/x", {"If-None-Match": "*"}),
    ],
)
def test_a_signature_is_that_of_botocore(method: str, url: str, headers: Mapping[str, str], token: str) -> None:
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials as OfBotocore

    theirs = AWSRequest(method=method, url=url, headers=dict(headers), data=b"")
    theirs.context["payload_signing_enabled"] = True
    S3SigV4Auth(OfBotocore("AKIA", "s3cr3t", token or None), "s3", "eu-west-1").add_auth(theirs)
    moment = time.strptime(theirs.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ")
    now = float(__import__("calendar").timegm(moment))
    ours = signed(method, url, headers, NOTHING, Credentials("AKIA", "s3cr3t", token), "eu-west-1", now)
    assert ours["Authorization"] == theirs.headers["Authorization"]


@pytest.mark.parametrize("style", ["", "path", "virtual"])
@pytest.mark.parametrize(
    ("bucket", "endpoint", "region"),
    [
        *((bucket, "", region) for bucket in ("team", "team.example") for region in ("eu-west-1", "cn-north-1")),
        ("team", "https://s3.example/store", "us-east-1"),
        ("team.example", "https://s3.example", "us-east-1"),
        ("team", "http://127.0.0.1:8333", ""),
    ],
)
def test_an_object_has_the_url_that_boto3_gives_it(
    style: str, bucket: str, endpoint: str, region: str, home: Path
) -> None:
    from botocore.config import Config
    from botocore.session import Session

    s3 = {"addressing_style": style} if style else {}
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    config = Config(s3=s3, signature_version="s3v4")
    theirs = Session().create_client("s3", region or None, endpoint_url=endpoint or None, config=config, **keys)

    class Sent(Exception):
        """A request that goes nowhere."""

    def stop(request: Any, **_: object) -> None:
        raise Sent(request.url)

    theirs.meta.events.register("before-send.s3", stop)
    with pytest.raises(Sent) as sent:
        theirs.get_object(Bucket=bucket, Key="cache/a b/x.json")
    settings = settings_of({**KEYS, "HOME": str(home)}, endpoint, region, params={"config": {"s3": s3}})
    assert settings is not None
    ours = PlainS3(bucket, "cache", settings, 5)._url("a b/x.json", None, settings.region)
    assert ours == str(sent.value)


class Scripted:
    """A server with prepared answers, which keeps the requests."""

    def __init__(self, context: Any = None) -> None:
        self.answers: list[tuple[int, Mapping[str, str], bytes]] = []
        self.asked: list[tuple[str, Mapping[str, str]]] = []
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                scripted.asked.append((self.path, dict(self.headers.items())))
                status, headers, body = scripted.answers.pop(0) if scripted.answers else (200, {}, b"{}")
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                if headers.get("X-Then") == "gone":
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = LoopbackServer(Handler)
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)

    def client(self, **environ: str) -> PlainS3:
        scheme = "https" if "AWS_CA_BUNDLE" in environ or "IS_TLS" in environ else "http"
        endpoint = f"{scheme}://localhost:{self.server.port}"
        settings = settings_of({**KEYS, "HOME": "/none", **environ}, endpoint=endpoint)
        assert settings is not None
        return PlainS3("team", "", settings, 5)


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    made: list[Scripted] = []

    def make(context: Any = None) -> Scripted:
        made.append(Scripted(context))
        return made[-1]

    yield make
    for each in made:
        each.server.close()


def got(client: PlainS3, path: str = "x") -> bytes:
    pieces: list[bytes] = []
    client.get(path, 0, None, pieces.append)
    return b"".join(pieces)


class TestRequests:
    @pytest.mark.parametrize(
        "answer",
        [
            (301, {"x-amz-bucket-region": "eu-west-1"}, b"<Error><Code>PermanentRedirect</Code></Error>"),
            (307, {"x-amz-bucket-region": "eu-west-1"}, b""),
            (400, {}, b"<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>"),
        ],
    )
    def test_a_bucket_of_another_region_is_asked_there_once(
        self, answer: Any, scripted: Callable[..., Scripted]
    ) -> None:
        server = scripted()
        server.answers = [answer, (200, {}, b"whole"), (200, {}, b"again")]
        client = server.client()
        assert (got(client), got(client)) == (b"whole", b"again")
        scopes = [headers["Authorization"].split("/")[2] for _, headers in server.asked]
        assert scopes == ["us-east-1", "eu-west-1", "eu-west-1"]
        server.answers = [(answer[0], {"x-amz-bucket-region": each}, answer[2]) for each in ("us-west-1", "us-west-2")]
        with pytest.raises(RefusedRequest):
            got(client)

    def test_no_redirect_is_followed(self, scripted: Callable[..., Scripted]) -> None:
        """It would take the session's token to another host."""
        server, other = scripted(), scripted()
        server.answers = [(307, {"Location": f"http://localhost:{other.server.port}/x"}, b"")]
        with pytest.raises(RefusedRequest, match="307"):
            got(server.client())
        assert other.asked == []

    def test_credentials_that_have_expired_are_fetched_again_once(
        self, scripted: Callable[..., Scripted], node_role: Role
    ) -> None:
        server = scripted()
        expired = (400, {}, b"<Error><Code>ExpiredToken</Code></Error>")
        server.answers = [expired, (200, {}, b"whole"), expired, expired]
        settings = settings_of(
            {**node_role.variables("container"), "HOME": "/none"}, endpoint=f"http://localhost:{server.server.port}"
        )
        assert settings is not None
        client = PlainS3("team", "", settings, 5)
        assert got(client) == b"whole"
        with pytest.raises(RefusedRequest, match="ExpiredToken"):
            got(client)
        assert len(node_role.asked) == 3

    def test_a_connection_is_kept_and_one_that_the_server_ended_is_replaced(
        self, scripted: Callable[..., Scripted], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made: list[object] = []
        connect = Connections._connect
        monkeypatch.setattr(Connections, "_connect", lambda *given: (made.append(1), connect(*given))[1])
        server = scripted()
        server.answers = [(200, {}, b"1"), (200, {"X-Then": "gone"}, b"2"), (200, {}, b"3")]
        client = server.client()
        assert [got(client) for _ in range(3)] == [b"1", b"2", b"3"]
        assert len(made) == 2

    def test_an_object_that_ends_early_is_no_object(self) -> None:
        listening = socket.create_server(("127.0.0.1", 0))

        def answer() -> None:
            taken, _ = listening.accept()
            with taken:
                taken.recv(1 << 16)
                taken.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")

        thread = threading.Thread(target=answer)
        thread.start()
        settings = settings_of({**KEYS, "HOME": "/none"}, endpoint=f"http://127.0.0.1:{listening.getsockname()[1]}")
        assert settings is not None
        with pytest.raises(ConnectionError):
            got(PlainS3("team", "", settings, 5))
        thread.join()
        listening.close()

    @pytest.mark.parametrize("bucket", ["", "UPPER", "team--use1-az4--x-s3", "arn:aws:s3:::team", "x/../y"])
    def test_special_buckets_are_left_to_boto3(self, bucket: str) -> None:
        assert client_of(bucket, "", {"anonymous": True}, {}, 5) is None


class TestProxiesAndTls:
    def test_a_server_is_trusted_by_the_bundle_that_the_environment_names(
        self, scripted: Callable[..., Scripted], tmp_path: Path
    ) -> None:
        authority = Authority(tmp_path)
        server = scripted(authority.context)
        assert got(server.client(AWS_CA_BUNDLE=str(authority.file))) == b"{}"
        client = server.client(IS_TLS="yes")
        with pytest.raises(OSError, match="certificate") as raised:
            got(client)
        assert client.fault(raised.value).reason == "its certificate is not trusted"

    def test_a_proxy_of_the_environment_is_used_with_its_login(self, scripted: Callable[..., Scripted]) -> None:
        server, proxy = scripted(), scripted()
        through = f"http://me:p%40w@localhost:{proxy.server.port}"
        got(server.client(HTTP_PROXY=through))
        ((asked, headers),) = proxy.asked
        assert urlsplit(asked).netloc == f"localhost:{server.server.port}"
        assert headers["Proxy-Authorization"] == "Basic " + base64.b64encode(b"me:p@w").decode()
        assert server.asked == []
        got(server.client(HTTP_PROXY=through, no_proxy="localhost"))
        assert len(server.asked) == 1

    def test_an_image_without_certificates_uses_those_of_its_packages(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import ssl

        from metaflow_extensions.envlock.plugins.node import connections

        nothing = ssl.DefaultVerifyPaths(None, None, "", "", "", "")
        monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nothing)
        (tmp_path / "certifi").mkdir()
        Path(tmp_path / "certifi" / "cacert.pem").write_bytes(Authority(tmp_path).file.read_bytes())
        monkeypatch.setattr("sys.path", [str(tmp_path)])
        assert connections._context(None).cert_store_stats()["x509_ca"] == 1
        monkeypatch.setattr("sys.path", [])
        with pytest.raises(connections.Untrusted):
            connections._context(None)


@pytest.mark.parametrize("name", ["moto", "seaweedfs"])
class TestServers:
    """SeaweedFS looks at signatures and rights."""

    def test_objects_are_written_found_and_read(self, name: str, make_cache: Callable[..., NodeCache]) -> None:
        client = client_in(make_cache(name))
        client.put("logs/a b+c~é", b"first", {"x-amz-meta-of": "task"})
        client.put("logs/a b+c~é", b"second", {"x-amz-meta-of": "task"})
        data, facts = client.read("logs/a b+c~é")
        assert (data, facts.size, facts.metadata["of"]) == (b"second", 6, "task")
        assert client.find("logs/a b+c~é") == facts
        assert abs(facts.modified - time.time()) < 60
        assert [each[:2] for each in client.entries("logs")] == [("logs/a b+c~é", 6)]
        client.prove_bucket()

    def test_wrong_keys_are_refused(
        self, name: str, make_cache: Callable[..., NodeCache], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if name == "moto":
            pytest.skip("moto looks at no signature")
        cache = make_cache(name)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
        with pytest.raises(RefusedRequest, match="403 SignatureDoesNotMatch"):
            client_in(cache).list("plans")

    def test_a_stumble_is_one_of_the_network(self, name: str, make_cache: Callable[..., NodeCache]) -> None:
        cache = make_cache(name)
        client = client_in(cache)
        client.put("x", b"x" * 1000, {})
        for how in (Break.RESET, Break.CUT):
            cache.proxy.breaks(how, "GET", times=2)  # a connection that was kept is replaced once
            with pytest.raises(plain_s3.Failures) as raised:
                got(client)
            assert client.fault(raised.value).reason == "Connection reset by peer"
            cache.proxy.forget()


def client_in(cache: NodeCache) -> PlainS3:
    bucket, _, prefix = cache.manifest.cache.partition("://")[2].partition("/")
    found = client_of(bucket, prefix, cache.manifest.options, {}, 5)
    assert found is not None
    return found
