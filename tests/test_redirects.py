"""Credentials follow no redirect that leaves https, nor one to another host, whoever follows it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from envlock.cache.download import Upstream
from envlock.conda.client import places_of
from envlock.conda.host_check import first_silent
from envlock.config.read import load_project
from envlock.credentials import Credentials
from envlock.errors import EnvlockError
from envlock.model.arch import LINUX_64
from envlock.model.artifact import Artifact
from envlock.resolve.index_check import files_of
from envlock.resolve.python_builds import exact_builds
from envlock.workflow.lock import lock
from tests.cache.hosts import Handler, Host, Request
from tests.servers.tls import Authority
from tests.support import ProjectFolder, needs_localhost

pytestmark = needs_localhost

DATA = b"what is fetched"
EMPTY_REPODATA = b'{"packages": {}, "packages.conda": {}}'
NAME = "demo-1.0-py3-none-any.whl"
USER = "mia:s3cret"
KNOWN = base64.b64encode(USER.encode()).decode()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(autouse=True)
def _believed(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))


@pytest.fixture
def anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials by host, whatever the scheme and the port."""
    monkeypatch.setenv("ENVLOCK_INDEX_LOCALHOST_USERNAME", "mia")
    monkeypatch.setenv("ENVLOCK_INDEX_LOCALHOST_PASSWORD", "s3cret")


class Hosts:
    """A host over https, which leads on, and those that it leads to."""

    def __init__(self, authority: Authority) -> None:
        self.plain = Host(lambda handler, _: handler.send(DATA))
        self.other = Host(lambda handler, _: handler.send(DATA), authority.context)
        self.secure = Host(self._lead_on, authority.context)
        self.target: Callable[[str], str] = self.other.url

    def _lead_on(self, handler: Handler, request: Request) -> None:
        if request.path.startswith("/end/forge/"):  # one channel's failure would end the other's requests at any moment
            is_there = request.path.endswith("/repodata.json")
            handler.send(EMPTY_REPODATA if is_there else b"", status=200 if is_there else 404)
        elif request.path.startswith("/end/"):
            handler.send(DATA)
        else:
            handler.send(b"", status=302, Location=self.target(request.path.lstrip("/")))

    def by(self, way: str) -> Host:
        """Let the first host lead to another one: over http, or over https by another name. That one."""
        if way == "out of https":
            self.target = lambda path: self.plain.url(path, "localhost")
            return self.plain
        self.target = lambda path: self.other.url(path, "127.0.0.1")
        return self.other

    def secrets_heard(self, host: Host) -> list[str]:
        """Whatever a host was told that tells who we are."""
        return [
            f"{name}: {value}"
            for request in host.requests
            for name, value in (*request.headers.items(), ("path", request.path))
            if name in {"authorization", "cookie", "proxy-authorization"} or "s3cret" in value or KNOWN in value
        ]


WAYS = ("out of https", "to another host")


@pytest.fixture
def hosts(authority: Authority) -> Iterator[Hosts]:
    made = Hosts(authority)
    with made.plain, made.other, made.secure:
        yield made


def fetch(hosts: Hosts, tmp_path: Path, *index_urls: str, url: str = "") -> bytes:
    wanted = Artifact(NAME, hashlib.sha256(DATA).hexdigest(), url or hosts.secure.url(NAME, "localhost"), len(DATA))
    with Upstream(Credentials(index_urls), pause=0.01) as upstream:
        upstream.fetch(wanted, tmp_path / "target")
    return (tmp_path / "target").read_bytes()


def test_a_certificate_that_nobody_vouches_for_is_not_believed(
    hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(EnvlockError, match="localhost"):
        fetch(hosts, tmp_path)
    assert hosts.secure.requests == []


@pytest.mark.usefixtures("anywhere")
class TestPackages:
    @pytest.mark.parametrize("way", WAYS)
    def test_credentials_stay(self, hosts: Hosts, tmp_path: Path, way: str) -> None:
        target = hosts.by(way)
        assert fetch(hosts, tmp_path) == DATA
        assert [request.user for request in hosts.secure.requests] == [USER]
        assert len(target.requests) == 1
        assert hosts.secrets_heard(target) == []

    def test_once_out_of_https_they_are_not_sent_even_over_https(self, hosts: Hosts, tmp_path: Path) -> None:
        """Whoever led us over http may have led us anywhere from there."""
        hosts.by("out of https")
        hosts.plain.answer = lambda handler, _: handler.send(
            b"", status=302, Location=hosts.secure.url(f"end/{NAME}", "localhost")
        )
        assert fetch(hosts, tmp_path) == DATA
        assert [request.user for request in hosts.secure.requests] == [USER, ""]
        assert hosts.secrets_heard(hosts.plain) == []

    def test_to_the_same_host_over_https_they_are_sent(self, hosts: Hosts, tmp_path: Path) -> None:
        hosts.target = lambda path: hosts.secure.url(f"end/{path}", "localhost")
        assert fetch(hosts, tmp_path) == DATA
        assert [request.user for request in hosts.secure.requests] == [USER, USER]

    @pytest.mark.parametrize("way", WAYS)
    def test_what_the_target_says_of_a_user_is_not_sent(self, hosts: Hosts, tmp_path: Path, way: str) -> None:
        target = hosts.by(way)
        name = "localhost" if way == WAYS[0] else "127.0.0.1"
        hosts.target = lambda path: target.url(path, name, user="eve:hers")
        assert fetch(hosts, tmp_path) == DATA
        assert hosts.secrets_heard(target) == []


@pytest.mark.parametrize("way", WAYS)
def test_of_an_index(hosts: Hosts, tmp_path: Path, way: str) -> None:
    """What the pages and the metadata of packages are asked with is uv's matter; so are its redirects."""
    target = hosts.by(way)
    project = ProjectFolder.make(tmp_path / "project", hosts.secure.url("simple/", "localhost", user=USER))
    project.write_env("demo==1.0")
    with suppress(EnvlockError):  # there is no page at the end
        lock(load_project(project.config))
    assert USER in {request.user for request in hosts.secure.requests}
    assert target.requests, "it was followed"
    assert hosts.secrets_heard(target) == []


@pytest.mark.parametrize("way", WAYS)
def test_of_the_sums_of_python_builds(hosts: Hosts, way: str) -> None:
    target = hosts.by(way)
    with suppress(EnvlockError):
        exact_builds("==3.11.9", [LINUX_64], mirror=hosts.secure.url("python", "localhost", user=USER))
    assert [request.user for request in hosts.secure.requests] == [USER]
    assert len(target.requests) == 1
    assert hosts.secrets_heard(target) == []


TOLD = "py-rattler's HTTP client says in `Referer` where it comes from, the token in that path included"


@pytest.mark.parametrize(
    ("way", "user", "path"),
    [
        *((way, USER, "team") for way in WAYS),
        (WAYS[0], "", "t/s3cret/team"),
        pytest.param(WAYS[1], "", "t/s3cret/team", marks=pytest.mark.xfail(reason=TOLD, strict=True)),
    ],
)
def test_of_a_channel(
    hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, user: str, path: str
) -> None:
    target = hosts.by(way)
    lead = hosts.target
    hosts.target = lambda path: lead(path.replace("t/s3cret/", ""))
    # There is no conda-forge here: it is asked in the same place.
    monkeypatch.setenv("ENVLOCK_CHANNEL_MIRRORS", f"conda-forge={hosts.secure.url('end/forge', 'localhost')}")
    project = ProjectFolder.make(tmp_path / "project", hosts.secure.url("simple/", "localhost"))
    channel = hosts.secure.url(path, "localhost", user=user)
    project.write(f'[env.demo.conda]\npython = "3.12"\nchannels = ["{channel}"]\nlibraries = {{ demo = "1.0" }}\n')
    with suppress(EnvlockError):  # there is no repodata at the end
        lock(load_project(project.config))
    assert any(request.user == user and request.path.startswith(f"/{path}/") for request in hosts.secure.requests)
    assert target.requests, "it was followed"
    assert hosts.secrets_heard(target) == []


@pytest.mark.parametrize("way", WAYS)
def test_of_a_sign_of_life(hosts: Hosts, way: str) -> None:
    target = hosts.by(way)
    assert first_silent(places_of([hosts.secure.url("team", "localhost", user=USER)], {})) is None
    assert hosts.secrets_heard(hosts.secure) == []
    assert target.requests == []


ASKING: dict[str, Callable[[str], object]] = {
    "sums": lambda url: exact_builds("==3.11.9", [LINUX_64], mirror=url),
    "files": lambda url: files_of(url, "demo", "Train/start", "linux-64"),
}


@pytest.mark.parametrize("target", ["https://xn--/", "https://xn--a/", "https://[/", "https://h:99999/", "x:y"])
class TestToWhatIsNoHost:
    @pytest.fixture(autouse=True)
    def _led(self, hosts: Hosts, target: str) -> None:
        hosts.target = lambda path: target

    def test_a_package_is_not_to_be_had(self, hosts: Hosts, tmp_path: Path) -> None:
        with pytest.raises(EnvlockError):
            fetch(hosts, tmp_path)

    @pytest.mark.parametrize("ask", ASKING.values(), ids=ASKING)
    def test_an_index_is_none(self, hosts: Hosts, ask: Callable[[str], object]) -> None:
        with pytest.raises(EnvlockError):
            ask(hosts.secure.url("simple/", "localhost"))

    def test_a_sign_of_life_is_one(self, hosts: Hosts) -> None:
        assert first_silent(places_of([hosts.secure.url("team", "localhost")], {})) is None
