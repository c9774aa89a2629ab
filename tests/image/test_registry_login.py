"""A registry that asks for a login gets it, and no other host does; nothing of it is shown.

The registries are real ones that ask for passwords, or for tokens of a token server.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from envlock.errors import EnvlockError
from envlock.image.docker_login import DockerLogin
from envlock.image.errors import InsecureRegistry, NoSuchImage, RegistryDenied, RegistryUnreachable
from envlock.image.registry import Registry
from envlock.reporter import show_details
from tests.cache.hosts import Host
from tests.image.images import image, noise
from tests.servers.proxy import Proxy, Told, proxied
from tests.servers.registry import BASIC, IDENTITY, PASSWORD, USER, RegistryServer, TokenServer
from tests.servers.tls import Authority
from tests.support import needs_localhost

Open = Callable[..., Registry]


@pytest.fixture
def details() -> Iterator[list[str]]:
    """What `--verbose` shows."""
    shown: list[str] = []
    show_details(shown.append)
    yield shown
    show_details(None)


def push(registry: Registry, seed: int = 0) -> None:
    blobs, manifest = image(noise(2000, seed))
    registry.push(blobs, manifest, "1")
    assert registry.manifest("1").data == manifest.data


class TestPasswords:
    def test_are_told_to_the_registry_that_asks(
        self, open_registry: Open, with_passwords: RegistryServer, login: Callable[..., DockerLogin]
    ) -> None:
        push(open_registry(port=with_passwords.port, login=login(with_passwords.host)))

    def test_of_another_registry_are_not(
        self, open_registry: Open, with_passwords: RegistryServer, login: Callable[..., DockerLogin]
    ) -> None:
        with proxied(with_passwords.port) as proxy:
            registry = open_registry(port=proxy.port, login=login(with_passwords.host))
            with pytest.raises(RegistryDenied, match="found no login"):
                registry.manifest("1")
            assert not any("Authorization" in each for each in proxy.headers)

    def test_that_are_wrong_are_named_by_no_message(
        self, open_registry: Open, with_passwords: RegistryServer, login: Callable[..., DockerLogin]
    ) -> None:
        wrong = login(with_passwords.host, username=USER, password="wr0ng-passw0rd")
        with pytest.raises(RegistryDenied, match="to the login that envlock found") as raised:
            push(open_registry(port=with_passwords.port, login=wrong))
        assert "wr0ng" not in raised.value.render()
        assert raised.value.code == "registry-denied"

    def test_that_the_registry_repeats_are_hidden(
        self, open_registry: Open, with_passwords: RegistryServer, login: Callable[..., DockerLogin]
    ) -> None:
        said = json.dumps({"errors": [{"code": "DENIED", "message": f"{PASSWORD} is wrong, and {BASIC} too"}]})
        with proxied(with_passwords.port) as proxy:
            proxy.breaks(Told(403, said.encode()), "GET", "/manifests/")
            with pytest.raises(RegistryDenied) as raised:
                open_registry(port=proxy.port, login=login(f"127.0.0.1:{proxy.port}")).manifest("1")
        assert "is wrong" in raised.value.render()
        assert PASSWORD not in raised.value.render()
        assert BASIC not in raised.value.render()


class TestTokens:
    def test_of_strangers_pull_what_is_public(
        self, open_registry: Open, with_tokens: RegistryServer, tokens: TokenServer, login: Callable[..., DockerLogin]
    ) -> None:
        name = f"{with_tokens.host}/public/pulled:1"
        push(open_registry(name, login=login(with_tokens.host)), 1)
        tokens.asked.clear()
        assert open_registry(name).manifest().layers
        assert tokens.asked == [("GET", ("repository:public/pulled:pull",), "")]

    def test_are_asked_for_with_the_login_and_what_is_needed(
        self, open_registry: Open, with_tokens: RegistryServer, tokens: TokenServer, login: Callable[..., DockerLogin]
    ) -> None:
        push(open_registry(f"{with_tokens.host}/team/pushed", login=login(with_tokens.host)), 2)
        who = f"{USER}:{PASSWORD}"
        assert set(tokens.asked) == {
            ("GET", ("repository:team/pushed:pull",), who),
            ("GET", ("repository:team/pushed:pull,push",), who),
        }
        assert len(tokens.asked) == 2

    def test_may_be_had_for_an_identity_token(
        self, open_registry: Open, with_tokens: RegistryServer, tokens: TokenServer, login: Callable[..., DockerLogin]
    ) -> None:
        known = login(with_tokens.host, auth=base64.b64encode(b"<token>:").decode(), identitytoken=IDENTITY)
        push(open_registry(f"{with_tokens.host}/team/identity", login=known), 3)
        assert {(method, who) for method, _, who in tokens.asked} == {("POST", IDENTITY)}

    def test_that_docker_has_are_used_as_they_are(
        self, open_registry: Open, with_tokens: RegistryServer, tokens: TokenServer, login: Callable[..., DockerLogin]
    ) -> None:
        made = tokens.token(USER, ["repository:team/direct:pull,push"])
        push(open_registry(f"{with_tokens.host}/team/direct", login=login(with_tokens.host, registrytoken=made)), 4)
        assert tokens.asked == []

    def test_that_end_are_asked_for_again(
        self, open_registry: Open, with_tokens: RegistryServer, tokens: TokenServer, login: Callable[..., DockerLogin]
    ) -> None:
        ended = (("WWW-Authenticate", f'Bearer realm="{tokens.url}",service="tests"'),)
        with proxied(with_tokens.port) as proxy:
            place = f"127.0.0.1:{proxy.port}"
            registry = open_registry(f"{place}/team/ended", login=login(place))
            push(registry, 20)
            tokens.asked.clear()
            proxy.breaks(Told(401, headers=ended), "HEAD")
            assert registry.digest_of("1")
            assert registry.digest_of("1")
        assert [scopes for _, scopes, _ in tokens.asked] == [("repository:team/ended:pull",)]

    def test_that_the_registry_does_not_believe_are_no_access(
        self, open_registry: Open, with_tokens: RegistryServer, tokens: TokenServer, login: Callable[..., DockerLogin]
    ) -> None:
        tokens.lasts = -120
        with pytest.raises(RegistryDenied, match="to the login that envlock found"):
            open_registry(f"{with_tokens.host}/team/ended", login=login(with_tokens.host)).manifest("1")
        assert len(tokens.asked) == 1

    def test_let_a_blob_be_mounted_from_a_repository_that_may_be_read(
        self, open_registry: Open, with_tokens: RegistryServer, tokens: TokenServer, login: Callable[..., DockerLogin]
    ) -> None:
        known = login(with_tokens.host)
        base = open_registry(f"{with_tokens.host}/team/base", login=known)
        blobs, manifest = image(noise(5000, 5))
        base.push(blobs, manifest, "1")
        other = open_registry(f"{with_tokens.host}/team/other", login=known)
        pushed = other.push([base.blob(each.descriptor) for each in blobs], manifest, "1")
        assert (len(pushed.mounted), pushed.sent) == (2, ())
        assert ("repository:team/other:pull,push", "repository:team/base:pull") in {each[1] for each in tokens.asked}

    def test_that_may_not_mount_do_not_keep_the_blob_away(
        self, open_registry: Open, with_tokens: RegistryServer, tokens: TokenServer, login: Callable[..., DockerLogin]
    ) -> None:
        known = login(with_tokens.host)
        base = open_registry(f"{with_tokens.host}/team/hidden", login=known)
        blobs, manifest = image(noise(5000, 6))
        base.push(blobs, manifest, "1")
        tokens.denied.add("team/hidden")
        other = open_registry(f"{with_tokens.host}/team/next", login=known)
        pushed = other.push([each._replace(source=base.reference) for each in blobs], manifest, "1")
        assert (pushed.mounted, len(pushed.sent)) == ((), 2)

    @pytest.mark.parametrize(
        ("status", "data"),
        [(401, b"{}"), (403, b"{}"), (404, b""), (200, b"{}"), (200, b"no"), (200, b'{"token": "a\\r\\nX: b"}')],
    )
    def test_that_are_not_given_are_no_access(
        self,
        open_registry: Open,
        with_tokens: RegistryServer,
        tokens: TokenServer,
        login: Callable[..., DockerLogin],
        status: int,
        data: bytes,
    ) -> None:
        tokens.answers += [(status, data)]
        with pytest.raises(RegistryDenied, match="log in"):
            open_registry(f"{with_tokens.host}/team/x", login=login(with_tokens.host)).manifest("1")

    def test_are_waited_for_where_their_server_stumbles(
        self, open_registry: Open, with_tokens: RegistryServer, tokens: TokenServer, login: Callable[..., DockerLogin]
    ) -> None:
        tokens.answers += [(503, b""), (429, b"")]
        assert open_registry(f"{with_tokens.host}/team/x", login=login(with_tokens.host)).digest_of("1") == ""
        tokens.answers += [(503, b"")] * 9
        with pytest.raises(RegistryUnreachable, match="log in"):
            open_registry(f"{with_tokens.host}/team/x", login=login(with_tokens.host)).digest_of("1")

    def test_and_logins_are_in_no_detail(
        self,
        open_registry: Open,
        with_tokens: RegistryServer,
        tokens: TokenServer,
        login: Callable[..., DockerLogin],
        details: list[str],
    ) -> None:
        registry = open_registry(f"{with_tokens.host}/team/quiet", login=login(with_tokens.host))
        push(registry, 7)
        said = "\n".join(details)
        assert "/team/quiet/manifests/1" in said
        assert not [each for each in (PASSWORD, BASIC, *tokens.tokens) if each in said + repr(vars(registry))]


class TestElsewhere:
    """Where a registry leads to another host, nothing that tells who we are goes along."""

    @pytest.fixture
    def front(self, with_passwords: RegistryServer) -> Iterator[Proxy]:
        """The registry, as it is reached from outside."""
        with proxied(with_passwords.port) as proxy:
            yield proxy

    @pytest.fixture
    def storage(self, with_passwords: RegistryServer) -> Iterator[Proxy]:
        """Another host that has the same, and asks nobody who they are."""
        with proxied(with_passwords.port) as proxy:
            proxy.deaf_to = ("Authorization",)
            proxy.adds = {"Authorization": f"Basic {BASIC}"}
            yield proxy

    def secrets_heard(self, host: Proxy) -> list[str]:
        return [
            value
            for each in host.headers
            for name, value in each.items()
            if name.lower() in {"authorization", "cookie"}
        ]

    def test_to_download(
        self, open_registry: Open, front: Proxy, storage: Proxy, login: Callable[..., DockerLogin]
    ) -> None:
        registry = open_registry(port=front.port, login=login(f"127.0.0.1:{front.port}"))
        blobs, manifest = image(noise(5000, 8))
        registry.push(blobs, manifest, "1")
        path = f"/v2/{registry.reference.repository}/blobs/{manifest.config.digest}"
        led = (("Location", f"http://me:pw@127.0.0.1:{storage.port}{path}?signature=s3cr3t"), ("Set-Cookie", "a=b"))
        front.breaks(Told(307, headers=led), "GET", "/blobs/")
        assert registry.read_blob(manifest.config) == blobs[0].open().read()
        assert [method for method, _ in storage.passed] == ["GET"]
        assert self.secrets_heard(storage) == []
        assert self.secrets_heard(front)

    def test_to_upload(
        self, open_registry: Open, front: Proxy, storage: Proxy, login: Callable[..., DockerLogin]
    ) -> None:
        def lead_on(name: str, value: str) -> str:
            is_upload = name == "location" and "/uploads/" in value
            return value.replace(f":{front.port}/", f":{storage.port}/") if is_upload else value

        front.rewrites = lead_on
        registry = open_registry(port=front.port, login=login(f"127.0.0.1:{front.port}"))
        blobs, manifest = image(noise(5000, 9))
        assert len(registry.push(blobs, manifest, "1").sent) == 2
        assert [method for method, _ in storage.passed] == ["PUT", "PUT"]
        assert self.secrets_heard(storage) == []

    def test_that_asks_who_we_are(self, open_registry: Open, front: Proxy, login: Callable[..., DockerLogin]) -> None:
        asks = (("WWW-Authenticate", 'Basic realm="elsewhere"'),)
        with Host(lambda handler, _: handler.send(b"", status=401, **dict(asks))) as other:
            registry = open_registry(port=front.port, login=login(f"127.0.0.1:{front.port}"))
            push(registry, 10)
            front.breaks(Told(307, headers=(("Location", other.url("x")),)), "GET", "/manifests/")
            with pytest.raises(RegistryDenied, match="to which the registry led"):
                registry.manifest("1")
        assert [each.user for each in other.requests] == [""]

    def test_without_an_end(self, open_registry: Open, front: Proxy) -> None:
        front.breaks(Told(302, headers=(("Location", "/v2/"),)), "GET", times=100)
        with pytest.raises(EnvlockError, match="302"):
            open_registry(port=front.port).manifest("1")

    @pytest.mark.parametrize("location", ["file:///etc/passwd", "http://", "http://[::1", "ftp://x.example/", "//"])
    def test_that_is_no_place(self, open_registry: Open, front: Proxy, location: str) -> None:
        front.breaks(Told(302, headers=(("Location", location),)), "GET", times=100)
        with pytest.raises(EnvlockError) as raised:
            open_registry(port=front.port).manifest("1")
        assert raised.value.exit_status == 2
        assert "root:" not in raised.value.render()


@needs_localhost
class TestPlainHttp:
    @pytest.fixture
    def authority(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
        made = Authority(tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", str(made.file))
        return made

    def test_is_not_used_where_a_registry_of_this_machine_speaks_tls(
        self, open_registry: Open, authority: Authority
    ) -> None:
        with Host(lambda handler, _: handler.send(b"", status=404), authority.context) as secure:
            place = secure.url("base", "localhost").removeprefix("https://")
            with pytest.raises(NoSuchImage):
                open_registry(f"{place}:1").manifest()
            assert [each.path for each in secure.requests] == ["/v2/", "/v2/base/manifests/1"]

    @pytest.mark.parametrize("what", ["redirect", "realm"])
    def test_is_no_place_to_lead_to_from_https(
        self, open_registry: Open, authority: Authority, login: Callable[..., DockerLogin], what: str
    ) -> None:
        with Host(lambda handler, _: handler.send(b"{}")) as plain:
            url = plain.url("x")
            header = {"Location": url} if what == "redirect" else {"WWW-Authenticate": f'Bearer realm="{url}"'}
            status = 302 if what == "redirect" else 401
            with Host(lambda handler, _: handler.send(b"", status=status, **header), authority.context) as secure:
                place = secure.url("base", "localhost").removeprefix("https://")
                known = login(place.partition("/")[0])
                with pytest.raises(InsecureRegistry, match="plain HTTP") as raised:
                    open_registry(f"{place}:1", login=known).manifest()
        assert plain.requests == []
        assert raised.value.code == "insecure-registry"

    @pytest.mark.parametrize("is_insecure", [False, True])
    def test_of_another_machine_needs_to_be_allowed(
        self, open_registry: Open, registry_server: RegistryServer, monkeypatch: pytest.MonkeyPatch, is_insecure: bool
    ) -> None:
        import socket

        real = socket.getaddrinfo
        monkeypatch.setattr(
            "socket.getaddrinfo",
            lambda host, *rest, **more: real("127.0.0.1" if host == "registry.example" else host, *rest, **more),
        )
        with proxied(registry_server.port) as proxy:
            registry = open_registry(f"registry.example:{proxy.port}/base", is_insecure=is_insecure)
            if is_insecure:
                assert registry.digest_of("1") == ""
            else:
                with pytest.raises(RegistryUnreachable):
                    registry.digest_of("1")
                assert proxy.passed == []

    def test_does_not_replace_a_certificate_that_nobody_vouches_for(
        self, open_registry: Open, authority: Authority, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SSL_CERT_FILE")
        with Host(lambda handler, _: handler.send(b""), authority.context) as secure:
            place = secure.url("base", "localhost").removeprefix("https://")
            with pytest.raises(RegistryUnreachable, match="certificate") as raised:
                open_registry(f"{place}:1", is_insecure=True).manifest()
        assert "SSL_CERT_FILE" in str(raised.value.hint)
        assert secure.requests == []
